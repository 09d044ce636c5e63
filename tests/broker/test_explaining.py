"""An event is explained: where it is now, and what the log says happened to it."""

from actors.broker import Consumer, ConsumerKind, Explanation, NoSuchEvent
from tests.broker.bench import Bench, OpenBench


async def explain(bench: Bench, event_id: str) -> Explanation:
    answer = await bench.broker.explain(event_id)
    assert isinstance(answer, Explanation), answer
    return answer


def story(explanation: Explanation) -> list[str]:
    return [happening.what for happening in explanation.timeline]


async def test_a_new_event_was_accepted_and_is_ready(bench: Bench) -> None:
    (event_id,) = await bench.publish("a", topic="t")
    found = await explain(bench, event_id)
    assert (found.id, found.place, found.topic, found.retries) == (event_id, "ready", "t", 0)
    assert story(found) == ["accepted"]
    assert found.timeline[0].at == found.timestamp
    assert not found.folded


async def test_each_step_of_a_life_is_told_with_who_when_and_why(bench: Bench) -> None:
    (event_id,) = await bench.publish("a")
    first = await bench.take_one(consumer=Consumer(ConsumerKind.CLIENT, "10.0.0.7"))
    await bench.extend(first.receipt, 20_000)
    await bench.nack(first.receipt, error="not today")
    delayed = await explain(bench, event_id)
    assert delayed.place == "delayed"
    assert delayed.due == bench.now() + 1000
    await bench.advance(1000)
    second = await bench.take_one()
    leased = await explain(bench, event_id)
    assert (leased.place, leased.deadline) == ("leased", bench.now() + 10_000)
    await bench.advance(11_000)
    third = await bench.take_one()
    await bench.nack(third.receipt, requeue=False, error="never")
    dead = await explain(bench, event_id)
    assert dead.place == "dead"
    (letter,) = await bench.letters()
    await bench.reprocess(letter.receipt)
    fourth = await bench.take_one()
    assert await bench.acknowledge(fourth.receipt) == [None]
    found = await explain(bench, event_id)
    assert story(found) == [
        "accepted",
        "delivered",
        "extended",
        "rejected",
        "delivered",
        "timed_out",
        "delivered",
        "dead",
        "reprocessed",
        "delivered",
        "acknowledged",
    ]
    assert found.place == "acknowledged"
    assert found.timeline[1].consumer == "10.0.0.7"
    assert found.timeline[3].error == "not today"
    assert (found.timeline[7].reason, found.timeline[7].error) == ("rejected", "never")
    times = [happening.at for happening in found.timeline]
    assert None not in times
    assert times == sorted(times, key=lambda at: at or 0)
    assert second.receipt != third.receipt


async def test_receipts_are_shown_masked(bench: Bench) -> None:
    (event_id,) = await bench.publish("a")
    delivery = await bench.take_one()
    found = await explain(bench, event_id)
    shown = found.timeline[1].receipt
    assert delivery.receipt not in shown
    assert delivery.receipt[-4:] in shown


async def test_an_id_that_is_none_and_one_that_never_was_are_not_found(bench: Bench) -> None:
    (event_id,) = await bench.publish("a")
    flipped = event_id[:-1] + ("0" if event_id[-1] != "0" else "1")
    for unknown in ("", "nonsense", flipped):
        answer = await bench.broker.explain(unknown)
        assert answer == NoSuchEvent(unknown)


async def test_a_history_outlives_a_restart(bench: Bench) -> None:
    (event_id,) = await bench.publish("a")
    delivery = await bench.take_one()
    await bench.kill_and_start()
    assert story(await explain(bench, event_id)) == ["accepted", "delivered"]
    assert await bench.acknowledge(delivery.receipt) == [None]
    await bench.restart()
    found = await explain(bench, event_id)
    assert story(found) == ["accepted", "delivered", "acknowledged"]


async def test_compaction_folds_what_was_and_says_so(open_bench: OpenBench) -> None:
    async with open_bench(segment_max_bytes=4096) as bench:
        (kept,) = await bench.publish("kept")
        delivery = await bench.take_one()
        await bench.nack(delivery.receipt, requeue=False, error="bad")
        (gone,) = await bench.publish("gone")
        await bench.acknowledge((await bench.take_one()).receipt)
        for number in range(60):
            await bench.publish(f"passing-{number}-" + "x" * 100)
            await bench.acknowledge((await bench.take_one()).receipt)
        await bench.advance(3000)
        storage = (await bench.broker.status()).storage
        assert storage is not None
        assert storage.size < storage.written
        found = await explain(bench, kept)
        assert found.folded
        assert story(found) == ["copied", "dead"]
        assert found.timeline[1].error == "bad"
        assert await bench.broker.explain(gone) == NoSuchEvent(gone)
        (letter,) = await bench.letters()
        assert (letter.id, letter.error) == (kept, "bad")
