"""Batches that fill the place of damaged ones, so that those behind keep their log positions."""

from collections.abc import Iterator

from persistence.decode import HEAD_SIZE
from persistence.encode import encode
from persistence.entry import NOT_WRITTEN
from persistence.facts import Lost
from persistence.segment import FRAME_HEADER_SIZE, encode_frame

_SMALLEST = FRAME_HEADER_SIZE + HEAD_SIZE
_LARGEST = 16 * 1024 * 1024


def can_fill(size: int) -> bool:
    """Tell whether a hole of so many bytes can be filled. Every number of whole batches can."""
    return size in {0, FRAME_HEADER_SIZE} or size >= _SMALLEST


def fillers(position: int, size: int, *, time: int, salt: int) -> Iterator[bytes]:
    """Yield batches that are so long together.

    Args:
        position: log position at which the first one will stand.
        size: in bytes; `can_fill` says yes to it.
        time: wall time in milliseconds.
        salt: `SegmentHeader.salt`.
    """
    end = position + size
    while position < end:
        piece = _piece(end - position)
        parts: list[bytes] = []
        if piece > FRAME_HEADER_SIZE:
            encode(Lost(piece - FRAME_HEADER_SIZE), NOT_WRITTEN, parts)
        # The whole file is on disk before it gets its name.
        yield bytes(
            encode_frame(
                parts, position=position, count=len(parts), synced=position, time=time, salt=salt
            )
        )
        position += piece


def _piece(left: int) -> int:
    if left <= _LARGEST:
        return left
    return _LARGEST if can_fill(left - _LARGEST) else _LARGEST - _SMALLEST
