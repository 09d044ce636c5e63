"""The broker as its callers see it: the protocol, and the values that cross it.

Everything takes batches. Ids and receipts are opaque strings. Callers pass durations and the
engine's clock decides. What can go wrong in operation is a returned value, one of three:
`Rejected` (the caller's fault), `Unavailable` (not applied; try again later) and
`OutcomeUnknown` (perhaps applied). An exception means a bug or a broken disk.

Cancellation: a call that is cancelled may still take effect, except that no event is lost to it:
a delivery that its caller did not get goes back at once, without a retry counted.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

import attrs

from actors.reports import (
    Counters,
    Explanation,
    Happening,
    Health,
    LeaseView,
    MailboxView,
    Metrics,
    NoSuchEvent,
    Status,
    StorageView,
    TopicView,
)
from persistence.entry import ConsumerKind

__all__ = [
    "Accepted",
    "Acknowledgement",
    "Broker",
    "Consumer",
    "ConsumerKind",
    "Counters",
    "DeadLetterPage",
    "DeadLetterView",
    "Delivery",
    "Durability",
    "Explanation",
    "Extension",
    "Happening",
    "Health",
    "LeaseView",
    "MailboxView",
    "Metrics",
    "NewEvent",
    "NoSuchDeadLetter",
    "NoSuchEvent",
    "NoSuchLease",
    "OutcomeUnknown",
    "Rejected",
    "Status",
    "StorageView",
    "TopicView",
    "Trouble",
    "Unavailable",
]


@attrs.frozen
class Rejected:
    """The request can never succeed as it stands.

    Attributes:
        code: a constant for programs, for instance `BATCH_TOO_LARGE`.
        detail: a sentence for people.
    """

    code: str
    detail: str


@attrs.frozen
class Unavailable:
    """Nothing was applied; the same request may succeed later.

    Attributes:
        code: `QUEUE_FULL`, `BUSY`, `SHUTTING_DOWN`, `STORAGE_FULL` or `STORAGE_FAILED`.
        detail: a sentence for people.
        retry_after_ms: when it is worth trying again.
    """

    code: str
    detail: str
    retry_after_ms: int = 1000


@attrs.frozen
class OutcomeUnknown:
    """The request may or may not have been applied: the log failed under it."""

    detail: str


Trouble: TypeAlias = Rejected | Unavailable | OutcomeUnknown
"""Why a call did not succeed."""


@attrs.frozen
class NewEvent:
    """An event to be published: the bytes of one JSON object, already validated by the door.

    Attributes:
        payload: the object's bytes; stored and delivered as they are.
        topic: a valid topic, or the empty string for none.
    """

    payload: bytes
    topic: str = ""


class Durability(StrEnum):
    """How far a fact has come when its request is answered."""

    FSYNC = "fsync"
    """Forced to the disk: it outlives a power cut."""
    OS = "os"
    """Handed to the operating system: it outlives this process, not always a power cut."""


@attrs.frozen
class Accepted:
    """An event that is in the log.

    Attributes:
        id: names it from now on.
        timestamp: wall time in milliseconds.
        durability: what was done for it before this answer; at least what was asked for.
    """

    id: str
    timestamp: int
    durability: Durability = Durability.FSYNC


@attrs.frozen
class Consumer:
    """Who asks for events."""

    kind: ConsumerKind = ConsumerKind.CLIENT
    name: str = ""


@attrs.define(eq=False)
class Delivery:
    """An event in a consumer's hands, with the receipt that settles it.

    Attributes:
        receipt: opaque; acknowledges, rejects or extends this delivery and no other.
        id: the event's id, the same at every delivery.
        topic: the topic, or the empty string.
        timestamp: wall time of acceptance, milliseconds.
        retries: failed deliveries before this one.
        payload: the JSON object's bytes as they were published.
        expires_at: when the lease ends unless extended, on trio's clock (`trio.current_time`).
    """

    receipt: str
    id: str
    topic: str
    timestamp: int
    retries: int
    payload: bytes
    expires_at: float


@attrs.frozen
class Acknowledgement:
    """What became of one receipt: settled if `reason` is None, else why it was not."""

    receipt: str
    reason: str | None = None


@attrs.frozen
class NoSuchLease:
    """The receipt is unknown, stale or already settled."""

    receipt: str


@attrs.frozen
class NoSuchDeadLetter:
    """No dead letter has this receipt."""

    receipt: str


@attrs.frozen
class Extension:
    """A lease with more time. `deadline` is wall time in milliseconds."""

    receipt: str
    deadline: int


@attrs.frozen
class DeadLetterView:
    """One dead letter. `timestamp` is when it died, `event_timestamp` when it was accepted."""

    receipt: str
    timestamp: int
    reason: str
    error: str
    id: str
    event_timestamp: int
    topic: str
    payload: bytes
    retries: int


@attrs.frozen
class DeadLetterPage:
    """Some dead letters in the order in which they died, and how many there are in all."""

    entries: tuple[DeadLetterView, ...]
    total: int


class Broker(Protocol):
    """An engine. See the module's docstring for errors and cancellation."""

    async def enqueue(
        self, events: Sequence[NewEvent], *, durability: Durability | None = None
    ) -> tuple[Accepted, ...] | Trouble:
        """Accept all the events or none, durably, in the given order.

        Args:
            events: valid ones.
            durability: how far they must have come before the answer; None leaves it to the
                engine's settings.
        """
        ...

    async def consume(
        self,
        *,
        topic: str | None = None,
        max_events: int = 10,
        timeout_ms: int = 0,
        consumer: Consumer = ...,
    ) -> tuple[Delivery, ...] | Trouble:
        """Hand out up to `max_events` due events, waiting at most `timeout_ms` for the first.

        Args:
            topic: that topic alone ("" means events published without one); None means any.
            max_events: at least 1.
            timeout_ms: 0 answers at once, perhaps with nothing.
            consumer: who asks.
        """
        ...

    async def acknowledge(self, receipts: Sequence[str]) -> tuple[Acknowledgement, ...] | Trouble:
        """Settle the deliveries for good. One answer for each receipt, in order."""
        ...

    async def nack(
        self,
        receipts: Sequence[str],
        *,
        requeue: bool = True,
        delay_ms: int | None = None,
        error: str = "",
    ) -> tuple[str | NoSuchLease, ...] | Trouble:
        """Say that the deliveries failed. One answer for each receipt, in order.

        Args:
            receipts: current leases' receipts.
            requeue: False makes them dead letters at once, with reason `rejected`.
            delay_ms: the delay before the retry instead of the backoff's.
            error: why; kept with a dead letter.
        """
        ...

    async def extend(
        self, receipts: Sequence[str], *, visibility_timeout_ms: int | None = None
    ) -> tuple[Extension | NoSuchLease, ...] | Trouble:
        """Let the leases run for so long from now on. One answer for each receipt, in order."""
        ...

    def release(self, receipts: Sequence[str]) -> None:
        """Give deliveries back that never reached their consumer: no retry counts. Never fails."""
        ...

    async def dead_letters(
        self, *, limit: int = 100, offset: int = 0, topic: str | None = None
    ) -> DeadLetterPage | Trouble:
        """List dead letters, oldest death first. A page stops at 16 MiB after its first entry."""
        ...

    async def reprocess(
        self, receipts: Sequence[str]
    ) -> tuple[str | NoSuchDeadLetter, ...] | Trouble:
        """Put dead letters back in the queue, retries 0; answers with their event ids."""
        ...

    async def discard(
        self, receipts: Sequence[str]
    ) -> tuple[str | NoSuchDeadLetter, ...] | Trouble:
        """Drop dead letters for good; answers with their event ids."""
        ...

    async def explain(self, event_id: str) -> Explanation | NoSuchEvent | Trouble:
        """Tell where an event is and what happened to it, from the log.

        An event that is done with is explained while the log still has its records.
        """
        ...

    async def status(self) -> Status:
        """Tell where the events are."""
        ...

    async def metrics(self) -> Metrics:
        """Tell what has happened."""
        ...

    def health(self) -> Health:
        """Tell whether work is accepted; never waits."""
        ...

    def close_intake(self) -> None:
        """Refuse enqueue and consume from now on and answer parked polls with nothing.

        Acknowledge, nack and extend go on. Idempotent.
        """
        ...
