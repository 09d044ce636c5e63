"""Reads the log's segments in order and folds their facts into the state that they leave.

Given a snapshot (`persistence.snapshot`), only what has come since.

Nothing on the disk is changed here: a log that is refused stays exactly as it was found.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from persistence.catalog import Catalog, Segment
from persistence.catch_up import CatchUp
from persistence.decode import decode
from persistence.disk import Disk
from persistence.errors import (
    FormatTooNew,
    LogDamaged,
    NewerFormat,
    ReadFailed,
    StorageError,
    Undecodable,
)
from persistence.fold import Fold
from persistence.fresh import take_in_fresh
from persistence.progress import Progress
from persistence.scan import End, Frame, Scan, Verdict
from persistence.segment import SegmentHeader
from persistence.snapshot import Loaded, load_snapshot

_TELL_EVERY = 4 * 1024 * 1024
"""How many bytes are read between two reports of progress."""


@attrs.frozen
class Recovered:
    """What the log says.

    Attributes:
        fold: the state after its last fact.
        verdict: how the active segment ends; None if there is none.
        snapshot_problem: why the snapshot was of no use; empty if it was, or if there is none.
    """

    fold: Fold
    verdict: Verdict | None
    snapshot_problem: str = ""


class Recovery:
    """One pass over a log.

    Args:
        disk: where it lies.
        catalog: what lies there; it has no problems.
        progress: is told how many bytes were read.
        snapshots: whether to use a snapshot. Then what is before it is not read, and damage there
            not noticed.
    """

    def __init__(
        self, disk: Disk, catalog: Catalog, progress: Progress, *, snapshots: bool = False
    ) -> None:
        self._snapshots = snapshots
        self._disk = disk
        self._catalog = catalog
        self._progress = progress
        self._total = sum(segment.size for segment in catalog.segments)
        self._done = self._told = 0

    def run(self) -> Recovered:
        """Read it all, or what has come since the snapshot.

        Raises:
            LogDamaged: bytes that were on disk have changed.
            FormatTooNew: a later version wrote some of it.
            ReadFailed: the disk could not be read.
        """
        numbers = [segment.number for segment in self._catalog.segments]
        strict = numbers == list(range(len(numbers)))
        with _no_collection():
            found = self._load() if self._snapshots else None
            if isinstance(found, Loaded):
                try:
                    return self._run(_State(strict, CatchUp(found, self._catalog)), found.start)
                except (StorageError, Undecodable) as error:
                    found = f"the log does not go on from it: {error}"
            self._begin(sum(segment.size for segment in self._catalog.segments))
            return self._run(_State(strict), 0, found or "")

    def _load(self) -> Loaded | str | None:
        found = load_snapshot(self._disk, self._catalog, self._progress)
        if isinstance(found, Loaded):
            self._begin(found.size + self._catalog.end - found.start, found.size)
        return found

    def _run(self, state: "_State", start: int, problem: str = "") -> Recovered:
        verdict = None
        for segment in self._catalog.segments:
            if segment.end > start:
                verdict = self._read(segment, state, max(0, start - segment.base))
        fold = state.fold
        fold.strict = True
        self._progress(self._total, self._total)
        active = self._catalog.active
        return Recovered(fold, verdict if active is not None else None, problem)

    def _read(self, segment: Segment, state: "_State", start: int) -> Verdict:
        with self._judging(segment):
            state.begin(segment.header)
            file = self._disk.open_to_read(segment.name)
            try:
                scan = Scan(file, segment.header, start=start)
                for frame in scan:
                    state.take_in(frame)
                    self._tell(frame)
                verdict = scan.verdict
            finally:
                file.close()
            state.end(verdict.valid)
        self._check(segment, verdict)
        return verdict

    def _begin(self, total: int, done: int = 0) -> None:
        self._total = total
        self._done = self._told = done
        self._progress(done, total)

    def _tell(self, frame: Frame) -> None:
        self._done += frame.header.end - frame.header.position
        if self._done - self._told >= _TELL_EVERY:
            self._told = self._done
            self._progress(self._done, self._total)

    def _check(self, segment: Segment, verdict: Verdict) -> None:
        """Refuse damage to what was on disk; all of a sealed segment was."""
        torn = verdict.end is not End.CLEAN
        if verdict.end is End.DAMAGED or (torn and segment.sealed):
            offset = verdict.valid - segment.base
            before = max(verdict.synced, segment.end if segment.sealed else 0)
            detail = f"{verdict.detail}, before log position {before} that was on disk"
            raise LogDamaged(f"{self._disk.path}/{segment.name}", offset, detail)

    @contextmanager
    def _judging(self, segment: Segment) -> Iterator[None]:
        """Turn what makes no sense into an error that names the file."""
        where = f"{self._disk.path}/{segment.name}"
        try:
            yield
        except NewerFormat as error:
            raise FormatTooNew(where, error.position - segment.base, error.detail) from error
        except Undecodable as error:
            raise LogDamaged(where, error.position - segment.base, error.detail) from error
        except OSError as error:
            raise ReadFailed(where, error) from error


class _State:
    """What is known after the batches that were read so far.

    Args:
        strict: see `Fold`.
        catch_up: what is known to begin with; None if nothing is.
    """

    def __init__(self, strict: bool, catch_up: CatchUp | None = None) -> None:
        self._strict = strict
        self._catch_up = catch_up
        self._end = 0
        self._fold = Fold(strict=strict) if catch_up is None else None

    @property
    def fold(self) -> Fold:
        """The state, when all was read.

        Raises:
            Undecodable: the log ends before the snapshot does.
        """
        if self._fold is None:
            raise Undecodable(self._end, "the log ends")
        return self._fold

    def begin(self, header: SegmentHeader) -> None:
        """Take in the header of a segment."""
        fold = self._fold
        if fold is None:
            return  # what it says was known when the snapshot was taken
        fold.holdings.begin(header.number, header.base)
        fold.counters.reset(header.counters)
        fold.boot = max(fold.boot, header.boot)
        fold.next_number = max(fold.next_number, header.next_number)
        if header.last_event_at is not None:
            fold.last_event_at = header.last_event_at

    def take_in(self, frame: Frame) -> None:
        """Take in a batch."""
        self._come_to(frame.header.position)
        if self._fold is not None:
            _take_in(self._fold, frame)
        elif self._catch_up is not None:
            self._catch_up.take_in(frame)

    def end(self, position: int) -> None:
        """Take note that a segment ends at a log position."""
        self._come_to(position)
        self._end = position
        if self._fold is not None:
            self._fold.holdings.grow(position)

    def _come_to(self, position: int) -> None:
        """Go on without the snapshot where it ends."""
        if self._fold is None and self._catch_up is not None and position >= self._catch_up.end:
            self._fold = self._catch_up.state()
            self._fold.strict = self._strict


def _take_in(fold: Fold, frame: Frame) -> None:
    # What a batch is about must not be taken for something that was dropped later: the
    # position behind it is where the segment ends so far.
    fold.holdings.grow(frame.header.end)
    body, position = frame.body, frame.body_position
    count, at = take_in_fresh(fold, body, position, 0)
    row_of, apply, look = fold.row_of, fold.apply, fold.look
    for where, size, _, fact in decode(body[at:], position + at, look):
        apply(fact, row_of(fact), where, size)
        count += 1
    if count != frame.header.count:
        detail = f"a batch of {frame.header.count} facts has {count}"
        raise Undecodable(frame.header.position, detail)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from walking a growing heap in which nothing is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
