"""The embedded engine as its callers see it."""

from collections.abc import Callable, Sequence

import attrs
import trio

from actors.broker import (
    Accepted,
    Acknowledgement,
    Consumer,
    Counters,
    DeadLetterPage,
    Delivery,
    Durability,
    Explanation,
    Extension,
    Health,
    Metrics,
    NewEvent,
    NoSuchDeadLetter,
    NoSuchEvent,
    NoSuchLease,
    Status,
    StorageView,
    Trouble,
    Unavailable,
)
from actors.clock import Clock
from actors.credits import Credits
from actors.dead_letters_port import DeadLettersPort, PageReply, ResolveReply
from actors.error_text import error_text
from actors.historian import Historian
from actors.inflight_port import ExtendReply, InflightPort, NackReply
from actors.polls import Poll, PollState
from actors.queue_port import QueuePort
from actors.reaper_port import ReaperPort
from actors.reply import Reply
from actors.settlement import AcknowledgeRequest
from actors.stopped import stopped
from actors.wal_port import WalWriter

_INSPECTIONS_MAX = 64
_ANYBODY = Consumer()


@attrs.frozen
class Crew:
    """The handles of all the actors."""

    wal: WalWriter
    queue: QueuePort
    inflight: InflightPort
    dead_letters: DeadLettersPort
    reaper: ReaperPort


@attrs.frozen
class OpenRequests:
    """How many requests may be inside the engine at once, by kind.

    Enqueues cannot exhaust what acknowledgements need, nor the other way round.
    """

    enqueues: Credits
    polls: Credits
    settlements: Credits
    administration: Credits

    @classmethod
    def up_to(cls, limit: int) -> "OpenRequests":
        """Allow `limit` of each kind."""
        return cls(Credits(limit), Credits(limit), Credits(limit), Credits(limit))


class EmbeddedBroker:
    """A `Broker` whose actors run in this process. Made by `open_broker`.

    Each call is a message to the actor that owns what it is about, and a reply.
    """

    def __init__(
        self,
        crew: Crew,
        requests: OpenRequests,
        *,
        clock: Clock,
        queue_max_size: int,
        counters: Callable[[], Counters],
        storage: Callable[[], StorageView],
        historian: Historian,
    ) -> None:
        self._crew = crew
        self._requests = requests
        self._clock = clock
        self._queue_max_size = queue_max_size
        self._counters = counters
        self._storage = storage
        self._historian = historian
        self._inspections = trio.Semaphore(_INSPECTIONS_MAX)
        self._started = clock.moment()
        self._intake_open = True

    @property
    def failed(self) -> trio.Event:
        """Set when the log fails; the engine then raises `LogFailed` about a second later."""
        return self._crew.wal.failed

    def _refusal(self, credit: Credits, *, intake: bool = False) -> Unavailable | None:
        """Say why a request cannot come in; otherwise it has its credit."""
        if self._crew.wal.failure is not None:
            return Unavailable("STORAGE_FAILED", self._crew.wal.failure)
        if intake and not self._intake_open:
            return stopped()
        if not credit.take():
            return Unavailable("BUSY", f"{credit.limit} requests of this kind are open already.")
        return None

    async def enqueue(
        self, events: Sequence[NewEvent], *, durability: Durability | None = None
    ) -> tuple[Accepted, ...] | Trouble:
        """See `Broker.enqueue`."""
        if not events:
            return ()
        credit = self._requests.enqueues
        if (refusal := self._refusal(credit, intake=True)) is not None:
            return refusal
        reply = Reply[tuple[Accepted, ...] | Trouble](credit)
        self._crew.queue.enqueue(events, reply, durability=durability)
        return await reply.wait()

    async def consume(
        self,
        *,
        topic: str | None = None,
        max_events: int = 10,
        timeout_ms: int = 0,
        consumer: Consumer = _ANYBODY,
    ) -> tuple[Delivery, ...] | Trouble:
        """See `Broker.consume`."""
        credit = self._requests.polls
        if (refusal := self._refusal(credit, intake=True)) is not None:
            return refusal
        reply = Reply[tuple[Delivery, ...] | Trouble](credit)
        poll = Poll(topic, max_events, timeout_ms > 0, consumer, reply)
        deadline = trio.current_time() + timeout_ms / 1000
        self._crew.queue.take(poll)
        try:
            if poll.parks and not await reply.wait_until(deadline):
                self._crew.queue.forget(poll)
                if poll.state is PollState.OVER:
                    return ()
            # Either it is answered at once, or events were taken for it and will come.
            return await reply.wait()
        except trio.Cancelled:
            self._take_back(poll)
            raise

    def _take_back(self, poll: Poll) -> None:
        """Make sure that a cancelled poll holds nothing.

        What comes later finds the reply abandoned. What came in the same instant goes back here.
        """
        self._crew.queue.forget(poll)
        if poll.reply.is_set and isinstance(deliveries := poll.reply.get(), tuple):
            self.release([delivery.receipt for delivery in deliveries])

    async def acknowledge(self, receipts: Sequence[str]) -> tuple[Acknowledgement, ...] | Trouble:
        """See `Broker.acknowledge`."""
        if not receipts:
            return ()
        credit = self._requests.settlements
        if (refusal := self._refusal(credit)) is not None:
            return refusal
        reply = Reply[tuple[Acknowledgement, ...] | Trouble](credit)
        self._crew.inflight.acknowledge(AcknowledgeRequest(receipts, reply))
        return await reply.wait()

    async def nack(
        self,
        receipts: Sequence[str],
        *,
        requeue: bool = True,
        delay_ms: int | None = None,
        error: str = "",
    ) -> tuple[str | NoSuchLease, ...] | Trouble:
        """See `Broker.nack`."""
        credit = self._requests.settlements
        if (refusal := self._refusal(credit)) is not None:
            return refusal
        reply = NackReply(credit)
        self._crew.inflight.nack(
            receipts, reply, requeue=requeue, delay_ms=delay_ms, error=error_text(error)
        )
        return await reply.wait()

    async def extend(
        self, receipts: Sequence[str], *, visibility_timeout_ms: int | None = None
    ) -> tuple[Extension | NoSuchLease, ...] | Trouble:
        """See `Broker.extend`."""
        credit = self._requests.settlements
        if (refusal := self._refusal(credit)) is not None:
            return refusal
        reply = ExtendReply(credit)
        self._crew.inflight.extend(receipts, reply, length_ms=visibility_timeout_ms)
        return await reply.wait()

    def release(self, receipts: Sequence[str]) -> None:
        """See `Broker.release`."""
        if receipts:
            self._crew.inflight.release(receipts)

    async def dead_letters(
        self, *, limit: int = 100, offset: int = 0, topic: str | None = None
    ) -> DeadLetterPage | Trouble:
        """See `Broker.dead_letters`."""
        credit = self._requests.administration
        if (refusal := self._refusal(credit)) is not None:
            return refusal
        reply = PageReply(credit)
        self._crew.dead_letters.page(reply, limit=limit, offset=offset, topic=topic)
        return await reply.wait()

    async def reprocess(
        self, receipts: Sequence[str]
    ) -> tuple[str | NoSuchDeadLetter, ...] | Trouble:
        """See `Broker.reprocess`."""
        return await self._resolve(receipts, reprocess=True)

    async def discard(
        self, receipts: Sequence[str]
    ) -> tuple[str | NoSuchDeadLetter, ...] | Trouble:
        """See `Broker.discard`."""
        return await self._resolve(receipts, reprocess=False)

    async def _resolve(
        self, receipts: Sequence[str], *, reprocess: bool
    ) -> tuple[str | NoSuchDeadLetter, ...] | Trouble:
        credit = self._requests.administration
        if (refusal := self._refusal(credit)) is not None:
            return refusal
        reply = ResolveReply(credit)
        self._crew.dead_letters.resolve(receipts, reply, reprocess=reprocess)
        return await reply.wait()

    async def explain(self, event_id: str) -> Explanation | NoSuchEvent | Trouble:
        """See `Broker.explain`."""
        credit = self._requests.administration
        if (refusal := self._refusal(credit)) is not None:
            return refusal
        try:
            return await self._historian.explain(event_id)
        finally:
            credit.give_back()

    async def status(self) -> Status:
        """See `Broker.status`."""
        async with self._inspections:
            queue = await self._crew.queue.inspect()
            inflight = await self._crew.inflight.inspect()
            dead = await self._crew.dead_letters.count()
        crew = self._crew
        actors = (crew.queue, crew.inflight, crew.dead_letters, crew.reaper, crew.wal)
        return Status(
            queue_size=queue.ready + queue.delayed,
            queue_max_size=self._queue_max_size,
            leases=inflight.count,
            lease_list=inflight.leases,
            acknowledged=self._counters().acknowledged,
            dead_letters=dead,
            topics=queue.topics,
            mailboxes=tuple(actor.mailbox_view() for actor in actors),
            parked_polls=queue.parked_polls,
            uptime_ms=self._clock.now() - self._started.now,
            storage=self._storage(),
        )

    async def metrics(self) -> Metrics:
        """See `Broker.metrics`."""
        async with self._inspections:
            queue = await self._crew.queue.inspect()
            inflight = await self._crew.inflight.inspect()
        return Metrics(
            counters=self._counters(),
            processing_ms_avg=inflight.processing_ms_avg,
            processing_ms_max=inflight.processing_ms_max,
            started_at=self._started.wall,
            last_event_at=queue.last_event_at,
        )

    def health(self) -> Health:
        """See `Broker.health`."""
        failure = self._crew.wal.failure
        if failure is not None:
            return Health(healthy=False, ready=False, reason=failure)
        if not self._intake_open:
            return Health(healthy=True, ready=False, reason="shutting down")
        if self._crew.wal.full is not None:
            return Health(healthy=False, ready=True, reason=self._crew.wal.full)
        return Health(healthy=True, ready=True)

    def close_intake(self) -> None:
        """See `Broker.close_intake`."""
        if self._intake_open:
            self._intake_open = False
            self._crew.queue.close_intake()
