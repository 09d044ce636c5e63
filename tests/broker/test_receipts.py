"""Receipts: which of them settle an event, for how long, and that a stale one never does."""

import pytest
import trio

from tests.broker.bench import NOT_HELD, Bench, OpenBench, Places, names, turns


async def test_an_acknowledged_event_is_gone(bench: Bench) -> None:
    await bench.publish("a")
    assert await bench.acknowledge((await bench.take_one()).receipt) == [None]
    await bench.advance(100_000)
    assert await bench.take() == []
    assert await bench.places() == Places(acknowledged=1, enqueued=1)


@pytest.mark.parametrize("seed", range(20))
async def test_an_answered_acknowledgement_survives_a_power_cut(bench: Bench, seed: int) -> None:
    await bench.publish("a", "b")
    a, b = await bench.take(2)
    assert await bench.acknowledge(a.receipt, b.receipt) == [None, None]
    await bench.lose_power_and_start(seed)
    await bench.advance(100_000)
    assert await bench.take() == []
    assert await bench.places() == Places(acknowledged=2, enqueued=2)


async def test_every_delivery_has_another_receipt(bench: Bench) -> None:
    await bench.publish("a")
    receipts = set()
    for _ in range(3):
        delivery = await bench.take_one()
        receipts.add(delivery.receipt)
        bench.broker.release([delivery.receipt])
        await bench.idle()
    assert len(receipts) == 3


@pytest.mark.parametrize(
    "receipt", ["", "nonsense", "A" * 32, "€" * 32, "A" * 31 + "=", "A" * 10_000]
)
async def test_nonsense_is_no_receipt(bench: Bench, receipt: str) -> None:
    assert await bench.acknowledge(receipt) == [NOT_HELD]
    assert await bench.extend(receipt) is None
    assert not await bench.nack(receipt)
    assert await bench.reprocess(receipt) is None
    assert await bench.discard(receipt) is None


async def test_each_character_of_a_receipt_counts(bench: Bench) -> None:
    await bench.publish("a")
    receipt = (await bench.take_one()).receipt
    for i in range(len(receipt)):
        other = receipt[:i] + ("A" if receipt[i] != "A" else "B") + receipt[i + 1 :]
        assert await bench.acknowledge(other) == [NOT_HELD]
    assert await bench.acknowledge(receipt) == [None]


async def test_a_receipt_of_another_log_is_not_held(open_bench: OpenBench) -> None:
    async with open_bench() as one, open_bench() as another:
        await one.publish("a")
        await another.publish("b")
        a, b = await one.take_one(), await another.take_one()
        assert await another.acknowledge(a.receipt) == [NOT_HELD]
        assert await another.acknowledge(b.receipt) == [None]


async def test_the_receipt_of_a_lease_that_ran_out_settles_while_the_event_waits(
    bench: Bench,
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.advance(15_000)
    assert (await bench.places()).waiting == 1
    assert await bench.acknowledge(a.receipt) == [None]
    assert await bench.take() == []
    assert await bench.places() == Places(acknowledged=1, enqueued=1)


async def test_the_receipt_of_a_released_lease_settles_while_the_event_waits(
    bench: Bench,
) -> None:
    await bench.publish("a", "b")
    a, _ = await bench.take(2)
    bench.broker.release([a.receipt])
    assert await bench.acknowledge(a.receipt) == [None]
    assert await bench.take() == []


async def test_the_receipt_of_a_lease_that_ran_out_before_a_restart_settles_after_it(
    bench: Bench,
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.advance(15_000)
    await bench.kill_and_start()
    assert await bench.acknowledge(a.receipt) == [None]
    assert await bench.places() == Places(acknowledged=1, enqueued=1)


async def test_a_stale_receipt_never_settles_a_later_lease(bench: Bench) -> None:
    await bench.publish("a")
    first = await bench.take_one()
    await bench.advance(10_000)
    second = await bench.take_one()
    assert await bench.acknowledge(first.receipt) == [NOT_HELD]
    assert not await bench.nack(first.receipt)
    assert await bench.extend(first.receipt) is None
    bench.broker.release([first.receipt])
    await bench.idle()
    assert (await bench.places()).leased == 1
    assert await bench.acknowledge(second.receipt) == [None]


async def test_a_stale_receipt_stays_stale_when_the_later_lease_ran_out_too(
    bench: Bench,
) -> None:
    await bench.publish("a")
    first = await bench.take_one()
    await bench.advance(10_000)
    second = await bench.take_one()
    await bench.advance(10_000)
    assert await bench.acknowledge(first.receipt) == [NOT_HELD]
    assert await bench.acknowledge(second.receipt) == [None]


async def test_after_a_rejection_the_receipt_is_spent(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.nack(a.receipt, delay_ms=1000)
    assert await bench.acknowledge(a.receipt) == [NOT_HELD]
    await bench.advance(1000)
    assert await bench.acknowledge(a.receipt) == [NOT_HELD]
    assert names(await bench.take()) == ["a"]


async def test_after_a_rejection_the_receipt_is_spent_over_a_restart_too(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.nack(a.receipt, delay_ms=0)
    await bench.kill_and_start()
    assert await bench.acknowledge(a.receipt) == [NOT_HELD]
    assert names(await bench.take()) == ["a"]


@pytest.mark.parametrize("death", ["rejected", "visibility_timeout"])
async def test_the_receipt_of_a_dead_letter_does_not_acknowledge(
    open_bench: OpenBench, death: str
) -> None:
    async with open_bench(max_retries=0) as bench:
        await bench.publish("a")
        a = await bench.take_one()
        if death == "rejected":
            await bench.nack(a.receipt, requeue=False)
        await bench.advance(10_000)
        assert [letter.reason for letter in await bench.letters()] == [death]
        assert await bench.acknowledge(a.receipt) == [NOT_HELD]
        await bench.reprocess(a.receipt)
        assert await bench.acknowledge(a.receipt) == [NOT_HELD]
        assert names(await bench.take()) == ["a"]


async def test_a_second_acknowledgement_finds_nothing(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    assert await bench.acknowledge(a.receipt) == [None]
    assert await bench.acknowledge(a.receipt) == [NOT_HELD]
    assert (await bench.broker.metrics()).counters.acknowledged == 1


@pytest.mark.parametrize("place", ["leased", "timed out"])
async def test_acknowledgements_at_the_same_time_share_one_result(bench: Bench, place: str) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    if place == "timed out":
        await bench.advance(10_000)
    calls = [bench.begin_soon(lambda: bench.acknowledge(a.receipt)) for _ in range(5)]
    await bench.idle()
    assert [call.answer for call in calls] == [[None]] * 5
    assert await bench.places() == Places(acknowledged=1, enqueued=1)


async def test_a_receipt_named_twice_in_one_request_is_answered_twice(bench: Bench) -> None:
    await bench.publish("a", "b")
    a, b = (d.receipt for d in await bench.take(2))
    assert await bench.acknowledge(a, "x", a, b, "x", a) == [
        None, NOT_HELD, None, None, NOT_HELD, None,
    ]  # fmt: skip
    assert (await bench.broker.metrics()).counters.acknowledged == 2


async def test_acknowledging_nothing_is_answered_with_nothing(bench: Bench) -> None:
    assert await bench.broker.acknowledge([]) == ()
    assert await bench.broker.nack([]) == ()
    assert await bench.broker.extend([]) == ()
    assert await bench.broker.reprocess([]) == ()


@pytest.mark.parametrize("first", ["acknowledge", "nack"])
async def test_of_an_acknowledgement_and_a_rejection_at_once_the_first_counts(
    bench: Bench, first: str
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    results: dict[str, object] = {}

    async def acknowledge() -> None:
        results["acknowledge"] = await bench.acknowledge(a.receipt)

    async def nack() -> None:
        results["nack"] = await bench.nack(a.receipt)

    first_call, second_call = (acknowledge, nack) if first == "acknowledge" else (nack, acknowledge)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first_call)
        await turns(1)
        nursery.start_soon(second_call)
    places = await bench.places()
    if first == "acknowledge":
        assert results == {"acknowledge": [None], "nack": False}
        assert places == Places(acknowledged=1, enqueued=1)
    else:
        assert results == {"acknowledge": [NOT_HELD], "nack": True}
        assert places == Places(waiting=1, enqueued=1)


async def test_a_receipt_whose_lease_a_power_cut_took_away_still_settles(bench: Bench) -> None:
    for seed in range(30):
        (event_id,) = await bench.publish("a")
        a = await bench.take_one()  # a lease is written, not synced, before its reply
        await bench.lose_power_and_start(seed)
        assert await bench.acknowledge(a.receipt) == [None], seed
        assert event_id not in [d.id for d in await bench.take(100)]


async def test_a_receipt_whose_lease_a_power_cut_took_away_settles_an_earlier_lease_too(
    bench: Bench,
) -> None:
    for seed in range(30):
        await bench.publish("a")
        first = await bench.take_one()
        await bench.publish("b")  # puts the first lease on the disk
        await bench.acknowledge((await bench.take_one()).receipt)
        bench.broker.release([first.receipt])
        await bench.idle()
        second = await bench.take_one()
        await bench.lose_power_and_start(seed)
        # Whatever the log knows of it, no later delivery exists.
        assert await bench.acknowledge(second.receipt) == [None], seed
        assert await bench.acknowledge(first.receipt) == [NOT_HELD]
        assert (await bench.places()).leased == 0


async def test_a_receipt_is_stale_once_the_event_was_delivered_after_a_power_cut(
    bench: Bench,
) -> None:
    for seed in range(30):
        await bench.publish("a")
        before = await bench.take_one()
        await bench.lose_power_and_start(seed)
        await bench.advance(10_000)
        after = await bench.take_one()
        assert after.receipt != before.receipt
        assert await bench.acknowledge(before.receipt) == [NOT_HELD], seed
        assert await bench.acknowledge(after.receipt) == [None]
