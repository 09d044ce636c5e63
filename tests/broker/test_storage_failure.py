"""A disk that fails: callers are told the truth, the broker ends, and no promise is broken."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actors.broker import OutcomeUnknown, Unavailable
from actors.engine import LogFailed
from tests.broker.bench import Bench, Call, Places, event, names

CALLS: dict[str, Callable[[Bench, str, str], Awaitable[Any]]] = {
    "enqueue": lambda bench, _, __: bench.broker.enqueue([event("new")]),
    "acknowledge": lambda bench, lease, _: bench.broker.acknowledge([lease]),
    "nack": lambda bench, lease, _: bench.broker.nack([lease]),
    "nack for good": lambda bench, lease, _: bench.broker.nack([lease], requeue=False),
    "reprocess": lambda bench, _, letter: bench.broker.reprocess([letter]),
    "discard": lambda bench, _, letter: bench.broker.discard([letter]),
}


@pytest.mark.parametrize("seed", [None, *range(6)])
@pytest.mark.parametrize("name", CALLS)
async def test_the_outcome_is_unknown_and_everything_before_it_holds(
    bench: Bench, name: str, seed: int | None
) -> None:
    letter = await bench.die("dead")
    await bench.publish("leased", "waiting")
    leased = await bench.take_one()
    before = await bench.places()
    bench.break_storage()
    answer = await CALLS[name](bench, leased.receipt, letter)
    assert isinstance(answer, OutcomeUnknown)
    await (bench.kill() if seed is None else bench.cut_power(seed))
    await bench.start()
    await bench.advance(20_000)  # a power cut may take the lease away, or what ended it
    after = await bench.places()
    assert after.enqueued - before.enqueued in ({0, 1} if name == "enqueue" else {0})
    there = names(await bench.take(10)) + names(await bench.letters())
    missing = {"leased", "waiting", "dead"} - set(there)
    assert missing <= {"acknowledge": {"leased"}, "discard": {"dead"}}.get(name, set())
    assert len(there) == len(set(there))


async def test_everybody_hears_of_it_and_then_the_broker_ends(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    broker, poll = bench.broker, await bench.poll()
    bench.break_storage()
    assert isinstance(await broker.enqueue([event("b")]), OutcomeUnknown)
    health = broker.health()
    assert (health.healthy, health.ready) == (False, False)
    assert "log failed" in health.reason
    for refusal in (
        await broker.enqueue([event("c")]),
        await broker.consume(),
        await broker.acknowledge([a.receipt]),
        await broker.nack([a.receipt]),
        await broker.extend([a.receipt]),
        await broker.dead_letters(),
        await broker.discard(["x"]),
    ):
        assert isinstance(refusal, Unavailable)
        assert refusal.code == "STORAGE_FAILED"
    await bench.advance(2000)
    assert _is_log_failure(bench.crash)
    assert poll.ended


async def test_callers_that_wait_for_the_same_sync_are_all_told(bench: Bench) -> None:
    await bench.publish("a", "b")
    a, b = await bench.take(2)
    bench.break_storage()
    calls: list[Call[Any]] = [
        bench.begin_soon(lambda: bench.broker.enqueue([event("c")])),
        bench.begin_soon(lambda: bench.broker.acknowledge([a.receipt])),
        bench.begin_soon(lambda: bench.broker.nack([b.receipt])),
        bench.begin_soon(lambda: bench.broker.consume(timeout_ms=1000)),
    ]
    await bench.advance(5000)
    for call in calls:
        assert call.ended
        assert isinstance(call.answer, OutcomeUnknown | Unavailable) or call.answer == ()


async def test_a_broker_that_failed_starts_again_with_all_it_had(bench: Bench) -> None:
    await bench.publish("a", "b")
    await bench.acknowledge((await bench.take_one()).receipt)
    for _ in range(3):
        bench.break_storage()
        assert isinstance(await bench.broker.enqueue([event("maybe")]), OutcomeUnknown)
        await bench.advance(2000)
        assert _is_log_failure(bench.crash)
        await bench.kill_and_start()
    places = await bench.places()
    assert places.acknowledged == 1
    assert names(await bench.take(10))[0] == "b"
    assert await bench.places() == Places(
        leased=places.waiting, acknowledged=1, enqueued=places.enqueued
    )


async def test_a_failure_while_the_broker_stops_is_not_hidden(bench: Bench) -> None:
    await bench.publish("a")
    await bench.take()  # written, not yet synced
    bench.break_storage()
    await bench.stop()
    assert _is_log_failure(bench.crash)
    await bench.start()
    await bench.advance(10_000)
    assert names(await bench.take()) == ["a"]


def _is_log_failure(error: BaseException | None) -> bool:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return isinstance(error, LogFailed)


async def test_the_figures_are_told_while_the_broker_fails(bench: Bench) -> None:
    broker = bench.broker
    bench.break_storage()
    with trio.fail_after(60):
        await broker.enqueue([event("a")])
        await broker.status()
        await broker.metrics()
