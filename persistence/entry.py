"""An event, and where it stands: the values that every room above passes on.

The event itself (what was published) is kept apart from its delivery state (for whom, how often,
until when), so that one event can later be delivered to several groups of consumers.

Times are integers in milliseconds. In memory they lie on the engine's own time line, which starts
at the wall clock when the broker opens its log and from then on only moves forward; in the log
they are wall time. `actors.clock` converts.
"""

from enum import IntEnum
from typing import NamedTuple

import attrs

NOT_WRITTEN = -1
"""A log position that is not known yet."""


@attrs.define(eq=False)
class Event:
    """What a producer published.

    Attributes:
        number: position in the order of acceptance; unique, never reused, starts at 1.
        timestamp: wall time of acceptance, milliseconds since the epoch.
        topic: the topic, or the empty string for an event published without one.
        payload: the JSON object's bytes as they came, or None when only the log has them.
        payload_size: length of the payload in bytes.
        payload_position: log position of the payload's first byte.
        last_fact: log position of the newest fact about this event. Only the log writes it.
    """

    number: int
    timestamp: int
    topic: str
    payload: bytes | None
    payload_size: int
    payload_position: int = NOT_WRITTEN
    last_fact: int = NOT_WRITTEN


class Stamp(NamedTuple):
    """Names one delivery of an event; a later delivery has a greater stamp.

    The boot number tells apart two deliveries of the same number when a power cut took the first
    one's lease, which is written but not synced, out of the log.
    """

    boot: int
    delivery: int


NEVER_DELIVERED = Stamp(0, 0)


@attrs.define(eq=False)
class Entry:
    """An event on its way to a consumer: the delivery state that moves from place to place.

    Attributes:
        event: what was published.
        due: when it may be handed out, and with the event number its place in the order.
        retries: failed deliveries so far.
        stamp: the newest delivery, `NEVER_DELIVERED` before the first.
        receipt_open: whether the newest delivery's receipt may still acknowledge while the event
            is not leased (after a timeout or a release: yes; after a rejection: no).
    """

    event: Event
    due: int
    retries: int = 0
    stamp: Stamp = NEVER_DELIVERED
    receipt_open: bool = False


class ConsumerKind(IntEnum):
    """Who holds a lease. Stored in the log: never renumber."""

    CLIENT = 0
    """Somebody outside this process: keeps the lease over a restart of the broker."""
    WORKER = 1
    """A worker inside this process: dies with it, and then its delivery has failed."""


@attrs.define(eq=False)
class Lease:
    """An entry in the hands of one consumer until a deadline.

    Attributes:
        entry: what is held. `entry.stamp` is this delivery.
        deadline: when it goes back.
        length: how long the lease was given or last extended for, milliseconds.
        kind: whether the holder lives in this process.
        since: when it was handed out.
        consumer: a name for the holder, for people; may be empty.
    """

    entry: Entry
    deadline: int
    length: int
    kind: ConsumerKind = ConsumerKind.CLIENT
    since: int = 0
    consumer: str = ""


@attrs.define(eq=False)
class DeadLetter:
    """An entry that will not be delivered again unless somebody asks for it.

    Attributes:
        entry: what died; `entry.stamp` names its last delivery.
        timestamp: wall time of death, milliseconds since the epoch.
        reason: `max_retries_exceeded`, `visibility_timeout` or `rejected`.
        error: what the handler or consumer said; may be empty.
    """

    entry: Entry
    timestamp: int
    reason: str
    error: str = ""
