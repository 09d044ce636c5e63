"""Checks a whole log: its files, every batch's checksum, every fact, and what they come to.

Nothing is changed, and the log may be in use: what is appended after the check has begun does not
count, and a segment that is deleted meanwhile is passed over.
"""

from collections.abc import Iterator
from enum import Enum

import attrs

from persistence.aside import is_kept
from persistence.catalog import Catalog, Segment
from persistence.disk import Disk
from persistence.errors import NoLog, reason
from persistence.examining import Examination, open_segment
from persistence.fold import Fold
from persistence.names import MANIFEST_NAME
from persistence.progress import Progress, no_progress
from persistence.salvage import Flaw, Hole
from persistence.survey import survey

_TELL_EVERY = 4 * 1024 * 1024


class What(Enum):
    """What a finding is about."""

    DAMAGE = "damage"
    """Something that was on disk has changed, or is gone. The log is not opened."""
    NEWER = "newer"
    """A later version of this program wrote it. The log is not opened."""
    UNREADABLE = "unreadable"
    """The operating system could not read it."""
    TORN = "torn"
    """A write that was cut short, or that is going on. No damage: a start cuts it off."""
    LEFTOVER = "leftover"
    """A file of the log's own that nobody needs. No damage: a start removes it."""
    KEPT = "kept"
    """A file that a start or a repair has kept for people. No damage."""
    FOREIGN = "foreign"
    """A file that is not the log's. No damage: it is left alone."""
    UNLISTED = "unlisted"
    """The manifest is missing, and the segments are the whole log. No damage: a start writes it."""
    DELETED = "deleted"
    """A segment that the running process deleted during the check. No damage."""


_DAMAGE = frozenset({What.DAMAGE, What.NEWER, What.UNREADABLE})
_WHAT = {Flaw.TORN: What.TORN, Flaw.NEWER: What.NEWER}


@attrs.frozen
class Finding:
    """Something that people should know.

    Attributes:
        what: what it is about.
        file: path of the file.
        offset: of the first byte in it that is meant.
        size: how many bytes are meant; None if that cannot be told, or if it is the whole file.
        detail: in words.
    """

    what: What
    file: str
    offset: int
    size: int | None
    detail: str

    @property
    def is_damage(self) -> bool:
        """Whether it keeps the log from being opened."""
        return self.what in _DAMAGE


@attrs.frozen
class Verification:
    """What a check has found.

    Attributes:
        path: of the directory.
        key: the log's key, empty if it cannot be told.
        findings: all of them, damage first, otherwise in the order of the log.
        catalog: the directory as it was when the check began.
        batches: how many are sound.
        facts: how many are in them.
        size: bytes of the segments.
        end: log position after the last sound batch.
        synced: everything before this log position was on disk, as far as the log says so.
        fold: what the sound facts mean together.
    """

    path: str
    key: bytes
    findings: tuple[Finding, ...]
    catalog: Catalog
    batches: int
    facts: int
    size: int
    end: int
    synced: int
    fold: Fold

    @property
    def damage(self) -> tuple[Finding, ...]:
        """What keeps the log from being opened."""
        return tuple(finding for finding in self.findings if finding.is_damage)

    @property
    def sound(self) -> bool:
        """Whether the log would be opened."""
        return not self.damage


def verify(disk: Disk, progress: Progress = no_progress) -> Verification:
    """Check the log in a directory.

    Args:
        disk: locked, or only looked at.
        progress: is told how many bytes have been checked.

    Raises:
        NoLog: there is none.
        ReadFailed: the directory could not be read.
    """
    catalog = survey(disk)
    if not catalog.segments and not catalog.problems and catalog.manifest is None:
        raise NoLog(disk.path)
    check = _Check(disk, catalog, progress)
    found = [*check.problems(), *check.segments(), *check.others()]
    examination = check.examination
    return Verification(
        disk.path,
        catalog.key,
        tuple(sorted(found, key=lambda finding: not finding.is_damage)),
        catalog,
        examination.batches,
        examination.facts,
        sum(segment.size for segment in catalog.segments),
        examination.end,
        examination.synced,
        examination.fold,
    )


class _Check:
    """One check. Each method gives findings."""

    def __init__(self, disk: Disk, catalog: Catalog, progress: Progress) -> None:
        self.examination = Examination()
        self._disk = disk
        self._catalog = catalog
        self._progress = progress
        self._total = sum(segment.size for segment in catalog.segments)
        self._done = self._told = 0

    def problems(self) -> Iterator[Finding]:
        """Tell what is wrong with the files as such."""
        for problem in self._catalog.problems:
            what = What.NEWER if problem.newer else What.DAMAGE
            yield Finding(what, problem.file, problem.offset, None, problem.detail)

    def segments(self) -> Iterator[Finding]:
        """Tell what is wrong with the segments' content."""
        numbers = [segment.number for segment in self._catalog.segments]
        if numbers != list(range(len(numbers))):
            self.examination.missing()
        self._progress(0, self._total)
        for segment in self._catalog.segments:
            where = f"{self._disk.path}/{segment.name}"
            try:
                yield from self._segment(segment, where)
            except OSError as error:
                detail = f"reading failed ({reason(error)})"
                offset = max(0, self.examination.end - segment.base)
                self.examination.missing()
                yield Finding(What.UNREADABLE, where, offset, None, detail)
        self._progress(self._total, self._total)

    def _segment(self, segment: Segment, where: str) -> Iterator[Finding]:
        file = open_segment(self._disk, segment)
        if file is None:
            self.examination.missing()
            yield Finding(What.DELETED, where, 0, None, "it was deleted during the check")
            return
        end = segment.end if segment.sealed else None
        try:
            for piece in self.examination.examine(file, segment.header, end):
                if isinstance(piece, Hole):
                    what = _WHAT.get(piece.flaw, What.DAMAGE)
                    offset, detail = piece.where - segment.base, piece.detail
                    if what is What.TORN:
                        detail = f"a write that was cut short, or is going on: {detail}"
                    yield Finding(what, where, offset, piece.end - piece.where, detail)
                    self._tell(piece.size)
                else:
                    self._tell(piece.header.end - piece.header.position)
        finally:
            file.close()

    def _tell(self, size: int) -> None:
        self._done += size
        if self._done - self._told >= _TELL_EVERY:
            self._told = self._done
            self._progress(self._done, self._total)

    def others(self) -> Iterator[Finding]:
        """Tell which other files there are."""
        path, catalog = self._disk.path, self._catalog
        if catalog.manifest is None and not catalog.problems:
            detail = "it is missing; the segments are whole without, and the next start writes it"
            yield Finding(What.UNLISTED, f"{path}/{MANIFEST_NAME}", 0, None, detail)
        for name in catalog.leftovers:
            # Of a running process it may be just coming into being.
            detail = "it is being written, or left over and removed by the next start"
            yield Finding(What.LEFTOVER, f"{path}/{name}", 0, None, detail)
        for name in catalog.torn_copies:
            detail = "it was cut off by a start, and is kept for people"
            yield Finding(What.KEPT, f"{path}/{name}", 0, None, detail)
        for name in catalog.foreign:
            if is_kept(name):
                detail = "it was put aside by a repair, and is kept for people"
                yield Finding(What.KEPT, f"{path}/{name}", 0, None, detail)
            else:
                detail = "it is no file of the log's, and is left alone"
                yield Finding(What.FOREIGN, f"{path}/{name}", 0, None, detail)
