"""An inbox hands out all messages in order, in steps that mean no more work than they should."""

import pytest
import trio

from actors.inbox import STEP_MAX, Inbox
from actors.mailbox import Mailbox


def filled(*weights: int) -> tuple[Inbox[int], Mailbox[int]]:
    mailbox = Mailbox[int]("actor", 5000)
    for weight in weights:
        mailbox.put(weight)
    return Inbox(mailbox, lambda weight: weight), mailbox


async def test_what_means_little_work_is_one_step() -> None:
    inbox, _ = filled(1, 2, 3)
    assert await inbox.next() == [1, 2, 3]


async def test_what_means_much_work_comes_in_steps() -> None:
    inbox, _ = filled(STEP_MAX - 1, 5, 7, STEP_MAX, 1, 10 * STEP_MAX, 2)
    steps = [await inbox.next() for _ in range(4)]
    assert steps == [[STEP_MAX - 1, 5], [7, STEP_MAX], [1, 10 * STEP_MAX], [2]]


async def test_others_get_their_turn_between_two_steps() -> None:
    inbox, _ = filled(STEP_MAX, STEP_MAX, STEP_MAX)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(3):
            assert await inbox.next() == [STEP_MAX]
        nursery.cancel_scope.cancel()
    assert turns >= 2


async def test_messages_that_come_later_wait_behind_those_that_are_unread() -> None:
    inbox, mailbox = filled(STEP_MAX, 2)
    assert await inbox.next() == [STEP_MAX]
    mailbox.put(3)
    assert await inbox.next() == [2]
    assert await inbox.next() == [3]


async def test_a_cancellation_takes_no_message() -> None:
    inbox, _ = filled(STEP_MAX, 2)
    await inbox.next()
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.next()
    assert scope.cancelled_caught
    assert await inbox.next() == [2]


async def test_closing_tells_what_was_not_read() -> None:
    inbox, mailbox = filled(STEP_MAX, 2, 3)
    await inbox.next()
    assert inbox.close() == [2, 3]
    assert inbox.close() == []
    assert not mailbox.put(4)


@pytest.mark.parametrize("count", [1, 3000])
async def test_nothing_is_lost_however_many_there_are(count: int) -> None:
    inbox, _ = filled(*[1] * count)
    seen = 0
    while seen < count:
        seen += len(await inbox.next())
    assert seen == count
