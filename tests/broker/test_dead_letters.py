"""Dead letters: listed in the order of death, reprocessed and discarded in one step, for good."""

import pytest

from actors.broker import DeadLetterPage
from tests.broker.bench import NOT_HELD, Bench, OpenBench, Places, event, names


async def test_a_dead_letter_shows_the_event_and_its_death(bench: Bench) -> None:
    published_at = bench.now()
    (event_id,) = await bench.publish("a", topic="x")
    await bench.advance(100)
    a = await bench.take_one()
    await bench.advance(100)
    await bench.nack(a.receipt, requeue=False, error="why")
    (letter,) = await bench.letters()
    assert names([letter]) == ["a"]
    assert (letter.id, letter.topic, letter.retries) == (event_id, "x", 0)
    assert (letter.reason, letter.error) == ("rejected", "why")
    assert (letter.event_timestamp, letter.timestamp) == (published_at, bench.now())
    assert letter.receipt == a.receipt


async def test_dead_letters_come_in_the_order_of_death(bench: Bench) -> None:
    await bench.publish("a", "b", "c")
    a, b, c = await bench.take(3)
    for delivery in (b, c, a):
        await bench.nack(delivery.receipt, requeue=False)
    assert names(await bench.letters()) == ["b", "c", "a"]
    await bench.kill_and_start()
    assert names(await bench.letters()) == ["b", "c", "a"]


async def test_pages_are_cut_by_limit_and_offset(bench: Bench) -> None:
    for name in "abcde":
        await bench.die(name)
    assert names(await bench.letters(limit=2)) == ["a", "b"]
    assert names(await bench.letters(limit=2, offset=3)) == ["d", "e"]
    assert names(await bench.letters(limit=2, offset=4)) == ["e"]
    page = await bench.broker.dead_letters(limit=2, offset=5)
    assert page == DeadLetterPage((), 5)


async def test_a_page_of_one_topic_counts_that_topic(bench: Bench) -> None:
    for i, topic in enumerate(["x", "y", "x", "", "x"]):
        await bench.die(f"{i}", topic=topic)
    page = await bench.broker.dead_letters(topic="x", limit=2, offset=1)
    assert isinstance(page, DeadLetterPage)
    assert (names(list(page.entries)), page.total) == (["2", "4"], 3)
    assert names(await bench.letters(topic="")) == ["3"]
    assert names(await bench.letters(topic="nobody's")) == []


async def test_a_page_stops_at_its_bound_of_bytes_but_not_before_its_first_entry(
    open_bench: OpenBench,
) -> None:
    async with open_bench(delivery_bytes_max=50) as bench:
        for name in ("a" * 60, "b", "c", "d" * 40):
            await bench.die(name)
        assert names(await bench.letters()) == ["a" * 60]
        assert names(await bench.letters(offset=1)) == ["b", "c"]
        page = await bench.broker.dead_letters(offset=3)
        assert isinstance(page, DeadLetterPage)
        assert (len(page.entries), page.total) == (1, 4)


async def test_a_dead_event_is_not_delivered(bench: Bench) -> None:
    await bench.die("a")
    await bench.advance(1_000_000)
    await bench.kill_and_start()
    assert await bench.take() == []
    assert await bench.places() == Places(dead=1, enqueued=1)


async def test_a_reprocessed_event_is_the_same_with_no_retries(bench: Bench) -> None:
    (event_id,) = await bench.publish("a", topic="x")
    published_at = bench.now()
    await bench.advance(10)
    for _ in range(3):
        await bench.nack((await bench.take_one()).receipt, delay_ms=0)
    (letter,) = await bench.letters()
    assert await bench.reprocess(letter.receipt) == event_id
    again = await bench.take_one(topic="x")
    assert (again.id, again.retries, again.timestamp) == (event_id, 0, published_at)
    assert names([again]) == ["a"]
    assert await bench.letters() == []
    assert (await bench.broker.metrics()).counters.reprocessed == 1


async def test_a_reprocessed_event_has_all_its_retries_again(bench: Bench) -> None:
    receipt = await bench.die("a")
    await bench.reprocess(receipt)
    for retry in range(3):
        a = await bench.take_one()
        assert a.retries == retry
        await bench.nack(a.receipt, delay_ms=0)
    assert (await bench.places()).dead == 1


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_reprocessed_event_has_no_retries_after_a_restart_either(
    bench: Bench, end: str
) -> None:
    await bench.publish("a")
    for _ in range(3):
        await bench.nack((await bench.take_one()).receipt, delay_ms=0)
    (letter,) = await bench.letters()
    await bench.reprocess(letter.receipt)
    await (bench.restart() if end == "stop" else bench.kill_and_start())
    assert (await bench.take_one()).retries == 0


async def test_what_has_left_the_dead_letters_cannot_leave_again(bench: Bench) -> None:
    first, second = await bench.die("a"), await bench.die("b")
    assert await bench.reprocess(first) is not None
    assert await bench.reprocess(first) is None
    assert await bench.discard(first) is None
    assert await bench.discard(second) is not None
    assert await bench.discard(second) is None
    assert await bench.reprocess(second) is None
    assert await bench.places() == Places(waiting=1, discarded=1, enqueued=2)


async def test_of_two_that_reprocess_at_once_one_finds_it(bench: Bench) -> None:
    receipt = await bench.die("a")
    calls = [bench.begin_soon(lambda: bench.reprocess(receipt)) for _ in range(2)]
    await bench.idle()
    assert sorted(call.answer is None for call in calls) == [False, True]
    assert names(await bench.take(10)) == ["a"]


async def test_many_are_reprocessed_in_one_request(bench: Bench) -> None:
    a, b, c = [await bench.die(name) for name in "abc"]
    answer = await bench.broker.reprocess([c, "nonsense", a, c])
    assert isinstance(answer, tuple)
    assert [isinstance(x, str) for x in answer] == [True, False, True, False]
    assert names(await bench.take(10)) == ["a", "c"]
    assert [letter.receipt for letter in await bench.letters()] == [b]


async def test_a_discarded_event_is_gone(bench: Bench) -> None:
    receipt = await bench.die("a")
    await bench.discard(receipt)
    await bench.advance(1_000_000)
    await bench.kill_and_start()
    assert await bench.take() == []
    assert await bench.places() == Places(discarded=1, enqueued=1)


async def test_the_receipt_of_a_lease_is_not_that_of_a_dead_letter(bench: Bench) -> None:
    await bench.publish("a")
    a = await bench.take_one()
    assert await bench.reprocess(a.receipt) is None
    assert await bench.discard(a.receipt) is None
    assert await bench.acknowledge(a.receipt) == [None]


async def test_the_receipt_is_stable_and_a_later_death_has_another(bench: Bench) -> None:
    first = await bench.die("a")
    await bench.kill_and_start()
    await bench.restart()
    assert [letter.receipt for letter in await bench.letters()] == [first]
    await bench.reprocess(first)
    a = await bench.take_one()
    await bench.nack(a.receipt, requeue=False)
    (letter,) = await bench.letters()
    assert letter.receipt not in {first, ""}
    assert await bench.reprocess(first) is None
    assert await bench.reprocess(letter.receipt) is not None
    assert await bench.acknowledge(first) == [NOT_HELD]


async def test_a_death_after_reprocessing_is_the_latest(bench: Bench) -> None:
    a, _ = await bench.die("a"), await bench.die("b")
    await bench.reprocess(a)
    await bench.nack((await bench.take_one()).receipt, requeue=False)
    assert names(await bench.letters()) == ["b", "a"]
    await bench.kill_and_start()
    assert names(await bench.letters()) == ["b", "a"]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("what", ["reprocess", "discard"])
async def test_leaving_the_dead_letters_is_one_step_over_a_power_cut(
    bench: Bench, what: str, seed: int
) -> None:
    receipt = await bench.die("a")
    leave = bench.broker.reprocess if what == "reprocess" else bench.broker.discard
    call = await bench.lose_power_and_start(seed, during=lambda: leave([receipt]))
    before = Places(dead=1, enqueued=1)
    after = (
        Places(waiting=1, enqueued=1) if what == "reprocess" else Places(discarded=1, enqueued=1)
    )
    places = await bench.places()
    assert places in (before, after)
    assert call is not None
    if call.answered and isinstance(call.answer, tuple):
        assert places == after


async def test_dead_letters_do_not_fill_the_queue(open_bench: OpenBench) -> None:
    async with open_bench(queue_max_size=1) as bench:
        for name in "abc":
            await bench.die(name)
        assert isinstance(await bench.broker.enqueue([event("d")]), tuple)
