"""A full disk refuses new events and nothing else, and everything goes on when there is room."""

import pytest

from actors.broker import Durability, Unavailable
from tests.broker.bench import Bench, OpenBench, event, names

ROOMS = [0, 1, 30, 60, 100, 200, 400]


async def fill_up(bench: Bench, room: int = 0) -> list[str]:
    """Fill the storage; return the names of the events that still came in."""
    bench.fill_storage(room)
    accepted: list[str] = []
    for number in range(100):
        answer = await bench.broker.enqueue([event(f"last-{number}")])
        if isinstance(answer, Unavailable):
            assert answer.code == "STORAGE_FULL"
            assert answer.retry_after_ms > 0
            return accepted
        assert isinstance(answer, tuple)
        accepted.append(f"last-{number}")
    raise AssertionError("it never was full")


@pytest.mark.parametrize("room", ROOMS)
async def test_new_events_are_refused_and_those_that_are_there_are_consumed(
    bench: Bench, room: int
) -> None:
    await bench.publish(*(f"old-{number}" for number in range(20)))
    late = await fill_up(bench, room)
    delivered = await bench.take(100)
    assert names(delivered) == [f"old-{number}" for number in range(20)] + late
    reasons = await bench.acknowledge(*(delivery.receipt for delivery in delivered[:-2]))
    assert not any(reasons)
    await bench.nack(delivered[-2].receipt, requeue=False)
    assert names(await bench.letters()) == [names(delivered)[-2]]
    assert await bench.reprocess((await bench.letters())[0].receipt)
    await bench.kill_and_start()
    await bench.advance(20_000)
    assert sorted(names(await bench.take(10))) == sorted(names(delivered)[-2:])


async def test_it_is_unhealthy_and_ready_as_long_as_the_disk_is_full(bench: Bench) -> None:
    await bench.publish("a")
    await fill_up(bench)
    health = bench.broker.health()
    assert (health.healthy, health.ready) == (False, True)
    assert "full" in health.reason
    await bench.advance(5000)
    assert not bench.broker.health().healthy


async def test_it_goes_on_by_itself_when_there_is_room(bench: Bench) -> None:
    await bench.publish("a")
    late = await fill_up(bench)
    bench.make_room()
    await bench.advance(2000)
    assert bench.broker.health().healthy
    await bench.publish("b")
    assert names(await bench.take(10)) == ["a", *late, "b"]


async def test_what_was_refused_is_not_there_after_a_restart(bench: Bench) -> None:
    late = await fill_up(bench)
    refused = await bench.broker.enqueue([event("x"), event("y")])
    assert isinstance(refused, Unavailable)
    bench.make_room()
    await bench.restart()
    assert names(await bench.take(10)) == late
    places = await bench.places()
    assert places.enqueued == len(late)


async def test_a_restart_on_a_full_disk_serves_what_is_there(bench: Bench) -> None:
    await bench.publish("a", "b", "c")
    late = await fill_up(bench)
    await bench.kill_and_start()
    delivered = await bench.take(10)
    assert names(delivered) == ["a", "b", "c", *late]
    assert not any(await bench.acknowledge(*(d.receipt for d in delivered)))


async def test_those_who_publish_and_acknowledge_together_are_told_apart(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    bench.fill_storage(40)
    publishing = bench.begin_soon(lambda: bench.broker.enqueue([event("b")]))
    settling = bench.begin_soon(lambda: bench.broker.acknowledge([a.receipt]))
    await bench.idle()
    refusal = publishing.answer
    assert isinstance(refusal, Unavailable)
    settled = settling.answer
    assert isinstance(settled, tuple)
    assert settled[0].reason is None
    await bench.kill_and_start()
    await bench.advance(20_000)
    assert await bench.take(10) == []


async def test_a_long_time_on_a_full_disk_loses_nothing(open_bench: OpenBench) -> None:
    async with open_bench(segment_max_bytes=4096, reserved_bytes=1 << 20) as bench:
        published = [f"e-{number}" for number in range(300)]
        for start in range(0, 300, 50):
            await bench.publish(*published[start : start + 50])
        await fill_up(bench)
        seen: list[str] = []
        while len(seen) < 300:
            delivered = await bench.take(7)
            seen += names(delivered)
            assert not any(await bench.acknowledge(*(d.receipt for d in delivered)))
            await bench.advance(1500)
        assert seen[:300] == published


async def test_each_event_says_how_safe_it_is(open_bench: OpenBench) -> None:
    async with open_bench() as bench:
        for wish, expected in (
            (None, Durability.FSYNC),
            (Durability.FSYNC, Durability.FSYNC),
            (Durability.OS, Durability.OS),
        ):
            answer = await bench.broker.enqueue([event("a")], durability=wish)
            assert isinstance(answer, tuple)
            assert answer[0].durability is expected


async def test_who_asks_for_less_gets_more_in_a_commit_that_is_synced(bench: Bench) -> None:
    broker = bench.broker
    calls = [
        bench.begin_soon(lambda: broker.enqueue([event("a")], durability=Durability.OS)),
        bench.begin_soon(lambda: broker.enqueue([event("b")], durability=Durability.FSYNC)),
    ]
    await bench.idle()
    for call in calls:
        answer = call.answer
        assert isinstance(answer, tuple)
        assert answer[0].durability is Durability.FSYNC
    assert sorted(names(await bench.take(10))) == ["a", "b"]
