"""Publishing: what is accepted is on disk and has an id; what is refused has never been."""

import uuid
from functools import partial
from itertools import permutations

import pytest

from actors.broker import Accepted, Durability, NewEvent, Rejected, Trouble, Unavailable
from actors.settings import FsyncPolicy
from tests.broker.bench import Bench, OpenBench, Places, event, names


async def test_an_event_comes_out_as_it_went_in(bench: Bench) -> None:
    payload = '{"a": 1, "a": 2, "ü": [1.50, null]}'.encode()
    (accepted,) = await _accept(bench, NewEvent(payload, "orders/new"))
    delivery = await bench.take_one()
    assert (delivery.payload, delivery.topic) == (payload, "orders/new")
    assert (delivery.id, delivery.timestamp) == (accepted.id, accepted.timestamp)
    assert delivery.retries == 0


async def test_the_timestamp_is_the_time_of_acceptance(bench: Bench) -> None:
    await bench.advance(1234)
    (accepted,) = await _accept(bench, event("a"))
    assert accepted.timestamp == bench.now()


async def test_ids_are_version_7_uuids_that_never_repeat(bench: Bench) -> None:
    ids = await bench.publish(*"abc")
    await bench.kill_and_start()
    ids += await bench.publish(*"def")
    assert len(set(ids)) == 6
    for text in ids:
        read = uuid.UUID(text)
        assert str(read) == text
        assert (read.version, read.variant) == (7, uuid.RFC_4122)


async def test_a_batch_is_answered_and_delivered_in_its_order(bench: Bench) -> None:
    accepted = await _accept(bench, *(event(name) for name in "abcde"))
    deliveries = await bench.take(10)
    assert names(deliveries) == list("abcde")
    assert [d.id for d in deliveries] == [a.id for a in accepted]


async def test_a_batch_may_hold_several_topics(bench: Bench) -> None:
    await _accept(bench, event("a", "x"), event("b", "y"), event("c", "x"))
    assert names(await bench.take(10, topic="x")) == ["a", "c"]
    assert names(await bench.take(10)) == ["b"]


async def test_an_empty_batch_is_accepted_and_changes_nothing(bench: Bench) -> None:
    assert await bench.broker.enqueue([]) == ()
    assert await bench.places() == Places()


async def test_requests_that_come_together_keep_their_order_and_are_not_mixed(
    bench: Bench,
) -> None:
    batches = [[event(f"{x}{i}") for i in range(3)] for x in "abc"]
    calls = [bench.begin_soon(partial(bench.broker.enqueue, batch)) for batch in batches]
    await bench.idle()
    ids = {a.id: i for i, call in enumerate(calls) for a in _tuple(call.answer)}
    order = [ids[d.id] for d in await bench.take(20)]
    assert order in [[a, a, a, b, b, b, c, c, c] for a, b, c in permutations(range(3))]


@pytest.mark.parametrize("seed", range(20))
async def test_an_answered_event_survives_a_power_cut(bench: Bench, seed: int) -> None:
    await bench.publish("a", "b")
    await bench.lose_power_and_start(seed)
    assert names(await bench.take(10)) == ["a", "b"]


@pytest.mark.parametrize("seed", range(10))
async def test_an_event_that_asked_for_it_survives_a_power_cut_whatever_the_settings(
    open_bench: OpenBench, seed: int
) -> None:
    async with open_bench(fsync=FsyncPolicy(before_answer=False)) as bench:
        for name in ("a", "b"):
            answer = _tuple(await bench.broker.enqueue([event(name)], durability=Durability.FSYNC))
            assert answer[0].durability is Durability.FSYNC
        await bench.lose_power_and_start(seed)
        assert names(await bench.take(10)) == ["a", "b"]


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_an_event_that_is_with_the_operating_system_survives_the_end_of_the_process(
    bench: Bench, end: str
) -> None:
    answer = _tuple(await bench.broker.enqueue([event("a")], durability=Durability.OS))
    assert answer[0].durability is Durability.OS
    await (bench.kill_and_start() if end == "kill" else bench.restart())
    assert names(await bench.take(10)) == ["a"]


@pytest.mark.parametrize("seed", range(10))
async def test_a_receipt_of_an_event_that_a_power_cut_took_settles_no_other_event(
    bench: Bench, seed: int
) -> None:
    await bench.broker.enqueue([event("lost")], durability=Durability.OS)
    lost = await bench.take_one()
    await bench.lose_power_and_start(seed)
    await bench.publish("new")
    await bench.acknowledge(lost.receipt)
    await bench.advance(20_000)
    assert names(await bench.take(10)).count("new") == 1


@pytest.mark.parametrize("seed", range(40))
async def test_a_batch_is_there_whole_or_not_at_all_after_a_power_cut(
    bench: Bench, seed: int
) -> None:
    batch = [event(f"{i}" * 300) for i in range(6)]
    call = await bench.lose_power_and_start(seed, during=lambda: bench.broker.enqueue(batch))
    there = names(await bench.take(10))
    assert there in ([], [f"{i}" * 300 for i in range(6)])
    assert call is not None
    if call.answered and isinstance(call.answer, tuple):
        assert len(there) == 6


async def test_a_full_queue_refuses_and_keeps_nothing_of_what_it_refused(
    open_bench: OpenBench,
) -> None:
    async with open_bench(queue_max_size=3) as bench:
        await bench.publish("a", "b", "c")
        refusal = await bench.broker.enqueue([event("d")])
        assert isinstance(refusal, Unavailable)
        assert refusal.code == "QUEUE_FULL"
        assert refusal.retry_after_ms > 0
        await bench.kill_and_start()
        assert names(await bench.take(10)) == ["a", "b", "c"]
        assert await bench.places() == Places(leased=3, enqueued=3)


async def test_a_batch_is_refused_whole_when_a_part_of_it_would_fit(
    open_bench: OpenBench,
) -> None:
    async with open_bench(queue_max_size=3) as bench:
        await bench.publish("a", "b")
        refusal = await bench.broker.enqueue([event("c"), event("d")])
        assert isinstance(refusal, Unavailable)
        assert (await bench.places()).enqueued == 2
        await bench.publish("c")


async def test_a_batch_larger_than_the_queue_can_never_succeed(open_bench: OpenBench) -> None:
    async with open_bench(queue_max_size=3) as bench:
        refusal = await bench.broker.enqueue([event(name) for name in "abcd"])
        assert isinstance(refusal, Rejected)
        assert refusal.code == "BATCH_TOO_LARGE"
        await _accept(bench, *(event(name) for name in "abc"))


async def test_delayed_events_fill_the_queue_and_leased_and_dead_ones_do_not(
    open_bench: OpenBench,
) -> None:
    async with open_bench(queue_max_size=2) as bench:
        await bench.die("dead")
        await bench.publish("leased", "delayed")
        leased, delayed = await bench.take(2)
        await bench.nack(delayed.receipt, delay_ms=5000)
        await bench.publish("ready")
        refusal = await bench.broker.enqueue([event("too much")])
        assert isinstance(refusal, Unavailable)
        await bench.acknowledge(leased.receipt)
        assert isinstance(await bench.broker.enqueue([event("too much")]), Unavailable)
        assert await bench.places() == Places(waiting=2, dead=1, acknowledged=1, enqueued=4)


async def test_events_not_yet_on_disk_count_too(open_bench: OpenBench) -> None:
    async with open_bench(queue_max_size=3) as bench:
        calls = [
            bench.begin_soon(lambda: bench.broker.enqueue([event("x"), event("y")]))
            for _ in range(3)
        ]
        await bench.idle()
        accepted = [call for call in calls if isinstance(call.answer, tuple)]
        assert len(accepted) == 1
        assert (await bench.places()).waiting == 2


async def test_what_comes_back_fits_into_a_full_queue(open_bench: OpenBench) -> None:
    async with open_bench(queue_max_size=2) as bench:
        receipt = await bench.die("dead")
        await bench.publish("a", "b")
        a, b = await bench.take(2)
        await bench.publish("c", "d")
        await bench.nack(a.receipt, delay_ms=0)
        bench.broker.release([b.receipt])
        await bench.reprocess(receipt)
        assert (await bench.places()).waiting == 5
        assert isinstance(await bench.broker.enqueue([event("e")]), Unavailable)
        assert sorted(names(await bench.take(10))) == ["a", "b", "c", "d", "dead"]


async def test_bytes_that_wait_for_the_disk_are_bounded(open_bench: OpenBench) -> None:
    async with open_bench(open_bytes_max=100) as bench:
        big = NewEvent(b'{"x":"%s"}' % (b"x" * 80))
        first, second = (bench.begin_soon(lambda: bench.broker.enqueue([big])) for _ in range(2))
        await bench.idle()
        answers = [first.answer, second.answer]
        refused = [answer for answer in answers if isinstance(answer, Unavailable)]
        assert [answer.code for answer in refused] == ["BUSY"]
        await _accept(bench, big)


async def test_one_request_larger_than_that_bound_is_let_through(open_bench: OpenBench) -> None:
    async with open_bench(open_bytes_max=10) as bench:
        await bench.publish("much longer than ten bytes")


async def test_too_many_open_requests_are_refused_and_harm_nobody(open_bench: OpenBench) -> None:
    async with open_bench(open_requests_max=2) as bench:
        calls = [bench.begin_soon(lambda: bench.broker.enqueue([event("x")])) for _ in range(5)]
        await bench.idle()
        answers = [call.answer for call in calls]
        assert sum(isinstance(answer, tuple) for answer in answers) == 2
        assert {a.code for a in answers if isinstance(a, Unavailable)} == {"BUSY"}
        await bench.publish("y")


async def _accept(bench: Bench, *events: NewEvent) -> tuple[Accepted, ...]:
    return _tuple(await bench.broker.enqueue(events))


def _tuple(answer: tuple[Accepted, ...] | Trouble) -> tuple[Accepted, ...]:
    assert isinstance(answer, tuple), answer
    return answer
