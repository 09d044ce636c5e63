"""A restart, in good order or not, finds every event where it was, and every promise kept."""

import pytest

from actors.broker import Consumer, Delivery, Rejected, Unavailable
from tests.broker.bench import CLIENT, NOT_HELD, WORKER, Bench, OpenBench, Places, event, names

END = pytest.mark.parametrize("end", ["stop", "kill"])


async def over(bench: Bench, end: str, *, down_ms: int = 0, **settings: object) -> None:
    """Restart the broker in one of two ways."""
    if end == "stop":
        await bench.restart(down_ms=down_ms, **settings)
    else:
        await bench.kill_and_start(down_ms=down_ms, **settings)


@END
async def test_every_event_is_where_it_was(bench: Bench, end: str) -> None:
    letter = await bench.die("dead")
    gone = await bench.die("gone")
    await bench.discard(gone)
    await bench.publish("ready", "delayed", "leased", "settled")
    ready, delayed, leased, settled = await bench.take(4)
    bench.broker.release([ready.receipt])
    await bench.nack(delayed.receipt, delay_ms=60_000)
    await bench.acknowledge(settled.receipt)
    before = await bench.places()
    assert before == Places(waiting=2, leased=1, dead=1, acknowledged=1, discarded=1, enqueued=6)
    for _ in range(3):
        await over(bench, end)
        assert await bench.places() == before
    assert names(await bench.take(10)) == ["ready"]
    assert [x.receipt for x in await bench.letters()] == [letter]
    assert await bench.acknowledge(leased.receipt) == [None]


@END
async def test_events_come_out_as_they_were(bench: Bench, end: str) -> None:
    ids = await bench.publish("a", "ü" * 1000, topic="x/y")
    published_at = bench.now()
    await over(bench, end, down_ms=1000)
    deliveries = await bench.take(10)
    assert [d.id for d in deliveries] == ids
    assert names(deliveries) == ["a", "ü" * 1000]
    assert {(d.topic, d.timestamp, d.retries) for d in deliveries} == {("x/y", published_at, 0)}


@END
async def test_retries_go_on_where_they_were(bench: Bench, end: str) -> None:
    await bench.publish("a")
    for retry in range(3):
        a = await bench.take_one()
        assert a.retries == retry
        await bench.nack(a.receipt, delay_ms=0)
        await over(bench, end)
    assert [letter.retries for letter in await bench.letters()] == [2]


@END
async def test_a_delay_goes_on_while_the_broker_is_down(bench: Bench, end: str) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, delay_ms=5000)
    await bench.advance(1000)
    await over(bench, end, down_ms=1000)
    started = bench.now()
    assert names(await _wait(bench)) == ["a"]
    assert bench.now() - started == 3000


@END
async def test_a_lease_keeps_its_deadline_and_its_receipt(bench: Bench, end: str) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.advance(1000)
    await over(bench, end, down_ms=1000)
    (lease,) = (await bench.broker.status()).lease_list
    assert (lease.id, lease.deadline) == (a.id, bench.now() + 8000)
    assert await bench.extend(a.receipt, 2000) == bench.now() + 2000
    await bench.advance(1999)
    assert await bench.take() == []
    await bench.advance(1)
    assert (await bench.take_one()).retries == 1


@END
async def test_an_extended_lease_keeps_its_extension(bench: Bench, end: str) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.extend(a.receipt, 100_000)
    await over(bench, end, down_ms=1000)
    started = bench.now()
    assert [d.retries for d in await _wait(bench)] == [1]
    assert bench.now() - started == 99_000


@END
async def test_a_lease_that_ran_out_while_the_broker_was_down_has_failed(
    bench: Bench, end: str
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await over(bench, end, down_ms=20_000)
    await bench.idle()
    assert (await bench.places()).waiting == 1
    assert await bench.acknowledge(a.receipt) == [None]


@END
async def test_the_last_retry_that_ran_out_meanwhile_is_a_dead_letter(
    open_bench: OpenBench, end: str
) -> None:
    async with open_bench(max_retries=0) as bench:
        await bench.publish("a")
        await bench.take()
        await over(bench, end, down_ms=20_000)
        await bench.idle()
        assert [letter.reason for letter in await bench.letters()] == ["visibility_timeout"]


@END
async def test_a_receipt_can_be_rejected_after_it(bench: Bench, end: str) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await over(bench, end)
    assert await bench.nack(a.receipt, delay_ms=0)
    again = await bench.take_one()
    assert (again.retries, again.receipt != a.receipt) == (1, True)
    await over(bench, end)
    assert await bench.acknowledge(a.receipt) == [NOT_HELD]
    assert await bench.acknowledge(again.receipt) == [None]


@END
async def test_everything_is_restored_whatever_the_limits(open_bench: OpenBench, end: str) -> None:
    async with open_bench(queue_max_size=10) as bench:
        await bench.publish(*"abcdefgh")
        held = await bench.take(3)
        await over(bench, end, queue_max_size=2, leases_max=1)
        assert await bench.places() == Places(waiting=5, leased=3, enqueued=8)
        assert isinstance(await bench.broker.enqueue([event("i")]), Unavailable)
        assert isinstance(await bench.broker.enqueue([event("x")] * 3), Rejected)
        assert await bench.take() == []  # as many leases as there may be, and two more
        assert await bench.acknowledge(*(d.receipt for d in held)) == [None] * 3
        order = []
        while taken := await bench.take(10):
            order += names(taken)
            await bench.acknowledge(taken[0].receipt)
        assert order == list("defgh")
        await bench.publish("i")


@END
async def test_counters_go_on_and_latency_and_start_begin_anew(bench: Bench, end: str) -> None:
    await bench.publish("a", "b", "c", "d")
    a, b, c, d = await bench.take(4)
    await bench.advance(500)
    await bench.acknowledge(a.receipt)
    await bench.nack(b.receipt)
    await bench.nack(c.receipt, requeue=False)
    await bench.nack(d.receipt, requeue=False)
    await bench.reprocess(c.receipt)
    await bench.discard(d.receipt)
    before = await bench.broker.metrics()
    assert before.processing_ms_avg == 500
    await over(bench, end, down_ms=1000)
    after = await bench.broker.metrics()
    assert after.counters == before.counters
    assert after.last_event_at == before.last_event_at
    assert (after.processing_ms_avg, after.processing_ms_max) == (0, 0)
    assert after.started_at == bench.now()
    assert (await bench.broker.status()).uptime_ms == 0


@END
async def test_acknowledging_a_lease_of_the_last_life_says_nothing_about_latency(
    bench: Bench, end: str
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await over(bench, end)
    await bench.advance(1000)
    await bench.acknowledge(a.receipt)
    assert (await bench.broker.metrics()).processing_ms_max == 0


@END
@pytest.mark.parametrize("consumer", [CLIENT, WORKER], ids=["client", "worker"])
async def test_a_clients_lease_lives_on_and_a_workers_has_failed(
    bench: Bench, end: str, consumer: Consumer
) -> None:
    await bench.publish("a")
    a = await bench.take_one(consumer=consumer)
    await over(bench, end)
    await bench.idle()
    if consumer is CLIENT:
        assert await bench.acknowledge(a.receipt) == [None]
        return
    assert await bench.acknowledge(a.receipt) == [NOT_HELD]
    await bench.advance(999)
    assert await bench.take() == []  # with backoff
    await bench.advance(1)
    assert (await bench.take_one()).retries == 1


async def test_an_event_that_kills_its_worker_each_time_ends_as_a_dead_letter(
    bench: Bench,
) -> None:
    await bench.publish("poison", "good")
    starts = 0
    while not (await bench.places()).dead:
        taken = await _wait(bench, consumer=WORKER, max_events=1)
        if names(taken) == ["good"]:
            await bench.acknowledge(taken[0].receipt)
            continue
        starts += 1
        await bench.kill_and_start()
        await bench.idle()
    assert starts == 3
    (letter,) = await bench.letters()
    assert (letter.reason, letter.retries) == ("max_retries_exceeded", 2)
    assert letter.error
    await bench.kill_and_start()
    assert await bench.places() == Places(dead=1, acknowledged=1, enqueued=2)


async def test_what_recovery_itself_did_survives_the_next_kill(bench: Bench) -> None:
    await bench.publish("a")
    await bench.take(consumer=WORKER)
    await bench.kill_and_start()
    for _ in range(3):
        await bench.kill_and_start()
    await bench.advance(1000)
    assert (await bench.take_one()).retries == 1


async def test_parked_polls_are_answered_with_nothing_on_the_way_out(bench: Bench) -> None:
    polls = [await bench.poll(), await bench.poll(topic="x")]
    await bench.restart()
    await bench.idle()
    assert [poll.answer for poll in polls] == [(), ()]


async def test_a_stop_keeps_what_was_accepted_in_the_same_instant(bench: Bench) -> None:
    call = bench.begin_soon(lambda: bench.broker.enqueue([event("a")]))
    await bench.restart()
    await bench.idle()
    there = names(await bench.take())
    assert there == (["a"] if isinstance(call.answer, tuple) else [])


async def _wait(
    bench: Bench, *, consumer: Consumer = CLIENT, max_events: int = 10
) -> list[Delivery]:
    answer = await bench.broker.consume(
        timeout_ms=1_000_000, max_events=max_events, consumer=consumer
    )
    assert isinstance(answer, tuple), answer
    return list(answer)
