"""The WAL writer deletes segments that nobody needs, and takes nothing from anybody who reads."""

from random import Random

import pytest
import trio

from persistence.entry import Place
from persistence.facts import Enqueued, Leased, Settled
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from tests.actors.samples import NOW, idle
from tests.actors.wal_house import NEVER, House, Steps, cut_off, leased, open_house, recovered

SMALL = 1024
FIRST = "events-0000000000.log"


async def two_segments(house: House) -> None:
    """Let the first segment hold event 1, and the next one event 2."""
    house.publish(1, payload=b"x" * 700)
    house.publish(2, payload=b"x" * 500)
    await house.all_answers()
    assert house.segments() == [FIRST, "events.log"]


def copied(number: int, payload: bytes) -> Enqueued:
    return Enqueued(number, NOW, NOW, "t", payload, copied=True)


async def test_a_segment_goes_as_soon_as_nothing_in_it_is_alive() -> None:
    async with open_house(segment_max_bytes=SMALL) as house:
        await two_segments(house)
        house.lease(1)
        await house.answer()
        assert FIRST in house.segments()
        house.submit(Settled(1))
        await house.answer()
        assert FIRST not in house.segments()
        assert house.log.fold.holdings.find(0) is None
    assert recovered(house.disk.another()) == [2]


@pytest.mark.parametrize("seed", range(10))
async def test_what_killed_a_segment_is_on_disk_before_it_goes(seed: int) -> None:
    async with open_house(NEVER, segment_max_bytes=SMALL) as house:
        await two_segments(house)
        _, syncs = house.work()
        house.submit(leased(1), Settled(1))
        assert not (await house.answer()).synced
        assert FIRST not in house.segments()
        assert house.work()[1] > syncs
        assert recovered(cut_off(house.disk, seed)) == [2]


@pytest.mark.parametrize("seed", range(30))
async def test_a_power_cut_at_any_operation_loses_no_event_that_is_alive(seed: int) -> None:
    random = Random(seed)
    disk = MemoryDisk()
    published = 0
    settled: list[int] = []
    try:
        async with open_house(NEVER, disk, segment_max_bytes=SMALL) as house:
            house.disk.faults.cut_power(random.randint(1, 60))
            while house.wal.failure is None:
                published += 1
                house.publish(published, payload=b"x" * random.randint(1, 400))
                if published > 3 and random.random() < 0.8:
                    settled.append(published - 3)
                    house.submit(leased(settled[-1]), Settled(settled[-1]))
                await idle()
            await trio.sleep_forever()
    except Exception:  # noqa: BLE001, S110 -- whatever the power cut makes of it
        pass
    found = recovered(disk.crash(random))
    # An acknowledgement may be lost, but no event that nobody acknowledged, unless it is new.
    newest = max(found, default=0)
    assert set(range(1, newest + 1)) - set(found) <= set(settled)


async def test_who_asked_before_the_event_died_is_still_served() -> None:
    steps = Steps()
    async with open_house(blocking=steps, segment_max_bytes=SMALL) as house:
        await two_segments(house)
        house.lease(1)
        await house.answer()
        steps.hold()
        house.publish(3)
        await idle()
        # Both come too late for this wake-up, and the death in time for its write.
        house.submit(load=[1], look=[1])
        house.submit(Settled(1))
        await steps.let_go()
        _, asked, _ = await house.all_answers()
        assert asked.payloads == [b"x" * 700]
        assert isinstance(asked.facts[0], Leased)
        assert FIRST not in house.segments()


async def test_who_asked_before_the_event_was_copied_is_still_served() -> None:
    steps = Steps()
    async with open_house(blocking=steps, segment_max_bytes=SMALL) as house:
        await two_segments(house)
        steps.hold()
        house.publish(3)
        await idle()
        house.submit(load=[1], look=[1])
        house.submit(copied(1, b"x" * 700))
        house.submit(load=[1], look=[1])
        await steps.let_go()
        _, before, _, after = await house.all_answers()
        assert before.payloads == after.payloads == [b"x" * 700]
        (old,), (new,) = before.facts, after.facts
        assert isinstance(old, Enqueued)
        assert isinstance(new, Enqueued)
        assert (old.copied, new.copied) == (False, True)
        assert FIRST not in house.segments()


async def test_more_readers_than_one_wake_up_takes_are_all_served() -> None:
    async with open_house(segment_max_bytes=SMALL) as house:
        await two_segments(house)
        for _ in range(1500):
            house.submit(load=[1])
        house.submit(leased(1), Settled(1))
        answers = await house.all_answers()
        assert len(answers) == 1501
        assert {bytes(a.payloads[0]) for a in answers[:-1]} == {b"x" * 700}
        assert FIRST not in house.segments()


async def test_a_segment_is_kept_as_long_as_somebody_else_reads_from_it() -> None:
    async with open_house(segment_max_bytes=SMALL) as house:
        await two_segments(house)
        house.log.pin()
        house.submit(leased(1), Settled(1))
        await trio.sleep(10)
        assert FIRST in house.segments()
        house.log.unpin()
        house.submit()
        await house.answer()
        assert FIRST not in house.segments()


async def test_positions_that_are_nowhere_are_not_looked_for_in_segments_that_are_gone() -> None:
    async with open_house(segment_max_bytes=SMALL) as house:
        await two_segments(house)
        house.submit(leased(1), Settled(1))
        await house.answer()
        assert FIRST not in house.segments()
        house.submit(load=[1, 2], look=[1, 2])
        answer = await house.answer()
        assert answer.payloads == [b"", b"x" * 500]
        assert isinstance(answer.facts[1], Enqueued)


async def test_what_is_left_is_whole_after_a_long_life() -> None:
    random = Random(3)
    async with open_house(segment_max_bytes=SMALL, reserved_bytes=4096) as house:
        kept: dict[int, bytes] = {}
        for number in range(1, 301):
            payload = b"%d" % number * random.randint(1, 60)
            house.publish(number, payload=payload)
            if random.random() < 0.9:
                house.submit(leased(number), Settled(number))
            else:
                kept[number] = payload
            if random.random() < 0.3:
                some = random.sample(sorted(kept), min(3, len(kept)))
                house.submit(load=some)
                answer = (await house.all_answers())[-1]
                assert answer.payloads == [kept[n] for n in some]
        await house.all_answers()
        assert len(house.segments()) < house.log.fold.holdings.active.number
    log = EventLog.open(house.disk.another(), now=NOW)
    rows = dict(log.register.rows())
    assert rows.keys() == kept.keys()
    assert {row.place for row in rows.values()} == {Place.WAITING}
    assert log.read(log.spans(kept)) == list(kept.values())
    log.close()
