"""Single fields of many packed rows at once, at the speed of C."""

import sys
from array import array
from struct import Struct

from persistence.block import ROW_SIZE

_FIELD_SIZE = 4
_FIELDS = ROW_SIZE // _FIELD_SIZE
_TOPIC_FIELD = 36 // _FIELD_SIZE
_NAMED_OFFSET = 59
_PAYLOAD_AT = Struct(f"<q{ROW_SIZE - 8}x")


def topics_in(rows: bytes) -> "array[int]":
    """Give the topic of each row."""
    found = array("I", bytes(memoryview(rows).cast("I")[_TOPIC_FIELD::_FIELDS]))
    _swap_if_big(found)
    return found


def with_topics(rows: bytes, topics: "array[int]") -> bytes:
    """Give the rows with other topics."""
    topics = topics[:]
    _swap_if_big(topics)
    changed = bytearray(rows)
    with memoryview(changed) as view, memoryview(topics) as column:
        view.cast("I")[_TOPIC_FIELD::_FIELDS] = column
    return bytes(changed)


def named_in(rows: bytes) -> bytes:
    """Give for each row whether it is named, a byte."""
    return rows[_NAMED_OFFSET::ROW_SIZE]


def payloads_in(rows: bytes) -> list[int]:
    """Give the log position of each row's payload."""
    return [at for (at,) in _PAYLOAD_AT.iter_unpack(rows)]


def little_endian(numbers: bytes) -> bytes:
    """Turn numbers from the byte order of this machine, or back."""
    if sys.byteorder == "little":
        return numbers
    found = array("Q", numbers)
    found.byteswap()
    return found.tobytes()


def _swap_if_big(found: "array[int]") -> None:
    if sys.byteorder == "big":
        found.byteswap()
