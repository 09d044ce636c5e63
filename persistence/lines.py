"""Reads a text file line by line, with bounded memory, and tells where each line lies."""

from collections.abc import Iterator
from typing import NamedTuple

from persistence.scan import Source

_CHUNK = 1024 * 1024
"""How much is read at a time, in bytes."""


class Line(NamedTuple):
    """One line.

    Attributes:
        number: the first one is 1.
        start: offset of its first byte.
        end: offset behind it, its newline included.
        text: without the newline; None if it is longer than allowed.
        ended: whether there is a newline; only the last line of a file can do without.
    """

    number: int
    start: int
    end: int
    text: bytes | None
    ended: bool


def lines(source: Source, size_max: int, *, chunk_size: int = _CHUNK) -> Iterator[Line]:
    """Read the lines that are there now; what is appended meanwhile is left for another time.

    Args:
        source: the file.
        size_max: bytes of a line that are kept; of a longer one none are.
        chunk_size: bytes that are read at a time.

    Raises:
        OSError: it could not be read.
    """
    size = source.size()
    number, start, length = 1, 0, 0
    parts: list[bytes] = []
    for at in range(0, size, chunk_size):
        pieces = bytes(source.read(at, min(chunk_size, size - at))).split(b"\n")
        last = len(pieces) - 1
        for index, piece in enumerate(pieces):
            length += len(piece)
            if length <= size_max:
                parts.append(piece)
            else:
                parts.clear()
            if index < last:
                end = start + length + 1
                yield Line(number, start, end, _text(parts, length, size_max), ended=True)
                number, start, length, parts = number + 1, end, 0, []
    if length:
        yield Line(number, start, start + length, _text(parts, length, size_max), ended=False)


def _text(parts: list[bytes], length: int, size_max: int) -> bytes | None:
    return b"".join(parts) if length <= size_max else None
