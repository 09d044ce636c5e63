"""The inflight tracker alone: its neighbours are mailboxes that the test reads and answers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import attrs
import pytest
import trio

from actors.backoff import Backoff
from actors.broker import (
    Acknowledgement,
    Consumer,
    Delivery,
    Extension,
    NoSuchLease,
    OutcomeUnknown,
    Trouble,
    Unavailable,
)
from actors.clock import Clock
from actors.credits import Credits
from actors.custody import DeliveryPolicy
from actors.dead_letters_port import Bury, DeadLettersMessage, DeadLettersPort
from actors.ids import EventIds
from actors.inbox import STEP_MAX
from actors.inflight import EXPIRED_AT_ONCE_MAX, LEASES_SHOWN_MAX, open_inflight
from actors.inflight_port import ExtendReply, InflightMessage, InflightPort, NackReply
from actors.leases import Lease
from actors.mailbox import Mailbox
from actors.naming import Naming
from actors.polls import Poll
from actors.queue_port import GiveBack, Promote, QueueMessage, QueuePort, Withdraw
from actors.reaper_port import ReaperMessage, ReaperPort, WakeAt
from actors.receipts import Receipts
from actors.reply import Reply
from actors.settlement import NOT_HELD, AcknowledgeRequest
from actors.waiting import Waiting
from actors.wal_port import Append, Committed, WalMessage, WalWriter
from persistence.entry import ConsumerKind, Place, Stamp
from persistence.facts import Dead, Extended, Leased, ReturnCause, Returned, Settled
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

AcknowledgeReply: TypeAlias = Reply[tuple[Acknowledgement, ...] | Trouble]
PollReply: TypeAlias = Reply[tuple[Delivery, ...] | Trouble]

BOOT = 7
RECEIPTS = Receipts(KEY)


@attrs.define(eq=False)
class House:
    """The inflight tracker, a log, and the mailboxes of those it talks to."""

    inflight: InflightPort
    past: Past
    log: Mailbox[WalMessage]
    queue: Mailbox[QueueMessage]
    dead_letters: Mailbox[DeadLettersMessage]
    reaper: Mailbox[ReaperMessage]
    credit: Credits
    clock: Clock

    def event(self, number: int, topic: str = "", **past: Any) -> Waiting:
        return self.past.event(number, topic, **past)

    def grant(
        self,
        *events: Waiting,
        consumer: Consumer | None = None,
        payloads: Sequence[bytes | None] | None = None,
    ) -> Poll:
        poll = Poll(None, 10, True, consumer or Consumer(), PollReply())
        self.credit.force(len(events))
        self.inflight.grant(poll, events, payloads or [None for _ in events])
        return poll

    async def commit(self, failure: str | None = None) -> Append:
        """Answer the oldest append as the WAL writer would."""
        await idle()
        append = taken(self.log, Append)
        answer = committed(self.past, append) if failure is None else Committed(failure=failure)
        append.answer(answer)
        await idle()
        return append

    async def delivered(self, *events: Waiting) -> list[Delivery]:
        poll = self.grant(*events)
        await self.commit()
        deliveries = poll.reply.get()
        assert isinstance(deliveries, tuple)
        return list(deliveries)

    def acknowledge(self, *receipts: str) -> AcknowledgeReply:
        reply = AcknowledgeReply()
        self.inflight.acknowledge(AcknowledgeRequest(receipts, reply))
        return reply

    def nack(self, *receipts: str, requeue: bool = True, delay_ms: int | None = None) -> NackReply:
        reply = NackReply()
        self.inflight.nack(receipts, reply, requeue=requeue, delay_ms=delay_ms, error="bad")
        return reply

    def extend(self, *receipts: str, length_ms: int | None = None) -> ExtendReply:
        reply = ExtendReply()
        self.inflight.extend(receipts, reply, length_ms=length_ms)
        return reply

    async def leases(self) -> int:
        return (await self.inflight.inspect()).count


@asynccontextmanager
async def open_house(
    past: Past | None = None,
    *,
    leases: Sequence[Lease] = (),
    max_retries: int = 2,
    sync_default: bool = True,
) -> AsyncIterator[House]:
    past = past or Past()
    box, log = Mailbox[InflightMessage]("inflight", 200), Mailbox[WalMessage]("wal", 100)
    queue, reaper = Mailbox[QueueMessage]("queue", 100), Mailbox[ReaperMessage]("reaper", 100)
    dead_letters, credit = Mailbox[DeadLettersMessage]("dead_letters", 100), Credits(100)
    clock = engine_clock()
    async with open_inflight(
        box,
        wal=WalWriter(log, past.log, wall),
        queue=QueuePort(queue),
        dead_letters=DeadLettersPort(dead_letters),
        reaper=ReaperPort(reaper),
        credit=credit,
        boot=BOOT,
        policy=DeliveryPolicy(10_000, max_retries, Backoff(1000, 30_000, 2.0)),
        clock=clock,
        naming=Naming(EventIds(KEY), past.register),
        receipts=RECEIPTS,
        sync_default=sync_default,
        leases=leases,
    ) as inflight:
        yield House(inflight, past, log, queue, dead_letters, reaper, credit, clock)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with trio.CancelScope() as scope:
        async with open_house() as house:
            yield house
            scope.cancel()  # what a test leaves in the log is nobody's business


# Leases


async def test_a_lease_is_written_before_its_reply_leaves(house: House) -> None:
    jump(250)
    worker = Consumer(ConsumerKind.WORKER, "w")
    event = house.event(5, "t", retries=1, stamp=Stamp(3, 8))
    poll = house.grant(event, consumer=worker, payloads=[b'{"n":5}'])
    await idle()
    assert not poll.reply.is_set
    append = await house.commit()
    (fact,) = append.facts
    assert isinstance(fact, Leased)
    assert not append.sync
    assert (fact.stamp, fact.deadline) == (Stamp(BOOT, 9), NOW + 10_250)
    assert (fact.kind, fact.consumer) == (ConsumerKind.WORKER, "w")
    (delivery,) = poll.reply.get()  # type: ignore[misc]
    assert isinstance(delivery, Delivery)
    assert RECEIPTS.read(delivery.receipt) == (5, Stamp(BOOT, 9))
    assert EventIds(KEY).number(delivery.id) == 5
    assert (delivery.topic, delivery.payload, delivery.retries) == ("t", b'{"n":5}', 1)
    assert delivery.timestamp == NOW
    assert delivery.expires_at == pytest.approx(trio.current_time() + 10)
    assert taken(house.reaper, WakeAt).at == NOW + 10_250


async def test_grants_of_one_wake_up_go_to_the_log_as_one(house: House) -> None:
    polls = [house.grant(house.event(1), house.event(2)), house.grant(house.event(3))]
    append = await house.commit()
    assert numbers(append.facts) == [1, 2, 3]
    assert house.log.waiting == 0
    assert [len(poll.reply.get()) for poll in polls] == [2, 1]  # type: ignore[arg-type]


async def test_payloads_that_are_not_at_hand_are_read_with_the_commit(house: House) -> None:
    one, two, three = (house.event(n, payload=b"cold %d" % n) for n in (1, 2, 3))
    first = house.grant(one, two, payloads=[None, b"warm"])
    second = house.grant(three)
    append = await house.commit()
    assert append.load == [1, 3]
    answers = [*first.reply.get(), *second.reply.get()]  # type: ignore[misc]
    assert [one.payload for one in answers] == [b"cold 1", b"warm", b"cold 3"]


async def test_an_imported_event_is_delivered_under_the_id_that_it_came_with(
    house: House,
) -> None:
    (delivery,) = await house.delivered(house.event(1, foreign_id="order-17"))
    assert delivery.id == "order-17"
    (lease,) = (await house.inflight.inspect()).leases
    assert lease.id == "order-17"


async def test_a_lease_whose_poll_was_abandoned_goes_back_at_once(house: House) -> None:
    one = house.event(1, due=NOW - 9)
    poll = house.grant(one)
    poll.reply.abandoned = True
    await house.commit()
    assert taken(house.queue, GiveBack).events == [one]
    (fact,) = taken(house.log, Append).facts
    assert isinstance(fact, Returned)
    assert fact.cause is ReturnCause.RELEASED
    assert (fact.retries, fact.due) == (0, NOW - 9)
    assert house.past.row(1).receipt_open
    assert house.credit.taken == 0
    assert await house.leases() == 0


# Acknowledgements


async def test_an_acknowledgement_is_answered_after_it_is_on_disk(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    jump(40)
    reply = house.acknowledge(delivery.receipt)
    await idle()
    assert not reply.is_set
    assert await house.leases() == 0
    assert house.credit.taken == 0
    append = await house.commit()
    assert append.sync
    assert [type(fact) for fact in append.facts] == [Settled]
    assert reply.get() == (Acknowledgement(delivery.receipt),)
    view = await house.inflight.inspect()
    assert (view.processing_ms_avg, view.processing_ms_max) == (40.0, 40.0)


async def test_what_the_settings_do_not_want_forced_to_the_disk_is_not() -> None:
    async with open_house(sync_default=False) as house:
        first, second = await house.delivered(house.event(1), house.event(2))
        replies: list[Reply[Any]] = [
            house.acknowledge(first.receipt),
            house.nack(second.receipt),
        ]
        assert not (await house.commit()).sync
        assert all(reply.is_set for reply in replies)


async def test_concurrent_acknowledgements_of_one_receipt_share_one_result(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    replies = [house.acknowledge(delivery.receipt)]
    await idle()
    replies.append(house.acknowledge(delivery.receipt, delivery.receipt))
    await idle()
    assert not any(reply.is_set for reply in replies)
    append = await house.commit()
    assert len(append.facts) == 1
    done = Acknowledgement(delivery.receipt)
    assert [reply.get() for reply in replies] == [(done,), (done, done)]
    assert house.queue.waiting == 0


async def test_concurrent_acknowledgements_share_a_failure_as_well(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    replies = [house.acknowledge(delivery.receipt) for _ in range(2)]
    await house.commit(failure="the disk broke")
    assert [reply.get() for reply in replies] == [OutcomeUnknown("the disk broke")] * 2


async def test_a_receipt_that_is_not_ours_is_not_held_and_the_others_count(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    reply = house.acknowledge("nonsense", delivery.receipt)
    await house.commit()
    assert reply.get() == (
        Acknowledgement("nonsense", NOT_HELD),
        Acknowledgement(delivery.receipt),
    )


async def test_a_stale_receipt_never_settles_a_later_lease(house: House) -> None:
    one = house.event(1)
    (first,) = await house.delivered(one)
    house.inflight.release([first.receipt])
    await house.commit()
    all_taken(house.queue)
    (second,) = await house.delivered(one)
    reply = house.acknowledge(first.receipt)
    nack, extend = house.nack(first.receipt), house.extend(first.receipt)
    await house.commit()
    # The queue is not asked: the event was handed out again.
    assert house.queue.waiting == 0
    assert reply.get() == (Acknowledgement(first.receipt, NOT_HELD),)
    assert nack.get() == (NoSuchLease(first.receipt),)
    assert extend.get() == (NoSuchLease(first.receipt),)
    assert await house.leases() == 1
    settled = house.acknowledge(second.receipt)
    await house.commit()
    assert settled.get() == (Acknowledgement(second.receipt),)


async def test_an_open_receipt_settles_its_event_where_it_waits(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    house.inflight.release([delivery.receipt])
    await house.commit()
    all_taken(house.queue)
    replies = [house.acknowledge(delivery.receipt)]
    await idle()
    replies.append(house.acknowledge(delivery.receipt))
    await idle()
    (settlement,) = taken(house.queue, Withdraw).settlements
    assert settlement.claim == (1, Stamp(BOOT, 1))
    assert house.queue.waiting == 0
    house.inflight.withdrawn([settlement], [True])
    await idle()
    assert not replies[0].is_set
    append = await house.commit()
    assert append.sync
    assert [type(fact) for fact in append.facts] == [Settled]
    assert [reply.get() for reply in replies] == [(Acknowledgement(delivery.receipt),)] * 2
    assert house.credit.taken == 0


@pytest.mark.parametrize("way", ["release", "timeout"])
async def test_a_receipt_acknowledged_in_the_instant_of_its_return_finds_its_event(
    house: House, way: str
) -> None:
    (delivery,) = await house.delivered(house.event(1))
    if way == "release":
        house.inflight.release([delivery.receipt])
    else:
        jump(10_000)
        house.inflight.expire()
    reply = house.acknowledge(delivery.receipt)
    await idle()
    # The queue must have the event before it is asked for it.
    back, asked = all_taken(house.queue)
    assert isinstance(back, GiveBack)
    assert isinstance(asked, Withdraw)
    await house.commit()
    house.inflight.withdrawn(asked.settlements, [True])
    append = await house.commit()
    assert [type(fact) for fact in append.facts] == [Settled]
    assert reply.get() == (Acknowledgement(delivery.receipt),)


async def test_a_queue_that_has_stopped_holds_nothing(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    house.inflight.release([delivery.receipt])
    await house.commit()
    house.queue.close()
    reply = house.acknowledge(delivery.receipt)
    await idle()
    assert reply.get() == (Acknowledgement(delivery.receipt, NOT_HELD),)


async def test_an_acknowledged_receipt_is_not_held_any_more(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    house.acknowledge(delivery.receipt)
    await house.commit()
    again, nack, extend = (
        house.acknowledge(delivery.receipt),
        house.nack(delivery.receipt),
        house.extend(delivery.receipt),
    )
    await house.commit()
    assert house.queue.waiting == 0
    assert again.get() == (Acknowledgement(delivery.receipt, NOT_HELD),)
    assert nack.get() == (NoSuchLease(delivery.receipt),)
    assert extend.get() == (NoSuchLease(delivery.receipt),)


# Rejections


async def test_a_rejected_event_goes_back_with_backoff_and_the_answer_follows_the_disk(
    house: House,
) -> None:
    (delivery,) = await house.delivered(house.event(1, "t"))
    reply = house.nack(delivery.receipt, delivery.receipt, "nonsense")
    await idle()
    assert not reply.is_set
    assert taken(house.queue, GiveBack).events == [Waiting(1, NOW + 1000, "t")]
    row = house.past.row(1)
    assert (row.due, row.retries, row.receipt_open) == (NOW + 1000, 1, False)
    append = await house.commit()
    assert append.sync
    assert reply.get() == (
        delivery.receipt,
        NoSuchLease(delivery.receipt),
        NoSuchLease("nonsense"),
    )
    assert house.credit.taken == 0


async def test_a_rejection_without_requeue_goes_to_the_dead_letters(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    reply = house.nack(delivery.receipt, requeue=False)
    (fact,) = (await house.commit()).facts
    assert isinstance(fact, Dead)
    assert (fact.number, fact.reason, fact.error) == (1, "rejected", "bad")
    assert taken(house.dead_letters, Bury).numbers == [1]
    assert house.queue.waiting == 0
    assert reply.get() == (delivery.receipt,)


async def test_the_last_retry_goes_to_the_dead_letters(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1, retries=2, stamp=Stamp(1, 2)))
    house.nack(delivery.receipt)
    (fact,) = (await house.commit()).facts
    assert isinstance(fact, Dead)
    assert fact.reason == "max_retries_exceeded"
    assert taken(house.dead_letters, Bury).numbers == [1]


async def test_an_acknowledgement_behind_a_rejection_comes_too_late(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    house.nack(delivery.receipt)
    reply = house.acknowledge(delivery.receipt)
    await house.commit()
    house.inflight.withdrawn(all_taken(house.queue)[-1].settlements, [False])
    await idle()
    assert reply.get() == (Acknowledgement(delivery.receipt, NOT_HELD),)


# Extensions


async def test_an_extension_is_written_and_answered_with_the_deadline_on_the_wall(
    house: House,
) -> None:
    first, second = await house.delivered(house.event(1), house.event(2))
    all_taken(house.reaper)
    jump(1000)
    reply = house.extend(first.receipt, "nonsense", second.receipt, length_ms=500)
    await idle()
    assert not reply.is_set
    append = await house.commit()
    assert not append.sync
    assert [type(fact) for fact in append.facts] == [Extended, Extended]
    assert reply.get() == (
        Extension(first.receipt, NOW + 1500),
        NoSuchLease("nonsense"),
        Extension(second.receipt, NOW + 1500),
    )
    assert [message.at for message in all_taken(house.reaper)] == [NOW + 1500]


async def test_an_extended_lease_does_not_run_out_at_its_first_deadline(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    jump(9000)
    house.extend(delivery.receipt)
    await house.commit()
    jump(1000)
    house.inflight.expire()
    assert await house.leases() == 1
    jump(9000)
    house.inflight.expire()
    assert await house.leases() == 0


# Leases that run out


async def test_leases_that_ran_out_go_back_without_backoff(house: House) -> None:
    first, third = house.event(1), house.event(3)
    second = house.event(2, retries=2, stamp=Stamp(1, 2))
    await house.delivered(first, second)
    assert taken(house.reaper, WakeAt).at == NOW + 10_000
    jump(5000)
    await house.delivered(third)
    assert house.reaper.waiting == 0
    jump(5000)
    house.inflight.expire()
    append = await house.commit()
    assert not append.sync
    assert [type(fact) for fact in append.facts] == [Returned, Dead]
    assert taken(house.queue, GiveBack).events == [Waiting(1, NOW + 10_000, "")]
    assert (house.past.row(1).due, house.past.row(1).retries) == (NOW + 10_000, 1)
    assert taken(house.dead_letters, Bury).numbers == [2]
    assert house.past.row(2).place == Place.DEAD
    assert house.credit.taken == 1
    assert taken(house.reaper, WakeAt).at == NOW + 15_000


async def test_a_tick_too_early_is_followed_by_the_announcement_of_what_comes_next(
    house: House,
) -> None:
    await house.delivered(house.event(1))
    all_taken(house.reaper)
    jump(9999)
    house.inflight.expire()
    await idle()
    assert taken(house.reaper, WakeAt).at == NOW + 10_000
    assert house.queue.waiting == 0


async def test_a_late_acknowledgement_counts_while_nobody_noticed_the_deadline(
    house: House,
) -> None:
    (delivery,) = await house.delivered(house.event(1))
    jump(20_000)
    reply = house.acknowledge(delivery.receipt)
    await house.commit()
    assert reply.get() == (Acknowledgement(delivery.receipt),)


async def test_when_very_many_leases_run_out_at_once_others_are_served_in_between(
    house: House,
) -> None:
    count = EXPIRED_AT_ONCE_MAX * 5 // 2
    await house.delivered(*map(house.event, range(1, count + 1)))
    house.credit.give_back(count - 100)  # this house has a hundred
    house.credit.force(count - 100)
    all_taken(house.reaper)
    jump(10_000)
    left = []
    for _ in range(4):
        house.inflight.expire()
        house.inflight.expire()  # a second tick in the same instant does no more
        await idle()
        left.append(await house.leases())
        # More have run out already: the reaper is to come again at once.
        wakes = [message.at for message in all_taken(house.reaper)]
        assert (wakes == [NOW + 10_000]) is (left[-1] > 0)
    assert left == [count - EXPIRED_AT_ONCE_MAX, count - 2 * EXPIRED_AT_ONCE_MAX, 0, 0]
    back = [event for message in all_taken(house.queue) for event in message.events]
    assert sorted(numbers(back)) == list(range(1, count + 1))
    assert house.credit.taken == 0
    all_taken(house.log)


async def test_very_many_receipts_that_come_together_do_not_keep_others_waiting(
    house: House,
) -> None:
    deliveries = await house.delivered(*map(house.event, range(1, 5)))
    nonsense = ["nonsense"] * STEP_MAX
    replies = [house.nack(one.receipt, *nonsense) for one in deliveries]
    await idle()
    # The tracker submits after each step, and everybody else has had a turn.
    assert house.log.waiting == 4
    for _ in range(4):
        await house.commit()
    assert all(reply.is_set for reply in replies)


# Releases


async def test_a_released_event_regains_its_place_and_the_rest_stays(house: House) -> None:
    first, second = house.event(1, due=NOW - 5), house.event(2)
    deliveries = await house.delivered(first, second)
    house.inflight.release([deliveries[0].receipt, deliveries[0].receipt, "nonsense"])
    await idle()
    assert taken(house.queue, GiveBack).events == [first]
    assert (house.past.row(1).due, house.past.row(1).retries) == (NOW - 5, 0)
    append = await house.commit()
    assert [type(fact) for fact in append.facts] == [Returned]
    assert await house.leases() == 1
    assert house.credit.taken == 1


async def test_who_waits_for_a_lease_is_told_when_one_comes_back(house: House) -> None:
    (delivery,) = await house.delivered(house.event(1))
    house.credit.force(99)
    house.credit.wanted = True
    house.inflight.release(["nonsense"])
    await idle()
    assert house.queue.waiting == 0
    house.acknowledge(delivery.receipt)
    await idle()
    taken(house.queue, Promote)
    house.credit.wanted = False
    await house.commit()


# A failed log


async def test_when_the_log_fails_nobody_is_told_that_it_worked(house: House) -> None:
    first, second, third = await house.delivered(*map(house.event, (1, 2, 3)))
    poll = house.grant(house.event(4))
    replies: list[Reply[Any]] = [
        house.acknowledge(first.receipt),
        house.nack(second.receipt),
        house.extend(third.receipt),
    ]
    await house.commit(failure="the disk broke")
    unknown = OutcomeUnknown("the disk broke")
    assert [reply.get() for reply in replies] == [unknown] * 3
    assert poll.reply.get() == unknown


async def test_commits_are_answered_in_their_order(house: House) -> None:
    deliveries = await house.delivered(house.event(1), house.event(2))
    replies = []
    for delivery in deliveries:
        replies.append(house.acknowledge(delivery.receipt))
        await idle()
    await house.commit()
    assert [reply.is_set for reply in replies] == [True, False]
    await house.commit()
    assert [reply.is_set for reply in replies] == [True, True]


# A restart


async def test_a_restart_keeps_clients_leases_and_their_receipts() -> None:
    past = Past()
    held = past.lease(1, NOW + 300, delivery=4)
    async with open_house(past, leases=[held]) as house:
        assert taken(house.reaper, WakeAt).at == NOW + 300
        assert house.log.waiting == 0
        assert house.credit.taken == 1
        receipt = RECEIPTS.write(1, Stamp(1, 4))
        jump(50)
        reply = house.acknowledge(receipt)
        await house.commit()
        assert reply.get() == (Acknowledgement(receipt),)
        # Nobody knows since when it was out.
        assert (await house.inflight.inspect()).processing_ms_max == 0


async def test_a_receipt_whose_lease_a_power_cut_took_settles_and_does_nothing_else() -> None:
    past = Past()
    held = past.lease(1, NOW + 300, delivery=4)
    async with open_house(past, leases=[held]) as house:
        receipt = RECEIPTS.write(1, Stamp(1, 5))
        nack, extend = house.nack(receipt), house.extend(receipt)
        await house.commit()
        assert nack.get() == (NoSuchLease(receipt),)
        assert extend.get() == (NoSuchLease(receipt),)
        reply = house.acknowledge(receipt)
        await house.commit()
        assert reply.get() == (Acknowledgement(receipt),)
        assert house.credit.taken == 0


async def test_a_restart_fails_the_deliveries_of_lost_workers() -> None:
    past = Past()
    held = past.lease(1, NOW + 300, kind=ConsumerKind.WORKER)
    async with open_house(past, leases=[held]) as house:
        assert taken(house.queue, GiveBack).events == [Waiting(1, NOW + 1000, "")]
        assert (past.row(1).retries, past.row(1).due) == (1, NOW + 1000)
        (fact,) = (await house.commit()).facts
        assert isinstance(fact, Returned)
        assert fact.cause is ReturnCause.WORKER_LOST
        assert house.credit.taken == 0


# Figures and the end


async def test_the_list_of_leases_is_capped_and_their_count_is_not(house: House) -> None:
    await house.delivered(*map(house.event, range(1, LEASES_SHOWN_MAX + 21)))
    view = await house.inflight.inspect()
    assert view.count == LEASES_SHOWN_MAX + 20
    assert len(view.leases) == LEASES_SHOWN_MAX
    assert EventIds(KEY).number(view.leases[0].id) == 1
    assert view.leases[0].deadline == NOW + 10_000


async def test_leaving_waits_for_commits_and_withdrawals_that_are_under_way() -> None:
    async with open_house() as house:
        first, second = await house.delivered(house.event(1), house.event(2))
        house.inflight.release([second.receipt])
        await house.commit()
        all_taken(house.queue)
        replies = [house.acknowledge(first.receipt), house.acknowledge(second.receipt)]
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                await trio.sleep(1)
                await house.commit()
                await trio.sleep(1)
                house.inflight.withdrawn(taken(house.queue, Withdraw).settlements, [True])
                await idle()
                await trio.sleep(1)
                await house.commit()

            nursery.start_soon(answer)
            house.inflight.stop()
            await idle()
            assert not any(reply.is_set for reply in replies)
    assert trio.current_time() == 3
    assert [reply.get() for reply in replies] == [
        (Acknowledgement(first.receipt),),
        (Acknowledgement(second.receipt),),
    ]


async def test_after_the_end_everything_is_refused() -> None:
    async with open_house() as house:
        pass
    replies: list[Reply[Any]] = [
        house.acknowledge("x"),
        house.nack("x"),
        house.extend("x"),
        house.grant(house.event(1)).reply,
    ]
    for reply in replies:
        answer = reply.get()
        assert isinstance(answer, Unavailable)
        assert answer.code == "SHUTTING_DOWN"
    house.inflight.release(["x"])
    assert await house.leases() == 0


async def test_a_cancelled_tracker_answers_everybody() -> None:
    with trio.CancelScope() as scope:
        async with open_house() as house:
            first, second, third = await house.delivered(*map(house.event, (1, 2, 3)))
            house.inflight.release([third.receipt])
            await idle()
            in_log: list[Reply[Any]] = [
                house.acknowledge(first.receipt),
                house.nack(second.receipt),
                house.grant(house.event(4)).reply,
                house.acknowledge(third.receipt),
            ]
            await idle()
            scope.cancel()
            unread: list[Reply[Any]] = [
                house.acknowledge("x"),
                house.nack("x"),
                house.extend("x"),
                house.grant(house.event(5)).reply,
            ]
    assert all(isinstance(reply.get(), OutcomeUnknown) for reply in in_log)
    assert all(isinstance(reply.get(), Unavailable) for reply in unread)
