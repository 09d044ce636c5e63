"""The WAL writer on a full disk: it takes new events back, and nothing else."""

import errno

import pytest
import trio

from actors.wal_port import Committed
from actors.wal_writer import MARK_AFTER_S, ROOM_CHECK_S, LogFailed
from persistence.entry import Place, Stamp
from persistence.facts import Dead, Discarded, Enqueued, Leased, Reprocessed, Settled
from tests.actors.samples import NOW, idle
from tests.actors.wal_house import House, Steps, leased, open_house, recovered

RESERVE = 4 * 1024 * 1024
SMALL = 1024
"""Size of a segment that a few events fill."""


def kinds(answers: list[Committed]) -> list[str]:
    """Say what became of each append."""
    assert all(answer.failure is None for answer in answers)
    return ["refused" if answer.full else "written" for answer in answers]


async def be_full(house: House) -> None:
    """Let it find out that the disk is full."""
    house.fill_disk()
    house.publish(99)
    assert kinds(await house.all_answers()) == ["refused"]
    assert house.why_full() is not None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_new_event_is_taken_back_and_never_was(number: int) -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        house.publish(1)
        await house.answer()
        house.disk.faults.full = number
        house.fill_disk(room=10)
        counters, end = house.log.fold.counters.values(), house.log.end
        house.publish(2, 3)
        assert kinds(await house.all_answers()) == ["refused"]
        assert house.wal.register.get(2) is None
        assert house.wal.register.get(3) is None
        assert house.log.fold.counters.values() == counters
        assert house.log.end == house.log.next == end
        assert house.why_full() is not None
        assert house.wal.failure is None
    assert recovered(house.disk.another()) == [1]


async def test_all_that_was_submitted_together_is_answered_in_its_order() -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        house.publish(1, 2, 3)
        await house.answer()
        house.fill_disk()
        house.publish(4)
        house.lease(1)
        house.publish(5)
        house.submit(leased(2), Settled(2), sync=True)
        house.submit(look=[3])
        house.publish(6)
        answers = await house.all_answers()
        refused, written = "refused", "written"
        assert kinds(answers) == [refused, written, refused, written, written, refused]
        assert answers[3].synced
        rows = {number: row.place for number, row in house.wal.register.rows()}
        assert rows == {1: Place.LEASED, 3: Place.WAITING}
        disk = house.disk.kill()
        house.empty_disk()
        assert recovered(disk) == [1, 3]
        house.disk.faults.fail_write()


async def test_what_is_read_back_is_found_where_it_moved() -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        house.publish(1, payload=b'{"n":1}')
        house.publish(2, payload=b'{"n":2}')
        await house.all_answers()
        house.fill_disk()
        house.publish(3)
        house.lease(1, load=[1])
        house.submit(look=[1], load=[1, 2])
        house.submit(leased(2, 5), look=[2])
        house.submit(Settled(1), Settled(2), look=[1])
        house.submit(look=[2])
        answers = await house.all_answers()
        assert kinds(answers) == ["refused"] + ["written"] * 5
        assert answers[1].payloads == [b'{"n":1}']
        # Each as it was at its submission, although all are served after the last of them.
        assert answers[2].payloads == [b'{"n":1}', b'{"n":2}']
        assert isinstance(answers[2].facts[0], Leased)
        (second,) = answers[3].facts
        assert isinstance(second, Leased)
        assert second.stamp == Stamp(1, 5)
        assert isinstance(answers[4].facts[0], Discarded)
        assert isinstance(answers[5].facts[0], Discarded)


async def test_who_asks_for_a_refused_event_finds_it_gone() -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        house.fill_disk()
        house.publish(1)
        house.submit(load=[1], look=[1])
        refused, asked = await house.all_answers()
        assert refused.full
        assert (asked.full, asked.payloads) == (False, [b""])
        assert isinstance(asked.facts[0], Discarded)


async def test_what_was_written_before_the_disk_was_full_is_not_taken_back() -> None:
    steps = Steps()
    async with open_house(blocking=steps, reserved_bytes=RESERVE) as house:
        house.publish(1)
        await house.answer()
        steps.hold()
        house.publish(2)
        await idle()
        # These come too late for the wake-up, and in time for its write.
        house.publish(3)
        house.lease(1)
        await steps.step()
        assert house.log.end == house.log.next
        house.fill_disk()
        house.publish(4)
        house.submit(leased(2), Settled(2))
        await steps.let_go()
        answers = await house.all_answers()
        assert kinds(answers) == ["written", "written", "written", "refused", "written"]
        counters = house.log.fold.counters
        assert (counters.enqueued, counters.acknowledged) == (3, 1)
    assert recovered(house.disk.another()) == [1, 3]


async def test_the_rest_is_written_from_the_space_that_was_set_aside() -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        house.publish(1, 2, 3)
        await house.answer()
        await be_full(house)
        house.fill_disk()
        # More than is given back at a time.
        for number in (1, 2, 3):
            dead = Dead(number, NOW, 0, Stamp(1, 1), "rejected", "x" * 900_000)
            house.submit(leased(number), dead, sync=True)
        house.submit(look=[3])
        answers = await house.all_answers()
        assert kinds(answers) == ["written"] * 4
        (fact,) = answers[3].facts
        assert isinstance(fact, Dead)
        assert len(fact.error) == 900_000
        assert house.log.reserved < RESERVE


async def test_new_events_do_not_use_up_what_was_set_aside() -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        for number in range(1, 50):
            house.fill_disk()
            house.publish(number, payload=b"x" * 1_500_000)
            house.publish(1000 + number, payload=b"x" * 500)
            await house.all_answers()
            house.empty_disk()
            await trio.sleep(ROOM_CHECK_S + 0.01)
            assert house.log.reserved == RESERVE


async def test_without_anything_set_aside_a_full_disk_is_a_failed_log() -> None:
    with pytest.raises(LogFailed, match="no space left"):
        async with open_house() as house:
            house.publish(1)
            await house.answer()
            house.fill_disk()
            house.publish(2)
            assert (await house.answer()).full
            house.publish(3)
            house.lease(1)
            answers = await house.all_answers()
            assert house.wal.failure is not None
            assert [answer.failure for answer in answers] == [house.wal.failure] * 2
            await trio.sleep_forever()


# Rolling


@pytest.mark.parametrize("room", [150, 300, 400, 450])
async def test_a_roll_that_finds_no_room_takes_back_only_what_is_behind_it(room: int) -> None:
    async with open_house(segment_max_bytes=SMALL, reserved_bytes=RESERVE) as house:
        house.publish(1, payload=b"x" * 500)
        await house.answer()
        house.fill_disk(room)
        house.publish(2, payload=b"x" * 50)
        house.publish(3, payload=b"x" * 300)
        house.lease(2)
        answers = await house.all_answers()
        assert kinds(answers) == ["written", "refused", "written"]
        house.submit(leased(1), Settled(1), load=[2], look=[2], sync=True)
        answer = await house.answer()
        assert answer.payloads == [b"x" * 50]
        assert isinstance(answer.facts[0], Leased)
        house.empty_disk()
        await trio.sleep(ROOM_CHECK_S)
        await idle()
        house.publish(4, payload=b"x" * 500)
        assert kinds(await house.all_answers()) == ["written"]
        assert len(house.segments()) == 2
    assert recovered(house.disk.another()) == [2, 4]


async def test_a_roll_uses_the_space_that_was_set_aside() -> None:
    async with open_house(segment_max_bytes=SMALL, reserved_bytes=RESERVE) as house:
        house.publish(1, payload=b"x" * 500)
        await house.answer()
        await be_full(house)
        for delivery in range(1, 30):
            house.lease(1) if delivery == 1 else house.submit(look=[1])
            dead = Dead(1, NOW, 0, Stamp(1, delivery), "rejected", "x" * 100)
            house.submit(*([dead] if delivery == 1 else []), sync=True)
            house.fill_disk()
        answers = await house.all_answers()
        assert set(kinds(answers)) == {"written"}
        assert len(house.segments()) == 2


async def test_copies_are_written_from_the_space_that_was_set_aside() -> None:
    async with open_house(segment_max_bytes=SMALL, reserved_bytes=RESERVE) as house:
        house.publish(1, 2, payload=b"x" * 300)
        house.lease(1)
        house.submit(leased(2), Settled(2))
        house.publish(3, payload=b"x" * 200)
        await house.all_answers()
        assert len(house.segments()) == 2
        await be_full(house)
        house.fill_disk()
        house.publish(4)
        copied = leased(1)
        copied.copied = True
        home = Enqueued(1, NOW, NOW, "t", b"x" * 300, copied=True)
        house.submit(home, copied, look=[1], load=[1])
        refused, written = await house.all_answers()
        assert kinds([refused, written]) == ["refused", "written"]
        assert written.payloads == [b"x" * 300]
        assert isinstance(written.facts[0], Leased)
        await idle()
        assert house.log.fold.holdings.find(0) is None, "nothing in it was alive any more"
        assert not house.disk.names().count("events-0000000000.log")
    house.disk.capacity = None
    assert recovered(house.disk.another()) == [1, 3]


# Going on


async def test_it_goes_on_as_soon_as_all_that_was_set_aside_is_there_again() -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        house.publish(1)
        await house.answer()
        await be_full(house)
        house.lease(1)
        await house.answer()
        await trio.sleep(10 * ROOM_CHECK_S)
        assert house.why_full() is not None
        house.disk.capacity = (house.disk.capacity or 0) + 50
        await trio.sleep(10 * ROOM_CHECK_S)
        assert house.why_full() is not None
        house.empty_disk()
        await trio.sleep(ROOM_CHECK_S)
        await idle()
        assert house.why_full() is None
        assert house.log.reserved == RESERVE
        house.publish(2)
        assert kinds(await house.all_answers()) == ["written"]
    assert recovered(house.disk.another()) == [1, 2]


async def test_steady_traffic_on_a_full_disk_does_not_put_off_the_look_for_room() -> None:
    async with open_house(reserved_bytes=RESERVE) as house:
        for number in range(1, 5):
            house.disk.faults.fail_write(error=errno.ENOSPC)
            house.publish(number)
            await trio.sleep(ROOM_CHECK_S / 4)
            assert kinds(await house.all_answers()) == ["refused"]
        assert house.why_full() is None


async def test_a_mark_that_finds_no_room_harms_nobody_and_is_not_tried_for_ever() -> None:
    async with open_house() as house:
        house.publish(1)
        await house.answer()
        house.fill_disk()
        await trio.sleep(2 * MARK_AFTER_S)
        writes, _ = house.work()
        await trio.sleep(100)
        assert house.wal.failure is None
        assert house.work()[0] == writes
        house.empty_disk()
        house.publish(2)
        await trio.sleep(1)
        assert house.log.end > house.log.synced, "the mark behind the event"
    assert recovered(house.disk.another()) == [1, 2]


# Segments that nobody needs, and no room for a manifest without them


async def hold_before_the_drop(house: House, steps: Steps) -> None:
    """Let all in the first segment die, and stop it just before that is deleted."""
    house.publish(1, payload=b"x" * 700)
    house.publish(2, payload=b"x" * 500)
    await house.all_answers()
    assert len(house.segments()) == 2
    steps.hold()
    house.submit(leased(1), Settled(1))
    await idle()
    await steps.step()
    assert kinds(await house.all_answers()) == ["written"]


async def test_segments_are_deleted_with_space_that_was_set_aside() -> None:
    steps = Steps()
    async with open_house(blocking=steps, segment_max_bytes=SMALL, reserved_bytes=RESERVE) as house:
        await hold_before_the_drop(house, steps)
        house.fill_disk()
        await steps.let_go()
        assert house.segments() == ["events.log"]
        assert house.why_full() is not None
        # Their space is enough to set aside again what this took.
        await trio.sleep(ROOM_CHECK_S)
        await idle()
        assert house.why_full() is None
        assert house.log.reserved == RESERVE
    assert recovered(house.disk.another()) == [2]


async def test_segments_that_cannot_be_deleted_go_later() -> None:
    steps = Steps()
    async with open_house(blocking=steps, segment_max_bytes=SMALL) as house:
        await hold_before_the_drop(house, steps)
        house.fill_disk()
        await steps.let_go()
        assert len(house.segments()) == 2
        await trio.sleep(5 * ROOM_CHECK_S)
        assert house.wal.failure is None
        assert len(house.segments()) == 2
        house.empty_disk()
        await trio.sleep(ROOM_CHECK_S)
        await idle()
        assert house.segments() == ["events.log"]
    assert recovered(house.disk.another()) == [2]


async def test_a_segment_that_never_came_to_be_is_not_deleted_under_its_number() -> None:
    steps = Steps()
    async with open_house(blocking=steps, segment_max_bytes=SMALL, reserved_bytes=RESERVE) as house:
        house.publish(1, payload=b"x" * 700)
        house.publish(2, payload=b"x" * 500)
        await house.all_answers()
        steps.hold()
        house.lease(2)
        await idle()
        await steps.half_step()
        # Three segments that are not begun, and nothing alive in the second of them.
        house.publish(3, payload=b"x" * 700)
        house.submit(Dead(2, NOW, 0, Stamp(1, 1), "rejected", "x" * 750))
        house.submit(Reprocessed(2, NOW, Stamp(1, 1)))
        assert house.log.droppable() == [3]
        house.fill_disk()
        await steps.half_step()
        await steps.let_go()
        assert kinds(await house.all_answers()) == ["written", "refused", "written", "written"]
        # Without the new event each is one earlier: what is dead, and then deleted, is the third.
        assert house.log.fold.holdings.find(2) is None
        assert house.log.fold.holdings.active.number == 3
        house.empty_disk()
        await trio.sleep(2 * ROOM_CHECK_S)
        house.publish(4)
        assert kinds(await house.all_answers()) == ["written"]
    assert recovered(house.disk.another()) == [1, 2, 4]
