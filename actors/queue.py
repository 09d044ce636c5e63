"""The queue: the actor that owns what is ready or delayed, admits new events and serves polls."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from heapq import heapify, heappop, heapreplace
from typing import assert_never

import attrs

from actors.admission import Admission
from actors.backlog import Backlog
from actors.broker import TopicView
from actors.clock import Clock
from actors.credits import Credits
from actors.departures import Departures
from actors.inbox import Inbox
from actors.inflight_port import InflightPort
from actors.intake import Intake
from actors.mailbox import Mailbox
from actors.naming import Naming
from actors.payload_cache import PayloadCache
from actors.polls import ParkedPolls, Poll, PollState
from actors.put_off import PutOff
from actors.queue_port import (
    CloseIntake,
    Enqueue,
    Forget,
    GiveBack,
    Inspect,
    Promote,
    QueueMessage,
    QueuePort,
    QueueView,
    Stop,
    Take,
    Withdraw,
    weight,
)
from actors.reaper_port import ReaperPort
from actors.running import running
from actors.settlement import Settlement, may_settle
from actors.stopped import stopped
from actors.waiting import Waiting
from actors.wal_port import Committed, WalWriter

TOPICS_SHOWN_MAX = 1000

PROMOTED_AT_ONCE_MAX = 512
"""Events made ready in one step, however many are due: nobody else waits longer than for that."""


@attrs.frozen
class QueueLimits:
    """What the queue may hold; see `BrokerSettings`."""

    size: int
    open_bytes: int
    delivery_bytes: int
    payload_cache_bytes: int


class _QueueActor:
    def __init__(
        self,
        mailbox: Mailbox[QueueMessage],
        *,
        wal: WalWriter,
        inflight: InflightPort,
        reaper: ReaperPort,
        leases: Credits,
        limits: QueueLimits,
        clock: Clock,
        naming: Naming,
        sync_default: bool,
        backlog: Backlog,
        departures: Departures,
        put_off: PutOff,
        boot: int,
        next_number: int,
        last_event_at: int | None,
    ) -> None:
        self._mailbox = mailbox
        self._inbox = Inbox(mailbox, weight)
        self._wal = wal
        self._inflight = inflight
        self._reaper = reaper
        self._leases = leases
        self._limits = limits
        self._clock = clock
        self._backlog = backlog
        self._departures = departures
        self._put_off = put_off
        self._boot = boot
        self._cache = PayloadCache(limits.payload_cache_bytes)
        self._intake = Intake(
            wal=wal,
            admission=Admission(limits.size, limits.open_bytes),
            clock=clock,
            naming=naming,
            sync_default=sync_default,
            backlog=backlog,
            cache=self._cache,
            next_number=next_number,
            last_event_at=last_event_at,
        )
        self._polls = ParkedPolls()
        self._announced: int | None = None
        self._intake_open = True
        self._stopping = False

    async def run(self) -> None:
        """Serve messages until told to stop and nothing is under way."""
        try:
            self._announce()
            while not self._stopping or self._intake.under_way:
                for message in await self._inbox.next():
                    self._on(message)
                self._intake.submit(self._mailbox)
                self._announce()
        finally:
            self._end()

    def _on(self, message: QueueMessage) -> None:
        match message:
            case Enqueue() if self._intake_open:
                self._intake.admit(message)
            case Enqueue(reply=enqueue_reply):
                enqueue_reply.set(stopped())
            case Take(poll):
                self._take(poll)
            case Committed():
                self._serve(self._intake.committed(message))
            case GiveBack(events):
                self._gave_back(events)
            case Withdraw(settlements):
                self._inflight.withdrawn(settlements, list(map(self._give_up, settlements)))
            case Forget(poll):
                self._forget(poll)
            case Promote():
                self._promote()
            case Inspect(reply):
                reply.set(self._view())
            case CloseIntake():
                self._close_intake()
            case Stop():
                self._close_intake()
                self._stopping = True
            case _:
                assert_never(message)

    # Polls

    def _take(self, poll: Poll) -> None:
        if poll.state is not PollState.WAITING:
            return
        if not self._intake_open:
            poll.reply.set(stopped())
            return
        if self._leases.wanted:
            self._serve(())
        if self._backlog.has_ready(poll.topic) and self._grant(poll):
            return
        if poll.parks:
            self._polls.park(poll)
        else:
            poll.reply.set(())

    def _forget(self, poll: Poll) -> None:
        self._polls.leave(poll)
        if poll.state is PollState.OVER:
            poll.reply.set(())  # nobody reads it; the request's credit comes back

    def _serve(self, topics: Iterable[str]) -> None:
        """Hand events of these topics to the polls that wait for them, first come first served.

        Who had to wait because all leases were out waits for any topic that has events.
        """
        if self._leases.wanted:
            if not self._leases.free:
                return
            self._leases.wanted = False
            topics = [topic for topic, ready, _ in self._backlog.topics() if ready]
        firsts = [(topic, self._polls.first(topic)) for topic in (None, *topics)]
        lines = [(poll.ticket, topic) for topic, poll in firsts if poll is not None]
        heapify(lines)
        while lines:
            topic = lines[0][1]
            poll = self._polls.first(topic)
            if poll is None or not self._backlog.has_ready(topic):
                heappop(lines)
                continue
            if not self._grant(poll):
                return
            self._polls.leave(poll)
            following = self._polls.first(topic)
            if following is not None:
                heapreplace(lines, (following.ticket, topic))

    def _grant(self, poll: Poll) -> bool:
        """Send the next events to the inflight tracker; return False while leases are used up."""
        count = min(poll.max_events, self._leases.free)
        if count == 0:
            self._leases.wanted = True
            return False
        events = self._backlog.take(
            poll.topic, count, self._payload_size, self._limits.delivery_bytes
        )
        numbers = [event.number for event in events]
        self._leases.take(len(numbers))
        self._leave(numbers)
        poll.state = PollState.GRANTED
        self._inflight.grant(poll, events, [self._cache.take(number) for number in numbers])
        return True

    def _payload_size(self, number: int) -> int:
        row = self._wal.register.get(number)
        return 0 if row is None else row.payload_size

    def _close_intake(self) -> None:
        self._intake_open = False
        for poll in self._polls.in_order():
            self._polls.leave(poll)
            poll.give_up()
            poll.reply.set(())

    # What comes back, and what is asked back

    def _gave_back(self, events: Sequence[Waiting]) -> None:
        now = self._clock.now()
        self._departures.come_back(event.number for event in events)
        topics: dict[str, None] = {}
        for event in events:
            number, due, topic = event
            ready = self._backlog.add(topic, due, number, now)
            if ready:
                topics[topic] = None
            row = self._wal.register.get(number)
            if row is not None:
                self._put_off.came_back(event, row, ready=ready)
        self._serve(topics)

    def _give_up(self, settlement: Settlement) -> bool:
        """Part with the event of a settlement, if it is here and its receipt still open."""
        number, stamp = settlement.claim
        row = self._departures.waiting_row(number)
        if (
            row is None
            or number >= self._intake.settled_below
            or not may_settle(stamp, row, self._boot)
        ):
            return False
        due = self._put_off.due_of(number, row)
        delayed = due is not None and self._backlog.is_delayed(due, number)
        self._leave((number,))
        self._cache.take(number)
        self._backlog.withdraw(self._wal.register.topics.name(row.topic), delayed=delayed)
        return True

    def _leave(self, numbers: Sequence[int]) -> None:
        self._departures.leave(numbers)
        self._put_off.left(numbers)

    def _promote(self) -> None:
        self._announced = None
        # If more are due than this, the reaper is told so at once and comes again.
        topics, _ = self._backlog.promote(self._clock.now(), PROMOTED_AT_ONCE_MAX)
        self._serve(dict.fromkeys(topics))

    def _announce(self) -> None:
        """Tell the reaper about the earliest due time when it became earlier."""
        due = self._backlog.next_due()
        if due is not None and (self._announced is None or due < self._announced):
            self._announced = due
            self._reaper.wake_at(due)

    def _view(self) -> QueueView:
        topics = sorted(self._backlog.topics())[:TOPICS_SHOWN_MAX]
        return QueueView(
            ready=self._backlog.ready,
            delayed=self._backlog.delayed,
            admitted=self._intake.admitted,
            topics=tuple(TopicView(*topic) for topic in topics),
            parked_polls=len(self._polls),
            last_event_at=self._intake.last_event_at,
        )

    def _end(self) -> None:
        """Answer everybody who still waits, rather than leave them waiting."""
        for message in self._inbox.close():
            match message:
                case Enqueue(reply=reply):
                    reply.set(stopped())
                case Take(poll):
                    poll.reply.set(stopped())
                case Withdraw(settlements):
                    self._inflight.withdrawn(settlements, [False] * len(settlements))
                case Inspect(inspect_reply):
                    inspect_reply.set(self._view())
                case _:
                    pass
        for poll in self._polls.in_order():
            poll.reply.set(stopped())
        self._intake.end()


@asynccontextmanager
async def open_queue(
    mailbox: Mailbox[QueueMessage],
    *,
    wal: WalWriter,
    inflight: InflightPort,
    reaper: ReaperPort,
    leases: Credits,
    limits: QueueLimits,
    clock: Clock,
    naming: Naming,
    sync_default: bool,
    backlog: Backlog,
    departures: Departures,
    put_off: PutOff,
    boot: int,
    next_number: int = 1,
    last_event_at: int | None = None,
) -> AsyncIterator[QueuePort]:
    """Run the queue; on the way out it answers all polls and finishes what the log has.

    Args:
        mailbox: made by the caller, since the queue and the inflight tracker know each other.
        wal: where new events become durable.
        inflight: where events go that are handed out.
        reaper: who wakes the queue when delayed events are due.
        leases: how many events may be handed out at a time; the inflight tracker gives back.
        limits: what the queue may hold.
        clock: the engine's time.
        naming: knows event ids.
        sync_default: whether new events are forced to the disk before their answer unless their
            request says otherwise.
        backlog: what waited when the last process ended, due on the engine's time line.
        departures: which tells the backlog what still waits.
        put_off: tells when what was put off is due.
        boot: this process's boot number.
        next_number: the number of the next new event.
        last_event_at: when the newest event was accepted, wall time; None if there was none.
    """
    actor = _QueueActor(
        mailbox,
        wal=wal,
        inflight=inflight,
        reaper=reaper,
        leases=leases,
        limits=limits,
        clock=clock,
        naming=naming,
        sync_default=sync_default,
        backlog=backlog,
        departures=departures,
        put_off=put_off,
        boot=boot,
        next_number=next_number,
        last_event_at=last_event_at,
    )
    port = QueuePort(mailbox)
    async with running(actor.run, port.stop):
        yield port
