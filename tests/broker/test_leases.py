"""Leases: how long an event is in a consumer's hands, and what happens when its time is over."""

import pytest

from actors.broker import Extension
from tests.broker.bench import NOT_HELD, Bench, OpenBench, Places, names


async def test_a_leased_event_is_in_nobody_elses_reach(bench: Bench) -> None:
    await bench.publish("a")
    await bench.take()
    assert await bench.take() == []
    assert await bench.places() == Places(leased=1, enqueued=1)


async def test_a_lease_lasts_exactly_its_time(open_bench: OpenBench) -> None:
    async with open_bench(visibility_timeout_ms=1234) as bench:
        await bench.publish("a")
        await bench.take()
        await bench.advance(1233)
        assert await bench.take() == []
        await bench.advance(1)
        assert names(await bench.take()) == ["a"]


async def test_a_lease_that_is_shorter_than_the_reapers_sleep_ends_on_time(
    open_bench: OpenBench,
) -> None:
    async with open_bench(visibility_timeout_ms=7, reaper_interval_ms=60_000) as bench:
        await bench.publish("a")
        started = bench.now()
        await bench.take()
        assert names(await bench.broker.consume(timeout_ms=1000)) == ["a"]  # type: ignore[arg-type]
        assert bench.now() - started == 7


async def test_a_lease_that_ran_out_counts_a_retry_and_returns_without_delay(
    bench: Bench,
) -> None:
    await bench.publish("a")
    await bench.take()
    await bench.advance(10_000)
    again = await bench.take_one()
    assert again.retries == 1
    assert (await bench.broker.metrics()).counters.failed == 1


async def test_leases_run_out_each_at_its_own_time(bench: Bench) -> None:
    await bench.publish("a", "b", "c")
    for _ in range(3):
        await bench.take()
        await bench.advance(1000)
    seen = []
    for _ in range(3):
        polled = await bench.broker.consume(timeout_ms=30_000, max_events=1)
        assert isinstance(polled, tuple)
        seen += [(name, bench.now()) for name in names(polled)]
    first = seen[0][1]
    assert seen == [("a", first), ("b", first + 1000), ("c", first + 2000)]


async def test_an_extended_lease_lasts_from_the_extension_on(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.advance(9000)
    deadline = await bench.extend(a.receipt, 5000)
    assert deadline == bench.now() + 5000
    await bench.advance(4999)
    assert await bench.take() == []
    await bench.advance(1)
    assert names(await bench.take()) == ["a"]


async def test_an_extension_without_a_length_gives_the_usual_one(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.advance(9000)
    assert await bench.extend(a.receipt) == bench.now() + 10_000


async def test_an_extension_may_end_a_lease_earlier(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    assert await bench.extend(a.receipt, 100) == bench.now() + 100
    await bench.advance(100)
    assert names(await bench.take()) == ["a"]


async def test_a_lease_can_be_extended_again_and_again(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    for _ in range(50):
        await bench.advance(9999)
        assert await bench.extend(a.receipt) is not None
    assert await bench.acknowledge(a.receipt) == [None]


async def test_an_extension_does_not_count_a_retry(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.extend(a.receipt, 20_000)
    await bench.advance(20_000)
    assert (await bench.take_one()).retries == 1


@pytest.mark.parametrize("end", ["acknowledge", "nack", "release", "expiry", "forged"])
async def test_what_is_no_longer_leased_cannot_be_extended_or_rejected(
    bench: Bench, end: str
) -> None:
    await bench.publish("a")
    receipt = (await bench.take_one()).receipt
    match end:
        case "acknowledge":
            await bench.acknowledge(receipt)
        case "nack":
            await bench.nack(receipt)
        case "release":
            bench.broker.release([receipt])
        case "expiry":
            await bench.advance(10_000)
        case _:
            receipt = receipt[:-1] + ("A" if receipt[-1] != "A" else "B")
    await bench.idle()
    before = await bench.places()
    assert await bench.extend(receipt) is None
    assert not await bench.nack(receipt)
    assert not await bench.nack(receipt, requeue=False)
    assert await bench.places() == before


async def test_many_leases_are_extended_and_rejected_in_one_request(bench: Bench) -> None:
    await bench.publish("a", "b")
    a, b = (d.receipt for d in await bench.take(2))
    extended = await bench.broker.extend([a, "nonsense", b], visibility_timeout_ms=10)
    assert isinstance(extended, tuple)
    assert [isinstance(answer, Extension) for answer in extended] == [True, False, True]
    assert [answer.receipt for answer in extended] == [a, "nonsense", b]
    rejected = await bench.broker.nack([b, a, a], delay_ms=0)
    assert isinstance(rejected, tuple)
    assert rejected[:2] == (b, a)
    assert rejected[2] != a
    assert [d.retries for d in await bench.take(2)] == [1, 1]


async def test_a_released_event_returns_at_once_without_a_retry(bench: Bench) -> None:
    await bench.publish("a")
    for _ in range(5):
        a = await bench.take_one()
        assert a.retries == 0
        bench.broker.release([a.receipt])
        await bench.idle()
    counters = (await bench.broker.metrics()).counters
    assert (counters.consumed, counters.failed) == (5, 0)


async def test_releasing_what_is_not_leased_does_nothing(bench: Bench) -> None:
    await bench.publish("a", "b")
    a, b = await bench.take(2)
    await bench.acknowledge(a.receipt)
    await bench.nack(b.receipt, delay_ms=5000)
    bench.broker.release([a.receipt, b.receipt, "nonsense", ""])
    await bench.idle()
    assert await bench.take() == []
    assert await bench.places() == Places(waiting=1, acknowledged=1, enqueued=2)


async def test_the_status_shows_leases_with_their_deadlines(bench: Bench) -> None:
    ids = await bench.publish("a", "b")
    a, _ = await bench.take(2)
    await bench.advance(1000)
    await bench.extend(a.receipt, 50_000)
    status = await bench.broker.status()
    shown = {lease.id: (lease.deadline, lease.retries) for lease in status.lease_list}
    assert shown == {
        ids[0]: (bench.now() + 50_000, 0),
        ids[1]: (bench.now() + 9000, 0),
    }


async def test_a_hundred_leases_are_shown_and_all_are_counted(open_bench: OpenBench) -> None:
    async with open_bench(queue_max_size=1000) as bench:
        await bench.publish(*(f"{i}" for i in range(130)))
        await bench.take(130)
        status = await bench.broker.status()
        assert (len(status.lease_list), status.leases) == (100, 130)


async def test_an_acknowledgement_and_the_end_of_the_lease_at_once_settle_or_return_it(
    bench: Bench,
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    call = bench.begin_soon(lambda: _acknowledge_after(bench, 10_000, a.receipt))
    await bench.advance(10_000)
    await bench.idle()
    # Either side of the deadline, the receipt is good: nobody else had the event.
    assert call.answer == [None]
    assert await bench.places() == Places(acknowledged=1, enqueued=1)
    assert await bench.acknowledge(a.receipt) == [NOT_HELD]


async def _acknowledge_after(bench: Bench, ms: int, receipt: str) -> list[str | None]:
    await bench.advance(ms)
    return await bench.acknowledge(receipt)
