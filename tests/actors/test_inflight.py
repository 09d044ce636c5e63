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
from actors.inflight import LEASES_SHOWN_MAX, open_inflight
from actors.inflight_port import ExtendReply, InflightMessage, InflightPort, NackReply
from actors.mailbox import Mailbox
from actors.polls import Poll
from actors.queue_port import GiveBack, Promote, QueueMessage, QueuePort, Withdraw
from actors.reaper_port import ReaperMessage, ReaperPort, WakeAt
from actors.receipts import Receipts
from actors.reply import Reply
from actors.settlement import NOT_HELD, AcknowledgeRequest
from actors.wal_writer import Append, WalWriter
from persistence.entry import ConsumerKind, Entry, Lease, Stamp
from persistence.facts import Dead, Extended, Leased, ReturnCause, Returned, Settled
from tests.actors.samples import (
    KEY,
    NOW,
    all_taken,
    engine_clock,
    entry,
    idle,
    jump,
    lease,
    numbers,
    taken,
)

AcknowledgeReply: TypeAlias = Reply[tuple[Acknowledgement, ...] | Trouble]
PollReply: TypeAlias = Reply[tuple[Delivery, ...] | Trouble]

BOOT = 7
RECEIPTS = Receipts(KEY)


@attrs.define(eq=False)
class House:
    """The inflight tracker, and the mailboxes of those it talks to."""

    inflight: InflightPort
    wal: Mailbox[Any]
    queue: Mailbox[QueueMessage]
    dead_letters: Mailbox[DeadLettersMessage]
    reaper: Mailbox[ReaperMessage]
    credit: Credits
    clock: Clock

    def grant(self, *entries: Entry, consumer: Consumer | None = None) -> Poll:
        poll = Poll(None, 10, True, consumer or Consumer(), PollReply())
        self.credit.force(len(entries))
        self.inflight.grant(poll, entries)
        return poll

    async def commit(self, payloads: Sequence[bytes] = (), failure: str | None = None) -> Append:
        """Answer the oldest append as the log would."""
        await idle()
        append = taken(self.wal, Append)
        append.answer(list(payloads) or [b"{}" for _ in append.load], failure)
        await idle()
        return append

    async def delivered(self, *entries: Entry) -> list[Delivery]:
        poll = self.grant(*entries)
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
async def open_house(*, leases: Sequence[Lease] = (), max_retries: int = 2) -> AsyncIterator[House]:
    box, wal = Mailbox[InflightMessage]("inflight", 200), Mailbox[Any]("wal", 100)
    queue, reaper = Mailbox[QueueMessage]("queue", 100), Mailbox[ReaperMessage]("reaper", 100)
    dead_letters, credit = Mailbox[DeadLettersMessage]("dead_letters", 100), Credits(100)
    clock = engine_clock()
    async with open_inflight(
        box,
        wal=WalWriter(wal),
        queue=QueuePort(queue),
        dead_letters=DeadLettersPort(dead_letters),
        reaper=ReaperPort(reaper),
        credit=credit,
        boot=BOOT,
        policy=DeliveryPolicy(10_000, max_retries, Backoff(1000, 30_000, 2.0)),
        clock=clock,
        ids=EventIds(KEY),
        receipts=RECEIPTS,
        leases=leases,
    ) as inflight:
        yield House(inflight, wal, queue, dead_letters, reaper, credit, clock)


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
    poll = house.grant(entry(5, topic="t", payload=b'{"n":5}', retries=1), consumer=worker)
    await idle()
    assert not poll.reply.is_set
    append = await house.commit()
    (fact,) = append.facts
    assert isinstance(fact, Leased)
    assert not append.sync
    assert (fact.stamp, fact.deadline) == (Stamp(BOOT, 1), NOW + 10_250)
    assert (fact.kind, fact.consumer) == (ConsumerKind.WORKER, "w")
    (delivery,) = poll.reply.get()  # type: ignore[misc]
    assert isinstance(delivery, Delivery)
    assert RECEIPTS.read(delivery.receipt) == (5, Stamp(BOOT, 1))
    assert EventIds(KEY).number(delivery.id) == 5
    assert (delivery.topic, delivery.payload, delivery.retries) == ("t", b'{"n":5}', 1)
    assert delivery.timestamp == NOW
    assert delivery.expires_at == pytest.approx(trio.current_time() + 10)
    assert taken(house.reaper, WakeAt).at == NOW + 10_250


async def test_grants_of_one_wake_up_go_to_the_log_as_one(house: House) -> None:
    polls = [house.grant(entry(1), entry(2)), house.grant(entry(3))]
    append = await house.commit()
    assert numbers(append.facts) == [1, 2, 3]
    assert house.wal.waiting == 0
    assert [len(poll.reply.get()) for poll in polls] == [2, 1]  # type: ignore[arg-type]


async def test_payloads_that_are_not_at_hand_are_read_with_the_commit(house: House) -> None:
    first = house.grant(entry(1, payload=None), entry(2, payload=b"warm"))
    second = house.grant(entry(3, payload=None))
    append = await house.commit([b"cold 1", b"cold 3"])
    assert [event.number for event in append.load] == [1, 3]
    answers = [*first.reply.get(), *second.reply.get()]  # type: ignore[misc]
    assert [one.payload for one in answers] == [b"cold 1", b"warm", b"cold 3"]


async def test_a_payload_is_not_kept_after_its_delivery(house: House) -> None:
    one = entry(1, payload=b"x")
    (delivery,) = await house.delivered(one)
    assert delivery.payload == b"x"
    assert one.event.payload is None


async def test_a_lease_whose_poll_was_abandoned_goes_back_at_once(house: House) -> None:
    one = entry(1, due=NOW - 9)
    poll = house.grant(one)
    poll.reply.abandoned = True
    await house.commit()
    assert taken(house.queue, GiveBack).entries == [one]
    (fact,) = taken(house.wal, Append).facts
    assert isinstance(fact, Returned)
    assert fact.cause is ReturnCause.RELEASED
    assert (one.retries, one.due, one.receipt_open) == (0, NOW - 9, True)
    assert house.credit.taken == 0
    assert await house.leases() == 0


# Acknowledgements


async def test_an_acknowledgement_is_answered_after_it_is_on_disk(house: House) -> None:
    (delivery,) = await house.delivered(entry(1))
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


async def test_concurrent_acknowledgements_of_one_receipt_share_one_result(house: House) -> None:
    (delivery,) = await house.delivered(entry(1))
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
    (delivery,) = await house.delivered(entry(1))
    replies = [house.acknowledge(delivery.receipt) for _ in range(2)]
    await house.commit(failure="the disk broke")
    assert [reply.get() for reply in replies] == [OutcomeUnknown("the disk broke")] * 2


async def test_a_receipt_that_is_not_ours_is_not_held_and_the_others_count(house: House) -> None:
    (delivery,) = await house.delivered(entry(1))
    reply = house.acknowledge("nonsense", delivery.receipt)
    await house.commit()
    assert reply.get() == (
        Acknowledgement("nonsense", NOT_HELD),
        Acknowledgement(delivery.receipt),
    )


async def test_a_stale_receipt_never_settles_a_later_lease(house: House) -> None:
    one = entry(1)
    (first,) = await house.delivered(one)
    house.inflight.release([first.receipt])
    await house.commit()
    all_taken(house.queue)
    (second,) = await house.delivered(one)
    reply = house.acknowledge(first.receipt)
    nack, extend = house.nack(first.receipt), house.extend(first.receipt)
    await idle()
    # The queue does not have it: it was handed out again.
    asked = taken(house.queue, Withdraw).settlements
    house.inflight.withdrawn(asked, [None])
    await house.commit()
    await idle()
    assert reply.get() == (Acknowledgement(first.receipt, NOT_HELD),)
    assert nack.get() == (NoSuchLease(first.receipt),)
    assert extend.get() == (NoSuchLease(first.receipt),)
    assert await house.leases() == 1
    settled = house.acknowledge(second.receipt)
    await house.commit()
    assert settled.get() == (Acknowledgement(second.receipt),)


async def test_an_open_receipt_settles_its_event_where_it_waits(house: House) -> None:
    one = entry(1)
    (delivery,) = await house.delivered(one)
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
    house.inflight.withdrawn([settlement], [one])
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
    one = entry(1)
    (delivery,) = await house.delivered(one)
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
    house.inflight.withdrawn(asked.settlements, [one])
    append = await house.commit()
    assert [type(fact) for fact in append.facts] == [Settled]
    assert reply.get() == (Acknowledgement(delivery.receipt),)


async def test_a_queue_that_has_stopped_holds_nothing(house: House) -> None:
    (delivery,) = await house.delivered(entry(1))
    house.inflight.release([delivery.receipt])
    await house.commit()
    house.queue.close()
    reply = house.acknowledge(delivery.receipt)
    await idle()
    assert reply.get() == (Acknowledgement(delivery.receipt, NOT_HELD),)


async def test_an_acknowledged_receipt_is_not_held_any_more(house: House) -> None:
    (delivery,) = await house.delivered(entry(1))
    house.acknowledge(delivery.receipt)
    await house.commit()
    again, nack, extend = (
        house.acknowledge(delivery.receipt),
        house.nack(delivery.receipt),
        house.extend(delivery.receipt),
    )
    await idle()
    house.inflight.withdrawn(taken(house.queue, Withdraw).settlements, [None])
    await house.commit()
    assert again.get() == (Acknowledgement(delivery.receipt, NOT_HELD),)
    assert nack.get() == (NoSuchLease(delivery.receipt),)
    assert extend.get() == (NoSuchLease(delivery.receipt),)


# Rejections


async def test_a_rejected_event_goes_back_with_backoff_and_the_answer_follows_the_disk(
    house: House,
) -> None:
    one = entry(1)
    (delivery,) = await house.delivered(one)
    reply = house.nack(delivery.receipt, delivery.receipt, "nonsense")
    await idle()
    assert not reply.is_set
    assert taken(house.queue, GiveBack).entries == [one]
    assert (one.due, one.retries, one.receipt_open) == (NOW + 1000, 1, False)
    append = await house.commit()
    assert append.sync
    assert reply.get() == (
        delivery.receipt,
        NoSuchLease(delivery.receipt),
        NoSuchLease("nonsense"),
    )
    assert house.credit.taken == 0


async def test_a_rejection_without_requeue_goes_to_the_dead_letters(house: House) -> None:
    one = entry(1)
    (delivery,) = await house.delivered(one)
    reply = house.nack(delivery.receipt, requeue=False)
    append = await house.commit()
    assert [type(fact) for fact in append.facts] == [Dead]
    (dead,) = taken(house.dead_letters, Bury).letters
    assert (dead.entry, dead.reason, dead.error) == (one, "rejected", "bad")
    assert house.queue.waiting == 0
    assert reply.get() == (delivery.receipt,)


async def test_the_last_retry_goes_to_the_dead_letters(house: House) -> None:
    one = entry(1, retries=2)
    (delivery,) = await house.delivered(one)
    house.nack(delivery.receipt)
    await house.commit()
    (dead,) = taken(house.dead_letters, Bury).letters
    assert dead.reason == "max_retries_exceeded"


async def test_an_acknowledgement_behind_a_rejection_comes_too_late(house: House) -> None:
    one = entry(1)
    (delivery,) = await house.delivered(one)
    house.nack(delivery.receipt)
    reply = house.acknowledge(delivery.receipt)
    await house.commit()
    house.inflight.withdrawn(all_taken(house.queue)[-1].settlements, [None])
    await idle()
    assert reply.get() == (Acknowledgement(delivery.receipt, NOT_HELD),)


# Extensions


async def test_an_extension_is_written_and_answered_with_the_deadline_on_the_wall(
    house: House,
) -> None:
    first, second = await house.delivered(entry(1), entry(2))
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
    (delivery,) = await house.delivered(entry(1))
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
    first, second, third = entry(1), entry(2, retries=2), entry(3)
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
    assert taken(house.queue, GiveBack).entries == [first]
    assert (first.due, first.retries) == (NOW + 10_000, 1)
    (dead,) = taken(house.dead_letters, Bury).letters
    assert (dead.entry, dead.reason) == (second, "visibility_timeout")
    assert house.credit.taken == 1
    assert taken(house.reaper, WakeAt).at == NOW + 15_000


async def test_a_tick_too_early_is_followed_by_the_announcement_of_what_comes_next(
    house: House,
) -> None:
    await house.delivered(entry(1))
    all_taken(house.reaper)
    jump(9999)
    house.inflight.expire()
    await idle()
    assert taken(house.reaper, WakeAt).at == NOW + 10_000
    assert house.queue.waiting == 0


async def test_a_late_acknowledgement_counts_while_nobody_noticed_the_deadline(
    house: House,
) -> None:
    (delivery,) = await house.delivered(entry(1))
    jump(20_000)
    reply = house.acknowledge(delivery.receipt)
    await house.commit()
    assert reply.get() == (Acknowledgement(delivery.receipt),)


# Releases


async def test_a_released_event_regains_its_place_and_the_rest_stays(house: House) -> None:
    first, second = entry(1, due=NOW - 5), entry(2)
    deliveries = await house.delivered(first, second)
    house.inflight.release([deliveries[0].receipt, deliveries[0].receipt, "nonsense"])
    await idle()
    assert taken(house.queue, GiveBack).entries == [first]
    assert (first.due, first.retries) == (NOW - 5, 0)
    append = await house.commit()
    assert [type(fact) for fact in append.facts] == [Returned]
    assert await house.leases() == 1
    assert house.credit.taken == 1


async def test_who_waits_for_a_lease_is_told_when_one_comes_back(house: House) -> None:
    (delivery,) = await house.delivered(entry(1))
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
    first, second, third = await house.delivered(entry(1), entry(2), entry(3))
    poll = house.grant(entry(4))
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
    deliveries = await house.delivered(entry(1), entry(2))
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
    held = lease(1, NOW + 300, delivery=4)
    async with open_house(leases=[held]) as house:
        assert taken(house.reaper, WakeAt).at == NOW + 300
        assert house.wal.waiting == 0
        assert house.credit.taken == 1
        receipt = RECEIPTS.write(1, Stamp(1, 4))
        jump(50)
        reply = house.acknowledge(receipt)
        await house.commit()
        assert reply.get() == (Acknowledgement(receipt),)
        # Nobody knows since when it was out.
        assert (await house.inflight.inspect()).processing_ms_max == 0


async def test_a_receipt_whose_lease_a_power_cut_took_settles_and_does_nothing_else() -> None:
    held = lease(1, NOW + 300, delivery=4)
    async with open_house(leases=[held]) as house:
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
    held = lease(1, NOW + 300)
    held.kind = ConsumerKind.WORKER
    async with open_house(leases=[held]) as house:
        assert taken(house.queue, GiveBack).entries == [held.entry]
        assert (held.entry.retries, held.entry.due) == (1, NOW + 1000)
        (fact,) = (await house.commit()).facts
        assert isinstance(fact, Returned)
        assert fact.cause is ReturnCause.WORKER_LOST
        assert house.credit.taken == 0


# Figures and the end


async def test_the_list_of_leases_is_capped_and_their_count_is_not(house: House) -> None:
    await house.delivered(*[entry(number) for number in range(1, LEASES_SHOWN_MAX + 21)])
    view = await house.inflight.inspect()
    assert view.count == LEASES_SHOWN_MAX + 20
    assert len(view.leases) == LEASES_SHOWN_MAX
    assert EventIds(KEY).number(view.leases[0].id) == 1
    assert view.leases[0].deadline == NOW + 10_000


async def test_leaving_waits_for_commits_and_withdrawals_that_are_under_way() -> None:
    async with open_house() as house:
        one, two = entry(1), entry(2)
        first, second = await house.delivered(one, two)
        house.inflight.release([second.receipt])
        await house.commit()
        all_taken(house.queue)
        replies = [house.acknowledge(first.receipt), house.acknowledge(second.receipt)]
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                await trio.sleep(1)
                await house.commit()
                await trio.sleep(1)
                house.inflight.withdrawn(taken(house.queue, Withdraw).settlements, [two])
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
        house.grant(entry(1)).reply,
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
            first, second, third = await house.delivered(entry(1), entry(2), entry(3))
            await house.delivered()
            house.inflight.release([third.receipt])
            await idle()
            in_log: list[Reply[Any]] = [
                house.acknowledge(first.receipt),
                house.nack(second.receipt),
                house.grant(entry(4)).reply,
                house.acknowledge(third.receipt),
            ]
            await idle()
            scope.cancel()
            unread: list[Reply[Any]] = [
                house.acknowledge("x"),
                house.nack("x"),
                house.extend("x"),
                house.grant(entry(5)).reply,
            ]
    assert all(isinstance(reply.get(), OutcomeUnknown) for reply in in_log)
    assert all(isinstance(reply.get(), Unavailable) for reply in unread)
