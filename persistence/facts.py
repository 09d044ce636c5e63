"""The facts that the log keeps. What happened to an event is the sequence of its facts.

A fact names its event by number. Each fact about delivery carries the whole delivery state after
it, so that two facts tell everything about an event that is alive: the one that enqueued it, which
has the payload, and the newest one. All times here are wall time in milliseconds since the epoch,
because they outlive the process.

A copied fact repeats one whose segment is going away. It says nothing new: nothing counts it.
"""

from enum import IntEnum
from typing import ClassVar, TypeAlias

import attrs

from persistence.entry import ConsumerKind, Stamp

COUNT_MAX = 2**32 - 1
"""The most that retries and either half of a stamp can be in the log; more is written as this."""


class FactKind(IntEnum):
    """The byte that names a fact in the log. Never renumber, never reuse.

    Release 0.1.0 wrote the `OLD_` ones. They are still read, see `persistence.legacy`.
    """

    OPENED = 1
    ENQUEUED = 2
    OLD_LEASED = 3
    OLD_EXTENDED = 4
    SETTLED = 5
    OLD_RETURNED = 6
    OLD_DEAD = 7
    OLD_REPROCESSED = 8
    DISCARDED = 9
    LEASED = 10
    EXTENDED = 11
    RETURNED = 12
    DEAD = 13
    REPROCESSED = 14
    IMPORTED = 15
    LOST = 16


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


def _size_of_payload(fact: "Enqueued") -> int:
    return -1 if fact.payload is None else len(fact.payload)


@attrs.define(eq=False)
class Opened:
    """A process has taken the log over. Synced before it serves anybody."""

    number: ClassVar[int] = 0
    boot: int
    time: int


@attrs.define(eq=False)
class Enqueued:
    """An event was accepted; or, copied, its payload has moved. This is the event's home.

    Attributes:
        number: of the event.
        timestamp: when it was accepted.
        due: when it may first be handed out.
        topic: at most 65,535 bytes in UTF-8.
        payload: None if it was left in the log; then the fact cannot be written again.
        payload_size: in bytes. Comes from the payload unless it is given; -1 if unknown.
        foreign_id: the id that another broker gave it, at most 65,535 bytes in UTF-8; or "".
        copied: it says nothing new.
    """

    number: int
    timestamp: int
    due: int
    topic: str
    payload: bytes | None
    payload_size: int = attrs.field(default=attrs.Factory(_size_of_payload, takes_self=True))
    foreign_id: str = ""
    copied: bool = False


@attrs.define(eq=False)
class _Held:
    """A consumer holds an event.

    Attributes:
        number: of the event.
        due: its place in the order, which it regains if it is released.
        retries: failed deliveries so far.
        stamp: of this delivery.
        deadline: when the lease runs out.
        length: of the lease, in milliseconds.
        kind: who holds it.
        consumer: who exactly, for people. At most `persistence.encode.CONSUMER_MAX` bytes of it
            are kept.
        copied: it says nothing new.
    """

    number: int
    due: int
    retries: int
    stamp: Stamp
    deadline: int
    length: int
    kind: ConsumerKind = ConsumerKind.CLIENT
    consumer: str = ""
    copied: bool = False


@attrs.define(eq=False)
class Leased(_Held):
    """An event was handed out."""


@attrs.define(eq=False)
class Extended(_Held):
    """A lease was given more time."""


@attrs.define(eq=False)
class Settled:
    """An event was acknowledged. It is gone."""

    number: int


@attrs.define(eq=False)
class Returned:
    """An event came back from a consumer.

    Attributes:
        number: of the event.
        due: when it may be handed out again.
        retries: failed deliveries, this one included.
        stamp: of the delivery that is over.
        cause: why it came back.
        error: what the consumer said. At most `persistence.encode.ERROR_MAX` bytes are kept.
        copied: it says nothing new.
    """

    number: int
    due: int
    retries: int
    stamp: Stamp
    cause: ReturnCause
    error: str = ""
    copied: bool = False


@attrs.define(eq=False)
class Dead:
    """An event became a dead letter.

    Attributes:
        number: of the event.
        time: when.
        retries: the count that its record shows.
        stamp: of the delivery that was its last.
        reason: a word for programs. At most `persistence.encode.REASON_MAX` bytes are kept.
        error: what the consumer said. At most `persistence.encode.ERROR_MAX` bytes are kept.
        copied: it says nothing new.
    """

    number: int
    time: int
    retries: int
    stamp: Stamp
    reason: str
    error: str = ""
    copied: bool = False


@attrs.define(eq=False)
class Reprocessed:
    """A dead letter went back to the queue with no retries counted."""

    number: int
    due: int
    stamp: Stamp
    copied: bool = False


@attrs.define(eq=False)
class Discarded:
    """A dead letter was dropped for good."""

    number: int


@attrs.define(eq=False)
class Imported:
    """Another broker's file was taken over up to an offset; an import goes on from there.

    Attributes:
        source: names the file, at most 65,535 bytes in UTF-8.
        offset: in bytes.
        copied: it says nothing new.
    """

    number: ClassVar[int] = 0
    source: str
    offset: int
    copied: bool = False


@attrs.define(eq=False)
class Lost:
    """What stood here was damaged, and a repair gave it up; which facts it was is not known.

    Attributes:
        size: of this fact in bytes, which fills the place of what was lost.
    """

    number: ClassVar[int] = 0
    size: int


Fact: TypeAlias = (
    Opened
    | Enqueued
    | Leased
    | Extended
    | Settled
    | Returned
    | Dead
    | Reprocessed
    | Discarded
    | Imported
    | Lost
)
"""Any fact. `number` is 0 in those that are about no event."""
