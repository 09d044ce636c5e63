"""Blocking work is run to its end, in a thread or in place, whoever is cancelled meanwhile."""

import threading

import pytest
import trio
import trio.testing

from actors.blocking import Blocking, InThread, inline


@pytest.fixture(params=["thread", "inline"])
def blocking(request: pytest.FixtureRequest) -> Blocking:
    return InThread() if request.param == "thread" else inline


async def test_work_gives_its_result(blocking: Blocking) -> None:
    assert await blocking(lambda: 42) == 42


async def test_an_error_of_the_work_comes_out_as_it_is(blocking: Blocking) -> None:
    def work() -> None:
        raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        await blocking(work)


async def test_a_cancelled_caller_still_gets_the_result(blocking: Blocking) -> None:
    done: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        done.append(await blocking(lambda: 42))
    assert done == [42]


async def test_threads_take_one_piece_at_a_time() -> None:
    blocking = InThread()
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(100):
            threading.Event().wait(0)
        inside -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(blocking, work)
    assert (inside, most) == (0, 1)


async def test_work_in_a_thread_is_not_on_the_event_loop() -> None:
    here = threading.get_ident()
    assert await InThread()(threading.get_ident) != here
    assert await inline(threading.get_ident) == here


async def test_inline_work_gives_others_a_turn() -> None:
    with trio.testing.assert_checkpoints():
        await inline(lambda: None)
