"""A mailbox is drained many messages at a time, refuses them when closed, and is never full."""

import pytest
import trio

from actors.broker import MailboxView
from actors.mailbox import Mailbox, MailboxFull
from tests.actors.samples import idle


async def test_one_wake_up_takes_all_that_wait_in_order() -> None:
    mailbox = Mailbox[int]("m", 10)
    for number in range(5):
        assert mailbox.put(number)
    assert mailbox.waiting == 5
    assert await mailbox.drain() == [0, 1, 2, 3, 4]
    assert mailbox.waiting == 0


async def test_a_wake_up_takes_no_more_than_its_limit() -> None:
    mailbox = Mailbox[int]("m", 10)
    for number in range(5):
        mailbox.put(number)
    assert await mailbox.drain(3) == [0, 1, 2]
    assert await mailbox.drain(3) == [3, 4]


async def test_an_empty_mailbox_waits_for_a_message(nursery: trio.Nursery) -> None:
    mailbox = Mailbox[str]("m", 10)
    got: list[list[str]] = []

    async def read() -> None:
        got.append(await mailbox.drain())

    nursery.start_soon(read)
    await idle()
    assert got == []
    mailbox.put("a")
    mailbox.put("b")
    await idle()
    assert got == [["a", "b"]]


async def test_a_cancelled_reader_takes_nothing() -> None:
    mailbox = Mailbox[int]("m", 10)
    with trio.move_on_after(1) as scope:
        await mailbox.drain()
    assert scope.cancelled_caught
    mailbox.put(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.drain()
    assert scope.cancelled_caught
    assert await mailbox.drain() == [1]


async def test_a_full_mailbox_is_an_error() -> None:
    mailbox = Mailbox[int]("queue", 2)
    mailbox.put(1)
    mailbox.put(2)
    with pytest.raises(MailboxFull, match="queue: 2 messages wait"):
        mailbox.put(3)
    assert await mailbox.drain() == [1, 2]
    assert mailbox.put(3)


async def test_a_closed_mailbox_gives_what_waits_and_refuses_the_rest() -> None:
    mailbox = Mailbox[int]("m", 2)
    mailbox.put(1)
    mailbox.put(2)
    assert mailbox.close() == [1, 2]
    assert not mailbox.put(3)
    assert mailbox.close() == []


async def test_taking_one_never_waits() -> None:
    mailbox = Mailbox[int]("m", 2)
    assert mailbox.take() is None
    mailbox.put(1)
    assert mailbox.take() == 1


async def test_figures_for_people_also_after_the_end() -> None:
    mailbox = Mailbox[int]("m", 2)
    mailbox.put(1)
    assert mailbox.view() == MailboxView("m", 1, 2)
    mailbox.close()
    assert mailbox.view() == MailboxView("m", 0, 2)
