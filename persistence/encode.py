"""Facts to bytes. The layout is in the package's docstring.

This is on the path of every event, so each kind has one precompiled struct that covers the fact's
header and its fixed part, and payloads are referred to, not copied.
"""

import struct
from collections.abc import Callable
from typing import Any

import attrs

from persistence import layout
from persistence.entry import Stamp
from persistence.facts import (
    COUNT_MAX,
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    FactKind,
    Imported,
    Leased,
    Lost,
    Opened,
    Reprocessed,
    Returned,
    Settled,
)

CONSUMER_MAX = 1024
"""The most bytes of a consumer's name that are kept."""
REASON_MAX = 255
"""The most bytes of a reason of death that are kept."""
ERROR_MAX = 1 << 20
"""The most bytes of an error text that are kept: a fact must not outgrow its segment."""

# Plain integers: an IntEnum member costs a conversion each time that it is packed.
_OPENED = int(FactKind.OPENED)
_ENQUEUED = int(FactKind.ENQUEUED)
_LEASED = int(FactKind.LEASED)
_EXTENDED = int(FactKind.EXTENDED)
_SETTLED = int(FactKind.SETTLED)
_RETURNED = int(FactKind.RETURNED)
_DEAD = int(FactKind.DEAD)
_REPROCESSED = int(FactKind.REPROCESSED)
_DISCARDED = int(FactKind.DISCARDED)
_IMPORTED = int(FactKind.IMPORTED)
_LOST = int(FactKind.LOST)

_UTF8_TAIL_MASK, _UTF8_TAIL = 0xC0, 0x80


def encode(fact: Fact, previous: int, parts: list[bytes]) -> int:
    """Append a fact's bytes to `parts`.

    Retries and stamps beyond `COUNT_MAX` are written as that; names of consumers, reasons and
    errors are cut to what is kept of them, and lone surrogates in them are escaped.

    Args:
        fact: an `Enqueued` has its payload.
        previous: log position of the fact before it about the same event, or `NOT_WRITTEN`.
        parts: what to append to; a payload goes in as it is. Left alone by an error.

    Returns:
        The size of the fact in bytes.

    Raises:
        ValueError: an event without its payload, a number, a topic, a foreign id or a source that
            does not fit its field, or a lone surrogate in one of these texts.
    """
    try:
        return _ENCODE[type(fact)](fact, previous, parts)
    except struct.error:
        fitting = clamped(fact)
    try:
        return _ENCODE[type(fact)](fitting, previous, parts)
    except struct.error as error:
        name = type(fact).__name__
        detail = f"a fact {name} of event {fact.number} does not fit the log: {error}"
        raise ValueError(detail) from error


def payload_offset(topic_size: int) -> int:
    """Tell how far into its `Enqueued` fact a payload begins.

    Args:
        topic_size: length of the topic in UTF-8.
    """
    return layout.ENQUEUED.size + topic_size


def home_size(payload_size: int, topic_size: int, foreign_size: int = 0) -> int:
    """Tell the size in bytes of an `Enqueued` fact.

    Args:
        payload_size: length of the payload.
        topic_size: length of the topic in UTF-8.
        foreign_size: length of the foreign id in UTF-8; 0 if there is none.
    """
    size = layout.ENQUEUED.size + topic_size + payload_size
    return size + layout.FOREIGN_SIZE.size + foreign_size if foreign_size else size


def clamped(fact: Fact) -> Fact:
    """Give a fact as the log has it: with counts that are not too great for their fields."""
    if isinstance(fact, Leased | Extended | Returned | Dead):
        retries = min(fact.retries, COUNT_MAX)
        return attrs.evolve(fact, retries=retries, stamp=_clamped_stamp(fact.stamp))
    if isinstance(fact, Reprocessed):
        return attrs.evolve(fact, stamp=_clamped_stamp(fact.stamp))
    return fact


def _clamped_stamp(stamp: Stamp) -> Stamp:
    return Stamp(min(stamp.boot, COUNT_MAX), min(stamp.delivery, COUNT_MAX))


def _opened(fact: Opened, previous: int, parts: list[bytes]) -> int:
    size = layout.OPENED.size
    parts.append(layout.OPENED.pack(_OPENED, 0, size, 0, previous, fact.boot, fact.time))
    return size


def _enqueued(fact: Enqueued, previous: int, parts: list[bytes]) -> int:
    payload = fact.payload
    if payload is None:
        raise ValueError(f"event {fact.number} has no payload to enqueue")
    topic = fact.topic.encode()
    topic_size = len(topic)
    payload_size = len(payload)
    size = layout.ENQUEUED.size + topic_size + payload_size
    flags: int = fact.copied
    tail = b""
    if fact.foreign_id:
        flags |= layout.FOREIGN
        foreign = fact.foreign_id.encode()
        tail = layout.FOREIGN_SIZE.pack(len(foreign)) + foreign
        size += len(tail)
    parts += (
        layout.ENQUEUED.pack(
            _ENQUEUED,
            flags,
            size,
            fact.number,
            previous,
            fact.timestamp,
            fact.due,
            topic_size,
            payload_size,
        ),
        topic,
        payload,
    )
    if tail:
        parts.append(tail)
    return size


def _held(fact: Leased | Extended, previous: int, parts: list[bytes]) -> int:
    consumer = _text(fact.consumer, CONSUMER_MAX) if fact.consumer else b""
    size = layout.LEASED.size + len(consumer)
    boot, delivery = fact.stamp
    parts.append(
        layout.LEASED.pack(
            _LEASED if type(fact) is Leased else _EXTENDED,
            fact.copied,
            size,
            fact.number,
            previous,
            fact.due,
            fact.retries,
            boot,
            delivery,
            fact.deadline,
            fact.length,
            fact.kind,
            len(consumer),
        )
        + consumer
    )
    return size


def _settled(fact: Settled, previous: int, parts: list[bytes]) -> int:
    size = layout.HEAD.size
    parts.append(layout.HEAD.pack(_SETTLED, 0, size, fact.number, previous))
    return size


def _returned(fact: Returned, previous: int, parts: list[bytes]) -> int:
    error = _text(fact.error, ERROR_MAX) if fact.error else b""
    size = layout.RETURNED.size + len(error)
    boot, delivery = fact.stamp
    parts.append(
        layout.RETURNED.pack(
            _RETURNED,
            fact.copied,
            size,
            fact.number,
            previous,
            fact.due,
            fact.retries,
            boot,
            delivery,
            fact.cause,
            len(error),
        )
        + error
    )
    return size


def _dead(fact: Dead, previous: int, parts: list[bytes]) -> int:
    reason = _text(fact.reason, REASON_MAX)
    error = _text(fact.error, ERROR_MAX) if fact.error else b""
    size = layout.DEAD.size + len(reason) + len(error)
    boot, delivery = fact.stamp
    parts.append(
        layout.DEAD.pack(
            _DEAD,
            fact.copied,
            size,
            fact.number,
            previous,
            fact.time,
            fact.retries,
            boot,
            delivery,
            len(reason),
            len(error),
        )
        + reason
        + error
    )
    return size


def _reprocessed(fact: Reprocessed, previous: int, parts: list[bytes]) -> int:
    size = layout.REPROCESSED.size
    boot, delivery = fact.stamp
    parts.append(
        layout.REPROCESSED.pack(
            _REPROCESSED, fact.copied, size, fact.number, previous, fact.due, boot, delivery
        )
    )
    return size


def _discarded(fact: Discarded, previous: int, parts: list[bytes]) -> int:
    size = layout.HEAD.size
    parts.append(layout.HEAD.pack(_DISCARDED, 0, size, fact.number, previous))
    return size


def _imported(fact: Imported, previous: int, parts: list[bytes]) -> int:
    # Not `_text`: an import that finds its source under another name begins again.
    source = fact.source.encode()
    size = layout.IMPORTED.size + len(source)
    parts.append(
        layout.IMPORTED.pack(_IMPORTED, fact.copied, size, 0, previous, fact.offset, len(source))
        + source
    )
    return size


def _lost(fact: Lost, previous: int, parts: list[bytes]) -> int:
    head = layout.HEAD.pack(_LOST, 0, fact.size, 0, previous)
    parts.append(head + bytes(fact.size - len(head)))
    return fact.size


def _text(text: str, size_max: int) -> bytes:
    """Encode a text that comes from anywhere, and keep of it what fits, in whole characters."""
    # A lone surrogate in it must not stop the log.
    data = text[:size_max].encode("utf-8", "backslashreplace")
    if len(data) <= size_max:
        return data
    while data[size_max] & _UTF8_TAIL_MASK == _UTF8_TAIL:
        size_max -= 1
    return data[:size_max]


_ENCODE: dict[type, Callable[[Any, int, list[bytes]], int]] = {
    Opened: _opened,
    Enqueued: _enqueued,
    Leased: _held,
    Extended: _held,
    Settled: _settled,
    Returned: _returned,
    Dead: _dead,
    Reprocessed: _reprocessed,
    Discarded: _discarded,
    Imported: _imported,
    Lost: _lost,
}
