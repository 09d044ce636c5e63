"""Retries: how many there are, how long each waits, and where they end."""

import pytest

from actors.backoff import Backoff
from actors.broker import Consumer
from tests.broker.bench import CLIENT, WORKER, Bench, OpenBench, names

BACKOFF = Backoff(base_ms=1030, max_ms=10_000, multiplier=3.0)


async def test_each_retry_waits_exactly_its_backoff(open_bench: OpenBench) -> None:
    async with open_bench(max_retries=5, backoff=BACKOFF) as bench:
        await bench.publish("a")
        waits = []
        for retry in range(6):
            started = bench.now()
            deliveries = await bench.broker.consume(timeout_ms=60_000)
            assert isinstance(deliveries, tuple)
            (delivery,) = deliveries
            assert delivery.retries == retry
            waits.append(bench.now() - started)
            await bench.nack(delivery.receipt)
        assert waits == [0, 1030, 3090, 9270, 10_000, 10_000]
        assert [letter.retries for letter in await bench.letters()] == [5]


@pytest.mark.parametrize("max_retries", [0, 1, 4])
@pytest.mark.parametrize("how", ["nack", "expiry"])
async def test_an_event_is_tried_once_and_then_as_often_as_it_may_be_retried(
    open_bench: OpenBench, how: str, max_retries: int
) -> None:
    async with open_bench(max_retries=max_retries) as bench:
        await bench.publish("a")
        deliveries = []
        while taken := await bench.take():
            deliveries.append(taken[0].retries)
            if how == "nack":
                assert await bench.nack(taken[0].receipt, delay_ms=0, error="broken")
            await bench.advance(10_000)
        assert deliveries == list(range(max_retries + 1))
        (letter,) = await bench.letters()
        reason = "max_retries_exceeded" if how == "nack" else "visibility_timeout"
        assert (letter.reason, letter.retries) == (reason, max_retries)
        counters = (await bench.broker.metrics()).counters
        assert (counters.failed, counters.dead) == (max_retries + 1, 1)


async def test_the_last_failure_names_the_reason(open_bench: OpenBench) -> None:
    async with open_bench(max_retries=1) as bench:
        await bench.publish("rejected last", topic="x")
        await bench.take()
        await bench.advance(10_000)
        await bench.nack((await bench.take_one()).receipt, error="no")
        await bench.publish("timed out last", topic="y")
        await bench.nack((await bench.take_one()).receipt, delay_ms=0)
        await bench.take()
        await bench.advance(10_000)
        letters = {names([letter])[0]: letter for letter in await bench.letters()}
        assert letters["rejected last"].reason == "max_retries_exceeded"
        assert letters["rejected last"].error == "no"
        assert letters["timed out last"].reason == "visibility_timeout"
        assert letters["timed out last"].error


async def test_a_delay_that_is_asked_for_replaces_the_backoff_and_counts_a_retry(
    bench: Bench,
) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, delay_ms=123)
    await bench.advance(122)
    assert await bench.take() == []
    await bench.advance(1)
    assert (await bench.take_one()).retries == 1


async def test_a_delay_of_nothing_returns_the_event_at_once(bench: Bench) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, delay_ms=0)
    assert (await bench.take_one()).retries == 1


async def test_a_delay_does_not_save_an_event_whose_retries_are_used_up(
    open_bench: OpenBench,
) -> None:
    async with open_bench(max_retries=0) as bench:
        await bench.publish("a")
        await bench.nack((await bench.take_one()).receipt, delay_ms=5000)
        assert (await bench.places()).dead == 1


async def test_a_rejection_for_good_makes_a_dead_letter_at_once(bench: Bench) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, requeue=False, error="poison: ü")
    (letter,) = await bench.letters()
    assert (letter.reason, letter.error, letter.retries) == ("rejected", "poison: ü", 0)
    counters = (await bench.broker.metrics()).counters
    assert (counters.failed, counters.dead) == (1, 1)


async def test_the_backoff_after_a_timeout_goes_by_the_number_of_retries(
    bench: Bench,
) -> None:
    await bench.publish("a")
    await bench.take()
    await bench.advance(10_000)
    await bench.nack((await bench.take_one()).receipt)  # the second retry, hence 2000 ms
    await bench.advance(1999)
    assert await bench.take() == []
    await bench.advance(1)
    assert (await bench.take_one()).retries == 2


@pytest.mark.parametrize("seed", range(10))
async def test_an_answered_rejection_survives_a_power_cut(bench: Bench, seed: int) -> None:
    await bench.publish("a", "b")
    a, b = await bench.take(2)
    await bench.nack(a.receipt, delay_ms=5000)
    await bench.nack(b.receipt, requeue=False, error="no")
    await bench.lose_power_and_start(seed)
    assert await bench.take() == []
    assert [letter.error for letter in await bench.letters()] == ["no"]
    await bench.advance(5000)
    assert [d.retries for d in await bench.take(10)] == [1]


@pytest.mark.parametrize("consumer", [CLIENT, WORKER], ids=["client", "worker"])
async def test_workers_and_clients_are_retried_alike(bench: Bench, consumer: Consumer) -> None:
    await bench.publish("a")
    for retry in range(3):
        delivery = await bench.take_one(consumer=consumer)
        assert delivery.retries == retry
        await bench.nack(delivery.receipt, delay_ms=0)
    assert [letter.reason for letter in await bench.letters()] == ["max_retries_exceeded"]
