"""Finds the valid batches of a segment, and judges what comes after them.

Pure: it reads and tells; repair is somebody else's business. The rules are in the package's
docstring under "Reading after a crash".
"""

import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Protocol

import attrs

from persistence.disk import Bytes
from persistence.errors import NewerFormat
from persistence.segment import (
    FRAME_HEADER_SIZE,
    FRAME_MAGIC,
    FrameHeader,
    SegmentHeader,
    decode_frame_header,
    decode_header,
)

_CHUNK = 4 * 1024 * 1024
"""How much is read at a time, in bytes; more only for a batch that is larger."""


class Source(Protocol):
    """What can be scanned: a file, or an image of one."""

    def size(self) -> int:
        """Tell its length in bytes."""
        ...

    def read(self, offset: int, size: int) -> Bytes:
        """Read `size` bytes from `offset`; fewer only at the end."""
        ...


class Image:
    """Bytes in memory as a source: a mmap, or what a simulated crash left."""

    def __init__(self, data: Bytes) -> None:
        self._data = memoryview(data)

    def size(self) -> int:
        """Tell its length in bytes."""
        return len(self._data)

    def read(self, offset: int, size: int) -> memoryview:
        """Give a view of `size` bytes from `offset`."""
        return self._data[offset : offset + size]


class End(Enum):
    """How a segment ends."""

    CLEAN = "clean"
    """With a valid batch."""
    TORN = "torn"
    """With bytes that nobody was promised."""
    DAMAGED = "damaged"
    """Before bytes that were on disk and have changed."""


@attrs.frozen
class Verdict:
    """What a scan found.

    Attributes:
        end: how the segment ends.
        valid: log position after the last valid batch; where it is torn or damaged, if it is.
        synced: the highest position that a valid batch header names as on disk.
        size: bytes after `valid`.
        detail: what is wrong there; empty for a clean end.
    """

    end: End
    valid: int
    synced: int
    size: int
    detail: str


@attrs.frozen
class Frame:
    """A valid batch: its header, and its facts' bytes."""

    header: FrameHeader
    body: memoryview

    @property
    def body_position(self) -> int:
        """Log position of the first fact."""
        return self.header.position + FRAME_HEADER_SIZE


class Scan:
    """One pass over a segment: iterate over the frames, then ask for the verdict.

    Holds one chunk of the source at a time.

    Args:
        source: the segment.
        header: its header.
        start: offset of the batch to begin with, if that is not the first one; all that is before
            it must be known to be on disk.
        chunk_size: how much is read at a time, in bytes.

    Raises:
        NewerFormat: while iterating, at a batch that a later version wrote.
    """

    def __init__(
        self, source: Source, header: SegmentHeader, *, start: int = 0, chunk_size: int = _CHUNK
    ) -> None:
        self.header = header
        self._source = source
        self._start = max(start, header.size)
        self._salt = header.salt
        self._size = source.size()
        self._chunk_size = chunk_size
        self._window = memoryview(b"")
        self._window_at = 0
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict:
        """What was found. Only after the last frame."""
        if self._verdict is None:
            raise RuntimeError("the scan has not come to its end")
        return self._verdict

    def __iter__(self) -> Iterator[Frame]:
        at = self._start
        synced = self.header.base + at  # the file got its name after its header was synced
        while at < self._size:
            frame = self._frame_at(at)
            if isinstance(frame, str):
                self._verdict = self._judge(at, synced, frame)
                return
            yield frame
            at += FRAME_HEADER_SIZE + frame.header.body_size
            synced = max(synced, frame.header.synced)
        self._verdict = Verdict(End.CLEAN, self.header.base + at, synced, 0, "")

    def _frame_at(self, at: int) -> Frame | str:
        """Give the valid frame at an offset, or say why there is none."""
        data = self._view(at, FRAME_HEADER_SIZE)
        if len(data) < FRAME_HEADER_SIZE:
            return "the header of a batch is cut short"
        header = decode_frame_header(data, 0, self._salt)
        if header is None:
            return "no valid header of a batch"
        position = self.header.base + at
        if header.flags:
            raise NewerFormat(position, f"unknown flags {header.flags:#x} of a batch")
        if header.position != position:
            return f"the header of a batch that belongs at log position {header.position}"
        body = self._view(at + FRAME_HEADER_SIZE, header.body_size)
        if len(body) < header.body_size:
            return f"a batch of {header.body_size} bytes is cut short"
        if zlib.crc32(body, self._salt) != header.body_crc:
            return "the checksum of a batch is wrong"
        return Frame(header, body)

    def _view(self, offset: int, size: int) -> memoryview:
        """Give the bytes at an offset; fewer only at the end."""
        start = offset - self._window_at
        if start < 0 or start + size > len(self._window):
            wanted = min(max(size, self._chunk_size), self._size - offset)
            self._window = memoryview(self._source.read(offset, wanted))
            self._window_at = offset
            start = 0
        return self._window[start : start + size]

    def _judge(self, at: int, synced: int, detail: str) -> Verdict:
        """Tell a torn tail from damage by what the batch headers beyond it know."""
        zeros = True
        # Chunks overlap by a header less one byte, so that none is missed between two.
        for start in range(at, self._size, self._chunk_size):
            wanted = self._chunk_size + FRAME_HEADER_SIZE - 1
            data = bytes(self._source.read(start, wanted))
            zeros = zeros and data.count(0) == len(data)
            for header in headers_in(data, self._salt):
                synced = max(synced, header.synced)
        valid = self.header.base + at
        end = End.DAMAGED if valid < synced else End.TORN
        size = self._size - at
        return Verdict(end, valid, synced, size, "nothing but zeros" if zeros else detail)


def headers_in(data: bytes, salt: int) -> Iterator[FrameHeader]:
    """Find every valid batch header in some bytes, wherever it begins."""
    at = data.find(FRAME_MAGIC)
    while 0 <= at <= len(data) - FRAME_HEADER_SIZE:
        header = decode_frame_header(data, at, salt)
        if header is not None:
            yield header
        at = data.find(FRAME_MAGIC, at + 1)


def scan(image: Bytes) -> Scan:
    """Scan a whole segment in memory.

    Raises:
        NewerFormat: its header is of a later version.
        Undecodable: its header is damaged.
    """
    return Scan(Image(image), decode_header(image))
