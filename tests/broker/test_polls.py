"""Long polls: they answer as soon as there is something, at the latest on time, in their order."""

import pytest

from actors.broker import NewEvent, Unavailable
from tests.broker.bench import Bench, OpenBench, event, names


async def test_a_poll_is_answered_at_once_when_there_is_something(bench: Bench) -> None:
    await bench.publish("a")
    poll = await bench.poll()
    assert names(poll.answer) == ["a"]
    assert poll.ended_at == bench.now()


@pytest.mark.parametrize("timeout_ms", [1, 999, 1000, 1001, 30_000])
async def test_a_poll_that_gets_nothing_ends_exactly_on_time(bench: Bench, timeout_ms: int) -> None:
    started = bench.now()
    assert await bench.broker.consume(timeout_ms=timeout_ms) == ()
    assert bench.now() - started == timeout_ms


async def test_a_poll_that_does_not_wait_is_answered_at_once(bench: Bench) -> None:
    started = bench.now()
    assert await bench.broker.consume(timeout_ms=0) == ()
    assert bench.now() == started
    assert (await bench.broker.status()).parked_polls == 0


async def test_a_published_event_wakes_a_parked_poll_at_once(bench: Bench) -> None:
    poll = await bench.poll()
    assert not poll.ended
    await bench.advance(5000)
    await bench.publish("a")
    await bench.idle()
    assert names(poll.answer) == ["a"]
    assert poll.ended_at == bench.now()


async def test_a_delayed_event_wakes_a_parked_poll_when_it_is_due(bench: Bench) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, delay_ms=7777)
    started, poll = bench.now(), await bench.poll()
    await bench.advance(20_000)
    assert names(poll.answer) == ["a"]
    assert poll.ended_at == started + 7777


async def test_a_lease_that_runs_out_wakes_a_parked_poll(bench: Bench) -> None:
    await bench.publish("a")
    await bench.take()
    started, poll = bench.now(), await bench.poll()
    await bench.advance(20_000)
    assert names(poll.answer) == ["a"]
    assert poll.ended_at == started + 10_000


async def test_released_rejected_and_reprocessed_events_wake_parked_polls(bench: Bench) -> None:
    receipt = await bench.die("c")
    await bench.publish("a", "b")
    a, b = await bench.take(2)
    polls = [await bench.poll(max_events=1) for _ in range(3)]
    bench.broker.release([a.receipt])
    await bench.idle()
    await bench.nack(b.receipt, delay_ms=0)
    await bench.reprocess(receipt)
    await bench.idle()
    assert [names(poll.answer) for poll in polls] == [["a"], ["b"], ["c"]]


async def test_parked_polls_are_served_in_the_order_of_their_arrival(bench: Bench) -> None:
    polls = [await bench.poll(max_events=1) for _ in range(4)]
    await bench.publish(*"abcd")
    await bench.idle()
    assert [names(poll.answer) for poll in polls] == [["a"], ["b"], ["c"], ["d"]]


async def test_a_batch_is_shared_among_parked_polls_in_the_order_of_their_arrival(
    bench: Bench,
) -> None:
    polls = [await bench.poll(max_events=count) for count in (2, 1, 10)]
    await bench.broker.enqueue([event(name) for name in "abcde"])
    await bench.idle()
    assert [names(poll.answer) for poll in polls] == [["a", "b"], ["c"], ["d", "e"]]


async def test_polls_for_a_topic_and_for_any_topic_stand_in_one_line(bench: Bench) -> None:
    polls = [await bench.poll(topic=topic, max_events=1) for topic in ("x", None, "x", "y", None)]
    await bench.publish("a", "b", "c", topic="x")
    await bench.publish("d", "e", topic="y")
    await bench.idle()
    assert [names(poll.answer) for poll in polls] == [["a"], ["b"], ["c"], ["d"], ["e"]]


async def test_a_poll_is_not_passed_over_for_a_later_one_by_a_batch_of_several_topics(
    bench: Bench,
) -> None:
    for_y = await bench.poll(topic="y")
    for_any = await bench.poll()
    await bench.broker.enqueue([event("a", "x"), event("b", "y"), event("c", "x")])
    await bench.idle()
    assert names(for_y.answer) == ["b"]
    assert names(for_any.answer) == ["a", "c"]


async def test_polls_that_ended_are_passed_over(bench: Bench) -> None:
    short = await bench.poll(timeout_ms=100)
    gone = await bench.poll()
    patient = await bench.poll()
    await bench.advance(100)
    gone.cancel()
    await bench.idle()
    await bench.publish("a")
    await bench.idle()
    assert (short.answer, gone.cancelled, names(patient.answer)) == ((), True, ["a"])


async def test_an_event_at_the_very_end_of_a_poll_is_not_lost(bench: Bench) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, delay_ms=1000)
    poll = await bench.poll(timeout_ms=1000)
    await bench.advance(1000)
    left = await bench.take()
    assert names([*poll.answer, *left]) == ["a"]


async def test_no_more_than_asked_for(bench: Bench) -> None:
    await bench.publish(*"abcde")
    assert names(await bench.take(3)) == ["a", "b", "c"]
    assert names(await bench.take(3)) == ["d", "e"]
    assert names(await bench.take(3)) == []


async def test_a_parked_poll_gets_what_is_there_and_does_not_wait_for_more(bench: Bench) -> None:
    poll = await bench.poll(max_events=10)
    await bench.publish("a")
    await bench.idle()
    await bench.publish("b")
    assert names(poll.answer) == ["a"]


async def test_an_answer_stops_at_its_bound_of_bytes_but_not_before_its_first_event(
    open_bench: OpenBench,
) -> None:
    async with open_bench(delivery_bytes_max=100) as bench:
        sizes = [40, 60, 1, 250, 101, 50]
        for size in sizes:
            await bench.broker.enqueue([NewEvent(b'{"":"%s"}' % (b"x" * (size - 7)))])
        taken = []
        while deliveries := await bench.take(10):
            taken.append([len(d.payload) for d in deliveries])
        # An answer of 7 bytes is the least that an event of this form takes.
        assert taken == [[40, 60], [7], [250], [101], [50]]


async def test_what_the_bound_of_bytes_left_behind_goes_to_the_next_parked_poll(
    open_bench: OpenBench,
) -> None:
    async with open_bench(delivery_bytes_max=50) as bench:
        first, second = await bench.poll(), await bench.poll()
        await bench.broker.enqueue([event("a" * 30), event("b" * 30)])
        await bench.idle()
        assert names(first.answer) == ["a" * 30]
        assert names(second.answer) == ["b" * 30]


async def test_too_many_polls_are_refused_and_the_others_go_on(open_bench: OpenBench) -> None:
    async with open_bench(open_requests_max=2) as bench:
        polls = [await bench.poll() for _ in range(3)]
        refusal = polls[2].answer
        assert isinstance(refusal, Unavailable)
        assert refusal.code == "BUSY"
        await bench.publish("a")
        await bench.idle()
        assert names(polls[0].answer) == ["a"]
        assert not polls[1].ended


async def test_a_poll_that_ended_makes_room_for_another(open_bench: OpenBench) -> None:
    async with open_bench(open_requests_max=1) as bench:
        for _ in range(3):
            assert await bench.broker.consume(timeout_ms=100) == ()
            await bench.idle()
        gone = await bench.poll()
        gone.cancel()
        await bench.idle()
        assert await bench.broker.consume(timeout_ms=100) == ()


async def test_when_all_leases_are_out_polls_wait_for_one_to_end(open_bench: OpenBench) -> None:
    async with open_bench(leases_max=2) as bench:
        await bench.publish(*"abc")
        a, _ = await bench.take(5)
        assert await bench.take() == []
        poll = await bench.poll()
        assert not poll.ended
        await bench.acknowledge(a.receipt)
        await bench.idle()
        assert names(poll.answer) == ["c"]
