"""Closing the intake: no new work comes in, while what is out may still be settled."""

from typing import Any

import pytest

from actors.broker import Unavailable
from tests.broker.bench import Bench, Call, Places, event, names, turns


async def test_enqueue_and_consume_are_refused_and_nothing_is_kept(bench: Bench) -> None:
    await bench.publish("a")
    bench.broker.close_intake()
    for refusal in (
        await bench.broker.enqueue([event("b")]),
        await bench.broker.consume(),
        await bench.broker.consume(timeout_ms=10_000),
    ):
        assert isinstance(refusal, Unavailable)
        assert refusal.code == "SHUTTING_DOWN"
        assert refusal.retry_after_ms > 0
    assert await bench.places() == Places(waiting=1, enqueued=1)
    await bench.restart()
    assert names(await bench.take(10)) == ["a"]


async def test_parked_polls_are_answered_with_nothing_at_once(bench: Bench) -> None:
    polls = [await bench.poll(topic=topic) for topic in (None, "x", None)]
    bench.broker.close_intake()
    await bench.idle()
    assert [(poll.answer, poll.ended_at) for poll in polls] == [((), bench.now())] * 3


async def test_it_is_healthy_but_not_ready(bench: Bench) -> None:
    assert bench.broker.health().ready
    bench.broker.close_intake()
    health = bench.broker.health()
    assert (health.healthy, health.ready) == (True, False)
    assert health.reason


async def test_what_is_out_is_settled_extended_and_rejected(bench: Bench) -> None:
    await bench.publish(*"abcde")
    a, b, c, d, e = await bench.take(5)
    bench.broker.close_intake()
    assert await bench.acknowledge(a.receipt) == [None]
    assert await bench.nack(b.receipt)
    assert await bench.nack(c.receipt, requeue=False)
    assert await bench.extend(d.receipt, 60_000) == bench.now() + 60_000
    bench.broker.release([e.receipt])
    await bench.idle()
    assert await bench.places() == Places(waiting=2, leased=1, dead=1, acknowledged=1, enqueued=5)
    assert names(await bench.letters()) == ["c"]


async def test_leases_still_run_out_and_their_receipts_still_settle(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    bench.broker.close_intake()
    await bench.advance(10_000)
    assert (await bench.places()).waiting == 1
    assert await bench.acknowledge(a.receipt) == [None]


async def test_dead_letters_can_still_be_administered(bench: Bench) -> None:
    first, second = await bench.die("a"), await bench.die("b")
    bench.broker.close_intake()
    assert await bench.reprocess(first) is not None
    assert await bench.discard(second) is not None


async def test_closing_twice_is_closing_once(bench: Bench) -> None:
    bench.broker.close_intake()
    bench.broker.close_intake()
    await bench.restart()
    assert bench.broker.health().ready
    await bench.publish("a")


@pytest.mark.parametrize("turns_before", range(10))
async def test_a_call_that_races_with_it_is_served_or_refused_whole(
    bench: Bench, turns_before: int
) -> None:
    await bench.publish("a")
    calls: list[Call[Any]] = [
        bench.begin_soon(lambda: bench.broker.enqueue([event("b"), event("c")])),
        bench.begin_soon(lambda: bench.broker.consume(timeout_ms=60_000, max_events=1)),
        bench.begin_soon(lambda: bench.broker.consume(timeout_ms=60_000, topic="none")),
    ]
    await turns(turns_before)
    bench.broker.close_intake()
    await bench.idle()
    publishing, taking, waiting = (call.answer for call in calls)
    await bench.restart()
    await bench.idle()
    places = await bench.places()
    assert places.enqueued == (3 if isinstance(publishing, tuple) else 1)
    assert places.leased == (len(taking) if isinstance(taking, tuple) else 0)
    assert waiting == () or isinstance(waiting, Unavailable)


async def test_callers_that_are_late_get_an_answer(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    late = bench.broker
    await bench.stop()
    answers = [
        await late.enqueue([event("b")]),
        await late.consume(timeout_ms=1000),
        await late.acknowledge([a.receipt]),
        await late.nack([a.receipt]),
        await late.extend([a.receipt]),
        await late.dead_letters(),
        await late.reprocess([a.receipt]),
    ]
    assert {type(answer) for answer in answers} == {Unavailable}
    late.release([a.receipt])
    late.close_intake()
    await late.status()
    await bench.start()
    assert await bench.acknowledge(a.receipt) == [None]
