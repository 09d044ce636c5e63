"""Checks a copy of a log, and puts it in place such that nothing handed out since counts again.

A copy is of the past. In the meantime its original has gone on: it has handed out events, and the
receipts of these deliveries are in consumers' hands. Boot and delivery numbers begin again in the
copy where they stood, so that after a restore, without more, a new delivery could get the stamp of
an old one, and a late acknowledgement would settle an event that its present consumer has not
finished with. Nobody knows how far the original came, so chance decides: the restored log goes on
in a new segment whose header has a boot number beyond any that the original can have reached, and
another one each time. That header is on disk before the manifest makes the directory a log, so that
no crash can leave a log without it.
"""

import secrets
from collections.abc import Callable

import attrs

from persistence.catalog import Catalog, Segment
from persistence.disk import Disk, create_whole
from persistence.entry import Place
from persistence.errors import ReadFailed, StorageError
from persistence.facts import COUNT_MAX
from persistence.fold import Fold
from persistence.manifest import Manifest, ManifestSegment
from persistence.names import ACTIVE_NAME, MANIFEST_NAME
from persistence.recovery import Recovered, Recovery
from persistence.segment import SegmentHeader
from persistence.steps import Steps, no_steps
from persistence.survey import survey
from persistence.transfer import (
    Copier,
    NoLog,
    Piece,
    empty_directory,
    refuse_unless_empty,
    writing,
)

_BOOTS_LEAST = 2**16
"""How many times the original may have been started since the copy was made."""

_BOOTS_RANGE = 2**26
"""Out of how many one is chosen. Two restores of one copy get the same one time in 67 million; and
a hundred times, on average, what was restored can be copied and restored in its turn."""

_ADVICE = "give a backup"


class NotWhole(StorageError):
    """The copy was not finished."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} has no {MANIFEST_NAME}: the backup was not finished, or a part of it is lost;"
            " nothing was restored"
        )


class TooManyRestores(StorageError):
    """There are no boot numbers left."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is a copy of a restored copy, and so on, too many times; nothing was restored"
        )


@attrs.frozen
class RestoreReport:
    """What was put in place.

    Attributes:
        segments: how many.
        size: of these, bytes.
        waiting: events that are ready or delayed.
        leased: events that consumers held.
        dead: dead letters.
        boot: the boot number that the restore has taken; the first start gets the next one.
        left_out: bytes at the end that were no whole batch. None in a backup; the directory of a
            broker that crashed may have some.
    """

    segments: int
    size: int
    waiting: int
    leased: int
    dead: int
    boot: int
    left_out: int


def restore(
    source: Disk,
    target: Disk,
    *,
    now: int,
    steps: Steps = no_steps,
    random_below: Callable[[int], int] = secrets.randbelow,
) -> RestoreReport:
    """Check all of a copy, then make it the log of a data directory.

    Args:
        source: the copy, not attached; it is only looked at.
        target: an empty directory, or none yet.
        now: wall time in milliseconds.
        steps: is told how far it comes.
        random_below: gives a number from 0 on and below its argument.

    Raises:
        NotEmpty: there is something in the target.
        NoRoom: the target has too little room.
        NoLog: the source holds nothing of a log.
        NotWhole: the copy was not finished.
        LogDamaged: the copy is damaged.
        FormatTooNew: a later version wrote it.
        ReadFailed: the copy could not be read.
        WriteFailed: the target could not be written.
        StorageError: one of the directories cannot be used.
    """
    refuse_unless_empty(target)
    source.look()
    try:
        catalog = _catalog(source)
        recovered = Recovery(source, catalog, steps("checking")).run()
        boot = _boot(source.path, recovered.fold, random_below)
        work = _Restore(source, target, catalog, recovered)
        with empty_directory(target, work.size):
            work.run(Copier(target, work.size, steps("copying")), boot, now)
    finally:
        source.close()
    return work.report(boot)


class _Restore:
    """The copying, after the verdict."""

    def __init__(self, source: Disk, target: Disk, catalog: Catalog, recovered: Recovered) -> None:
        self._source = source
        self._target = target
        self._catalog = catalog
        self._fold = recovered.fold
        self._ends = [segment.end for segment in catalog.segments]
        self._left_out = 0
        if recovered.verdict is not None:  # somebody's data directory, with an active segment
            self._left_out = self._ends[-1] - recovered.verdict.valid
            self._ends[-1] = recovered.verdict.valid
        self.size = sum(segment.size for segment in catalog.segments) - self._left_out

    def run(self, copier: Copier, boot: int, now: int) -> None:
        """Copy the segments, put the new one behind them, and make it a log."""
        listed = []
        for segment, end in zip(self._catalog.segments, self._ends, strict=True):
            listed.append(self._copy(copier, segment, end))
        fence = SegmentHeader(
            number=self._catalog.next_segment,
            base=self._ends[-1],
            created=now,
            key=self._catalog.key,
            boot=boot,
            next_number=self._fold.next_number,
            counters=self._fold.counters.values(),
            last_event_at=self._fold.last_event_at,
        )
        with writing(f"{self._target.path}/{ACTIVE_NAME}", 0):
            create_whole(self._target, ACTIVE_NAME, [fence.encode()])
        manifest = Manifest(self._catalog.key, self._catalog.next_segment, tuple(listed))
        copier.list(manifest.begin(fence))

    def _copy(self, copier: Copier, segment: Segment, end: int) -> ManifestSegment:
        where = f"{self._source.path}/{segment.name}"
        try:
            file = self._source.open_to_read(segment.name)
        except OSError as error:
            raise ReadFailed(where, error) from error
        try:
            piece = Piece(where, file, segment.header, end)
            copier.copy(piece)
            return piece.listed()
        finally:
            file.close()

    def report(self, boot: int) -> RestoreReport:
        """Say what was put in place."""
        register = self._fold.register
        return RestoreReport(
            segments=len(self._ends),
            size=self.size,
            waiting=register.count(Place.WAITING),
            leased=register.count(Place.LEASED),
            dead=register.count(Place.DEAD),
            boot=boot,
            left_out=self._left_out,
        )


def _catalog(source: Disk) -> Catalog:
    catalog = survey(source)
    if catalog.manifest is None and MANIFEST_NAME not in source.names():
        raise (
            NotWhole(source.path)
            if catalog.segments or catalog.problems
            else NoLog(source.path, _ADVICE)
        )
    if catalog.problems:
        raise catalog.problems[0].error()
    if not catalog.segments:
        raise NoLog(source.path, _ADVICE)
    return catalog


def _boot(path: str, fold: Fold, random_below: Callable[[int], int]) -> int:
    boot = fold.boot + _BOOTS_LEAST + random_below(_BOOTS_RANGE)
    if boot >= COUNT_MAX - _BOOTS_LEAST:
        raise TooManyRestores(path)
    return boot
