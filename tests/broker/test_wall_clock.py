"""A wall clock that is set ahead or back changes no promise that is made in durations."""

import pytest

from tests.broker.bench import Bench, names

HOUR_MS = 3_600_000
STEPS = pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS], ids=["ahead", "back"])


@STEPS
async def test_a_lease_lasts_its_time_when_the_clock_is_set_under_it(
    bench: Bench, step_ms: int
) -> None:
    await bench.publish("a")
    await bench.take()
    await bench.advance(1000)
    bench.step_wall_clock(step_ms)
    await bench.advance(8999)
    assert await bench.take() == []
    await bench.advance(1)
    assert (await bench.take_one()).retries == 1


@STEPS
async def test_a_delay_lasts_its_time_when_the_clock_is_set_under_it(
    bench: Bench, step_ms: int
) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, delay_ms=5000)
    bench.step_wall_clock(step_ms)
    await bench.advance(4999)
    assert await bench.take() == []
    await bench.advance(1)
    assert names(await bench.take()) == ["a"]


@STEPS
async def test_a_poll_ends_on_time_when_the_clock_is_set_under_it(
    bench: Bench, step_ms: int
) -> None:
    poll, started = await bench.poll(timeout_ms=5000), bench.now()
    bench.step_wall_clock(step_ms)
    await bench.advance(10_000)
    assert poll.answer == ()
    assert poll.ended_at == started + 5000


@STEPS
async def test_new_events_keep_their_order_when_the_clock_is_set_between_them(
    bench: Bench, step_ms: int
) -> None:
    await bench.publish("a")
    await bench.advance(10)
    bench.step_wall_clock(step_ms)
    await bench.publish("b")
    bench.broker.release([(await bench.take_one()).receipt])
    await bench.idle()
    assert names(await bench.take(10)) == ["a", "b"]


@STEPS
async def test_new_events_keep_their_order_over_a_restart_too(bench: Bench, step_ms: int) -> None:
    await bench.publish("a")
    bench.step_wall_clock(step_ms)
    await bench.publish("b")
    await bench.advance(10)
    bench.step_wall_clock(-step_ms)
    await bench.publish("c")
    await bench.kill_and_start()
    await bench.publish("d")
    assert names(await bench.take(10)) == ["a", "b", "c", "d"]


async def test_deadlines_are_shown_as_the_clock_stands_now(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    bench.step_wall_clock(HOUR_MS)
    (lease,) = (await bench.broker.status()).lease_list
    assert lease.deadline == bench.now() + HOUR_MS + 10_000
    assert await bench.extend(a.receipt, 500) == bench.now() + HOUR_MS + 500


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_events_that_are_ready_stay_so_when_the_clock_is_set_back_between_two_lives(
    bench: Bench, end: str
) -> None:
    await bench.publish("new", "released", "timed out", "reprocessed")
    deliveries = {names([d])[0]: d for d in await bench.take(4)}
    await bench.advance(10_000)
    taken = {names([d])[0]: d for d in await bench.take(4)}
    assert taken.keys() == deliveries.keys()
    bench.broker.release([taken["new"].receipt, taken["released"].receipt])
    await bench.nack(taken["reprocessed"].receipt, requeue=False)
    await bench.reprocess(taken["reprocessed"].receipt)
    await bench.advance(10_000)
    await (bench.stop() if end == "stop" else bench.kill())
    bench.step_wall_clock(-HOUR_MS)
    await bench.start()
    assert len(await bench.take(10)) == 4


async def test_a_lease_never_lasts_longer_than_its_length_when_the_clock_is_set_back(
    bench: Bench,
) -> None:
    await bench.publish("a", "b")
    _, b = await bench.take(2)
    await bench.extend(b.receipt, 20_000)
    await bench.advance(4000)
    await bench.kill()
    bench.step_wall_clock(-HOUR_MS)
    await bench.start()
    await bench.advance(9999)
    assert await bench.take() == []
    await bench.advance(1)
    assert names(await bench.take()) == ["a"]
    await bench.advance(9999)
    assert await bench.take() == []
    await bench.advance(1)
    # The second lease of "a" ends in the same instant.
    assert sorted(names(await bench.take(2))) == ["a", "b"]


async def test_a_clock_set_ahead_ends_delays_and_leases_of_the_last_life(bench: Bench) -> None:
    await bench.publish("delayed", "leased")
    delayed, _ = await bench.take(2)
    await bench.nack(delayed.receipt, delay_ms=60_000)
    await bench.kill()
    bench.step_wall_clock(HOUR_MS)
    await bench.start()
    await bench.idle()
    again = {names([d])[0]: d.retries for d in await bench.take(10)}
    assert again == {"delayed": 1, "leased": 1}
