"""The dead letters alone: the log and the queue are mailboxes that the test reads and answers."""

from collections.abc import AsyncIterator, Sequence
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
from actors.queue_port import GiveBack, QueueMessage, QueuePort
from actors.receipts import Receipts
from actors.wal_writer import Append, WalWriter
from persistence.entry import DeadLetter, Stamp
from persistence.facts import Discarded, Reprocessed
from tests.actors.samples import KEY, NOW, engine_clock, idle, jump, letter, taken

RECEIPTS = Receipts(KEY)


def receipt(number: int, delivery: int = 1) -> str:
    return RECEIPTS.write(number, Stamp(1, delivery))


def event_id(number: int) -> str:
    return EventIds(KEY).write(number, NOW)


@attrs.define(eq=False)
class House:
    """The dead letters, and the mailboxes of those they talk to."""

    dead_letters: DeadLettersPort
    wal: Mailbox[Any]
    queue: Mailbox[QueueMessage]

    def page(self, *, limit: int = 10, offset: int = 0, topic: str | None = None) -> PageReply:
        reply = PageReply()
        self.dead_letters.page(reply, limit=limit, offset=offset, topic=topic)
        return reply

    def resolve(self, *receipts: str, reprocess: bool) -> ResolveReply:
        reply = ResolveReply()
        self.dead_letters.resolve(receipts, reply, reprocess=reprocess)
        return reply

    async def commit(self, payloads: Sequence[bytes] = (), failure: str | None = None) -> Append:
        """Answer the oldest append as the log would."""
        await idle()
        append = taken(self.wal, Append)
        append.answer(list(payloads), failure)
        await idle()
        return append


@asynccontextmanager
async def open_house(letters: Sequence[DeadLetter] = ()) -> AsyncIterator[House]:
    box, wal = Mailbox[DeadLettersMessage]("dead_letters", 100), Mailbox[Any]("wal", 100)
    queue = Mailbox[QueueMessage]("queue", 100)
    async with open_dead_letters(
        box,
        wal=WalWriter(wal),
        queue=QueuePort(queue),
        clock=engine_clock(),
        ids=EventIds(KEY),
        receipts=RECEIPTS,
        page_bytes_max=1000,
        letters=letters,
    ) as dead_letters:
        yield House(dead_letters, wal, queue)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with trio.CancelScope() as scope:
        async with open_house([letter(1, "a"), letter(2, "b"), letter(3, "a")]) as house:
            yield house
            scope.cancel()  # what a test leaves in the log is nobody's business


async def test_a_page_shows_letters_with_payloads_from_the_log(house: House) -> None:
    reply = house.page(limit=2)
    await idle()
    assert not reply.is_set
    append = await house.commit([b'{"n":1}', b'{"n":2}'])
    assert append.facts == []
    assert [event.number for event in append.load] == [1, 2]
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
    reply = house.page(topic="a", offset=1)
    await house.commit([b"{}"])
    page = reply.get()
    assert isinstance(page, DeadLetterPage)
    assert [one.receipt for one in page.entries] == [receipt(3)]
    assert page.total == 2


async def test_an_empty_page(house: House) -> None:
    reply = house.page(topic="nobody")
    await house.commit()
    assert reply.get() == DeadLetterPage((), 0)


async def test_a_page_stops_at_its_byte_limit() -> None:
    letters = [letter(number, payload=bytes(600)) for number in (1, 2)]
    async with open_house(letters) as house:
        reply = house.page()
        await house.commit([b"x"])
        page = reply.get()
        assert isinstance(page, DeadLetterPage)
        assert (len(page.entries), page.total) == (1, 2)


async def test_what_died_is_kept_without_its_payload(house: House) -> None:
    dead = letter(9, "c", b"payload")
    house.dead_letters.bury([dead])
    assert await house.dead_letters.count() == 4
    assert dead.entry.event.payload is None


async def test_a_reprocessed_event_goes_to_the_queue_with_no_retries_counted(
    house: House,
) -> None:
    jump(700)
    reply = house.resolve(receipt(2), reprocess=True)
    append = await house.commit()
    (fact,) = append.facts
    assert append.sync
    assert isinstance(fact, Reprocessed)
    assert (fact.event.number, fact.due) == (2, NOW + 700)
    (back,) = taken(house.queue, GiveBack).entries
    assert (back.event.number, back.retries, back.due) == (2, 0, NOW + 700)
    assert not back.receipt_open
    assert back.stamp == Stamp(1, 1)
    assert reply.get() == (event_id(2),)
    assert await house.dead_letters.count() == 2


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
    assert [fact.event.number for fact in append.facts] == [1, 3]  # type: ignore[union-attr]
    assert reply.get() == (
        event_id(1),
        NoSuchDeadLetter(receipt(1)),
        NoSuchDeadLetter(receipt(2, 7)),
        NoSuchDeadLetter(receipt(99)),
        NoSuchDeadLetter("nonsense"),
        event_id(3),
    )


async def test_a_letter_leaves_before_a_second_request_sees_it(house: House) -> None:
    first, second = (house.resolve(receipt(1), reprocess=True) for _ in range(2))
    await house.commit()
    await house.commit()
    assert first.get() == (event_id(1),)
    assert second.get() == (NoSuchDeadLetter(receipt(1)),)


async def test_a_failed_log_tells_that_the_outcome_is_unknown(house: House) -> None:
    page, resolved = house.page(), house.resolve(receipt(1), reprocess=True)
    await house.commit(failure="the disk broke")
    await house.commit(failure="the disk broke")
    assert page.get() == resolved.get() == OutcomeUnknown("the disk broke")


async def test_leaving_waits_for_what_is_under_way() -> None:
    async with open_house([letter(1)]) as house, trio.open_nursery() as nursery:

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
    async with open_house([letter(1)]) as house:
        pass
    answers = [house.page().get(), house.resolve(receipt(1), reprocess=True).get()]
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert await house.dead_letters.count() == 0


async def test_cancelled_dead_letters_answer_everybody() -> None:
    with trio.CancelScope() as scope:
        async with open_house([letter(1)]) as house:
            in_log: list[Any] = [house.page(), house.resolve(receipt(1), reprocess=True)]
            await idle()
            scope.cancel()
            unread: list[Any] = [house.page(), house.resolve(receipt(1), reprocess=True)]
    assert all(isinstance(reply.get(), OutcomeUnknown) for reply in in_log)
    assert all(isinstance(reply.get(), Unavailable) for reply in unread)
