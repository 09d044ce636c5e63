"""Writes a snapshot beside a log that goes on.

Rows are copied a piece at a time, between two commits of anybody else, and written elsewhere
meanwhile. Each piece leaves a mark in the log: an empty batch, as a checkpoint record in ARIES. The
marks say at which log position each piece was taken. They also prove that what was in the register
then has come to be in the log: if the log had to take something back that was not written yet, any
mark behind that is gone as well.
"""

import contextlib
import zlib
from collections import deque
from collections.abc import Iterator
from itertools import compress

import attrs

from persistence.batch import Batch
from persistence.columns import named_in, topics_in
from persistence.disk import Disk, File, temporary
from persistence.errors import LogDamaged
from persistence.fold import Fold
from persistence.log import EventLog
from persistence.names import SNAPSHOT_NAME
from persistence.reading import LogReader
from persistence.register import Capture, Register
from persistence.segment import FRAME_HEADER_SIZE, decode_frame_header
from persistence.segment_files import SegmentGone, Span
from persistence.snapshot_layout import (
    HEADER_SIZE,
    PIECE,
    TRAILER,
    Header,
    ImportState,
    Piece,
    SegmentState,
    SnapshotUnusable,
    Trailer,
    decode_header,
    encode_piece,
    encode_section,
    encode_trailer,
)

ROWS_MAX = 8 * 1024
"""How many rows are copied in one step: half a megabyte, and half a millisecond; some three when
each has a foreign id and a topic of its own."""

_SYNC_EVERY = 8 * 1024 * 1024
"""Bytes after which the file is synced: the log's own syncs must not wait for much more."""

_EVENT_SIZE = 80
"""About what one event takes in a snapshot, bytes."""


class SnapshotSpoilt(Exception):
    """What was copied did not come to be in the log; another snapshot may do better."""


def snapshot_size(log: EventLog) -> int:
    """Tell how large a snapshot of a log will be, about, in bytes."""
    return len(log.register) * _EVENT_SIZE + 1024 * 1024


def newest_snapshot(disk: Disk, key: bytes) -> int | None:
    """Tell at which log position the snapshot holds that an open log has; None if there is none.

    Whether it can be used was found out when the log was opened: one that cannot was removed then.

    Raises:
        OSError: it could not be read.
    """
    try:
        file = disk.open_to_read(SNAPSHOT_NAME)
    except FileNotFoundError:
        return None
    try:
        header = decode_header(file.read(0, HEADER_SIZE))
    except SnapshotUnusable:
        return None
    finally:
        file.close()
    return header.end if header.key == key else None


class SnapshotWriter:
    """One snapshot in the making.

        while (piece := writer.step(now)) is not None:
            writer.write(piece)             # in a thread
        trailer = writer.last_step(now)
        ...                                 # sync the log
        writer.finish(trailer)              # in the thread

    The steps belong to the thread that appends; `write`, `finish` and `give_up` may run in another
    one, though not beside a step. The log may be used as ever meanwhile.

    Args:
        log: an open log.
        rows_max: how many rows are copied in one step.
    """

    def __init__(self, log: EventLog, *, rows_max: int = ROWS_MAX) -> None:
        self._log = log
        self._rows_max = rows_max
        # Numbers from here on are given away after the first step: the log from there has them.
        self._limit = 0
        self._cursor: int | None = 0
        self._topics: dict[int, str] = {}
        self._marks: deque[Batch] = deque()
        self._start = self._end = -1
        self._created = 0
        self._rows = self._pieces = 0
        self._at = HEADER_SIZE
        self._synced_at = 0
        self._mark = b""
        self._file: File | None = None
        self._reader = LogReader(log)

    @property
    def end(self) -> int:
        """Log position at which the snapshot holds; after the last step."""
        return self._end

    @property
    def rows(self) -> int:
        """How many rows have been copied."""
        return self._rows

    @property
    def size(self) -> int:
        """How many bytes have been written."""
        return self._at

    # On the event loop

    def step(self, now: int) -> Piece | None:
        """Copy some rows; None when there are no more.

        Args:
            now: wall time in milliseconds.

        Raises:
            SnapshotSpoilt: the log took back what had been copied.
            StorageError: the log has failed.
        """
        if self._cursor is None:
            return None
        mark = self._leave_mark(now)
        if self._start < 0:
            self._start, self._created = mark.end, mark.time
            self._limit = self._log.fold.next_number
        return self._piece(self._cursor, mark.end)

    def last_step(self, now: int) -> Trailer:
        """Copy everything but the rows, after these.

        Raises:
            SnapshotSpoilt: the log took back what had been copied.
            StorageError: the log has failed.
        """
        self._end = self._leave_mark(now).end
        return _trailer(self._log.fold)

    def _leave_mark(self, now: int) -> Batch:
        # No other empty batch has a time: see `_confirm`.
        mark = self._log.append([], now=max(now, 1))
        if self._marks and mark.position < self._marks[-1].end:
            raise SnapshotSpoilt
        self._marks.append(mark)
        return mark

    def _piece(self, first: int, position: int) -> Piece:
        register = self._log.register
        capture = register.capture(first, self._rows_max)
        self._cursor = capture.upper
        if capture.upper is not None and capture.upper >= self._limit:
            self._cursor = None
        piece = Piece(
            first,
            capture.upper,
            position,
            capture.numbers,
            capture.rows,
            self._new_topics(register, capture),
            _foreign(register, capture),
        )
        self._rows += piece.count
        self._pieces += 1
        return piece

    def _new_topics(self, register: Register, capture: Capture) -> tuple[tuple[int, str], ...]:
        """Name the topics that no piece before has named so."""
        told, name = self._topics, register.topics.name
        new = [
            (topic, called)
            for topic in set(topics_in(capture.rows))
            if told.get(topic) is not (called := name(topic))
        ]
        told.update(new)
        return tuple(new)

    # In a thread

    def write(self, piece: Piece) -> None:
        """Write what `step` copied.

        Raises:
            OSError: the disk is full or broken.
            SnapshotSpoilt: the log took back what had been copied.
            StorageError: the log could not be read.
        """
        self._write(PIECE, encode_piece(piece))
        self._confirm_written()

    def finish(self, trailer: Trailer) -> None:
        """Write the rest, and let the snapshot replace the one before; the log is synced by now.

        Raises:
            OSError: the disk is full or broken.
            SnapshotSpoilt: the log took back what had been copied.
            StorageError: the log could not be read.
        """
        self._confirm_written()
        if self._marks or self._log.synced < self._end:
            raise SnapshotSpoilt
        trailer_at = self._at
        file = self._write(TRAILER, encode_trailer(trailer))
        header = attrs.evolve(
            self._header,
            end=self._end,
            rows=self._rows,
            pieces=self._pieces,
            trailer_at=trailer_at,
            mark=self._mark,
        )
        file.write(0, header.encode())
        file.sync()
        self._close()
        disk = self._log.disk
        disk.rename(temporary(SNAPSHOT_NAME), SNAPSHOT_NAME)
        disk.sync_directory()

    def give_up(self) -> None:
        """Remove what was written, unless it was finished."""
        begun = self._file is not None
        self._close()
        if begun:
            with contextlib.suppress(OSError):  # what stays is removed by the next who comes here
                self._log.disk.remove(temporary(SNAPSHOT_NAME))

    def _opened(self) -> File:
        if self._file is None:
            disk, name = self._log.disk, temporary(SNAPSHOT_NAME)
            if name in disk.names():
                disk.remove(name)
            self._file = disk.create(name)
        return self._file

    @property
    def _header(self) -> Header:
        """What is known from the beginning."""
        return Header(self._log.key, self._created, self._start)

    def _write(self, kind: bytes, parts: Iterator[bytes]) -> File:
        file = self._opened()
        data = encode_section(kind, self._at, self._header.salt, parts)
        file.write(self._at, data)
        self._at += len(data)
        if self._at - self._synced_at >= _SYNC_EVERY:
            file.sync()
            self._synced_at = self._at
        return file

    def _close(self) -> None:
        self._reader.close()
        if self._file is not None:
            self._file.close()

    def _confirm_written(self) -> None:
        """Look whether the marks that should be written by now are in the log."""
        while self._marks and self._marks[0].end <= self._log.end:
            self._confirm(self._marks.popleft())

    def _confirm(self, mark: Batch) -> None:
        # Had the log taken the mark back, there would be anything else in its place: positions of
        # a snapshot's marks only grow, and empty batches of others have no time.
        try:
            (data,) = self._reader.read([Span(mark.position, FRAME_HEADER_SIZE)])
        except (SegmentGone, LogDamaged):  # a segment may end within what was the mark
            raise SnapshotSpoilt from None
        found = decode_frame_header(data, 0, zlib.crc32(self._log.key))
        if found is None or (found.position, found.count, found.time) != (
            mark.position,
            0,
            mark.time,
        ):
            raise SnapshotSpoilt
        self._mark = data


def _foreign(register: Register, capture: Capture) -> tuple[tuple[int, str], ...]:
    named = named_in(capture.rows)
    if named.count(0) == len(named):
        return ()
    id_of = register.foreign.id_of
    numbers = compress(memoryview(capture.numbers).cast("Q"), named)
    return tuple(
        (number, foreign_id) for number in numbers if (foreign_id := id_of(number)) is not None
    )


def _trailer(fold: Fold) -> Trailer:
    """Copy what is known beside the rows."""
    return Trailer(
        fold.boot,
        fold.next_number,
        fold.last_event_at,
        fold.counters.values(),
        tuple(
            ImportState(source, mark.offset, mark.position, mark.size)
            for source, mark in fold.imports.items()
        ),
        tuple(
            SegmentState(h.number, h.base, h.size, h.live, h.live_bytes, h.needs.copy())
            for h in fold.holdings
        ),
    )
