"""A reply is given once, to whoever waits, and knows when nobody does any more."""

import pytest
import trio

from actors.credits import Credits
from actors.reply import Reply
from tests.actors.samples import idle


async def test_only_the_first_answer_counts() -> None:
    reply = Reply[int]()
    there = [reply.is_set]
    assert reply.set(1)
    assert not reply.set(2)
    there.append(reply.is_set)
    assert there == [False, True]
    assert await reply.wait() == 1


async def test_an_answer_may_be_none() -> None:
    reply = Reply[None]()
    assert reply.set(None)
    assert not reply.set(None)
    assert await reply.wait_until(0)


async def test_everybody_who_waits_gets_the_answer(nursery: trio.Nursery) -> None:
    reply = Reply[str]()
    got: list[str] = []

    async def wait() -> None:
        got.append(await reply.wait())

    nursery.start_soon(wait)
    nursery.start_soon(wait)
    await idle()
    reply.set("here")
    await idle()
    assert got == ["here", "here"]


async def test_the_credit_comes_back_with_the_first_answer_alone() -> None:
    places = Credits(1)
    places.take()
    reply = Reply[int](places)
    reply.set(1)
    reply.set(2)
    assert places.free == 1


async def test_a_cancelled_requester_abandons_the_reply_and_its_credit_comes_back_later() -> None:
    places = Credits(1)
    places.take()
    reply = Reply[int](places)
    with trio.move_on_after(1):
        await reply.wait()
    assert reply.abandoned
    assert places.free == 0
    assert not reply.set(1)
    assert places.free == 1


async def test_an_answer_in_the_instant_of_the_cancellation_is_not_abandoned() -> None:
    reply = Reply[int]()
    outcome: list[object] = []

    async def wait() -> None:
        try:
            outcome.append(await reply.wait())
        except trio.Cancelled:
            outcome.append("cancelled")
            raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await idle()
        nursery.cancel_scope.cancel()
        # The requester is already on its way out, but has not had its turn.
        assert reply.set(7)
    assert outcome == ["cancelled"]
    assert not reply.abandoned
    assert reply.is_set
    assert reply.get() == 7


async def test_an_answer_just_before_the_cancellation_is_received() -> None:
    reply = Reply[int]()
    got: list[int] = []

    async def wait() -> None:
        got.append(await reply.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await idle()
        reply.set(7)
        nursery.cancel_scope.cancel()
    assert got == [7]


async def test_an_answer_that_is_there_is_received_under_cancellation() -> None:
    reply = Reply[int]()
    reply.set(7)
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await reply.wait() == 7
        assert await reply.wait_until(trio.current_time() - 1)
    assert not reply.abandoned


async def test_a_deadline_that_passes_does_not_abandon_the_reply() -> None:
    reply = Reply[int]()
    assert not await reply.wait_until(trio.current_time() + 5)
    assert trio.current_time() == 5
    assert not reply.abandoned
    assert reply.set(1)
    assert await reply.wait_until(trio.current_time() + 5)


async def test_a_cancellation_while_waiting_until_a_deadline_abandons_the_reply() -> None:
    reply = Reply[int]()
    with trio.move_on_after(1):
        await reply.wait_until(trio.current_time() + 5)
        pytest.fail("was not cancelled")
    assert reply.abandoned
    assert not reply.set(1)


async def test_an_answer_ends_the_wait_before_the_deadline(nursery: trio.Nursery) -> None:
    reply = Reply[int]()

    async def answer() -> None:
        await trio.sleep(2)
        reply.set(1)

    nursery.start_soon(answer)
    assert await reply.wait_until(trio.current_time() + 5)
    assert trio.current_time() == 2
