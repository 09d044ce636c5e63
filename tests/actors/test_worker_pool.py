"""A pool of workers on a real broker in virtual time: crashes, finishing and leaving."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest
import trio

from actors.broker import Broker, NewEvent
from actors.embedded import EmbeddedBroker
from actors.handler import Event, make_handler
from actors.worker_pool import RESTART_S_FIRST, RESTART_S_MAX, WorkerPool, open_workers
from tests.actors.samples import idle, whole_broker


def workers(broker: Broker, function: Any, count: int = 2) -> Any:
    handler = make_handler(function)
    return open_workers(broker, handler, count=count, visibility_timeout_ms=10_000)


async def publish(broker: EmbeddedBroker, count: int = 1) -> None:
    answer = await broker.enqueue([NewEvent(b'{"n":%d}' % n) for n in range(count)])
    assert isinstance(answer, tuple)


class Faulty:
    """A real broker, except that one of its methods raises when it is told to."""

    def __init__(self, broker: EmbeddedBroker, method: str, fails: Callable[[Any], bool]) -> None:
        self._broker = broker
        self._method = method
        self._fails = fails
        self.calls: list[tuple[float, Any]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._broker, name)
        if name != self._method:
            return real

        async def call(*arguments: Any, **options: Any) -> Any:
            worker = options.get("consumer")
            self.calls.append((round(trio.current_time(), 3), worker and worker.name))
            if self._fails(self.calls):
                raise RuntimeError("the broker has a bug")
            return await real(*arguments, **options)

        return call


async def test_as_many_handlers_run_at_a_time_as_there_are_workers() -> None:
    running: list[int] = []
    active = 0

    async def handler(_: Event) -> None:
        nonlocal active
        active += 1
        running.append(active)
        await trio.sleep(1)
        active -= 1

    async with whole_broker() as broker, workers(broker, handler, 3) as pool:
        assert (pool.total, pool.active) == (3, 0)
        await publish(broker, 7)
        await trio.sleep(0.5)
        assert pool.active == 3
        await trio.sleep(10)
        assert pool.active == 0
        assert (await broker.status()).acknowledged == 7
    assert max(running) == 3
    assert trio.current_time() == 10.5


async def test_no_workers_are_a_pool_too() -> None:
    async with whole_broker() as broker, workers(broker, idle_handler, 0) as pool:
        assert (pool.total, pool.active) == (0, 0)
        await pool.finish()


async def idle_handler(_: Event) -> None:
    pass


# Crashes


async def test_a_worker_that_crashed_is_started_again_while_others_go_on() -> None:
    def fails(calls: list[Any]) -> bool:
        return calls[-1][1] == "worker-1" and len([c for c in calls if c[1] == "worker-1"]) == 1

    handled: list[tuple[int, float]] = []

    async def handler(event: Event) -> None:
        handled.append((event.payload["n"], trio.current_time()))
        await trio.sleep(1)

    async with whole_broker() as broker:
        faulty = Faulty(broker, "consume", fails)
        async with workers(cast("Broker", faulty), handler) as pool:
            await publish(broker, 4)
            await trio.sleep(20)
            assert pool.total == 2
            assert (await broker.status()).acknowledged == 4
    times = [time for time, name in faulty.calls if name == "worker-1"]
    assert times[:2] == [0, RESTART_S_FIRST]
    # The other one has not waited for it.
    assert handled[:2] == [(0, 0), (1, RESTART_S_FIRST)]


async def test_a_worker_that_crashes_again_and_again_waits_longer_each_time() -> None:
    async with whole_broker() as broker:
        faulty = Faulty(broker, "consume", lambda _: True)
        async with workers(cast("Broker", faulty), idle_handler, 1):
            await trio.sleep(150)
    times = [time for time, _ in faulty.calls]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[:7] == [0.5, 1, 2, 4, 8, 16, RESTART_S_MAX]
    assert set(pauses[7:]) == {RESTART_S_MAX}


async def test_a_worker_that_ran_well_for_long_starts_again_soon() -> None:
    def fails(calls: list[Any]) -> bool:
        return len(calls) < 5 or len(calls) == 8

    async with whole_broker() as broker:
        faulty = Faulty(broker, "consume", fails)
        async with workers(cast("Broker", faulty), idle_handler, 1):
            await trio.sleep(200)
    times = [time for time, _ in faulty.calls]
    # Polls of 30 s each follow the crashes at 0, 0.5, 1.5 and 3.5 s; the eighth call crashes.
    assert times[4:9] == [7.5, 37.5, 67.5, 97.5, 97.5 + RESTART_S_FIRST]


async def test_what_a_crashing_worker_held_goes_back_without_a_retry() -> None:
    retries: list[int] = []

    async def handler(event: Event) -> None:
        retries.append(event.retries)
        await trio.sleep(25 if len(retries) == 1 else 0)

    async with whole_broker() as broker:
        faulty = Faulty(broker, "extend", lambda _: True)
        async with open_workers(
            cast("Broker", faulty),
            make_handler(handler),
            count=1,
            visibility_timeout_ms=10_000,
            handler_timeout_ms=60_000,
        ):
            await publish(broker)
            await trio.sleep(6)
            assert (await broker.status()).acknowledged == 1
    assert retries == [0, 0]


# Finishing


async def test_finishing_waits_for_running_handlers_and_takes_nothing_more() -> None:
    async def handler(_: Event) -> None:
        await trio.sleep(5)

    async with whole_broker() as broker, workers(broker, handler) as pool:
        await publish(broker, 5)
        await trio.sleep(1)
        await pool.finish()
        assert trio.current_time() == 5
        assert pool.active == 0
        status = await broker.status()
        assert (status.acknowledged, status.queue_size, status.leases) == (2, 3, 0)
        await trio.sleep(100)
        assert (await broker.status()).queue_size == 3


async def test_finishing_ends_polls_that_wait_at_once_and_loses_nothing() -> None:
    async with whole_broker() as broker, workers(broker, idle_handler, 3) as pool:
        await idle()
        assert (await broker.status()).parked_polls == 3
        await pool.finish()
        assert trio.current_time() == 0
        assert (await broker.status()).parked_polls == 0
        await publish(broker, 3)
        status = await broker.status()
        assert (status.queue_size, status.leases) == (3, 0)


async def test_finishing_in_the_instant_of_a_delivery_handles_or_returns_it() -> None:
    async with whole_broker() as broker, workers(broker, idle_handler, 3) as pool:
        await idle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, broker, 3)
            nursery.start_soon(pool.finish)
        status = await broker.status()
        assert status.acknowledged + status.queue_size == 3
        assert status.leases == 0


async def test_finishing_does_not_wait_for_the_restart_of_a_crashed_worker() -> None:
    async with whole_broker() as broker:
        faulty = Faulty(broker, "consume", lambda _: True)
        async with workers(cast("Broker", faulty), idle_handler, 2) as pool:
            await trio.sleep(50)
            calls = len(faulty.calls)
            await pool.finish()
            assert trio.current_time() == 50
            assert len(faulty.calls) == calls


async def test_finishing_twice_and_with_a_time_limit() -> None:
    async def handler(_: Event) -> None:
        await trio.sleep(5)

    async with whole_broker() as broker, workers(broker, handler) as pool:
        await publish(broker)
        await idle()
        with trio.move_on_after(2) as scope:
            await pool.finish()
        assert scope.cancelled_caught
        await pool.finish()
        assert trio.current_time() == 5
        await pool.finish()
        assert (await broker.status()).acknowledged == 1


async def test_the_brokers_closing_intake_ends_the_workers_after_their_handlers() -> None:
    async def handler(_: Event) -> None:
        await trio.sleep(5)

    async with whole_broker() as broker, workers(broker, handler) as pool:
        await publish(broker)
        await idle()
        broker.close_intake()
        await pool.finish()
        assert trio.current_time() == 5
        assert (await broker.status()).acknowledged == 1


# Leaving


async def test_leaving_cancels_handlers_and_gives_their_events_back_without_a_retry() -> None:
    ended: list[float] = []

    async def handler(_: Event) -> None:
        try:
            await trio.sleep(8)
        finally:
            ended.append(trio.current_time())

    async with whole_broker() as broker:
        async with workers(broker, handler):
            await publish(broker, 2)
            await trio.sleep(3)
        assert ended == [3, 3]
        deliveries = await broker.consume()
        assert [one.retries for one in deliveries] == [0, 0]  # type: ignore[union-attr]
        assert (await broker.metrics()).counters.failed == 0


async def test_leaving_counts_no_retry_when_cleaning_up_fails_beside_the_cancellation() -> None:
    async def breaks() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleanup failed")

    async def handler(_: Event) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(breaks)

    async with whole_broker() as broker:
        async with workers(broker, handler):
            await publish(broker)
            await trio.sleep(3)
        deliveries = await broker.consume()
        assert [one.retries for one in deliveries] == [0]  # type: ignore[union-attr]


async def test_a_crash_of_the_block_gives_the_events_back_as_well() -> None:
    async def handler(_: Event) -> None:
        await trio.sleep(8)

    async def crash(pool: WorkerPool) -> None:
        assert pool.active == 1
        raise ZeroDivisionError

    async with whole_broker() as broker:
        with pytest.raises(ExceptionGroup) as caught:
            async with workers(broker, handler) as pool:
                await publish(broker)
                await idle()
                await crash(pool)
        assert caught.group_contains(ZeroDivisionError)
        deliveries = await broker.consume()
        assert [one.retries for one in deliveries] == [0]  # type: ignore[union-attr]


@pytest.mark.parametrize("turns", range(12))
async def test_a_long_poll_that_is_cancelled_loses_nothing_at_whatever_moment(turns: int) -> None:
    async with whole_broker(visibility_timeout_ms=3_600_000) as broker:
        got: list[Any] = []

        async def poll() -> None:
            answer = await broker.consume(timeout_ms=30_000)
            assert isinstance(answer, tuple)
            got.extend(answer)

        async with trio.open_nursery() as pollers:
            pollers.start_soon(poll)
            await idle()
            async with trio.open_nursery() as publishers:
                publishers.start_soon(publish, broker)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                pollers.cancel_scope.cancel()
        await idle()
        status = await broker.status()
        assert (status.queue_size, status.leases) == ((0, 1) if got else (1, 0))
        if not got:
            deliveries = await broker.consume()
            assert [one.retries for one in deliveries] == [0]  # type: ignore[union-attr]
        assert (await broker.metrics()).counters.failed == 0
