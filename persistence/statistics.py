"""What a log holds and what it takes: segment by segment, and in total. Changes nothing."""

import attrs

from persistence.disk import Disk
from persistence.entry import Place
from persistence.names import RESERVE_NAME, SNAPSHOT_NAME
from persistence.progress import Progress, no_progress
from persistence.register import Register
from persistence.snapshot_layout import HEADER_SIZE, SnapshotUnusable, decode_header
from persistence.verifying import Finding, Verification, verify


@attrs.frozen
class SegmentStatistics:
    """One segment.

    Attributes:
        number: its number.
        file: name of its file.
        sealed: whether nothing is appended to it any more.
        base: log position of its first byte.
        size: in bytes.
        live_facts: how many facts in it are still needed.
        live_bytes: their length in bytes.
    """

    number: int
    file: str
    sealed: bool
    base: int
    size: int
    live_facts: int
    live_bytes: int

    @property
    def dead_share(self) -> float:
        """The share of its bytes that nobody needs, 0 to 1."""
        return 1 - self.live_bytes / self.size if self.size else 0.0


@attrs.frozen
class SnapshotStatistics:
    """A snapshot.

    Attributes:
        created: wall time in milliseconds.
        size: in bytes.
        end: log position at which it holds.
    """

    created: int
    size: int
    end: int


@attrs.frozen
class Statistics:
    """A whole log.

    Attributes:
        path: of the directory.
        segments: in order.
        ready: waiting events that are due.
        delayed: waiting events that are not due yet.
        leased: events that consumers hold.
        dead: dead letters.
        topics: how many topics these events have.
        counters: totals over the log's life, by name.
        boots: how many processes have had the log.
        next_number: the least event number that was never given away.
        end: log position after the last sound batch.
        synced: everything before this log position was on disk, as far as the log says so.
        reserve_size: bytes held back for a full disk.
        snapshot: None if there is none that can be read.
        damage: what is wrong with the log. If there is anything, the figures are of what is left.
    """

    path: str
    segments: tuple[SegmentStatistics, ...]
    ready: int
    delayed: int
    leased: int
    dead: int
    topics: int
    counters: dict[str, int]
    boots: int
    next_number: int
    end: int
    synced: int
    reserve_size: int
    snapshot: SnapshotStatistics | None
    damage: tuple[Finding, ...]

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def live_bytes(self) -> int:
        """Bytes that are still needed."""
        return sum(segment.live_bytes for segment in self.segments)

    @property
    def dead_share(self) -> float:
        """The share of all bytes that nobody needs, 0 to 1."""
        return 1 - self.live_bytes / self.size if self.size else 0.0


def statistics(disk: Disk, *, now: int, progress: Progress = no_progress) -> Statistics:
    """Tell what the log in a directory holds.

    Args:
        disk: locked, or only looked at.
        now: wall time in milliseconds.
        progress: is told how many bytes have been read.

    Raises:
        NoLog: there is none.
        ReadFailed: the directory could not be read.
    """
    # Recovery would do if nothing were damaged and nobody at work.
    verification = verify(disk, progress)
    fold = verification.fold
    register = fold.register
    delayed = _delayed(register, now)
    return Statistics(
        path=verification.path,
        segments=_segments(verification),
        ready=register.count(Place.WAITING) - delayed,
        delayed=delayed,
        leased=register.count(Place.LEASED),
        dead=register.count(Place.DEAD),
        topics=len(register.topics),
        counters=attrs.asdict(fold.counters),
        boots=fold.boot,
        next_number=fold.next_number,
        end=verification.end,
        synced=verification.synced,
        reserve_size=_size_of(disk, RESERVE_NAME),
        snapshot=_snapshot(disk),
        damage=verification.damage,
    )


def _segments(verification: Verification) -> tuple[SegmentStatistics, ...]:
    holdings = verification.fold.holdings
    found = []
    for segment in verification.catalog.segments:
        holding = holdings.find(segment.number)
        if holding is not None:  # else it was deleted while we looked
            size = segment.size if segment.sealed else max(holding.size, segment.size)
            found.append(
                SegmentStatistics(
                    segment.number,
                    segment.name,
                    segment.sealed,
                    segment.base,
                    size,
                    holding.live,
                    holding.live_bytes,
                )
            )
    return tuple(found)


def _delayed(register: Register, now: int) -> int:
    waiting = int(Place.WAITING)
    return sum(row.place == waiting and row.due > now for _, row in register.rows())


def _size_of(disk: Disk, name: str) -> int:
    try:
        file = disk.open_to_read(name)
    except FileNotFoundError:
        return 0
    try:
        return file.size()
    finally:
        file.close()


def _snapshot(disk: Disk) -> SnapshotStatistics | None:
    try:
        file = disk.open_to_read(SNAPSHOT_NAME)
    except FileNotFoundError:
        return None
    try:
        header = decode_header(file.read(0, HEADER_SIZE))
        return SnapshotStatistics(header.created, file.size(), header.end)
    except SnapshotUnusable:
        return None
    finally:
        file.close()
