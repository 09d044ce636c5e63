"""Facts to bytes. The layout is in the package's docstring.

This is on the path of every event, so each kind has one precompiled struct that covers the fact's
header and its fixed part, and payloads are referred to, not copied.
"""

from collections.abc import Callable, Sequence
from typing import Any

from persistence import layout
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
    Returned,
    Settled,
)

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


def encode(facts: Sequence[Fact], position: int, parts: list[bytes]) -> int:
    """Append the facts' bytes to `parts` and note in each event where its newest fact will stand.

    Args:
        facts: in the order in which they happened.
        position: log position of the first one.
        parts: what to append to; payloads go in as they are.

    Returns:
        The log position after the last fact.

    Raises:
        ValueError: an event without its payload cannot be enqueued.
    """
    for fact in facts:
        position = _ENCODE[type(fact)](fact, position, parts)
    return position


def previous_positions(body: bytes) -> list[int]:
    """Tell for each fact of a body that `encode` made where its event's fact before it stands."""
    previous: list[int] = []
    at = 0
    while at < len(body):
        _, _, size, _, before = layout.HEAD.unpack_from(body, at)
        previous.append(before)
        at += size
    return previous


def _encode_opened(fact: Opened, position: int, parts: list[bytes]) -> int:
    parts.append(layout.OPENED.pack(_OPENED, 0, layout.OPENED.size, 0, -1, fact.boot, fact.time))
    return position + layout.OPENED.size


def _encode_enqueued(fact: Enqueued, position: int, parts: list[bytes]) -> int:
    event = fact.event
    payload = event.payload
    if payload is None:
        raise ValueError(f"event {event.number} has no payload to enqueue")
    topic = event.topic.encode()
    topic_size = len(topic)
    payload_size = len(payload)
    payload_at = layout.ENQUEUED.size + topic_size
    size = payload_at + payload_size
    parts += (
        layout.ENQUEUED.pack(
            _ENQUEUED,
            0,
            size,
            event.number,
            event.last_fact,
            event.timestamp,
            fact.due,
            topic_size,
            payload_size,
        ),
        topic,
        payload,
    )
    event.last_fact = position
    event.payload_position = position + payload_at
    event.payload_size = payload_size
    return position + size


def _encode_leased(fact: Leased, position: int, parts: list[bytes]) -> int:
    event = fact.event
    consumer = _text(fact.consumer)
    size = layout.LEASED.size + len(consumer)
    boot, delivery = fact.stamp
    parts += (
        layout.LEASED.pack(
            _LEASED,
            0,
            size,
            event.number,
            event.last_fact,
            boot,
            delivery,
            fact.deadline,
            fact.length,
            fact.kind,
            len(consumer),
        ),
        consumer,
    )
    event.last_fact = position
    return position + size


def _encode_extended(fact: Extended, position: int, parts: list[bytes]) -> int:
    event = fact.event
    parts.append(
        layout.EXTENDED.pack(
            _EXTENDED,
            0,
            layout.EXTENDED.size,
            event.number,
            event.last_fact,
            fact.deadline,
            fact.length,
        )
    )
    event.last_fact = position
    return position + layout.EXTENDED.size


def _encode_settled(fact: Settled, position: int, parts: list[bytes]) -> int:
    event = fact.event
    parts.append(layout.HEAD.pack(_SETTLED, 0, layout.HEAD.size, event.number, event.last_fact))
    event.last_fact = position
    return position + layout.HEAD.size


def _encode_returned(fact: Returned, position: int, parts: list[bytes]) -> int:
    event = fact.event
    error = _text(fact.error)
    size = layout.RETURNED.size + len(error)
    parts += (
        layout.RETURNED.pack(
            _RETURNED,
            0,
            size,
            event.number,
            event.last_fact,
            fact.due,
            fact.retries,
            fact.cause,
            len(error),
        ),
        error,
    )
    event.last_fact = position
    return position + size


def _encode_dead(fact: Dead, position: int, parts: list[bytes]) -> int:
    event = fact.event
    reason = _text(fact.reason)
    error = _text(fact.error)
    size = layout.DEAD.size + len(reason) + len(error)
    parts += (
        layout.DEAD.pack(
            _DEAD,
            0,
            size,
            event.number,
            event.last_fact,
            fact.time,
            fact.retries,
            len(reason),
            len(error),
        ),
        reason,
        error,
    )
    event.last_fact = position
    return position + size


def _encode_reprocessed(fact: Reprocessed, position: int, parts: list[bytes]) -> int:
    event = fact.event
    parts.append(
        layout.REPROCESSED.pack(
            _REPROCESSED,
            0,
            layout.REPROCESSED.size,
            event.number,
            event.last_fact,
            fact.due,
        )
    )
    event.last_fact = position
    return position + layout.REPROCESSED.size


def _encode_discarded(fact: Discarded, position: int, parts: list[bytes]) -> int:
    event = fact.event
    parts.append(layout.HEAD.pack(_DISCARDED, 0, layout.HEAD.size, event.number, event.last_fact))
    event.last_fact = position
    return position + layout.HEAD.size


def _text(text: str) -> bytes:
    # Error texts come from anywhere; a lone surrogate in one must not stop the log.
    return text.encode("utf-8", "backslashreplace")


_ENCODE: dict[type, Callable[[Any, int, list[bytes]], int]] = {
    Opened: _encode_opened,
    Enqueued: _encode_enqueued,
    Leased: _encode_leased,
    Extended: _encode_extended,
    Settled: _encode_settled,
    Returned: _encode_returned,
    Dead: _encode_dead,
    Reprocessed: _encode_reprocessed,
    Discarded: _encode_discarded,
}
