"""An actor runs beside a block and ends with it, whichever of the two ends first."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from actors.running import running
from tests.actors.samples import idle


class Actor:
    """Runs until it is asked to stop, then takes a second to finish."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.finished = False

    async def run(self) -> None:
        await self.asked.wait()
        await trio.sleep(1)
        self.finished = True


def crashing(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        raise error

    return run


async def test_the_end_of_the_block_asks_the_actor_to_stop_and_waits_until_it_has() -> None:
    actor = Actor()
    async with running(actor.run, actor.asked.set):
        await trio.sleep(5)
    assert actor.finished
    assert trio.current_time() == 6


async def test_a_crash_of_the_actor_cancels_the_block_and_comes_out_as_itself() -> None:
    stops: list[int] = []
    with pytest.raises(KeyError, match="actor"):
        async with running(crashing(KeyError("actor")), lambda: stops.append(1)):
            await trio.sleep_forever()
    assert stops == [1]


async def test_a_crash_of_the_block_cancels_the_actor_and_comes_out_as_itself() -> None:
    actor = Actor()
    with pytest.raises(ZeroDivisionError):
        async with running(actor.run, actor.asked.set):
            await idle()
            raise ZeroDivisionError
    assert not actor.finished


async def test_a_cancellation_of_the_block_cancels_the_actor() -> None:
    actor = Actor()
    with trio.move_on_after(2) as scope:
        async with running(actor.run, actor.asked.set):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not actor.finished


async def test_two_crashes_come_out_as_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with running(crashing(KeyError("actor")), lambda: None):
            try:
                await trio.sleep_forever()
            finally:
                raise ZeroDivisionError
    assert caught.group_contains(KeyError)
    assert caught.group_contains(ZeroDivisionError)


async def test_nested_actors_end_from_the_inside_out() -> None:
    order: list[str] = []

    def actor(name: str) -> tuple[Callable[[], Awaitable[None]], Callable[[], None]]:
        asked = trio.Event()

        async def run() -> None:
            await asked.wait()
            await trio.sleep(1)
            order.append(name)

        return run, asked.set

    async with running(*actor("outer")), running(*actor("inner")):
        pass
    assert order == ["inner", "outer"]
