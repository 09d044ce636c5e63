"""Loads a snapshot: where every event was some time ago, so that only the log since must be read.

A snapshot is a fuzzy checkpoint in the manner of ARIES (Mohan and others, ACM TODS 17, 1992): it is
written piece by piece while the log goes on, so that no two pieces show the same moment, and what
is read of the log afterwards brings them to one.

A snapshot begins at log position S and holds at E. Each of its pieces has all rows with numbers in
one range, and the position L at which they were copied; S <= L <= E, and the ranges follow each
other without gaps. What is known beside the rows (counters, what each segment holds, imports) was
copied in one moment, at E. Why this gives what reading the whole log gives:

1. *Rows at E.* The row of an event depends on the facts about this event alone. In the piece it is
   what the facts before L made of it, also where there is no row; the facts from L to E are applied
   to it; those before L, which the pass from S on meets too, are skipped. Numbers behind the last
   range were given away after S: no fact about them is missing. So at E every row is as it was in
   the process that wrote the snapshot. It does not matter what happened meanwhile: an event that
   was settled is in its piece if it was settled after L, and then the fact that settled it follows;
   a copy that the compactor made is a fact like any other.
2. *Topics.* A row has its topic's id, and ids are used again: two pieces may mean different topics
   by one id. So each piece names the topics that it means by another name than the pieces before,
   or for the first time, and every name gets one id here. Ids may differ from those in the process
   that wrote the snapshot; nothing but rows refers to them. How many hold a topic is counted from
   the rows, and the facts up to E change the count with the rows.
3. *What each segment holds.* The facts up to E are applied to rows and topics alone; what segments
   hold, counters and the rest come from the trailer, which was true at E, for just these rows.
4. *Segments that were deleted after E.* That happens only when nothing in them is alive. An event
   whose home is in one of them was settled, discarded or copied after E. The fact that ended it may
   be gone with its own segment, and so nothing may be left that says so; if it was copied and is
   still alive, its newest copy is there, and brings the row again (`persistence.holdings`). So at E
   the rows whose homes are gone are dropped, with what their newest facts count for. Where the home
   is there, all copies of the event and the fact that ended it are there as well: they wait for
   older segments to go first. And every fact carries the whole state of its event, so that its
   newest fact, which is there while it is alive, makes good for those that are gone.
5. *Segments between S and E.* They must all be there: rows would not be those of E otherwise.

Whether the snapshot belongs to this log is told by the header of the batch that ends at E: it must
be in the log, byte for byte. The log was on disk up to E before the snapshot got its name; a log
that ends before is another. Everything else is told by checksums. A snapshot that is not believed
costs the time to read the whole log and nothing more.

What is before S is not read at all, so that damage there is not found at the start.
"""

from collections import Counter
from collections.abc import Iterator

import attrs

from persistence.catalog import Catalog, Segment
from persistence.columns import named_in, topics_in, with_topics
from persistence.disk import Disk, File
from persistence.errors import reason
from persistence.names import SNAPSHOT_NAME
from persistence.progress import Progress, no_progress
from persistence.register import Capture, Register
from persistence.segment import FRAME_HEADER_SIZE
from persistence.snapshot_layout import (
    HEADER_SIZE,
    PIECE,
    SECTION_SIZE,
    TRAILER,
    Header,
    Piece,
    SnapshotUnusable,
    Trailer,
    check_section,
    decode_header,
    decode_piece,
    decode_section_head,
    decode_trailer,
)
from persistence.topics import TopicsCapture

_GONE_MAX = 0.5
"""If more than this share of what was alive lay in segments that are gone, the log is read: there
is not so much left of it, and removing rows takes longer than adding them."""


@attrs.define(eq=False)
class Loaded:
    """A snapshot, believed.

    Attributes:
        size: of its file in bytes.
        start: S, the log position to read from.
        end: E, where the trailer holds.
        register: the rows of all pieces.
        uppers: for each piece but an endless one the least number behind it.
        positions: for each piece the log position at which it was copied; last, for the numbers
            behind all pieces, S.
        trailer: everything else.
    """

    size: int
    start: int
    end: int
    register: Register
    uppers: list[int]
    positions: list[int]
    trailer: Trailer


def load_snapshot(
    disk: Disk, catalog: Catalog, progress: Progress = no_progress
) -> Loaded | str | None:
    """Load the snapshot of a log, if there is one.

    Args:
        disk: where it lies.
        catalog: what lies there; it has no problems.
        progress: is told how many bytes were read.

    Returns:
        The snapshot; or why it is of no use, to follow upon its name; None if there is none.
    """
    try:
        file = disk.open_to_read(SNAPSHOT_NAME)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"it could not be opened: {reason(error)}"
    try:
        return _Loading(disk, file, catalog, progress).run()
    except SnapshotUnusable as unusable:
        return str(unusable)
    except OSError as error:
        return f"it could not be read: {reason(error)}"
    finally:
        file.close()


class _Loading:
    """The way from a file to `Loaded`."""

    def __init__(self, disk: Disk, file: File, catalog: Catalog, progress: Progress) -> None:
        self._disk = disk
        self._file = file
        self._catalog = catalog
        self._progress = progress
        self._size = file.size()
        self._register = Register()
        self._topics = _Topics()

    def run(self) -> Loaded:
        header = decode_header(self._file.read(0, HEADER_SIZE))
        self._check_history(header)
        if header.trailer_at > self._size:
            raise SnapshotUnusable("it is cut short")
        body, end = self._section(TRAILER, header.trailer_at, header.salt)
        if end != self._size:
            raise SnapshotUnusable("there is something behind its end")
        trailer = decode_trailer(body)
        self._check_segments(header, trailer)
        uppers: list[int] = []
        positions: list[int] = []
        for piece in self._pieces(header):
            positions.append(piece.position)
            if piece.upper is not None:
                uppers.append(piece.upper)
            self._take_in(piece)
        if len(self._register) != header.rows:
            raise SnapshotUnusable("it does not have all of its rows")
        positions.append(header.start)
        self._topics.restore(self._register)
        start, end = header.start, header.end
        return Loaded(self._size, start, end, self._register, uppers, positions, trailer)

    def _check_history(self, header: Header) -> None:
        """See that the log has come by the snapshot, and is whole from its beginning on."""
        if header.key != self._catalog.key:
            raise SnapshotUnusable("it belongs to another log")
        mark_at = header.end - FRAME_HEADER_SIZE
        if not header.start <= mark_at or header.end > self._catalog.end:
            raise SnapshotUnusable("the log does not go so far")
        needed = [s for s in self._catalog.segments if s.end > header.start and s.base <= mark_at]
        begins = [header.start, *(segment.end for segment in needed)]
        whole = all(one.base <= begin for one, begin in zip(needed, begins, strict=False))
        if not whole or begins[-1] <= mark_at:
            raise SnapshotUnusable("a segment that it needs has been deleted")
        if self._batch_header(needed[-1], mark_at) != header.mark:
            raise SnapshotUnusable("the log has another history")

    def _batch_header(self, segment: Segment, position: int) -> bytes:
        file = self._disk.open_to_read(segment.name)
        try:
            return file.read(position - segment.base, FRAME_HEADER_SIZE)
        finally:
            file.close()

    def _check_segments(self, header: Header, trailer: Trailer) -> None:
        """See that the segments are those that the snapshot speaks of, and not too few."""
        there = {segment.number: segment.base for segment in self._catalog.segments}
        known = {segment.number: segment.base for segment in trailer.segments}
        for number, base in there.items():
            if base < header.end and known.get(number) != base:
                raise SnapshotUnusable("the log has another history")
        live = sum(segment.live for segment in trailer.segments)
        gone = sum(segment.live for segment in trailer.segments if segment.number not in there)
        if gone > live * _GONE_MAX:
            raise SnapshotUnusable("most of what it speaks of has been deleted")

    def _pieces(self, header: Header) -> Iterator[Piece]:
        at, first = HEADER_SIZE, 0
        for left in range(header.pieces - 1, -1, -1):
            body, at = self._section(PIECE, at, header.salt)
            piece = decode_piece(body)
            if piece.first != first or (piece.upper is None and left):
                raise SnapshotUnusable("its pieces do not follow each other")
            first = piece.upper or 0
            yield piece
            self._progress(at, self._size + self._catalog.end - header.start)
        if at != header.trailer_at:
            raise SnapshotUnusable("it does not have all of its pieces")

    def _section(self, kind: bytes, offset: int, salt: int) -> tuple[bytes, int]:
        """Read a section; give its body, and the offset behind it."""
        head = self._file.read(offset, SECTION_SIZE)
        size, crc = decode_section_head(head, kind, offset)
        end = offset + SECTION_SIZE + size
        if end > self._size:
            raise SnapshotUnusable("it is cut short")
        body = self._file.read(offset + SECTION_SIZE, size)
        check_section(head, body, crc, salt, offset)
        return body, end

    def _take_in(self, piece: Piece) -> None:
        rows = self._topics.translate(piece)
        if len(named_in(rows)) - named_in(rows).count(0) != len(piece.foreign):
            raise SnapshotUnusable("foreign ids are missing")
        try:
            self._register.absorb(Capture(piece.upper, piece.numbers, rows))
        except ValueError as error:
            raise SnapshotUnusable(f"its rows make no sense: {error}") from error
        for number, foreign_id in piece.foreign:
            self._register.foreign.add(number, foreign_id)


class _Topics:
    """Gives each topic one id, whatever ids it has in the pieces."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        self._holders: dict[int, int] = {}
        self._next = 0

    def translate(self, piece: Piece) -> bytes:
        """Count the topics of a piece, and give its rows with the ids that hold here."""
        self._names.update(piece.topics)
        column = topics_in(piece.rows)
        other: dict[int, int] = {}
        for topic, count in Counter(column).items():
            name = self._names.get(topic)
            if name is None:
                raise SnapshotUnusable("a row has a topic without a name")
            here = self._id_of(name, topic)
            self._holders[here] += count
            if here != topic:
                other[topic] = here
        if not other:
            return piece.rows
        for index, topic in enumerate(column):
            column[index] = other.get(topic, topic)
        return with_topics(piece.rows, column)

    def _id_of(self, name: str, preferred: int) -> int:
        topic = self._ids.get(name)
        if topic is None:
            topic = self._next if preferred in self._holders else preferred
            self._next = max(self._next, topic + 1)
            self._ids[name] = topic
            self._holders[topic] = 0
        return topic

    def restore(self, register: Register) -> None:
        """Let the rows hold their topics."""
        names = tuple(self._ids)
        ids = tuple(self._ids.values())
        holders = tuple(self._holders[topic] for topic in ids)
        register.topics.restore(TopicsCapture(ids, names, holders))
