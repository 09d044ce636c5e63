"""The inflight tracker: the actor that owns what consumers hold, and what they say of it."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import assert_never

from actors.broker import Delivery, Extension, LeaseView, NoSuchLease
from actors.clock import Clock, Moment
from actors.credits import Credits
from actors.custody import Custody, DeliveryPolicy
from actors.dead_letters_port import DeadLettersPort
from actors.inbox import Inbox
from actors.inflight_port import (
    Acknowledge,
    Expire,
    Extend,
    Grant,
    InflightMessage,
    InflightPort,
    InflightView,
    Inspect,
    Nack,
    Release,
    Stop,
    Withdrawn,
    weight,
)
from actors.latency import Latency
from actors.leases import Lease
from actors.mailbox import Mailbox
from actors.naming import Naming
from actors.promises import Promises
from actors.queue_port import QueuePort
from actors.reaper_port import ReaperPort
from actors.receipts import Receipts
from actors.running import running
from actors.settlement import NOT_HELD, AcknowledgeRequest, Settlement, Settlements
from actors.stopped import stopped
from actors.wal_port import Committed, WalWriter
from persistence.entry import Place, Row

LEASES_SHOWN_MAX = 100

EXPIRED_AT_ONCE_MAX = 256
"""Leases ended in one step, however many have run out: nobody else waits longer than for that."""


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
        boot: int,
        policy: DeliveryPolicy,
        clock: Clock,
        naming: Naming,
        receipts: Receipts,
        sync_default: bool,
    ) -> None:
        self._mailbox = mailbox
        self._inbox = Inbox(mailbox, weight)
        self._wal = wal
        self._register = wal.register
        self._queue = queue
        self._dead_letters = dead_letters
        self._reaper = reaper
        self._credit = credit
        self._custody = Custody(boot, policy, self._row_of, self._topic_of)
        self._clock = clock
        self._naming = naming
        self._receipts = receipts
        self._sync_default = sync_default
        self._settlements = Settlements()
        self._promises = Promises()
        self._elsewhere: list[Settlement] = []
        self._in_log: deque[Promises] = deque()
        self._latency = Latency()
        self._announced: int | None = None
        self._may_expire = EXPIRED_AT_ONCE_MAX
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
                messages = await self._inbox.next()
                at = self._clock.moment()
                self._may_expire = EXPIRED_AT_ONCE_MAX
                for message in messages:
                    self._on(message, at)
                self._carry_out()
        finally:
            self._end()

    def _on(self, message: InflightMessage, at: Moment) -> None:
        match message:
            case Grant():
                self._grant(message, at)
            case Acknowledge(request):
                self._acknowledge(request, at)
            case Committed():
                self._committed(message, at)
            case Withdrawn(settlements, given_up):
                self._withdrawn(settlements, given_up)
            case Nack():
                self._nack(message, at)
            case Extend():
                self._extend(message, at)
            case Release(receipts):
                self._release(receipts, at)
            case Expire():
                self._expire(at)
            case Inspect(reply):
                reply.set(self._view(at))
            case Stop():
                self._stopping = True
            case _:
                assert_never(message)

    def _row_of(self, number: int) -> Row:
        row = self._register.get(number)
        if row is None:
            raise KeyError(number)
        return row

    def _topic_of(self, row: Row) -> str:
        return self._register.topics.name(row.topic)

    def _find(self, receipt: str) -> Lease | None:
        claim = self._receipts.read(receipt)
        return None if claim is None else self._custody.leases.find(*claim)

    # Each of these changes the state at once and leaves the answer for when the log has it.
    # The log keeps the order, so whatever happens next to the same event is behind it.

    def _grant(self, message: Grant, at: Moment) -> None:
        leases = self._custody.lease(message.events, message.poll.consumer, at)
        deliveries = tuple(
            self._delivery(lease, row, payload)
            for (lease, row), payload in zip(leases, message.payloads, strict=True)
        )
        self._promises.granted.append((message.poll, deliveries))

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
            self._custody.leases.remove(lease.number)
            self._credit.give_back()
            if lease.since:
                self._latency.add(lease.since, at.now)
            self._settle(settlement)

    def _withdrawn(self, settlements: Sequence[Settlement], given_up: Sequence[bool]) -> None:
        for settlement, is_ours in zip(settlements, given_up, strict=True):
            if is_ours:
                self._settle(settlement)
            else:
                self._settlements.end(settlement, NOT_HELD)

    def _settle(self, settlement: Settlement) -> None:
        number, _ = settlement.claim
        self._custody.settle(number)
        self._promises.settled.append(settlement)

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
        self._promises.nacked.append((message.reply, tuple(answers)))

    def _extend(self, message: Extend, at: Moment) -> None:
        answers: list[Extension | NoSuchLease] = []
        for receipt in message.receipts:
            lease = self._find(receipt)
            if lease is None:
                answers.append(NoSuchLease(receipt))
            else:
                deadline = self._custody.extend(lease, message.length_ms, at)
                answers.append(Extension(receipt, deadline))
        self._promises.extended.append((message.reply, tuple(answers)))

    def _release(self, receipts: Iterable[str], at: Moment) -> None:
        for receipt in receipts:
            lease = self._find(receipt)
            if lease is not None:
                self._custody.release(lease, at)
                self._credit.give_back()

    def _expire(self, at: Moment) -> None:
        # If more have run out than this, the reaper is told so at once and comes again.
        self._announced = None
        expired = self._custody.expire(at, self._may_expire)
        self._may_expire -= expired
        self._credit.give_back(expired)

    # To the log, and back

    def _carry_out(self) -> None:
        """Send one step's facts to the log together and its events to their next place."""
        self._send_moves()
        if self._elsewhere:
            # After the moves: a lease that ran out or was released in this very step, too,
            # leaves its event with the queue and its receipt good.
            self._look_elsewhere()
        if self._credit.wanted and self._credit.free:
            self._queue.promote()  # polls that wait because all leases were out
        deadline = self._custody.leases.next_deadline()
        if deadline is not None and (self._announced is None or deadline < self._announced):
            self._announced = deadline
            self._reaper.wake_at(deadline)

    def _look_elsewhere(self) -> None:
        """Ask the queue for events that wait and whose old receipts were acknowledged."""
        asked: list[Settlement] = []
        for settlement in self._elsewhere:
            row = self._register.get(settlement.claim[0])
            if row is not None and row.place == Place.WAITING:
                asked.append(settlement)
            else:
                self._settlements.end(settlement, NOT_HELD)
        self._elsewhere = []
        if asked and not self._queue.withdraw(asked):
            self._withdrawn(asked, [False] * len(asked))

    def _send_moves(self) -> None:
        moves = self._custody.take_moves()
        if moves.facts or self._promises:
            promises, self._promises = self._promises, Promises()
            self._in_log.append(promises)
            cold = [number for _, number in promises.cold]
            sync = self._sync_default and promises.durable
            self._wal.append(moves.facts, sync=sync, load=cold, to=self._mailbox)
        if moves.waiting:
            self._queue.give_back(moves.waiting)
        if moves.dead:
            self._dead_letters.bury(moves.dead)

    def _committed(self, message: Committed, at: Moment) -> None:
        promises = self._in_log.popleft()  # commits end in the order of their submission
        if message.failure is not None:
            promises.fail(message.failure, self._settlements)
            return
        unread = promises.keep(message.payloads, self._settlements)
        self._release([delivery.receipt for delivery in unread], at)

    def _delivery(self, lease: Lease, row: Row, payload: bytes | None) -> Delivery:
        """Say what the consumer gets; a payload that is not at hand is read with the commit."""
        number = lease.number
        delivery = Delivery(
            receipt=self._receipts.write(number, lease.stamp),
            id=self._naming.id_of(number, row),
            topic=self._topic_of(row),
            timestamp=row.timestamp,
            retries=row.retries,
            payload=payload or b"",
            expires_at=self._clock.to_trio(lease.deadline),
        )
        if payload is None:
            self._promises.cold.append((delivery, number))
        return delivery

    def _view(self, at: Moment) -> InflightView:
        return InflightView(
            leases=tuple(
                self._show(lease, at) for lease in islice(self._custody.leases, LEASES_SHOWN_MAX)
            ),
            count=len(self._custody.leases),
            processing_ms_avg=self._latency.mean,
            processing_ms_max=float(self._latency.longest),
        )

    def _show(self, lease: Lease, at: Moment) -> LeaseView:
        row = self._row_of(lease.number)
        event_id = self._naming.id_of(lease.number, row)
        return LeaseView(event_id, at.to_wall(lease.deadline), row.retries)

    def _end(self) -> None:
        """Answer everybody who still waits, rather than leave them waiting."""
        for message in self._inbox.close():
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
        for promises in (*self._in_log, self._promises):
            promises.fail(failure, self._settlements)
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
    naming: Naming,
    receipts: Receipts,
    sync_default: bool,
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
        naming: knows event ids.
        receipts: writes and reads receipts.
        sync_default: whether settlements are forced to the disk before their answer.
        leases: what was leased when the last process ended, in engine time.
    """
    actor = _InflightActor(
        mailbox,
        wal=wal,
        queue=queue,
        dead_letters=dead_letters,
        reaper=reaper,
        credit=credit,
        boot=boot,
        policy=policy,
        clock=clock,
        naming=naming,
        receipts=receipts,
        sync_default=sync_default,
    )
    actor.restore(leases)
    port = InflightPort(mailbox)
    async with running(actor.run, port.stop):
        yield port
