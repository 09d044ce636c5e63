"""A segment's header, and the frames that hold its batches.

The layout is in the package's docstring. Pure functions on bytes; `persistence.scan` looks for
frames in what a crash has left.
"""

import zlib
from struct import Struct

import attrs

from persistence.disk import Bytes
from persistence.errors import NewerFormat, Undecodable

FORMAT_VERSION = 1
HEADER_SIZE = 128
FRAME_HEADER_SIZE = 48
FRAME_MAGIC = b"\xffBT\x01"
KEY_SIZE = 16

_SEGMENT_MAGIC = b"\x89EVLOG\r\n"
_SEGMENT = Struct("<8sHHIIIqq16sQQ7Q")
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
    """

    number: int
    base: int
    created: int
    key: bytes
    boot: int = 0
    next_number: int = 1
    counters: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 0)

    @property
    def salt(self) -> int:
        """The value that the log's CRCs start from."""
        return zlib.crc32(self.key)

    def encode(self) -> bytes:
        """Give the header's 128 bytes."""
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
            )
        )
        _CRC.pack_into(header, _SEGMENT_CRC_AT, zlib.crc32(header))
        return bytes(header)


def decode_header(data: Bytes) -> SegmentHeader:
    """Read a segment's header.

    Args:
        data: at least the file's first 128 bytes.

    Raises:
        NewerFormat: a later version of this program wrote it.
        Undecodable: anything else is wrong with it; positions are offsets here.
    """
    header = bytearray(data[:HEADER_SIZE])
    if len(header) < HEADER_SIZE:
        raise Undecodable(len(header), "the segment's header is cut short")
    (magic, version, size, crc, number, flags, base, created, key, boot, next_number, *counters) = (
        _SEGMENT.unpack(header)
    )
    if magic != _SEGMENT_MAGIC:
        raise Undecodable(0, "this is not a log segment")
    # The version comes before the checksum: a later version may compute that in another way.
    if version > FORMAT_VERSION:
        raise NewerFormat(8, f"format version {version}")
    _CRC.pack_into(header, _SEGMENT_CRC_AT, 0)
    if zlib.crc32(header) != crc:
        raise Undecodable(0, "the checksum of the segment's header is wrong")
    if version != FORMAT_VERSION or size != HEADER_SIZE:
        raise Undecodable(8, f"a header of version {version} and {size} bytes")
    if flags:
        raise NewerFormat(20, f"flags {flags:#x}")
    return SegmentHeader(number, base, created, key, boot, next_number, tuple(counters))


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
