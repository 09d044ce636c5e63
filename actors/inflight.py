"""The inflight tracker: the actor that owns what consumers hold, and what they say of it."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import assert_never

import attrs

from actors.broker import Delivery, Extension, LeaseView, NoSuchLease, OutcomeUnknown
from actors.clock import Clock, Moment
from actors.credits import Credits
from actors.custody import Custody, DeliveryPolicy
from actors.dead_letters_port import DeadLettersPort
from actors.ids import EventIds
from actors.inflight_port import (
    Acknowledge,
    Expire,
    Extend,
    ExtendReply,
    Grant,
    InflightMessage,
    InflightPort,
    InflightView,
    Inspect,
    Nack,
    NackReply,
    Release,
    Stop,
    Withdrawn,
)
from actors.latency import Latency
from actors.mailbox import Mailbox
from actors.polls import Poll
from actors.queue_port import QueuePort
from actors.reaper_port import ReaperPort
from actors.receipts import Receipts
from actors.running import running
from actors.settlement import NOT_HELD, AcknowledgeRequest, Settlement, Settlements
from actors.stopped import stopped
from actors.wal_writer import Committed, WalWriter
from persistence.entry import Entry, Event, Lease

LEASES_SHOWN_MAX = 100


@attrs.define(eq=False)
class _Commit:
    """What to answer when the facts of one wake-up are in the log."""

    granted: list[tuple[Poll, tuple[Delivery, ...]]] = attrs.field(factory=list)
    cold: list[tuple[Delivery, Event]] = attrs.field(factory=list)
    settled: list[Settlement] = attrs.field(factory=list)
    nacked: list[tuple[NackReply, tuple[str | NoSuchLease, ...]]] = attrs.field(factory=list)
    extended: list[tuple[ExtendReply, tuple[Extension | NoSuchLease, ...]]] = attrs.field(
        factory=list
    )

    @property
    def sync(self) -> bool:
        """Whether an answer promises something that must outlive a power cut."""
        return bool(self.settled or self.nacked)

    def __bool__(self) -> bool:
        return bool(self.granted or self.settled or self.nacked or self.extended)


class _InflightActor:
    def __init__(
        self,
        mailbox: Mailbox[InflightMessage],
        *,
        wal: WalWriter,
        queue: QueuePort,
        dead_letters: DeadLettersPort,
        reaper: ReaperPort,
        credit: Credits,
        custody: Custody,
        clock: Clock,
        ids: EventIds,
        receipts: Receipts,
    ) -> None:
        self._mailbox = mailbox
        self._wal = wal
        self._queue = queue
        self._dead_letters = dead_letters
        self._reaper = reaper
        self._credit = credit
        self._custody = custody
        self._clock = clock
        self._ids = ids
        self._receipts = receipts
        self._settlements = Settlements()
        self._commit = _Commit()
        self._elsewhere: list[Settlement] = []
        self._in_log: deque[_Commit] = deque()
        self._latency = Latency()
        self._announced: int | None = None
        self._stopping = False

    def restore(self, leases: Sequence[Lease]) -> None:
        """Take over the leases of the last process, deadlines on the engine's time line."""
        self._custody.restore(leases, self._clock.moment())
        self._credit.force(len(self._custody.leases))
        self._carry_out()

    async def run(self) -> None:
        """Serve messages until told to stop and nothing is under way."""
        try:
            while not self._stopping or self._in_log or self._settlements:
                messages = await self._mailbox.drain()
                at = self._clock.moment()
                for message in messages:
                    self._on(message, at)
                self._carry_out()
        finally:
            self._end()

    def _on(self, message: InflightMessage, at: Moment) -> None:
        match message:
            case Grant(poll, entries):
                leases = self._custody.lease(entries, poll.consumer, at)
                self._commit.granted.append((poll, tuple(map(self._delivery, leases))))
            case Acknowledge(request):
                self._acknowledge(request, at)
            case Committed():
                self._committed(message, at)
            case Withdrawn(settlements, entries):
                self._withdrawn(settlements, entries)
            case Nack():
                self._nack(message, at)
            case Extend():
                self._extend(message, at)
            case Release(receipts):
                self._release(receipts, at)
            case Expire():
                self._announced = None
                self._credit.give_back(self._custody.expire(at))
            case Inspect(reply):
                reply.set(self._view(at))
            case Stop():
                self._stopping = True
            case _:
                assert_never(message)

    def _find(self, receipt: str) -> Lease | None:
        claim = self._receipts.read(receipt)
        return None if claim is None else self._custody.leases.find(*claim)

    # Each of these changes the state at once and leaves the answer for when the log has it.
    # The log keeps the order, so whatever happens next to the same event is behind it.

    def _acknowledge(self, request: AcknowledgeRequest, at: Moment) -> None:
        for receipt in dict.fromkeys(request.receipts):
            claim = self._receipts.read(receipt)
            if claim is None:
                request.decide(receipt, NOT_HELD)
                continue
            settlement = self._settlements.join(claim, request, receipt)
            if settlement is None:
                continue
            lease = self._custody.leases.find_settled_by(*claim)
            if lease is None:
                self._elsewhere.append(settlement)
                continue
            self._custody.leases.remove(lease)
            self._credit.give_back()
            if lease.since:
                self._latency.add(lease.since, at.now)
            self._settle(lease.entry, settlement)

    def _withdrawn(
        self, settlements: Sequence[Settlement], entries: Sequence[Entry | None]
    ) -> None:
        for settlement, entry in zip(settlements, entries, strict=True):
            if entry is None:
                self._settlements.end(settlement, NOT_HELD)
            else:
                self._settle(entry, settlement)

    def _settle(self, entry: Entry, settlement: Settlement) -> None:
        self._custody.settle(entry)
        self._commit.settled.append(settlement)

    def _nack(self, message: Nack, at: Moment) -> None:
        answers: list[str | NoSuchLease] = []
        for receipt in message.receipts:
            lease = self._find(receipt)
            if lease is None:
                answers.append(NoSuchLease(receipt))
                continue
            self._custody.reject(
                lease,
                requeue=message.requeue,
                delay_ms=message.delay_ms,
                error=message.error,
                at=at,
            )
            self._credit.give_back()
            answers.append(receipt)
        self._commit.nacked.append((message.reply, tuple(answers)))

    def _extend(self, message: Extend, at: Moment) -> None:
        answers: list[Extension | NoSuchLease] = []
        for receipt in message.receipts:
            lease = self._find(receipt)
            if lease is None:
                answers.append(NoSuchLease(receipt))
            else:
                deadline = self._custody.extend(lease, message.length_ms, at)
                answers.append(Extension(receipt, deadline))
        self._commit.extended.append((message.reply, tuple(answers)))

    def _release(self, receipts: Iterable[str], at: Moment) -> None:
        for receipt in receipts:
            lease = self._find(receipt)
            if lease is not None:
                self._custody.release(lease, at)
                self._credit.give_back()

    # To the log, and back

    def _carry_out(self) -> None:
        """Send one wake-up's facts to the log together and its events to their next place."""
        self._send_moves()
        if self._elsewhere:
            # After the moves: a lease that ran out or was released in this very wake-up, too,
            # leaves its event with the queue and its receipt good.
            elsewhere, self._elsewhere = self._elsewhere, []
            if not self._queue.withdraw(elsewhere):
                self._withdrawn(elsewhere, [None] * len(elsewhere))
        if self._credit.wanted and self._credit.free:
            self._queue.promote()  # polls that wait because all leases were out
        deadline = self._custody.leases.next_deadline()
        if deadline is not None and (self._announced is None or deadline < self._announced):
            self._announced = deadline
            self._reaper.wake_at(deadline)

    def _send_moves(self) -> None:
        moves = self._custody.take_moves()
        if moves.facts or self._commit:
            commit, self._commit = self._commit, _Commit()
            self._in_log.append(commit)
            cold = [event for _, event in commit.cold]
            self._wal.append(moves.facts, sync=commit.sync, load=cold, to=self._mailbox)
        if moves.waiting:
            self._queue.give_back(moves.waiting)
        if moves.dead:
            self._dead_letters.bury(moves.dead)

    def _committed(self, message: Committed, at: Moment) -> None:
        commit = self._in_log.popleft()  # commits end in the order of their submission
        if message.failure is not None:
            self._fail(commit, message.failure)
            return
        for settlement in commit.settled:
            self._settlements.end(settlement, None)
        for nack_reply, nack_answers in commit.nacked:
            nack_reply.set(nack_answers)
        for extend_reply, extend_answers in commit.extended:
            extend_reply.set(extend_answers)
        for (delivery, _), payload in zip(commit.cold, message.payloads, strict=True):
            delivery.payload = payload
        for poll, deliveries in commit.granted:
            if not poll.reply.set(deliveries):
                # Nobody reads it any more: the events never reached their consumer.
                self._release([delivery.receipt for delivery in deliveries], at)

    def _delivery(self, lease: Lease) -> Delivery:
        """Say what the consumer gets; a payload that is not at hand is read with the commit."""
        entry, event = lease.entry, lease.entry.event
        delivery = Delivery(
            receipt=self._receipts.write(event.number, entry.stamp),
            id=self._ids.write(event.number, event.timestamp),
            topic=event.topic,
            timestamp=event.timestamp,
            retries=entry.retries,
            payload=event.payload or b"",
            expires_at=self._clock.to_trio(lease.deadline),
        )
        if event.payload is None:
            self._commit.cold.append((delivery, event))
        event.payload = None  # if it comes back, its next delivery reads it from the log
        return delivery

    def _fail(self, commit: _Commit, failure: str) -> None:
        unknown = OutcomeUnknown(failure)
        for settlement in commit.settled:
            self._settlements.fail(settlement, failure)
        for nack_reply, _ in commit.nacked:
            nack_reply.set(unknown)
        for extend_reply, _ in commit.extended:
            extend_reply.set(unknown)
        for poll, _ in commit.granted:
            poll.reply.set(unknown)

    def _view(self, at: Moment) -> InflightView:
        return InflightView(
            leases=tuple(
                LeaseView(
                    self._ids.write(lease.entry.event.number, lease.entry.event.timestamp),
                    at.to_wall(lease.deadline),
                    lease.entry.retries,
                )
                for lease in islice(self._custody.leases, LEASES_SHOWN_MAX)
            ),
            count=len(self._custody.leases),
            processing_ms_avg=self._latency.mean,
            processing_ms_max=float(self._latency.longest),
        )

    def _end(self) -> None:
        """Answer everybody who still waits, rather than leave them waiting."""
        for message in self._mailbox.close():
            match message:
                case Grant(poll=poll):
                    poll.reply.set(stopped())
                case Acknowledge(request):
                    request.reply.set(stopped())
                case Nack(reply=reply):
                    reply.set(stopped())
                case Extend(reply=extend_reply):
                    extend_reply.set(stopped())
                case Inspect(inspect_reply):
                    inspect_reply.set(self._view(self._clock.moment()))
                case _:
                    pass
        failure = "The broker ended before the disk answered."
        for commit in (*self._in_log, self._commit):
            self._fail(commit, failure)
        self._settlements.fail_all(failure)


@asynccontextmanager
async def open_inflight(
    mailbox: Mailbox[InflightMessage],
    *,
    wal: WalWriter,
    queue: QueuePort,
    dead_letters: DeadLettersPort,
    reaper: ReaperPort,
    credit: Credits,
    boot: int,
    policy: DeliveryPolicy,
    clock: Clock,
    ids: EventIds,
    receipts: Receipts,
    leases: Sequence[Lease] = (),
) -> AsyncIterator[InflightPort]:
    """Run the inflight tracker; on the way out it answers all that was asked of it.

    Args:
        mailbox: made by the caller, since the queue and the inflight tracker know each other.
        wal: where leases and settlements are written.
        queue: where events go that come back.
        dead_letters: where events go that have failed too often.
        reaper: who wakes the tracker when a lease runs out.
        credit: the leases that may be out; the queue takes, this actor gives back.
        boot: this process's boot number.
        policy: how often and for how long an event is tried.
        clock: the engine's time.
        ids: writes event ids.
        receipts: writes and reads receipts.
        leases: what was leased when the last process ended, in engine time.
    """
    actor = _InflightActor(
        mailbox,
        wal=wal,
        queue=queue,
        dead_letters=dead_letters,
        reaper=reaper,
        credit=credit,
        custody=Custody(boot, policy),
        clock=clock,
        ids=ids,
        receipts=receipts,
    )
    actor.restore(leases)
    port = InflightPort(mailbox)
    async with running(actor.run, port.stop):
        yield port
