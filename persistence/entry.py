"""Where an event stands: the values that every room above passes on.

The event itself (what was published) is kept apart from its delivery state (for whom, how often,
until when), so that one event can later be delivered to several groups of consumers. An event is
named by its number: its position in the order of acceptance, unique, never reused, from 1 on.
"""

from enum import IntEnum
from typing import NamedTuple

NOT_WRITTEN = -1
"""No log position."""


class Stamp(NamedTuple):
    """Names one delivery of an event; a later delivery has a greater stamp.

    The boot number tells apart two deliveries of the same number when a power cut took the first
    one's lease, which is written but not synced, out of the log.
    """

    boot: int
    delivery: int


NEVER_DELIVERED = Stamp(0, 0)


class ConsumerKind(IntEnum):
    """Who holds a lease. Stored in the log: never renumber."""

    CLIENT = 0
    """Somebody outside this process: keeps the lease over a restart of the broker."""
    WORKER = 1
    """A worker inside this process: dies with it, and then its delivery has failed."""


class Place(IntEnum):
    """Where an event is; a settled or discarded one is nowhere. Stored: never renumber."""

    WAITING = 0
    """Ready or delayed."""
    LEASED = 1
    DEAD = 2


class Row(NamedTuple):
    """What the log says about one event, as small as it can be kept.

    Attributes:
        payload_at: log position of the payload's first byte.
        last_fact: log position of the newest fact about the event.
        timestamp: wall time of acceptance, milliseconds.
        due: when it may be handed out, and with the number its place in the order; for a leased
            event the place that it regains, for a dead one when it died. Wall time, milliseconds.
        payload_size: length of the payload in bytes.
        topic: number of its topic in `persistence.topics.Topics`.
        state_size: length of the newest fact in bytes; 0 while that is the one with the payload.
        retries: failed deliveries so far.
        boot: of the newest delivery's stamp, 0 before the first.
        delivery: of the newest delivery's stamp, 0 before the first.
        place: a `Place`.
        receipt_open: 1 if the newest delivery's receipt may still acknowledge the event.
        kind: a `ConsumerKind`: who holds it; 0 if nobody does.
        named: 1 if it came with an id of another broker, see `persistence.foreign`.
    """

    payload_at: int
    last_fact: int
    timestamp: int
    due: int
    payload_size: int
    topic: int
    state_size: int = 0
    retries: int = 0
    boot: int = 0
    delivery: int = 0
    place: int = Place.WAITING
    receipt_open: int = 0
    kind: int = ConsumerKind.CLIENT
    named: int = 0

    @property
    def stamp(self) -> Stamp:
        """The newest delivery, `NEVER_DELIVERED` before the first."""
        return Stamp(self.boot, self.delivery)
