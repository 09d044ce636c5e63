"""The order of delivery: by due time, then by the order of acceptance; a topic is never held up."""

from tests.broker.bench import Bench, event, names


async def test_events_of_all_topics_come_in_the_order_of_acceptance(bench: Bench) -> None:
    for i, topic in enumerate(["x", "y", "", "x", "z", "y"]):
        await bench.publish(f"{i}", topic=topic)
    assert names(await bench.take(10)) == ["0", "1", "2", "3", "4", "5"]


async def test_a_topic_alone_comes_in_the_same_order(bench: Bench) -> None:
    for i, topic in enumerate(["x", "y", "x", "y", "x"]):
        await bench.publish(f"{i}", topic=topic)
    assert names(await bench.take(10, topic="x")) == ["0", "2", "4"]
    assert names(await bench.take(10)) == ["1", "3"]


async def test_no_topic_is_a_topic_of_its_own(bench: Bench) -> None:
    await bench.publish("a", topic="x")
    await bench.publish("b")
    assert names(await bench.take(10, topic="")) == ["b"]


async def test_a_topic_is_not_held_up_by_thousands_of_another(bench: Bench) -> None:
    for _ in range(10):
        await bench.broker.enqueue([event("x", "x")] * 99)
    await bench.publish("y", topic="y")
    assert names(await bench.take(topic="y")) == ["y"]


async def test_a_poll_for_one_topic_is_not_woken_by_another(bench: Bench) -> None:
    poll = await bench.poll(topic="y", timeout_ms=1000)
    await bench.publish("a", topic="x")
    await bench.idle()
    assert not poll.ended
    await bench.publish("b", topic="y")
    await bench.idle()
    assert names(poll.answer) == ["b"]


async def test_a_released_event_regains_its_old_place(bench: Bench) -> None:
    await bench.publish("a", "b")
    await bench.advance(10)
    a, b = await bench.take(2)
    await bench.publish("c")
    await bench.advance(10)
    bench.broker.release([b.receipt, a.receipt])
    await bench.idle()
    assert names(await bench.take(10)) == ["a", "b", "c"]


async def test_a_retried_event_takes_its_place_by_its_due_time(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    await bench.nack(a.receipt, delay_ms=100)
    await bench.advance(50)
    await bench.publish("b")
    await bench.advance(100)
    await bench.publish("c")
    assert names(await bench.take(10)) == ["b", "a", "c"]


async def test_an_event_whose_lease_ran_out_stands_behind_what_came_before_that(
    bench: Bench,
) -> None:
    await bench.publish("a")
    await bench.take()
    await bench.advance(9999)
    await bench.publish("b")
    await bench.advance(2)
    await bench.publish("c")
    assert names(await bench.take(10)) == ["b", "a", "c"]


async def test_a_reprocessed_event_stands_at_the_end(bench: Bench) -> None:
    receipt = await bench.die("a")
    await bench.publish("b")
    await bench.advance(1)
    await bench.reprocess(receipt)
    await bench.advance(1)
    await bench.publish("c")
    assert names(await bench.take(10)) == ["b", "a", "c"]


async def test_of_two_that_are_due_at_once_the_one_accepted_first_comes_first(
    bench: Bench,
) -> None:
    await bench.publish("a", "b", "c")
    a, b, c = await bench.take(3)
    await bench.nack(c.receipt, delay_ms=500)
    await bench.nack(a.receipt, delay_ms=500)
    await bench.advance(200)
    await bench.nack(b.receipt, delay_ms=300)
    await bench.advance(1000)
    assert names(await bench.take(10)) == ["a", "b", "c"]


async def test_a_delayed_event_is_not_handed_out_before_it_is_due(bench: Bench) -> None:
    await bench.publish("a")
    await bench.nack((await bench.take_one()).receipt, delay_ms=1000)
    await bench.advance(999)
    assert await bench.take() == []
    await bench.advance(1)
    assert names(await bench.take()) == ["a"]


async def test_the_order_survives_a_restart(bench: Bench) -> None:
    await bench.publish("a", "b", "c", topic="x")
    a, b, c = await bench.take(3)
    await bench.advance(10)
    await bench.nack(a.receipt, delay_ms=1000)
    await bench.nack(b.receipt, delay_ms=500)
    bench.broker.release([c.receipt])
    await bench.publish("d", topic="y")
    await bench.advance(1)
    await bench.restart()
    await bench.publish("e")
    assert names(await bench.take(10)) == ["c", "d", "e"]
    await bench.advance(2000)
    assert names(await bench.take(10)) == ["b", "a"]
