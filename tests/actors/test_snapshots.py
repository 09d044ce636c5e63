"""Snapshots taken beside a WAL writer at work, in virtual time."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.blocking import Blocking, inline
from actors.broker import NewEvent
from actors.snapshots import (
    LOOK_EVERY_S,
    PAUSE_S,
    RETRY_AFTER_S,
    STOP_BYTES,
    open_snapshots,
)
from actors.wal_writer import MARK_AFTER_S, LogFailed
from persistence.disk import temporary
from persistence.facts import Settled
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.names import SNAPSHOT_NAME
from persistence.progress import no_progress
from persistence.recovery import Recovery
from persistence.snapshot_writer import ROWS_MAX, newest_snapshot
from persistence.survey import survey
from tests.actors.samples import NOW, idle, wall, whole_broker
from tests.actors.wal_house import House, open_house

NEW = temporary(SNAPSHOT_NAME)
AFTER = 10_000

T = TypeVar("T")


class Gate:
    """Lets disk work through; when it is shut, one piece at a time."""

    def __init__(self) -> None:
        self._permits = trio.Semaphore(0)
        self._open = True

    async def __call__(self, work: Callable[[], T], /) -> T:
        if not self._open:
            await self._permits.acquire()
        return await inline(work)

    def shut(self) -> None:
        self._open = False

    def open(self, *, waiting: bool = True) -> None:
        """Let everything through from now on, perhaps but not what waits."""
        self._open = True
        if waiting:
            self._permits.release()

    async def one(self) -> None:
        """Let one piece through, and whatever comes before the next."""
        self._permits.release()
        await idle()
        await trio.sleep(2 * PAUSE_S)


@attrs.define(eq=False)
class Site:
    """A log in use, and what is on its disk."""

    house: House

    def grow(self, size: int) -> None:
        """Let the log grow by a little more than that."""
        number = self.house.log.fold.next_number
        self.house.publish(number, payload=b"x" * size)

    def newest(self) -> int | None:
        return newest_snapshot(self.house.disk, self.house.log.key)

    def names(self) -> list[str]:
        return self.house.disk.names()


@asynccontextmanager
async def open_site(
    after_bytes: int = AFTER,
    disk: MemoryDisk | None = None,
    blocking: Blocking = inline,
    **options: Any,
) -> AsyncIterator[Site]:
    async with (
        open_house(disk=disk, **options) as house,
        open_snapshots(
            house.log, wal=house.wal, blocking=blocking, after_bytes=after_bytes, wall=wall
        ),
    ):
        await idle()
        yield Site(house)


async def a_look() -> None:
    """Let it look once more whether something is due."""
    await trio.sleep(LOOK_EVERY_S * 1.5)
    await idle()


def numbers_with_snapshot(disk: MemoryDisk) -> list[int]:
    """Which events a start finds, which must use the snapshot."""
    found = Recovery(disk, survey(disk), no_progress, snapshots=True).run()
    assert SNAPSHOT_NAME in disk.names()
    assert found.snapshot_problem == ""
    return [number for number, _ in found.fold.register.rows()]


async def test_a_snapshot_is_taken_when_the_log_has_grown_enough_and_not_before() -> None:
    async with open_site() as site:
        site.grow(AFTER // 2)
        await a_look()
        assert site.newest() is None
        site.grow(AFTER // 2)
        await a_look()
        first = site.newest() or 0
        assert AFTER < first <= site.house.log.next
        site.grow(AFTER // 2)
        await a_look()
        assert site.newest() == first
        site.grow(AFTER // 2)
        await a_look()
        assert (site.newest() or 0) > first + AFTER
    assert numbers_with_snapshot(site.house.disk.another()) == [1, 2, 3, 4]


async def test_without_a_size_there_is_none_before_the_end() -> None:
    async with open_site(0) as site:
        for _ in range(3):
            site.grow(STOP_BYTES // 2)
        await a_look()
        assert site.newest() is None
    assert numbers_with_snapshot(site.house.disk.another()) == [1, 2, 3]


async def test_at_the_end_there_is_one_only_if_that_saves_something() -> None:
    async with open_site(0) as site:
        site.grow(STOP_BYTES // 2)
    assert site.newest() is None
    async with open_site(0, site.house.disk.another()) as site:
        site.grow(STOP_BYTES // 2)
    newest = site.newest()
    assert newest is not None
    # The one that there is will do.
    async with open_site(0, site.house.disk.another()) as site:
        site.grow(STOP_BYTES // 2)
    assert site.newest() == newest


async def test_a_log_that_was_begun_without_snapshots_gets_one_soon() -> None:
    async with open_site(0) as site:
        site.grow(AFTER)
    async with open_site(AFTER, site.house.disk.another()) as site:
        await a_look()
        assert site.newest() is not None


async def test_everybody_else_goes_on_between_two_pieces() -> None:
    gate = Gate()
    async with open_site(blocking=gate) as site:
        house = site.house
        house.publish(*range(1, 2 * ROWS_MAX + 2))
        await house.answer()
        gate.shut()
        await a_look()
        pieces = 0
        while site.newest() is None:
            number = house.log.fold.next_number
            house.publish(number)
            house.submit(Settled(number - 1), Settled(number - 2 * ROWS_MAX))
            assert [answer.failure for answer in await house.all_answers()] == [None, None]
            await gate.one()
            pieces += 1
        assert pieces >= 4  # the room, two pieces, the end
        gate.open()
        await a_look()
        known = [number for number, _ in house.log.register.rows()]
    assert numbers_with_snapshot(site.house.disk.another()) == known


async def test_a_stop_waits_for_a_snapshot_that_is_being_taken() -> None:
    gate = Gate()
    async with open_site(blocking=gate) as site:
        site.grow(AFTER)
        await site.house.answer()
        gate.shut()
        await a_look()
        gate.open()
    assert site.newest() is not None


async def test_no_segment_goes_before_the_end_of_the_snapshot_is_read_back() -> None:
    gate = Gate()
    async with open_site(blocking=gate, segment_max_bytes=2000) as site:
        house = site.house
        site.grow(AFTER)
        await house.answer()
        gate.shut()
        await a_look()
        for _ in range(2):  # the room, and the only piece
            await gate.one()
        house.submit(*(Settled(number) for number, _ in house.log.register.rows()))
        for number in range(2, 40):
            house.publish(number)
            house.submit(Settled(number))
        await house.all_answers()
        pinned = house.segments()
        assert len(pinned) > 2
        gate.open()
        await a_look()
        assert site.newest() is not None
        site.grow(10)
        await house.all_answers()
        assert len(house.segments()) < len(pinned)


# When it does not go well


async def test_a_failure_is_told_once_and_another_attempt_made_later() -> None:
    with capture_logs() as logs:
        async with open_site() as site:
            site.grow(AFTER)
            await site.house.answer()
            for _ in range(2):
                site.house.disk.faults.fail_change(1)
                await trio.sleep(RETRY_AFTER_S - 2)
                await idle()
                assert site.newest() is None
                assert NEW not in site.names()
                await trio.sleep(3)
            assert site.newest() is not None
    warnings = [entry["reason"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings == ["input/output error"]
    assert [entry["event"] for entry in logs].count("snapshot taken") == 1


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_snapshot_that_finds_no_room_leaves_none_of_its_bytes(nth: int) -> None:
    async with open_site() as site:
        site.grow(AFTER)
        await site.house.answer()
        site.house.disk.faults.fail_write(nth, error=errno.ENOSPC, written=5)
        await a_look()
        assert NEW not in site.names()
        site.grow(10)
        assert (await site.house.answer()).failure is None
    assert sorted(site.house.disk.another().names())[:1] == ["events.log"]


async def test_none_is_begun_where_there_is_hardly_room() -> None:
    with capture_logs() as logs:
        async with open_site() as site:
            site.grow(AFTER)
            await site.house.answer()
            await trio.sleep(MARK_AFTER_S * 2)
            site.house.fill_disk(room=100_000)
            changes = site.house.disk.faults.changes
            await a_look()
            assert site.newest() is None
            assert site.house.disk.faults.changes == changes
    assert [entry["reason"] for entry in logs if entry["log_level"] == "warning"] == [
        "there is too little room on the disk"
    ]


async def test_none_is_taken_while_the_disk_is_full() -> None:
    async with open_site() as site:
        site.grow(AFTER)
        await site.house.answer()
        site.house.wal.full = "full"
        await a_look()
        assert site.newest() is None
        site.house.wal.full = None
        await a_look()
        assert site.newest() is not None


async def test_one_that_is_being_taken_makes_room_when_the_disk_gets_full() -> None:
    gate = Gate()
    async with open_site(blocking=gate) as site:
        site.grow(AFTER)
        await site.house.answer()
        gate.shut()
        await a_look()
        await gate.one()
        site.house.wal.full = "full"
        await gate.one()
        assert NEW in site.names()
        gate.open()
        await a_look()
        assert NEW not in site.names()
        assert site.newest() is None


async def test_what_the_log_took_back_is_in_no_snapshot() -> None:
    gate = Gate()
    async with open_site(blocking=gate, reserved_bytes=100_000) as site:
        house = site.house
        site.grow(AFTER)
        await house.answer()
        gate.shut()
        await a_look()
        house.fill_disk(room=60)
        site.grow(1000)  # counts until it is refused
        await gate.one()
        site_answers = await house.all_answers()
        assert [answer.full for answer in site_answers] == [True]
        house.empty_disk()
        await trio.sleep(2)
        gate.open()
        await a_look()
        await a_look()
        assert house.wal.full is None
    found = EventLog.open(site.house.disk.another(), now=NOW)
    assert [number for number, _ in found.register.rows()] == [1]


async def test_a_log_that_fails_ends_it_too() -> None:
    with pytest.raises(LogFailed):
        async with open_site() as site:
            site.grow(AFTER)
            await site.house.answer()
            site.house.disk.faults.fail_sync()
            site.grow(1)
            await trio.sleep_forever()


async def test_a_cancelled_snapshot_leaves_none_of_its_bytes() -> None:
    gate = Gate()
    with trio.CancelScope() as scope:
        async with open_site(blocking=gate) as site:
            site.grow(AFTER)
            await site.house.answer()
            gate.shut()
            await a_look()
            await gate.one()
            await gate.one()
            assert NEW in site.names()
            gate.open(waiting=False)
            scope.cancel()
            await trio.sleep_forever()
    assert NEW not in site.names()


async def test_a_snapshot_that_cannot_be_looked_at_is_no_reason_not_to_take_another() -> None:
    class Failing(MemoryDisk):
        def open_to_read(self, name: str) -> Any:
            if name == SNAPSHOT_NAME:
                raise PermissionError(errno.EACCES, "permission denied")
            return super().open_to_read(name)

    async with open_site(disk=Failing()) as site:
        site.grow(AFTER)
        await a_look()
        assert SNAPSHOT_NAME in site.names()


# In the broker


async def test_a_broker_that_was_stopped_starts_from_a_snapshot() -> None:
    disk = MemoryDisk()
    async with whole_broker(disk) as broker:
        for _ in range(5):
            await broker.enqueue([NewEvent(b'"' + b"x" * 1_000_000 + b'"')])
    assert len(numbers_with_snapshot(disk.another())) == 5
    async with whole_broker(disk.another()) as broker:
        assert (await broker.status()).queue_size == 5
