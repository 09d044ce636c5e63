"""Callers that go away, at whatever moment: no event is lost, held or counted as tried."""

from collections.abc import Awaitable, Callable

import pytest

from tests.broker.bench import Bench, Call, OpenBench, Places, event, names, turns

STEPS = range(14)
"""Turns of the scheduler after which a call is cancelled: more than any of them takes."""


async def cancel_after(
    bench: Bench, steps: int, work: Callable[[], Awaitable[object]]
) -> Call[object]:
    """Start a call and cancel it after some turns of the scheduler."""
    call = bench.begin_soon(work)
    await turns(steps)
    call.cancel()
    await bench.idle()
    return call


async def test_the_steps_reach_from_the_first_message_to_the_answer(bench: Bench) -> None:
    await bench.publish("a")
    calls = [
        await cancel_after(bench, steps, lambda: bench.broker.consume(timeout_ms=1000))
        for steps in (STEPS[0], STEPS[-1])
    ]
    assert [call.cancelled for call in calls] == [True, False]


@pytest.mark.parametrize("timeout_ms", [0, 1000])
@pytest.mark.parametrize("steps", STEPS)
async def test_a_poll_that_is_cancelled_while_it_is_served_holds_nothing(
    bench: Bench, steps: int, timeout_ms: int
) -> None:
    await bench.publish("a", "b", "c")
    call = await cancel_after(
        bench, steps, lambda: bench.broker.consume(timeout_ms=timeout_ms, max_events=2)
    )
    if call.cancelled:
        assert (await bench.places()).leased == 0
        deliveries = await bench.take(10)
        assert names(deliveries) == ["a", "b", "c"]
        assert {d.retries for d in deliveries} == {0}
    else:
        assert (await bench.places()).leased == 2
        assert names(await bench.take(10)) == ["c"]


@pytest.mark.parametrize("steps", STEPS)
async def test_a_parked_poll_that_is_cancelled_while_an_event_arrives_holds_nothing(
    bench: Bench, steps: int
) -> None:
    poll = await bench.poll()
    publishing = bench.begin_soon(lambda: bench.broker.enqueue([event("a")]))
    await turns(steps)
    poll.cancel()
    await bench.idle()
    assert isinstance(publishing.answer, tuple)
    if poll.cancelled:
        again = await bench.take_one()
        assert (names([again]), again.retries) == (["a"], 0)
    else:
        assert names(poll.answer) == ["a"]
        assert await bench.take() == []
    assert await bench.places() == Places(leased=1, enqueued=1)


@pytest.mark.parametrize("steps", STEPS)
async def test_what_a_cancelled_poll_gives_back_goes_to_the_next_in_line(
    bench: Bench, steps: int
) -> None:
    first, second = await bench.poll(), await bench.poll()
    bench.begin_soon(lambda: bench.broker.enqueue([event("a")]))
    await turns(steps)
    first.cancel()
    await bench.idle()
    if first.cancelled:
        assert names(second.answer) == ["a"]
    else:
        assert names(first.answer) == ["a"]
        assert not second.ended


@pytest.mark.parametrize("before_ms", [1, 0])
async def test_a_poll_cancelled_at_its_deadline_holds_nothing(bench: Bench, before_ms: int) -> None:
    poll = await bench.poll(timeout_ms=1000)
    await bench.advance(1000 - before_ms)
    poll.cancel()
    await bench.publish("a")
    assert names(await bench.take()) == ["a"]


async def test_a_cancelled_parked_poll_is_no_longer_parked(bench: Bench) -> None:
    polls = [await bench.poll(topic=topic) for topic in (None, "x", None)]
    polls[0].cancel()
    polls[1].cancel()
    await bench.idle()
    assert (await bench.broker.status()).parked_polls == 1


async def test_many_cancelled_polls_leave_no_trace(bench: Bench) -> None:
    for _ in range(50):
        poll = await bench.poll()
        poll.cancel()
        await bench.idle()
    await bench.publish("a")
    assert names(await bench.take()) == ["a"]
    counters = (await bench.broker.metrics()).counters
    assert (counters.consumed, counters.failed) == (1, 0)


@pytest.mark.parametrize("steps", STEPS)
async def test_a_cancelled_enqueue_takes_effect_whole_or_not_at_all(
    bench: Bench, steps: int
) -> None:
    await cancel_after(bench, steps, lambda: bench.broker.enqueue([event(name) for name in "abc"]))
    there = names(await bench.take(10))
    assert there in ([], ["a", "b", "c"])
    await bench.kill_and_start()
    assert (await bench.places()).enqueued == len(there)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("timed_out", [False, True], ids=["leased", "timed out"])
async def test_a_cancelled_acknowledgement_settles_the_event_or_leaves_it(
    bench: Bench, steps: int, *, timed_out: bool
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    if timed_out:
        await bench.advance(10_000)
    before = await bench.places()
    await cancel_after(bench, steps, lambda: bench.broker.acknowledge([a.receipt]))
    places = await bench.places()
    assert places in (before, Places(acknowledged=1, enqueued=1))
    if places == before:
        assert await bench.acknowledge(a.receipt) == [None]


@pytest.mark.parametrize("steps", STEPS)
async def test_one_of_two_acknowledgements_may_go_away(bench: Bench, steps: int) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    going = bench.begin_soon(lambda: bench.broker.acknowledge([a.receipt]))
    staying = bench.begin_soon(lambda: bench.acknowledge(a.receipt))
    await turns(steps)
    going.cancel()
    await bench.idle()
    assert staying.answer == [None]


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("requeue", [False, True], ids=["for good", "to retry"])
async def test_a_cancelled_rejection_takes_effect_or_not(
    bench: Bench, steps: int, *, requeue: bool
) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await cancel_after(bench, steps, lambda: bench.broker.nack([a.receipt], requeue=requeue))
    after = Places(waiting=1, enqueued=1) if requeue else Places(dead=1, enqueued=1)
    assert await bench.places() in (Places(leased=1, enqueued=1), after)


@pytest.mark.parametrize("steps", STEPS)
async def test_a_cancelled_reprocessing_takes_effect_or_not(bench: Bench, steps: int) -> None:
    receipt = await bench.die("a")
    await cancel_after(bench, steps, lambda: bench.broker.reprocess([receipt]))
    places = await bench.places()
    assert places in (Places(dead=1, enqueued=1), Places(waiting=1, enqueued=1))
    assert len(await bench.take()) == places.waiting


async def test_cancelled_calls_give_back_their_places(open_bench: OpenBench) -> None:
    async with open_bench(open_requests_max=1) as bench:
        for _ in range(20):
            for work in (
                lambda: bench.broker.enqueue([event("a")]),
                lambda: bench.broker.consume(timeout_ms=1000),
                lambda: bench.broker.acknowledge(["x"]),
                bench.broker.dead_letters,
                bench.broker.status,
            ):
                await cancel_after(bench, 1, work)
        await bench.acknowledge(*(d.receipt for d in await bench.take(100)))
        assert (await bench.places()).leased == 0
        assert await bench.letters() == []
