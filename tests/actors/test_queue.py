"""The queue alone: its neighbours are mailboxes that the test reads and answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import attrs
import pytest
import trio

from actors.broker import (
    Accepted,
    Consumer,
    Delivery,
    Durability,
    NewEvent,
    OutcomeUnknown,
    Rejected,
    TopicView,
    Trouble,
    Unavailable,
)
from actors.clock import Clock
from actors.credits import Credits
from actors.ids import EventIds
from actors.inbox import STEP_MAX
from actors.inflight_port import Grant, InflightMessage, InflightPort, Withdrawn
from actors.mailbox import Mailbox
from actors.naming import Naming
from actors.payload_cache import OVERHEAD
from actors.polls import Poll, PollState
from actors.queue import PROMOTED_AT_ONCE_MAX, QueueLimits, open_queue
from actors.queue_port import QueueMessage, QueuePort
from actors.reaper_port import ReaperMessage, ReaperPort, WakeAt
from actors.reply import Reply
from actors.restored import restore
from actors.settlement import Settlement
from actors.waiting import Waiting
from actors.wal_port import Append, Committed, WalMessage, WalWriter
from persistence.entry import Place, Stamp
from persistence.facts import Enqueued, Fact, Leased, ReturnCause, Returned, Settled
from tests.actors.samples import (
    KEY,
    NOW,
    Past,
    all_taken,
    committed,
    engine_clock,
    idle,
    jump,
    numbers,
    taken,
    wall,
)

EnqueueReply: TypeAlias = Reply[tuple[Accepted, ...] | Trouble]
PollReply: TypeAlias = Reply[tuple[Delivery, ...] | Trouble]

BOOT = 7


@attrs.define(eq=False)
class House:
    """The queue, a log, and the mailboxes of those it talks to."""

    queue: QueuePort
    past: Past
    wal: WalWriter
    log: Mailbox[WalMessage]
    inflight: Mailbox[InflightMessage]
    reaper: Mailbox[ReaperMessage]
    leases: Credits
    clock: Clock

    def publish(self, *events: NewEvent, durability: Durability | None = None) -> EnqueueReply:
        reply = EnqueueReply()
        self.queue.enqueue(events, reply, durability=durability)
        return reply

    def poll(self, topic: str | None = None, *, count: int = 10, parks: bool = True) -> Poll:
        poll = Poll(topic, count, parks, Consumer(), PollReply())
        self.queue.take(poll)
        return poll

    async def commit(self, failure: str | None = None) -> Append:
        """Answer the oldest append as the WAL writer would."""
        await idle()
        append = taken(self.log, Append)
        answer = committed(self.past, append) if failure is None else Committed(failure=failure)
        append.answer(answer)
        await idle()
        return append

    async def stored(self, *events: NewEvent) -> tuple[Accepted, ...]:
        reply = self.publish(*events)
        await self.commit()
        accepted = reply.get()
        assert isinstance(accepted, tuple)
        return accepted

    def grants(self) -> list[tuple[Poll, list[int]]]:
        messages = all_taken(self.inflight)
        assert all(isinstance(message, Grant) for message in messages)
        return [(grant.poll, numbers(grant.events)) for grant in messages]

    def write(self, *facts: Fact) -> None:
        """Submit facts as another actor does."""
        self.past.append(*facts)

    async def withdraw(self, number: int, stamp: Stamp) -> bool:
        assert self.queue.withdraw([Settlement((number, stamp))])
        await idle()
        (given_up,) = taken(self.inflight, Withdrawn).given_up
        return given_up


@asynccontextmanager
async def open_house(
    past: Past | None = None,
    *,
    size: int = 100,
    open_bytes: int = 1000,
    delivery_bytes: int = 1000,
    cache_bytes: int = 10_000,
    leases: int = 100,
    sync_default: bool = True,
) -> AsyncIterator[House]:
    past = past or Past()
    box, log = Mailbox[QueueMessage]("queue", 100), Mailbox[WalMessage]("wal", 100)
    inflight, reaper = Mailbox[InflightMessage]("inflight", 100), Mailbox[ReaperMessage]("r", 100)
    clock, credit, wal = engine_clock(), Credits(leases), WalWriter(log, past.log, wall)
    restored = restore(past.register, BOOT, clock.moment())
    async with open_queue(
        box,
        wal=wal,
        inflight=InflightPort(inflight),
        reaper=ReaperPort(reaper),
        leases=credit,
        limits=QueueLimits(size, open_bytes, delivery_bytes, cache_bytes),
        clock=clock,
        naming=Naming(EventIds(KEY), past.register),
        sync_default=sync_default,
        backlog=restored.backlog,
        departures=restored.departures,
        put_off=restored.put_off,
        boot=BOOT,
        next_number=1000,
    ) as queue:
        yield House(queue, past, wal, log, inflight, reaper, credit, clock)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with trio.CancelScope() as scope:
        async with open_house() as house:
            yield house
            scope.cancel()  # what a test leaves in the log is nobody's business


def new(topic: str = "", payload: bytes = b"{}") -> NewEvent:
    return NewEvent(payload, topic)


# Admission and the log


async def test_an_event_is_answered_and_handed_out_only_after_it_is_on_disk(house: House) -> None:
    poll = house.poll()
    reply = house.publish(new("a", b'{"n":1}'))
    await idle()
    assert not reply.is_set
    assert house.grants() == []

    append = await house.commit()
    (fact,) = append.facts
    assert isinstance(fact, Enqueued)
    assert append.new_events
    assert (fact.number, fact.topic, fact.payload) == (1000, "a", b'{"n":1}')
    assert (fact.timestamp, fact.due) == (NOW, NOW)
    assert reply.get() == (Accepted(EventIds(KEY).write(1000, NOW), NOW),)
    assert house.grants() == [(poll, [1000])]


async def test_requests_of_one_wake_up_go_to_the_log_as_one(house: House) -> None:
    replies = [house.publish(new()), house.publish(new(), new()), house.publish(new())]
    append = await house.commit()
    assert numbers(append.facts) == [1000, 1001, 1002, 1003]
    assert house.log.waiting == 0
    assert [len(reply.get()) for reply in replies] == [1, 2, 1]  # type: ignore[arg-type]


async def test_very_many_events_that_come_together_do_not_keep_others_waiting() -> None:
    async with open_house(size=5 * STEP_MAX, open_bytes=10**6) as house:
        replies = [house.publish(*[new()] * STEP_MAX) for _ in range(5)]
        await idle()
        # The queue submits after each step, and everybody else has had a turn.
        assert house.log.waiting == 5
        for _ in range(5):
            await house.commit()
        assert all(isinstance(reply.get(), tuple) for reply in replies)


async def test_a_queue_that_is_full_refuses_a_request_whole() -> None:
    async with open_house(size=3) as house:
        await house.stored(new(), new())
        refused = house.publish(new(), new())
        fits = house.publish(new())
        append = await house.commit()
        assert len(append.facts) == 1
        trouble = refused.get()
        assert isinstance(trouble, Unavailable)
        assert trouble.code == "QUEUE_FULL"
        assert isinstance(fits.get(), tuple)
        assert (await house.queue.inspect()).ready == 3
        refused = house.publish(new())
        await idle()
        assert isinstance(refused.get(), Unavailable)
        assert house.log.waiting == 0


async def test_events_on_their_way_to_the_disk_count_against_the_limit() -> None:
    async with open_house(size=2) as house:
        house.publish(new(), new())
        late = house.publish(new())
        await idle()
        assert isinstance(late.get(), Unavailable)
        assert (await house.queue.inspect()).admitted == 2
        await house.commit()
        view = await house.queue.inspect()
        assert (view.admitted, view.ready) == (0, 2)


async def test_a_batch_larger_than_the_queue_can_never_come_in() -> None:
    async with open_house(size=2) as house:
        reply = house.publish(new(), new(), new())
        await idle()
        assert isinstance(reply.get(), Rejected)


async def test_a_slow_disk_refuses_further_payloads() -> None:
    async with open_house(open_bytes=10) as house:
        house.publish(new(payload=b"123456"))
        reply = house.publish(new(payload=b"12345"))
        await idle()
        trouble = reply.get()
        assert isinstance(trouble, Unavailable)
        assert trouble.code == "BUSY"
        await house.commit()
        await house.stored(new(payload=b"12345"))


async def test_a_failed_commit_tells_every_request_and_keeps_no_event(house: House) -> None:
    first, second = house.publish(new()), house.publish(new(), new())
    await house.commit("the disk broke")
    assert first.get() == second.get() == OutcomeUnknown("the disk broke")
    view = await house.queue.inspect()
    assert (view.ready, view.admitted) == (0, 0)


async def test_what_comes_back_fits_into_a_full_queue() -> None:
    async with open_house(size=1) as house:
        await house.stored(new())
        house.queue.give_back([house.past.event(number) for number in (1, 2)])
        assert (await house.queue.inspect()).ready == 3


async def test_payloads_beyond_the_cache_are_left_to_the_log() -> None:
    async with open_house(cache_bytes=2 * OVERHEAD + 10) as house:
        await house.stored(new(payload=b"123456"), new(payload=b"12345"), new(payload=b"1234"))
        house.poll()
        await idle()
        assert taken(house.inflight, Grant).payloads == [b"123456", None, b"1234"]
        # What was handed out left the cache.
        await house.stored(new(payload=b"1234567890"))
        house.poll()
        await idle()
        assert taken(house.inflight, Grant).payloads == [b"1234567890"]


# How durable


@pytest.mark.parametrize("sync_default", [True, False])
@pytest.mark.parametrize("wish", [None, Durability.FSYNC, Durability.OS])
async def test_events_are_forced_to_the_disk_as_their_request_or_the_settings_say(
    sync_default: bool, wish: Durability | None
) -> None:
    async with open_house(sync_default=sync_default) as house:
        reply = house.publish(new(), durability=wish)
        append = await house.commit()
        synced = sync_default if wish is None else wish is Durability.FSYNC
        assert append.sync is synced
        (accepted,) = reply.get()  # type: ignore[misc]
        assert isinstance(accepted, Accepted)
        assert accepted.durability is (Durability.FSYNC if synced else Durability.OS)


async def test_one_request_that_wants_it_forces_all_of_its_wake_up_to_the_disk() -> None:
    async with open_house(sync_default=False) as house:
        replies = [house.publish(new()), house.publish(new(), durability=Durability.FSYNC)]
        assert (await house.commit()).sync
        for reply in replies:
            assert [one.durability for one in reply.get()] == [Durability.FSYNC]  # type: ignore[union-attr]


# A full disk


async def test_while_the_disk_is_full_new_events_are_refused_at_once(house: House) -> None:
    house.wal.full = "no room"
    reply = house.publish(new())
    await idle()
    assert reply.get() == Unavailable("STORAGE_FULL", "no room", 1000)
    assert house.log.waiting == 0
    house.wal.full = None
    assert len(await house.stored(new())) == 1


async def test_events_that_there_was_no_room_for_are_refused_and_never_were(
    house: House,
) -> None:
    refused = [house.publish(new("a")), house.publish(new("a"), new("b"))]
    await idle()
    append = taken(house.log, Append)
    assert house.past.numbers() == [1000, 1001, 1002]
    house.past.log.abandon()
    house.wal.full = "no room"
    append.answer(Committed(full=True))
    poll = house.poll()
    await idle()
    for reply in refused:
        assert reply.get() == Unavailable("STORAGE_FULL", "no room", 1000)
    view = await house.queue.inspect()
    assert (view.ready, view.admitted, view.topics) == (0, 0, ())
    assert view.last_event_at is None
    house.wal.full = None
    # Their numbers are never given to others.
    await house.stored(new())
    assert house.grants() == [(poll, [1003])]


# Polls


async def test_a_poll_that_does_not_park_is_answered_at_once(house: House) -> None:
    poll = house.poll(parks=False)
    await idle()
    assert poll.reply.get() == ()
    assert (await house.queue.inspect()).parked_polls == 0


async def test_a_poll_takes_what_is_there_up_to_its_count(house: House) -> None:
    await house.stored(*[new() for _ in range(5)])
    polls = house.poll(count=2), house.poll(count=2), house.poll(count=2), house.poll(count=2)
    await idle()
    assert house.grants() == [
        (polls[0], [1000, 1001]),
        (polls[1], [1002, 1003]),
        (polls[2], [1004]),
    ]
    assert [poll.state for poll in polls] == [PollState.GRANTED] * 3 + [PollState.WAITING]
    assert house.leases.taken == 5


async def test_one_answer_stops_before_the_byte_limit() -> None:
    async with open_house(delivery_bytes=10) as house:
        await house.stored(*[new(payload=b"12345") for _ in range(3)])
        poll = house.poll()
        await idle()
        assert house.grants() == [(poll, [1000, 1001])]


async def test_parked_polls_of_any_topic_and_of_one_are_served_in_arrival_order(
    house: House,
) -> None:
    polls = [house.poll(topic, count=1) for topic in ("a", None, "a", None)]
    await house.stored(*[new("a") for _ in range(4)])
    assert house.grants() == [
        (poll, [number]) for poll, number in zip(polls, range(1000, 1004), strict=True)
    ]


async def test_polls_are_served_in_arrival_order_over_the_topics_of_one_commit(
    house: House,
) -> None:
    first, second = house.poll("a"), house.poll()
    await house.stored(new("b"), new("a"))
    assert house.grants() == [(first, [1001]), (second, [1000])]


async def test_an_early_poll_for_any_topic_takes_before_a_later_one_for_a_topic(
    house: House,
) -> None:
    first, second, third = house.poll(), house.poll("a"), house.poll("b", count=1)
    await house.stored(new("b"), new("a"))
    assert house.grants() == [(first, [1000, 1001])]
    await house.stored(new("b"), new("a"), new("b"))
    assert house.grants() == [(second, [1003]), (third, [1002])]


async def test_a_poll_for_a_topic_is_not_held_up_by_other_topics(house: House) -> None:
    await house.stored(*[new("busy") for _ in range(20)], new("quiet"))
    poll = house.poll("quiet")
    await idle()
    assert house.grants() == [(poll, [1020])]


async def test_the_empty_topic_is_a_topic_of_its_own(house: House) -> None:
    await house.stored(new("a"), new(""))
    poll = house.poll("")
    await idle()
    assert house.grants() == [(poll, [1001])]


async def test_a_poll_that_gave_up_gets_nothing(house: House) -> None:
    gone, stays = house.poll(), house.poll()
    await idle()
    house.queue.forget(gone)
    await house.stored(new())
    assert house.grants() == [(stays, [1000])]
    assert gone.reply.get() == ()
    assert gone.state is PollState.OVER


async def test_a_poll_that_gave_up_before_it_was_read_gives_its_credit_back(house: House) -> None:
    await house.stored(new())
    places = Credits(1)
    places.take()
    poll = Poll(None, 10, True, Consumer(), PollReply(places))
    house.queue.take(poll)
    house.queue.forget(poll)
    await idle()
    assert house.grants() == []
    assert places.free == 1


async def test_forgetting_a_granted_poll_changes_nothing(house: House) -> None:
    await house.stored(new())
    poll = house.poll()
    await idle()
    house.queue.forget(poll)
    await idle()
    assert poll.state is PollState.GRANTED
    assert not poll.reply.is_set
    assert house.grants() == [(poll, [1000])]


# Leases that are used up


async def test_while_all_leases_are_out_polls_wait_and_are_served_at_the_next_tick() -> None:
    async with open_house(leases=2) as house:
        await house.stored(*[new() for _ in range(4)])
        first, second = house.poll(), house.poll()
        await idle()
        assert house.grants() == [(first, [1000, 1001])]
        house.queue.promote()
        await idle()
        assert house.grants() == []
        house.leases.give_back(1)
        house.queue.promote()
        await idle()
        assert house.grants() == [(second, [1002])]


async def test_who_waits_for_a_lease_is_served_before_who_comes_later() -> None:
    async with open_house(leases=1) as house:
        await house.stored(new("a"), new("b"), new("c"))
        house.poll("a")
        early, late = house.poll("b"), None
        await idle()
        house.grants()
        house.leases.give_back()
        late = house.poll("c")
        await idle()
        assert house.grants() == [(early, [1001])]
        assert not late.reply.is_set
        house.leases.give_back()
        house.queue.promote()
        await idle()
        assert house.grants() == [(late, [1002])]


async def test_those_who_wait_for_leases_are_served_in_arrival_order_over_topics() -> None:
    async with open_house(leases=1) as house:
        topics = ["f", "b", "e", "a", "d", "c"]
        await house.stored(new("x"), *[new(topic) for topic in sorted(topics)])
        house.poll("x")
        polls = [house.poll(topic) for topic in topics]
        await idle()
        house.grants()
        for poll in polls:
            house.leases.give_back()
            house.queue.promote()
            await idle()
            ((granted, _),) = house.grants()
            assert granted is poll


async def test_new_events_do_not_overtake_those_who_wait_for_leases() -> None:
    async with open_house(leases=1) as house:
        await house.stored(new("a"), new("b"))
        house.poll("a")
        early, late = house.poll("b"), house.poll("c")
        await idle()
        house.grants()
        house.leases.give_back()
        await house.stored(new("c"))
        assert house.grants() == [(early, [1001])]
        assert late.state is PollState.WAITING


# What comes back


async def test_what_comes_back_takes_its_place_by_its_due_time(house: House) -> None:
    jump(100)
    await house.stored(new())
    event = house.past.event
    house.queue.give_back([event(5, due=NOW + 50), event(6, due=NOW + 100), event(7)])
    poll = house.poll()
    await idle()
    assert house.grants() == [(poll, [7, 5, 6, 1000])]


async def test_a_delayed_event_is_announced_and_handed_out_when_it_is_due(house: House) -> None:
    poll = house.poll()
    house.queue.give_back([house.past.event(5, due=NOW + 500)])
    await idle()
    assert taken(house.reaper, WakeAt).at == NOW + 500
    view = await house.queue.inspect()
    assert (view.ready, view.delayed) == (0, 1)
    jump(499)
    house.queue.promote()
    await idle()
    assert house.grants() == []
    assert taken(house.reaper, WakeAt).at == NOW + 500
    jump(1)
    house.queue.promote()
    await idle()
    assert house.grants() == [(poll, [5])]
    assert house.reaper.waiting == 0


async def test_only_an_earlier_due_time_is_announced_again(house: House) -> None:
    for number, due in enumerate((500, 700, 300, 300), 1):
        house.queue.give_back([house.past.event(number, due=NOW + due)])
        await idle()
    assert [message.at for message in all_taken(house.reaper)] == [NOW + 500, NOW + 300]


async def test_a_ready_event_that_comes_back_wakes_the_poll_that_waits_for_it(
    house: House,
) -> None:
    poll = house.poll("a")
    house.queue.give_back([house.past.event(1, "b")])
    await idle()
    assert house.grants() == []
    house.queue.give_back([house.past.event(2, "a")])
    await idle()
    assert house.grants() == [(poll, [2])]


# Withdrawals


@pytest.mark.parametrize(
    ("stamp", "receipt_open", "claimed", "found"),
    [
        (Stamp(1, 2), True, Stamp(1, 2), True),
        (Stamp(1, 2), False, Stamp(1, 2), False),
        (Stamp(1, 2), True, Stamp(1, 1), False),
        # The lease was lost in a power cut, its receipt was not.
        (Stamp(1, 2), False, Stamp(1, 3), True),
        (Stamp(0, 0), False, Stamp(1, 1), True),
    ],
)
async def test_an_event_is_given_up_while_its_receipt_is_open(
    stamp: Stamp, receipt_open: bool, claimed: Stamp, found: bool
) -> None:
    past = Past()
    past.event(1, "a", stamp=stamp, receipt_open=receipt_open)
    async with open_house(past) as house:
        assert await house.withdraw(1, claimed) is found
        view = await house.queue.inspect()
        assert (view.ready, len(view.topics)) == ((0, 0) if found else (1, 1))


async def test_withdrawals_are_answered_in_their_order_each_event_once() -> None:
    past = Past()
    past.event(1, due=NOW + 500, stamp=Stamp(1, 1), retries=1)
    past.lease(2)
    async with open_house(past) as house:
        assert (await house.queue.inspect()).delayed == 1
        asked = [Settlement((number, Stamp(1, 2))) for number in (9, 2, 1, 1)]
        house.queue.withdraw(asked)
        await idle()
        answer = taken(house.inflight, Withdrawn)
        assert answer.settlements == asked
        assert answer.given_up == [False, False, True, False]
        assert (await house.queue.inspect()).delayed == 0


async def test_what_was_given_up_is_handed_out_no_more_before_and_after_its_end() -> None:
    past = Past()
    for number in (1, 2, 3):
        past.event(number, "a", stamp=Stamp(1, 1), receipt_open=True)
    async with open_house(past) as house:
        assert await house.withdraw(1, Stamp(1, 1))
        first = house.poll(count=1)
        await idle()
        house.write(Settled(1))
        second = house.poll()
        await idle()
        assert house.grants() == [(first, [2]), (second, [3])]


@pytest.mark.parametrize("delay_ms", [0, 10, 500])
@pytest.mark.parametrize("waits_already", [False, True])
async def test_an_event_whose_later_lease_was_lost_is_given_up_wherever_it_waits(
    delay_ms: int, waits_already: bool
) -> None:
    past = Past()
    stamp = Stamp(1, 2)
    if waits_already:
        past.event(1, "a", due=NOW + delay_ms, stamp=stamp, retries=1)
    past.event(2, "a", due=NOW + 20)
    async with open_house(past) as house:
        if not waits_already:
            # Its holder rejects it in this life, and the wall clock has been set since.
            past.event(1, "a", due=NOW + delay_ms + 3_600_000, stamp=stamp, retries=1)
            house.queue.give_back([Waiting(1, NOW + delay_ms, "a")])
        for number in range(3, 9):
            past.event(number, "a", due=NOW + 5)
            house.queue.give_back([Waiting(number, NOW + 5, "a")])
        jump(15)
        house.queue.promote()
        before = await house.queue.inspect()
        assert await house.withdraw(1, Stamp(2, 1))
        after = await house.queue.inspect()
        was_ready = delay_ms < 15
        assert before.ready - after.ready == was_ready
        assert before.delayed - after.delayed == (not was_ready)
        jump(1000)
        house.queue.promote()
        poll = house.poll()
        await idle()
        assert house.grants() == [(poll, [3, 4, 5, 6, 7, 8, 2])]


async def test_an_event_that_is_on_its_way_to_a_consumer_is_not_given_up(house: House) -> None:
    house.queue.give_back([house.past.event(1, stamp=Stamp(1, 1), receipt_open=True)])
    house.poll()
    await idle()
    assert house.past.row(1).place == Place.WAITING
    assert len(house.grants()) == 1
    assert not await house.withdraw(1, Stamp(1, 1))
    # It comes back, with another open receipt.
    stamp = Stamp(1, 2)
    house.write(Leased(1, NOW, 0, stamp, NOW, 10), Returned(1, NOW, 0, stamp, ReturnCause.RELEASED))
    house.queue.give_back([Waiting(1, NOW, "")])
    assert not await house.withdraw(1, Stamp(1, 1))
    assert await house.withdraw(1, stamp)


async def test_an_event_that_is_on_its_way_to_the_log_is_not_given_up(house: House) -> None:
    house.publish(new())
    await idle()
    assert house.past.row(1000).place == Place.WAITING
    assert not await house.withdraw(1000, Stamp(6, 9))
    await house.commit()
    assert await house.withdraw(1000, Stamp(6, 9))


# A restart


async def test_what_a_restart_gives_back_waits_as_before() -> None:
    past = Past()
    past.event(1, "b")
    past.event(2, "a")
    past.event(3, "a", due=NOW - 5, stamp=Stamp(1, 1), receipt_open=True)
    past.event(4, due=NOW + 9)
    async with open_house(past, size=1) as house:
        await idle()
        assert taken(house.reaper, WakeAt).at == NOW + 9
        view = await house.queue.inspect()
        assert (view.ready, view.delayed) == (3, 1)
        assert view.topics == (TopicView("", 0, 1), TopicView("a", 2, 0), TopicView("b", 1, 0))
        poll = house.poll()
        await idle()
        assert house.grants() == [(poll, [3, 1, 2])]


async def test_when_very_many_become_due_at_once_others_are_served_in_between() -> None:
    past = Past()
    count = PROMOTED_AT_ONCE_MAX * 5 // 2
    for number in range(1, count + 1):
        past.event(number, due=NOW + 100)
    async with open_house(past) as house:
        jump(100)
        seen = []
        for _ in range(4):
            house.queue.promote()
            seen.append((await house.queue.inspect()).ready)
            await idle()
            # More are due already: the reaper is to come again at once.
            wakes = [message.at for message in all_taken(house.reaper)]
            assert (NOW + 100 in wakes) is (seen[-1] < count)
        assert seen == [PROMOTED_AT_ONCE_MAX, 2 * PROMOTED_AT_ONCE_MAX, count, count]


# The end


async def test_closing_the_intake_wakes_polls_and_refuses_what_comes_later(house: House) -> None:
    parked = [house.poll(), house.poll("a")]
    await idle()
    house.queue.close_intake()
    late_poll, late_event = house.poll(), house.publish(new())
    await idle()
    assert [poll.reply.get() for poll in parked] == [(), ()]
    for answer in (late_poll.reply.get(), late_event.get()):
        assert isinstance(answer, Unavailable)
        assert answer.code == "SHUTTING_DOWN"
    # What consumers hold still comes back.
    house.queue.give_back([house.past.event(1)])
    assert (await house.queue.inspect()).ready == 1


async def test_leaving_waits_for_the_commits_that_are_under_way() -> None:
    async with open_house() as house:
        reply, also = house.publish(new()), None
        await idle()
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                await trio.sleep(3)
                await house.commit()
                await house.commit()

            nursery.start_soon(answer)
            also = house.publish(new())
            await idle()
            house.queue.stop()
            await idle()
            assert not reply.is_set
    assert trio.current_time() == 3
    assert isinstance(reply.get(), tuple)
    assert isinstance(also.get(), tuple)


async def test_after_the_end_everything_is_refused() -> None:
    async with open_house() as house:
        poll = house.poll()
        await idle()
    assert poll.reply.get() == ()
    for reply in (house.publish(new()), house.poll().reply):
        answer = reply.get()
        assert isinstance(answer, Unavailable)
        assert answer.code == "SHUTTING_DOWN"
    assert not house.queue.withdraw([Settlement((1, Stamp(1, 1)))])
    assert (await house.queue.inspect()).ready == 0


async def test_a_cancelled_queue_answers_everybody() -> None:
    with trio.CancelScope() as scope:
        async with open_house() as house:
            on_disk, poll = house.publish(new()), house.poll()
            await idle()
            scope.cancel()
            unread, unread_poll = house.publish(new()), house.poll()
            settlement = Settlement((1, Stamp(1, 1)))
            house.queue.withdraw([settlement])
    assert isinstance(on_disk.get(), OutcomeUnknown)
    for answer in (poll.reply.get(), unread.get(), unread_poll.reply.get()):
        assert isinstance(answer, Unavailable)
    assert taken(house.inflight, Withdrawn).given_up == [False]
