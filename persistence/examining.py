"""Reads the segments of a log one after the other, and says of every byte whether it makes sense.

Recovery stops at the first thing that is wrong; this goes on, since it is for people who want to
know all of it. The segments may belong to a process that is running: those that it deletes
meanwhile are passed over, and what it appends after the look at the directory does not count.
"""

from collections.abc import Iterator
from typing import TypeAlias

import attrs

from persistence.catalog import Segment
from persistence.decode import decode
from persistence.disk import Disk, File
from persistence.errors import NewerFormat, Undecodable
from persistence.facts import Fact
from persistence.fold import Before, Fold
from persistence.names import sealed_name
from persistence.salvage import Flaw, Hole, Salvage
from persistence.scan import Frame, Source
from persistence.segment import SEGMENT_HEADER_SIZE_MAX, SegmentHeader, decode_header

Piece: TypeAlias = Frame | Hole

_Applied: TypeAlias = tuple[Fact, Before, int, int]


@attrs.define(eq=False)
class Examination:
    """What has been read so far.

    Attributes:
        fold: the state after it. It is not strict any more behind the first hole: what follows from
            that is not told again.
        batches: how many were sound.
        facts: how many were in them.
        end: log position after the last sound batch.
        synced: everything before this log position was on disk, as far as batches say so.
    """

    fold: Fold = attrs.field(factory=Fold)
    batches: int = 0
    facts: int = 0
    end: int = 0
    synced: int = 0

    def examine(
        self, source: Source, header: SegmentHeader, end: int | None, *, past_torn: bool = False
    ) -> Iterator[Piece]:
        """Yield what the next segment consists of: sound batches, taken in already, and holes.

        Args:
            source: the segment.
            header: what stands, or should stand, at its beginning.
            end: log position at which it ends; None if it is active.
            past_torn: whether to go on also behind what nobody was promised.
        """
        self._begin(header)
        salvage = Salvage(source, header, end=end, past_torn=past_torn)
        for piece in salvage.pieces():
            hole = self._take_in(piece) if isinstance(piece, Frame) else piece
            if hole is None:
                yield piece
            else:
                if hole.flaw is not Flaw.TORN or past_torn:
                    self.fold.strict = False
                yield hole
        self.synced = max(self.synced, salvage.synced)

    def missing(self) -> None:
        """Note that a segment is not there."""
        self.fold.strict = False

    def _begin(self, header: SegmentHeader) -> None:
        fold = self.fold
        fold.holdings.begin(header.number, header.base)
        self.end = header.base + header.size
        fold.holdings.grow(self.end)
        fold.counters.reset(header.counters)
        fold.boot = max(fold.boot, header.boot)
        fold.next_number = max(fold.next_number, header.next_number)
        if header.last_event_at is not None:
            fold.last_event_at = header.last_event_at

    def _take_in(self, frame: Frame) -> Hole | None:
        """Let a batch's facts count, all or none; say what is wrong with them, if something is."""
        fold, header = self.fold, frame.header
        fold.holdings.grow(header.end)
        counters, last_event_at = fold.counters.values(), fold.last_event_at
        next_number = fold.next_number
        applied: list[_Applied] = []
        try:
            self._apply(frame, applied)
        except Undecodable as error:
            for fact, before, position, size in reversed(applied):
                fold.take_back(fact, before, position, size)
            fold.counters.reset(counters)
            fold.last_event_at, fold.next_number = last_event_at, next_number
            flaw = Flaw.NEWER if isinstance(error, NewerFormat) else Flaw.NONSENSE
            size = header.end - header.position
            return Hole(header.position, size, error.detail, flaw, error.position)
        self.batches += 1
        self.facts += header.count
        self.end = header.end
        return None

    def _apply(self, frame: Frame, applied: list[_Applied]) -> None:
        """Let facts count, and list those that do."""
        fold, count = self.fold, frame.header.count
        for position, size, _, fact in decode(frame.body, frame.body_position, fold.look):
            before = fold.apply(fact, fold.row_of(fact), position, size)
            applied.append((fact, before, position, size))
        if len(applied) != count:
            detail = f"a batch of {count} facts has {len(applied)}"
            raise Undecodable(frame.header.position, detail)


def open_segment(disk: Disk, segment: Segment) -> File | None:
    """Open a segment's file for reading; None if it has been deleted since it was found.

    The active segment gets another name when it is sealed, perhaps this very moment.

    Raises:
        OSError: the disk could not be read.
    """
    for name in dict.fromkeys((segment.name, sealed_name(segment.number))):
        try:
            file = disk.open_to_read(name)
        except FileNotFoundError:
            continue
        if _holds(file, segment):
            return file
        file.close()
    return None


def _holds(file: File, segment: Segment) -> bool:
    try:
        return decode_header(file.read(0, SEGMENT_HEADER_SIZE_MAX)).number == segment.number
    except Undecodable:
        return False
    except BaseException:
        file.close()
        raise
