"""Finds out what a segment's damaged header said. Pure, but for what it reads of the segment."""

from persistence.errors import Undecodable
from persistence.scan import Source
from persistence.segment import (
    FRAME_HEADER_SIZE,
    FRAME_MAGIC,
    SEGMENT_HEADER_SIZE_MAX,
    SegmentHeader,
    decode_frame_header,
    decode_header,
)

_CHUNK = 1024 * 1024
_KEY = slice(40, 56)


def corrected(data: bytes) -> bytes | None:
    """Give the header as it was if a single bit of it has changed, else None.

    No two headers that pass their checksum differ in two bits only: up to 2,974 bits any two differ
    in five or more (Koopman, DSN 2002, for this CRC). So there is one answer at most.

    Args:
        data: the file's first `SEGMENT_HEADER_SIZE_MAX` bytes, or all of it.
    """
    tried = bytearray(data[:SEGMENT_HEADER_SIZE_MAX])
    for bit in range(len(tried) * 8):
        tried[bit // 8] ^= 1 << bit % 8
        try:
            header = decode_header(tried)
        except Undecodable:
            tried[bit // 8] ^= 1 << bit % 8
        else:
            return bytes(tried[: header.size])
    return None


def key_in(data: bytes) -> bytes:
    """Give what a damaged header says about the key; only batches can tell whether it is right."""
    return bytes(data[_KEY])


def base_of(source: Source, key: bytes) -> int | None:
    """Tell the log position of a segment's first byte from its batches.

    Args:
        source: the segment.
        key: the log's key.

    Returns:
        None if no header of a batch in it is valid with this key.
    """
    salt = SegmentHeader(0, 0, 0, key).salt
    for start in range(0, source.size(), _CHUNK):
        data = bytes(source.read(start, _CHUNK + FRAME_HEADER_SIZE - 1))
        at = data.find(FRAME_MAGIC)
        while 0 <= at <= len(data) - FRAME_HEADER_SIZE:
            header = decode_frame_header(data, at, salt)
            if header is not None and header.position >= start + at:
                return header.position - start - at
            at = data.find(FRAME_MAGIC, at + 1)
    return None
