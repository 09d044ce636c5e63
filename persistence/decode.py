"""Bytes to facts. The layout is in the package's docstring."""

import sys
from collections.abc import Callable, Iterator
from struct import Struct
from typing import TypeAlias

from persistence import layout
from persistence.entry import ConsumerKind, Event, Stamp
from persistence.errors import NewerFormat, Undecodable
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    FactKind,
    Leased,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)

Find: TypeAlias = Callable[[int], Event]
"""Gives the event of a number, or raises KeyError."""

_Decode: TypeAlias = Callable[[memoryview, int, int, Find], tuple[Fact, int]]
"""Reads the fact at an offset of a body that begins at a log position; tells where it ends."""


def decode(body: memoryview, position: int, find: Find) -> Iterator[tuple[int, Fact]]:
    """Read the facts of one batch, each with its log position.

    An `Enqueued` fact brings a new event without payload; every other refers to the event that
    `find` knows by then, so whoever replays takes in one fact before asking for the next. Each
    event's `last_fact` is moved on.

    Args:
        body: the facts' bytes.
        position: log position of the first one.
        find: see `Find`.

    Raises:
        NewerFormat: an unknown kind or flag.
        Undecodable: sizes that do not fit, values out of range, or an event that is not known.
    """
    at = 0
    end = len(body)
    head_size = layout.HEAD.size
    head = layout.HEAD.unpack_from
    while at < end:
        if end - at < head_size:
            raise Undecodable(position + at, "a fact's header is cut short")
        kind, flags, size, number, _ = head(body, at)
        smallest, decode_kind = _DECODE.get(kind, _UNKNOWN)
        if flags or not smallest <= size <= end - at:
            raise _misfit(position + at, kind, flags, size)
        try:
            fact, expected = decode_kind(body, at, position, find)
        except KeyError:
            raise Undecodable(
                position + at, f"a fact about event {number}, which is not there"
            ) from None
        except ValueError as error:  # of text and of enumerations
            raise Undecodable(position + at, str(error)) from error
        if expected != at + size:
            raise _misfit(position + at, kind, flags, size)
        yield position + at, fact
        at = expected


def _misfit(position: int, kind: int, flags: int, size: int) -> Undecodable:
    """Say why a fact's header is not acceptable."""
    if kind not in _DECODE:
        return NewerFormat(position, f"unknown kind of fact {kind}")
    if flags:
        return NewerFormat(position, f"unknown flags {flags:#04x} in a fact")
    return Undecodable(position, f"a fact's size of {size} bytes does not fit its content")


def _text(body: memoryview, start: int, size: int) -> str:
    return str(body[start : start + size], "utf-8") if size else ""


def _opened(body: memoryview, at: int, _position: int, _find: Find) -> tuple[Opened, int]:
    *_, boot, time = layout.OPENED.unpack_from(body, at)
    return Opened(boot=boot, time=time), at + layout.OPENED.size


def _enqueued(body: memoryview, at: int, position: int, _find: Find) -> tuple[Enqueued, int]:
    _, _, _, number, _, timestamp, due, topic_size, payload_size = layout.ENQUEUED.unpack_from(
        body, at
    )
    start = at + layout.ENQUEUED.size
    payload_at = start + topic_size
    # One string for all events of a topic: a million copies would cost 60 MB.
    topic = sys.intern(str(body[start:payload_at], "utf-8")) if topic_size else ""
    event = Event(
        number, timestamp, topic, None, payload_size, position + payload_at, position + at
    )
    return Enqueued(event, due), payload_at + payload_size


def _leased(body: memoryview, at: int, position: int, find: Find) -> tuple[Leased, int]:
    _, _, _, number, _, boot, delivery, deadline, length, kind, consumer_size = (
        layout.LEASED.unpack_from(body, at)
    )
    start = at + layout.LEASED.size
    fact = Leased(
        find(number),
        Stamp(boot, delivery),
        deadline,
        length,
        ConsumerKind(kind),
        _text(body, start, consumer_size),
    )
    fact.event.last_fact = position + at
    return fact, start + consumer_size


def _extended(body: memoryview, at: int, position: int, find: Find) -> tuple[Extended, int]:
    _, _, _, number, _, deadline, length = layout.EXTENDED.unpack_from(body, at)
    event = find(number)
    event.last_fact = position + at
    return Extended(event, deadline, length), at + layout.EXTENDED.size


def _settled(body: memoryview, at: int, position: int, find: Find) -> tuple[Settled, int]:
    _, _, _, number, _ = layout.HEAD.unpack_from(body, at)
    event = find(number)
    event.last_fact = position + at
    return Settled(event), at + layout.HEAD.size


def _returned(body: memoryview, at: int, position: int, find: Find) -> tuple[Returned, int]:
    _, _, _, number, _, due, retries, cause, error_size = layout.RETURNED.unpack_from(body, at)
    start = at + layout.RETURNED.size
    error = _text(body, start, error_size)
    fact = Returned(find(number), due, retries, ReturnCause(cause), error)
    fact.event.last_fact = position + at
    return fact, start + error_size


def _dead(body: memoryview, at: int, position: int, find: Find) -> tuple[Dead, int]:
    _, _, _, number, _, time, retries, reason_size, error_size = layout.DEAD.unpack_from(body, at)
    start = at + layout.DEAD.size
    reason = sys.intern(_text(body, start, reason_size))
    error = _text(body, start + reason_size, error_size)
    event = find(number)
    event.last_fact = position + at
    return Dead(event, time, retries, reason, error), start + reason_size + error_size


def _reprocessed(body: memoryview, at: int, position: int, find: Find) -> tuple[Reprocessed, int]:
    _, _, _, number, _, due = layout.REPROCESSED.unpack_from(body, at)
    event = find(number)
    event.last_fact = position + at
    return Reprocessed(event, due), at + layout.REPROCESSED.size


def _discarded(body: memoryview, at: int, position: int, find: Find) -> tuple[Discarded, int]:
    _, _, _, number, _ = layout.HEAD.unpack_from(body, at)
    event = find(number)
    event.last_fact = position + at
    return Discarded(event), at + layout.HEAD.size


def _entry(struct: Struct, decode_kind: _Decode) -> tuple[int, _Decode]:
    return struct.size, decode_kind


_DECODE: dict[int, tuple[int, _Decode]] = {
    int(FactKind.OPENED): _entry(layout.OPENED, _opened),
    int(FactKind.ENQUEUED): _entry(layout.ENQUEUED, _enqueued),
    int(FactKind.LEASED): _entry(layout.LEASED, _leased),
    int(FactKind.EXTENDED): _entry(layout.EXTENDED, _extended),
    int(FactKind.SETTLED): _entry(layout.HEAD, _settled),
    int(FactKind.RETURNED): _entry(layout.RETURNED, _returned),
    int(FactKind.DEAD): _entry(layout.DEAD, _dead),
    int(FactKind.REPROCESSED): _entry(layout.REPROCESSED, _reprocessed),
    int(FactKind.DISCARDED): _entry(layout.HEAD, _discarded),
}
"""For each kind, the smallest size of a fact and how to read it."""

_UNKNOWN: tuple[int, _Decode] = (1 << 64, _opened)
"""Fits no fact."""
