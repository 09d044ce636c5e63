"""The facts that the log keeps. What happened to an event is the sequence of its facts.

A fact refers to its `Event`; the log writes the event's number and the position of its previous
fact, and notes the new fact's position in `event.last_fact`. All times here are wall time in
milliseconds since the epoch, because they outlive the process.
"""

from enum import IntEnum
from typing import TypeAlias

import attrs

from persistence.entry import ConsumerKind, Event, Stamp


class FactKind(IntEnum):
    """The byte that names a fact in the log. Never renumber, never reuse."""

    OPENED = 1
    ENQUEUED = 2
    LEASED = 3
    EXTENDED = 4
    SETTLED = 5
    RETURNED = 6
    DEAD = 7
    REPROCESSED = 8
    DISCARDED = 9


class ReturnCause(IntEnum):
    """Why an event came back. Stored in the log: never renumber."""

    REJECTED = 1
    """Its consumer said no; it comes back with backoff, and its receipt is spent."""
    TIMED_OUT = 2
    """Its lease ran out; the receipt may still acknowledge until it is handed out again."""
    RELEASED = 3
    """It never reached its consumer; no retry is counted."""
    WORKER_LOST = 4
    """The process ended while a worker held it."""


@attrs.define(eq=False)
class Opened:
    """A process has taken the log over. Synced before it serves anybody."""

    boot: int
    time: int


@attrs.define(eq=False)
class Enqueued:
    """An event was accepted. `event` carries topic, timestamp and payload."""

    event: Event
    due: int


@attrs.define(eq=False)
class Leased:
    """An event was handed out."""

    event: Event
    stamp: Stamp
    deadline: int
    length: int
    kind: ConsumerKind = ConsumerKind.CLIENT
    consumer: str = ""


@attrs.define(eq=False)
class Extended:
    """A lease was given more time."""

    event: Event
    deadline: int
    length: int


@attrs.define(eq=False)
class Settled:
    """An event was acknowledged. It is gone."""

    event: Event


@attrs.define(eq=False)
class Returned:
    """An event came back from a consumer. `retries` is the count after it."""

    event: Event
    due: int
    retries: int
    cause: ReturnCause
    error: str = ""


@attrs.define(eq=False)
class Dead:
    """An event became a dead letter. `retries` is the count that its record shows."""

    event: Event
    time: int
    retries: int
    reason: str
    error: str = ""


@attrs.define(eq=False)
class Reprocessed:
    """A dead letter went back to the queue with no retries counted."""

    event: Event
    due: int


@attrs.define(eq=False)
class Discarded:
    """A dead letter was dropped for good."""

    event: Event


Fact: TypeAlias = (
    Opened | Enqueued | Leased | Extended | Settled | Returned | Dead | Reprocessed | Discarded
)
"""Any fact."""
