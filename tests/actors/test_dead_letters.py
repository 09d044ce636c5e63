"""The dead letters alone: the log and the queue are mailboxes that the test reads and answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from actors.broker import DeadLetterPage, NoSuchDeadLetter, OutcomeUnknown, Unavailable
from actors.dead_letters import open_dead_letters
from actors.dead_letters_port import (
    DeadLettersMessage,
    DeadLettersPort,
    PageReply,
    ResolveReply,
)
from actors.ids import EventIds
from actors.mailbox import Mailbox
from actors.naming import Naming
from actors.queue_port import GiveBack, QueueMessage, QueuePort
from actors.receipts import Receipts
from actors.restored import restore
from actors.waiting import Waiting
from actors.wal_port import Append, Committed, WalMessage, WalWriter
from persistence.entry import Place, Stamp
from persistence.facts import Dead, Discarded, Leased, Reprocessed
from tests.actors.samples import (
    KEY,
    NOW,
    Past,
    committed,
    engine_clock,
    idle,
    jump,
    numbers,
    taken,
    wall,
)

RECEIPTS = Receipts(KEY)


def receipt(number: int, delivery: int = 1) -> str:
    return RECEIPTS.write(number, Stamp(1, delivery))


def event_id(number: int) -> str:
    return EventIds(KEY).write(number, NOW)


@attrs.define(eq=False)
class House:
    """The dead letters, a log, and the mailboxes of those they talk to."""

    dead_letters: DeadLettersPort
    past: Past
    log: Mailbox[WalMessage]
    queue: Mailbox[QueueMessage]

    def page(self, *, limit: int = 10, offset: int = 0, topic: str | None = None) -> PageReply:
        reply = PageReply()
        self.dead_letters.page(reply, limit=limit, offset=offset, topic=topic)
        return reply

    def resolve(self, *receipts: str, reprocess: bool) -> ResolveReply:
        reply = ResolveReply()
        self.dead_letters.resolve(receipts, reply, reprocess=reprocess)
        return reply

    async def commit(self, failure: str | None = None) -> Append:
        """Answer the oldest append as the WAL writer would."""
        await idle()
        append = taken(self.log, Append)
        answer = committed(self.past, append) if failure is None else Committed(failure=failure)
        append.answer(answer)
        await idle()
        return append

    async def seen(self, reply: PageReply) -> DeadLetterPage:
        await self.commit()
        page = reply.get()
        assert isinstance(page, DeadLetterPage)
        return page


def three_letters() -> Past:
    past = Past()
    for number, topic in ((1, "a"), (2, "b"), (3, "a")):
        past.die(number, topic=topic, payload=b'{"n":%d}' % number)
    return past


@asynccontextmanager
async def open_house(
    past: Past | None = None, *, sync_default: bool = True
) -> AsyncIterator[House]:
    past = past or three_letters()
    box, log = Mailbox[DeadLettersMessage]("dead_letters", 100), Mailbox[WalMessage]("wal", 100)
    queue, clock = Mailbox[QueueMessage]("queue", 100), engine_clock()
    async with open_dead_letters(
        box,
        wal=WalWriter(log, past.log, wall),
        queue=QueuePort(queue),
        clock=clock,
        naming=Naming(EventIds(KEY), past.register),
        receipts=RECEIPTS,
        sync_default=sync_default,
        page_bytes_max=1000,
        graveyard=restore(past.register, 7, clock.moment()).graveyard,
    ) as dead_letters:
        yield House(dead_letters, past, log, queue)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with trio.CancelScope() as scope:
        async with open_house() as house:
            yield house
            scope.cancel()  # what a test leaves in the log is nobody's business


async def test_a_page_shows_letters_as_the_log_has_them(house: House) -> None:
    reply = house.page(limit=2)
    await idle()
    assert not reply.is_set
    append = await house.commit()
    assert append.facts == []
    assert append.load == append.look == [1, 2]
    page = reply.get()
    assert isinstance(page, DeadLetterPage)
    assert page.total == 3
    assert [one.payload for one in page.entries] == [b'{"n":1}', b'{"n":2}']
    first = page.entries[0]
    assert (first.receipt, first.id) == (receipt(1), event_id(1))
    assert (first.timestamp, first.event_timestamp, first.topic) == (NOW, NOW, "a")
    assert (first.reason, first.error) == ("max_retries_exceeded", "error 1")
    assert first.retries == 5


async def test_a_page_of_a_topic_tells_the_total_of_the_topic(house: House) -> None:
    page = await house.seen(house.page(topic="a", offset=1))
    assert [one.receipt for one in page.entries] == [receipt(3)]
    assert page.total == 2


async def test_an_empty_page(house: House) -> None:
    assert await house.seen(house.page(topic="nobody")) == DeadLetterPage((), 0)


async def test_a_page_stops_at_its_byte_limit() -> None:
    past = Past()
    past.die(1, 2, payload=bytes(600))
    async with open_house(past) as house:
        page = await house.seen(house.page())
        assert (len(page.entries), page.total) == (1, 2)


async def test_an_imported_letter_is_shown_under_the_id_that_it_came_with() -> None:
    past = Past()
    past.event(1, foreign_id="order-17")
    past.append(Dead(1, NOW + 5, 3, Stamp(0, 0), "max_retries_exceeded"))
    async with open_house(past) as house:
        (entry,) = (await house.seen(house.page())).entries
        assert (entry.id, entry.timestamp) == ("order-17", NOW + 5)
        reply = house.resolve(entry.receipt, reprocess=True)
        await house.commit()
        assert reply.get() == ("order-17",)


async def test_a_letter_that_leaves_while_its_page_is_read_is_shown_or_left_out(
    house: House,
) -> None:
    page = house.page()
    await idle()
    resolved = house.resolve(receipt(1), receipt(2), reprocess=True)
    await idle()
    first, second = taken(house.log, Append), taken(house.log, Append)
    # Everything moved to another place in the log, so it was looked up anew.
    first.spans = house.past.log.spans(first.load) + house.past.log.newest_facts(first.look)
    first.answer(committed(house.past, first))
    second.answer(committed(house.past, second))
    await idle()
    shown = page.get()
    assert isinstance(shown, DeadLetterPage)
    assert [one.receipt for one in shown.entries] == [receipt(3)]
    assert resolved.get() == (event_id(1), event_id(2))


async def test_while_a_page_is_looked_for_others_are_served() -> None:
    past = Past()
    past.die(*range(1, 12_000), topic="common")
    past.die(12_000, topic="rare")
    async with open_house(past) as house:
        pages = [house.page(topic="rare"), house.page(topic="rare")]
        reply = house.resolve(receipt(1), reprocess=False)
        assert await house.dead_letters.count() == 11_999
        await house.commit()
        assert reply.is_set
        assert not pages[0].is_set
        for page in pages:
            shown = await house.seen(page)
            assert [one.receipt for one in shown.entries] == [receipt(12_000)]


async def test_a_letter_that_leaves_while_a_page_is_looked_for_is_not_on_it() -> None:
    past = Past()
    past.die(1, topic="rare")
    past.die(*range(2, 10_000), topic="common")
    past.die(10_000, topic="rare")
    async with open_house(past) as house:
        page = house.page(topic="rare")
        house.resolve(receipt(1), reprocess=False)
        await house.commit()
        shown = await house.seen(page)
        assert [one.receipt for one in shown.entries] == [receipt(10_000)]
        assert shown.total == 1


async def test_nobody_looks_for_a_page_that_nobody_waits_for(house: House) -> None:
    page = house.page()
    page.abandoned = True
    append = await house.commit()
    assert append.load == []
    assert page.is_set


async def test_what_dies_is_kept(house: House) -> None:
    house.past.die(9, topic="c")
    house.dead_letters.bury([9])
    assert await house.dead_letters.count() == 4
    page = await house.seen(house.page(topic="c"))
    assert [one.receipt for one in page.entries] == [receipt(9)]


async def test_a_letter_is_buried_before_anything_that_came_earlier_is_read(
    house: House,
) -> None:
    # The register knows of the death already when the earlier message is read.
    reply = house.resolve(receipt(9), reprocess=True)
    house.past.die(9, topic="c")
    house.dead_letters.bury([9])
    await house.commit()
    assert reply.get() == (event_id(9),)
    assert await house.dead_letters.count() == 3


async def test_an_event_that_dies_once_more_is_one_letter_again(house: House) -> None:
    house.resolve(receipt(2), reprocess=True)
    await house.commit()
    stamp = Stamp(7, 2)
    house.past.append(
        Leased(2, NOW, 0, stamp, NOW, 10), Dead(2, NOW + 9, 0, stamp, "rejected", "again")
    )
    house.dead_letters.bury([2])
    page = await house.seen(house.page())
    assert [one.id for one in page.entries] == [event_id(1), event_id(3), event_id(2)]
    assert (page.entries[2].error, page.entries[2].timestamp) == ("again", NOW + 9)
    assert page.total == 3


async def test_a_reprocessed_event_goes_to_the_queue_with_no_retries_counted(
    house: House,
) -> None:
    jump(700)
    reply = house.resolve(receipt(2), reprocess=True)
    append = await house.commit()
    (fact,) = append.facts
    assert append.sync
    assert isinstance(fact, Reprocessed)
    assert (fact.number, fact.due, fact.stamp) == (2, NOW + 700, Stamp(1, 1))
    assert taken(house.queue, GiveBack).events == [Waiting(2, NOW + 700, "b")]
    row = house.past.row(2)
    assert (row.place, row.retries, row.due) == (Place.WAITING, 0, NOW + 700)
    assert (row.stamp, row.receipt_open) == (Stamp(1, 1), 0)
    assert reply.get() == (event_id(2),)
    assert await house.dead_letters.count() == 2


async def test_what_the_settings_do_not_want_forced_to_the_disk_is_not() -> None:
    async with open_house(sync_default=False) as house:
        reply = house.resolve(receipt(2), reprocess=False)
        assert not (await house.commit()).sync
        assert reply.get() == (event_id(2),)


async def test_a_discarded_letter_is_gone(house: House) -> None:
    reply = house.resolve(receipt(2), reprocess=False)
    await idle()
    assert not reply.is_set
    append = await house.commit()
    assert append.sync
    assert [type(fact) for fact in append.facts] == [Discarded]
    assert reply.get() == (event_id(2),)
    assert house.queue.waiting == 0
    assert await house.dead_letters.count() == 2


@pytest.mark.parametrize("reprocess", [True, False])
async def test_unknown_and_repeated_receipts_are_told_apart_from_those_that_hold(
    house: House, reprocess: bool
) -> None:
    asked = (receipt(1), receipt(1), receipt(2, 7), receipt(99), "nonsense", receipt(3))
    reply = house.resolve(*asked, reprocess=reprocess)
    append = await house.commit()
    assert numbers(append.facts) == [1, 3]
    assert reply.get() == (
        event_id(1),
        NoSuchDeadLetter(receipt(1)),
        NoSuchDeadLetter(receipt(2, 7)),
        NoSuchDeadLetter(receipt(99)),
        NoSuchDeadLetter("nonsense"),
        event_id(3),
    )


@pytest.mark.parametrize("reprocess", [True, False])
async def test_all_letters_may_leave_at_once(house: House, reprocess: bool) -> None:
    reply = house.resolve(*map(receipt, (3, 1, 2)), reprocess=reprocess)
    await house.commit()
    assert reply.get() == tuple(map(event_id, (3, 1, 2)))
    assert await house.dead_letters.count() == 0
    assert await house.seen(house.page()) == DeadLetterPage((), 0)


async def test_a_letter_leaves_before_a_second_request_sees_it(house: House) -> None:
    first, second = (house.resolve(receipt(1), reprocess=True) for _ in range(2))
    await house.commit()
    await house.commit()
    assert first.get() == (event_id(1),)
    assert second.get() == (NoSuchDeadLetter(receipt(1)),)


async def test_a_failed_log_tells_that_the_outcome_is_unknown(house: House) -> None:
    page, resolved = house.page(), house.resolve(receipt(1), reprocess=True)
    await house.commit("the disk broke")
    await house.commit("the disk broke")
    assert page.get() == resolved.get() == OutcomeUnknown("the disk broke")


async def test_leaving_waits_for_what_is_under_way() -> None:
    async with open_house() as house, trio.open_nursery() as nursery:

        async def answer() -> None:
            await trio.sleep(2)
            await house.commit()

        reply = house.resolve(receipt(1), reprocess=False)
        nursery.start_soon(answer)
        house.dead_letters.stop()
        await idle()
        assert not reply.is_set
    assert reply.get() == (event_id(1),)


async def test_after_the_end_everything_is_refused() -> None:
    async with open_house() as house:
        pass
    answers = [house.page().get(), house.resolve(receipt(1), reprocess=True).get()]
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert await house.dead_letters.count() == 0


async def test_cancelled_dead_letters_answer_everybody() -> None:
    past = Past()
    past.die(*range(1, 10_001))
    with trio.CancelScope() as scope:
        async with open_house(past) as house:
            in_log: list[Any] = [house.page(), house.resolve(receipt(1), reprocess=True)]
            await idle()
            sought = house.page(topic="", offset=9998), house.page(topic="", offset=9999)
            for _ in range(2):  # the search begins, and is not done
                await trio.lowlevel.checkpoint()
            scope.cancel()
            unread: list[Any] = [house.page(), house.resolve(receipt(1), reprocess=True)]
    assert all(isinstance(reply.get(), OutcomeUnknown) for reply in in_log)
    assert [type(reply.get()) for reply in (*sought, *unread)] == [Unavailable] * 4
