"""The queue: the actor that owns what is ready or delayed, admits new events and serves polls."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from heapq import heapify, heappop, heapreplace
from typing import assert_never

import attrs

from actors.admission import Admission
from actors.backlog import Backlog
from actors.broker import Accepted, OutcomeUnknown, TopicView
from actors.clock import Clock
from actors.credits import Credits
from actors.ids import EventIds
from actors.inflight_port import InflightPort
from actors.mailbox import Mailbox
from actors.polls import ParkedPolls, Poll, PollState
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
)
from actors.reaper_port import ReaperPort
from actors.running import running
from actors.stopped import stopped
from actors.wal_writer import Committed, WalWriter
from persistence.entry import Entry, Event, Stamp
from persistence.facts import Enqueued

TOPICS_SHOWN_MAX = 1000


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
        ids: EventIds,
        next_number: int,
        last_event_at: int | None,
    ) -> None:
        self._mailbox = mailbox
        self._wal = wal
        self._inflight = inflight
        self._reaper = reaper
        self._leases = leases
        self._admission = Admission(limits.size, limits.open_bytes)
        self._limits = limits
        self._clock = clock
        self._ids = ids
        self._next_number = next_number
        self._backlog = Backlog()
        self._polls = ParkedPolls()
        self._new: list[Enqueue] = []
        self._in_log: deque[list[Enqueue]] = deque()
        self._cached_bytes = 0
        self._announced: int | None = None
        self._last_event_at = last_event_at
        self._intake_open = True
        self._stopping = False

    def restore(self, entries: Iterable[Entry]) -> None:
        """Take over what waited when the last process ended.

        Args:
            entries: in the order of (due, number), due on the engine's time line.
        """
        now = self._clock.now()
        for entry in entries:
            if entry.due <= now:
                self._backlog.add_fresh(entry)
            else:
                self._backlog.add(entry, now)
        self._announce()

    async def run(self) -> None:
        """Serve messages until told to stop and nothing is under way."""
        try:
            while not self._stopping or self._in_log:
                for message in await self._mailbox.drain():
                    self._on(message)
                self._submit()
                self._announce()
        finally:
            self._end()

    def _on(self, message: QueueMessage) -> None:
        match message:
            case Enqueue():
                self._admit(message)
            case Take(poll):
                self._take(poll)
            case Committed():
                self._committed(message)
            case GiveBack(entries):
                self._gave_back(entries)
            case Withdraw(settlements):
                found = [self._withdraw(*settlement.claim) for settlement in settlements]
                self._inflight.withdrawn(settlements, found)
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

    # New events

    def _admit(self, request: Enqueue) -> None:
        """Take events in for the next commit, or refuse them: then nothing is kept of them."""
        if not self._intake_open:
            request.reply.set(stopped())
            return
        trouble = self._admission.admit(
            len(request.events), request.size, waiting=len(self._backlog)
        )
        if trouble is None:
            self._new.append(request)
        else:
            request.reply.set(trouble)

    def _submit(self) -> None:
        """Send all that one wake-up admitted to the log together."""
        if not self._new:
            return
        new, self._new = self._new, []
        now, timestamp = self._clock.moment()
        facts: list[Enqueued] = []
        for request in new:
            for event in request.events:
                stored = Event(
                    self._next_number, timestamp, event.topic, event.payload, len(event.payload)
                )
                self._next_number += 1
                request.entries.append(Entry(stored, now))
                facts.append(Enqueued(stored, timestamp))
        self._in_log.append(new)
        self._wal.append(facts, sync=True, to=self._mailbox)

    def _committed(self, message: Committed) -> None:
        """Make ready what is on disk now, then answer."""
        topics: dict[str, None] = {}
        for request in self._in_log.popleft():  # commits end in the order of their submission
            self._admission.over(len(request.entries), request.size)
            if message.failure is not None:
                request.reply.set(OutcomeUnknown(message.failure))
                continue
            for entry in request.entries:
                self._cache(entry)
                self._backlog.add_fresh(entry)
                topics[entry.event.topic] = None
            write = self._ids.write
            request.reply.set(
                tuple(
                    Accepted(write(e.event.number, e.event.timestamp), e.event.timestamp)
                    for e in request.entries
                )
            )
            self._last_event_at = request.entries[-1].event.timestamp
        self._serve(topics)

    def _cache(self, entry: Entry) -> None:
        """Keep the payload at hand for its delivery while there is room for it."""
        if self._cached_bytes + entry.event.payload_size <= self._limits.payload_cache_bytes:
            self._cached_bytes += entry.event.payload_size
        else:
            entry.event.payload = None

    def _uncache(self, entry: Entry) -> None:
        if entry.event.payload is not None:
            self._cached_bytes -= entry.event.payload_size

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
        entries = self._backlog.take(poll.topic, count, self._limits.delivery_bytes)
        self._leases.take(len(entries))
        for entry in entries:
            self._uncache(entry)
        poll.state = PollState.GRANTED
        self._inflight.grant(poll, entries)
        return True

    def _close_intake(self) -> None:
        self._intake_open = False
        for poll in self._polls.in_order():
            self._polls.leave(poll)
            poll.give_up()
            poll.reply.set(())

    # What comes back, and what is asked back

    def _gave_back(self, entries: Sequence[Entry]) -> None:
        now = self._clock.now()
        topics = {e.event.topic: None for e in entries if self._backlog.add(e, now)}
        self._serve(topics)

    def _withdraw(self, number: int, stamp: Stamp) -> Entry | None:
        entry = self._backlog.find(number)
        if entry is None or not _may_still_settle(entry, stamp):
            return None
        self._uncache(entry)
        return self._backlog.withdraw(number)

    def _promote(self) -> None:
        self._announced = None
        self._serve(dict.fromkeys(self._backlog.promote(self._clock.now())))

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
            admitted=self._admission.admitted,
            topics=tuple(TopicView(*topic) for topic in topics),
            parked_polls=len(self._polls),
            last_event_at=self._last_event_at,
        )

    def _end(self) -> None:
        """Answer everybody who still waits, rather than leave them waiting."""
        for message in self._mailbox.close():
            match message:
                case Enqueue(reply=reply):
                    reply.set(stopped())
                case Take(poll):
                    poll.reply.set(stopped())
                case Withdraw(settlements):
                    self._inflight.withdrawn(settlements, [None] * len(settlements))
                case Inspect(inspect_reply):
                    inspect_reply.set(self._view())
                case _:
                    pass
        for poll in self._polls.in_order():
            poll.reply.set(stopped())
        for request in self._new:
            request.reply.set(stopped())
        for requests in self._in_log:
            for request in requests:
                request.reply.set(OutcomeUnknown("The broker ended before the disk answered."))


def _may_still_settle(entry: Entry, stamp: Stamp) -> bool:
    """Tell whether the receipt of delivery `stamp` may acknowledge an event that waits.

    A receipt holds unless a later delivery of its event exists. One that is later than what the
    log knows was written before a power cut that took its lease, which is not synced, away.
    """
    return stamp > entry.stamp or (stamp == entry.stamp and entry.receipt_open)


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
    ids: EventIds,
    entries: Iterable[Entry] = (),
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
        ids: writes event ids.
        entries: what waited when the last process ended, in the order of (due, number).
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
        ids=ids,
        next_number=next_number,
        last_event_at=last_event_at,
    )
    actor.restore(entries)
    port = QueuePort(mailbox)
    async with running(actor.run, port.stop):
        yield port
