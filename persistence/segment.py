"""A segment's header, and the frames that hold its batches.

The layout is in the package's docstring. Pure functions on bytes; `persistence.scan` looks for
frames in what a crash has left.
"""

import zlib
from struct import Struct

import attrs

from persistence.disk import Bytes
from persistence.errors import NewerFormat, Undecodable

FORMAT_VERSION = 2
HEADER_SIZE = 136
"""Of the headers that are written; `SegmentHeader.size` tells that of one that was read."""
SEGMENT_HEADER_SIZE_MAX = HEADER_SIZE
"""So many bytes from a file's beginning hold the header of any version."""
FRAME_HEADER_SIZE = 48
FRAME_MAGIC = b"\xffBT\x01"
KEY_SIZE = 16

_SEGMENT_MAGIC = b"\x89EVLOG\r\n"
_SEGMENT = Struct("<8sHHIIIqq16sQQ7Qq")
_LAYOUTS = {1: Struct("<8sHHIIIqq16sQQ7Q"), 2: _SEGMENT}
_PREFIX = Struct("<8sHH")
_COUNTERS = 7
_NO_TIME = -1
_FRAME = Struct("<4sIIIIIqqq")
_CRC = Struct("<I")
_SEGMENT_CRC_AT = 12
_FRAME_CRC_AT = 4
_FRAME_COVERED_AT = 8


@attrs.frozen
class SegmentHeader:
    """What stands at the beginning of a segment.

    Attributes:
        number: 0 for the first segment of a log.
        base: log position of the file's first byte.
        created: wall time, milliseconds.
        key: 16 random bytes, the same in every segment of a log.
        boot: of the process that created it.
        next_number: least event number not yet given away.
        counters: `Counters.values()` at creation.
        last_event_at: wall time in milliseconds at which the newest event before this segment was
            accepted; None if there was none, or if a header of version 1 does not say.
        size: of the header in bytes; batches begin at this offset.
    """

    number: int
    base: int
    created: int
    key: bytes
    boot: int = 0
    next_number: int = 1
    counters: tuple[int, ...] = (0,) * _COUNTERS
    last_event_at: int | None = None
    size: int = HEADER_SIZE

    @property
    def salt(self) -> int:
        """The value that the log's CRCs start from."""
        return zlib.crc32(self.key)

    def encode(self) -> bytes:
        """Give the header's bytes, always in the newest version.

        Raises:
            ValueError: this one was read from an older version, whose batches begin elsewhere.
        """
        if self.size != HEADER_SIZE:
            raise ValueError(f"a header of {self.size} bytes is only read")
        header = bytearray(
            _SEGMENT.pack(
                _SEGMENT_MAGIC,
                FORMAT_VERSION,
                HEADER_SIZE,
                0,
                self.number,
                0,
                self.base,
                self.created,
                self.key,
                self.boot,
                self.next_number,
                *self.counters,
                _NO_TIME if self.last_event_at is None else self.last_event_at,
            )
        )
        _CRC.pack_into(header, _SEGMENT_CRC_AT, zlib.crc32(header))
        return bytes(header)


def decode_header(data: Bytes) -> SegmentHeader:
    """Read a segment's header of any version.

    Args:
        data: at least the file's first `SEGMENT_HEADER_SIZE_MAX` bytes, or all of it.

    Raises:
        NewerFormat: a later version of this program wrote it.
        Undecodable: anything else is wrong with it; positions are offsets here.
    """
    if len(data) < _PREFIX.size:
        raise Undecodable(len(data), "the segment's header is cut short")
    magic, version, size = _PREFIX.unpack_from(data)
    if magic != _SEGMENT_MAGIC:
        raise Undecodable(0, "this is not a log segment")
    # The version comes before the checksum: a later version may compute that in another way.
    if version > FORMAT_VERSION:
        raise NewerFormat(8, f"format version {version}")
    layout = _LAYOUTS.get(version)
    if layout is None or size != layout.size:
        raise Undecodable(8, f"a header of version {version} and {size} bytes")
    header = bytearray(data[:size])
    if len(header) < size:
        raise Undecodable(len(header), "the segment's header is cut short")
    (_, _, _, crc, number, flags, base, created, key, boot, next_number, *rest) = layout.unpack(
        header
    )
    _CRC.pack_into(header, _SEGMENT_CRC_AT, 0)
    if zlib.crc32(header) != crc:
        raise Undecodable(0, "the checksum of the segment's header is wrong")
    if flags:
        raise NewerFormat(20, f"flags {flags:#x}")
    counters = tuple(rest[:_COUNTERS])
    (last_event_at,) = rest[_COUNTERS:] or (_NO_TIME,)
    return SegmentHeader(
        number,
        base,
        created,
        key,
        boot,
        next_number,
        counters,
        None if last_event_at == _NO_TIME else last_event_at,
        size,
    )


@attrs.frozen
class FrameHeader:
    """What stands before the facts of one batch.

    Attributes:
        body_crc: salted CRC of the body.
        body_size: in bytes.
        count: number of facts.
        flags: 0 in this version.
        position: log position of the frame's first byte.
        synced: log position before which everything was on disk when this was written.
        time: wall time of writing in milliseconds, 0 if unknown.
    """

    body_crc: int
    body_size: int
    count: int
    flags: int
    position: int
    synced: int
    time: int

    @property
    def end(self) -> int:
        """Log position after the frame."""
        return self.position + FRAME_HEADER_SIZE + self.body_size


def encode_frame(
    parts: list[bytes], *, position: int, count: int, synced: int, time: int, salt: int
) -> bytearray:
    """Put a batch into its frame.

    Args:
        parts: the facts' bytes in any pieces.
        position: where the frame will stand.
        count: number of facts.
        synced: log position known to be on disk.
        time: wall time in milliseconds, 0 if unknown.
        salt: `SegmentHeader.salt`.
    """
    # One pass that copies each payload once: room for the header, then the parts.
    frame = bytearray().join((bytes(FRAME_HEADER_SIZE), *parts))
    with memoryview(frame) as view:
        body_crc = zlib.crc32(view[FRAME_HEADER_SIZE:], salt)
        body_size = len(frame) - FRAME_HEADER_SIZE
        _FRAME.pack_into(
            frame, 0, FRAME_MAGIC, 0, body_crc, body_size, count, 0, position, synced, time
        )
        header_crc = zlib.crc32(view[_FRAME_COVERED_AT:FRAME_HEADER_SIZE], salt)
        _CRC.pack_into(frame, _FRAME_CRC_AT, header_crc)
    return frame


def decode_frame_header(data: Bytes, at: int, salt: int) -> FrameHeader | None:
    """Read the frame header at an offset, or give None if there is no valid one.

    Args:
        data: holds at least 48 bytes from the offset on.
        at: the offset in `data`.
        salt: `SegmentHeader.salt`.
    """
    magic, crc, *fields = _FRAME.unpack_from(data, at)
    if magic != FRAME_MAGIC:
        return None
    covered = memoryview(data)[at + _FRAME_COVERED_AT : at + FRAME_HEADER_SIZE]
    if zlib.crc32(covered, salt) != crc:
        return None
    return FrameHeader(*fields)
