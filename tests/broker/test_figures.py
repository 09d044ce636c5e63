"""The figures: where the events are, and what has happened to them."""

from actors.broker import Counters, TopicView
from tests.broker.bench import Bench, OpenBench, Places, event


async def test_a_new_broker_has_nothing(bench: Bench) -> None:
    status, metrics = await bench.broker.status(), await bench.broker.metrics()
    assert (status.queue_size, status.leases, status.dead_letters) == (0, 0, 0)
    assert (status.topics, status.lease_list, status.acknowledged) == ((), (), 0)
    assert metrics.counters == Counters()
    assert (metrics.processing_ms_avg, metrics.processing_ms_max) == (0, 0)
    assert (metrics.started_at, metrics.last_event_at) == (bench.now(), None)
    assert bench.broker.health().healthy
    assert bench.broker.health().ready


async def test_every_event_is_counted_in_exactly_one_place(bench: Bench) -> None:
    await bench.publish(*"abcdef")
    a, b, c, d, _ = await bench.take(5)
    assert await bench.places() == Places(waiting=1, leased=5, enqueued=6)
    await bench.acknowledge(a.receipt)
    await bench.nack(b.receipt)
    await bench.nack(c.receipt, requeue=False)
    bench.broker.release([d.receipt])
    await bench.idle()
    assert await bench.places() == Places(waiting=3, leased=1, dead=1, acknowledged=1, enqueued=6)


async def test_the_queue_is_told_by_topic_ready_and_delayed(open_bench: OpenBench) -> None:
    async with open_bench(queue_max_size=7) as bench:
        await bench.publish("a", "b", "c", topic="x")
        await bench.publish("d")
        a, b = await bench.take(2, topic="x")
        await bench.nack(a.receipt, delay_ms=1000)
        await bench.nack(b.receipt, requeue=False)
        status = await bench.broker.status()
        assert status.topics == (TopicView("", 1, 0), TopicView("x", 1, 1))
        assert (status.queue_size, status.queue_max_size) == (3, 7)
        await bench.advance(1000)
        assert (await bench.broker.status()).topics == (TopicView("", 1, 0), TopicView("x", 2, 0))


async def test_latency_is_the_time_from_delivery_to_acknowledgement(bench: Bench) -> None:
    await bench.publish("a", "b", "c")
    a, b, c = await bench.take(3)
    await bench.advance(100)
    await bench.acknowledge(a.receipt)
    await bench.advance(200)
    await bench.acknowledge(b.receipt)
    await bench.advance(5000)
    await bench.nack(c.receipt)
    metrics = await bench.broker.metrics()
    assert (metrics.processing_ms_avg, metrics.processing_ms_max) == (200, 300)


async def test_counters_count_what_happened(bench: Bench) -> None:
    await bench.publish("a", "b", "c")
    a, b, c = await bench.take(3)
    await bench.acknowledge(a.receipt)
    await bench.nack(b.receipt, delay_ms=0)
    await bench.nack(c.receipt, requeue=False)
    await bench.take()
    await bench.reprocess(c.receipt)
    assert (await bench.broker.metrics()).counters == Counters(
        enqueued=3, consumed=4, acknowledged=1, failed=2, dead=1, reprocessed=1
    )


async def test_uptime_and_the_last_event_go_with_the_clock(bench: Bench) -> None:
    await bench.advance(2500)
    await bench.broker.enqueue([event("a")])
    published_at = bench.now()
    await bench.advance(500)
    assert (await bench.broker.status()).uptime_ms == 3000
    metrics = await bench.broker.metrics()
    assert metrics.last_event_at == published_at
    assert metrics.started_at == bench.now() - 3000


async def test_parked_polls_are_counted(bench: Bench) -> None:
    await bench.poll()
    await bench.poll(topic="x")
    assert (await bench.broker.status()).parked_polls == 2
