"""The WAL writer with a real log on a disk in memory, in virtual time."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs
import pytest
import trio

from actors.blocking import Blocking, inline
from actors.mailbox import Mailbox
from actors.settings import FsyncPolicy
from actors.wal_writer import (
    FAILURE_LINGER_S,
    MARK_AFTER_S,
    Committed,
    LogFailed,
    WalWriter,
    open_wal_writer,
)
from persistence.entry import Event, Stamp
from persistence.errors import LogDamaged
from persistence.facts import Enqueued, Leased
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from tests.actors.samples import NOW, all_taken, event, idle, numbers, wall

ALWAYS = FsyncPolicy()
INTERVAL = FsyncPolicy(before_answer=False, interval_ms=500)
NEVER = FsyncPolicy(before_answer=False, interval_ms=None)


@attrs.define(eq=False)
class House:
    """The WAL writer, its disk, and a mailbox for its answers."""

    wal: WalWriter
    log: EventLog
    disk: MemoryDisk
    answers: Mailbox[Committed]

    def write(self, *events: Event, sync: bool = True) -> None:
        facts = [Enqueued(one, NOW) for one in events]
        self.wal.append(facts, sync=sync, to=self.answers)

    def load(self, *events: Event) -> None:
        self.wal.append([], load=events, to=self.answers)

    async def answer(self) -> Committed:
        await idle()
        message = self.answers.take()
        assert message is not None
        return message

    def work(self) -> tuple[int, int]:
        """Writes and syncs so far."""
        return self.disk.faults.writes, self.disk.faults.syncs


@asynccontextmanager
async def open_house(
    fsync: FsyncPolicy = ALWAYS, disk: MemoryDisk | None = None, blocking: Blocking = inline
) -> AsyncIterator[House]:
    disk = disk or MemoryDisk()
    log = EventLog.open(disk, now=NOW)
    async with open_wal_writer(
        log, capacity=2000, fsync=fsync, blocking=blocking, wall=wall
    ) as wal:
        yield House(wal, log, disk, Mailbox("answers", 2000))


def cut_off(disk: MemoryDisk) -> MemoryDisk:
    return disk.crash(Random(1))


def recovered(disk: MemoryDisk) -> list[int]:
    log = EventLog.open(disk, now=NOW)
    found = numbers(log.recovered.waiting)
    log.close()
    return found


async def test_many_appends_of_one_wake_up_are_one_write_and_one_sync() -> None:
    async with open_house() as house:
        writes, syncs = house.work()
        for number in range(1, 101):
            house.write(event(number))
        await idle()
        assert house.work() == (writes + 1, syncs + 1)
        answers = all_taken(house.answers)
        assert len(answers) == 100
        assert all(answer.failure is None for answer in answers)
    assert recovered(house.disk.another()) == list(range(1, 101))


async def test_appends_that_come_during_a_sync_share_the_next_one() -> None:
    gate = trio.Event()

    async def slow(work: Any) -> Any:
        if not gate.is_set():
            await gate.wait()
        return work()

    async with open_house(blocking=slow) as house:
        writes, syncs = house.work()
        house.write(event(1))
        await idle()
        for number in range(2, 10):
            house.write(event(number))
        await idle()
        assert house.answers.waiting == 0
        gate.set()
        await idle()
        assert house.work() == (writes + 2, syncs + 2)
        assert house.answers.waiting == 9


async def test_only_what_asks_for_a_sync_is_synced() -> None:
    async with open_house() as house:
        one = event(1)
        house.write(one)
        await house.answer()
        writes, syncs = house.work()
        lease = Leased(one, Stamp(1, 1), NOW + 5, 5)
        house.wal.append([lease], to=house.answers)
        await house.answer()
        assert house.work() == (writes + 1, syncs)
        # The next one that asks takes along what was written before.
        house.write(event(2))
        await house.answer()
        assert house.work() == (writes + 2, syncs + 1)
        assert house.log.synced == house.log.end


async def test_an_answer_comes_only_after_the_sync() -> None:
    async with open_house() as house:
        house.write(event(1))
        await house.answer()
        after_power_cut = cut_off(house.disk)
        assert recovered(after_power_cut) == [1]


async def test_after_a_while_the_newest_batch_is_vouched_for() -> None:
    killed: list[MemoryDisk] = []
    # The writer of a killed process cannot sync its mark.
    with pytest.raises(LogFailed):
        async with open_house() as house:
            house.write(event(1))
            await house.answer()
            await trio.sleep(MARK_AFTER_S + 0.01)
            work = house.work()
            await trio.sleep(1000)
            assert house.work() == work
            killed.append(house.disk.kill())
    file = killed[0].open("events.log")
    payload_at = file.read(0, file.size()).index(b"{}")
    file.write(payload_at + 1, b"]")
    with pytest.raises(LogDamaged):
        EventLog.open(killed[0], now=NOW)


async def test_an_append_without_facts_writes_nothing() -> None:
    async with open_house() as house:
        before = house.work()
        house.wal.append([], sync=True, to=house.answers)
        assert (await house.answer()).failure is None
        assert house.work() == before


async def test_nobody_has_to_want_an_answer() -> None:
    async with open_house() as house:
        house.wal.append([Enqueued(event(1), NOW)], sync=True)
        await idle()
        house.answers.close()
        house.write(event(2))
        await idle()
        assert house.wal.failure is None
    assert recovered(house.disk.another()) == [1, 2]


async def test_payloads_are_read_back_each_for_who_asked() -> None:
    async with open_house() as house:
        events = [event(number, payload=b'{"n":%d}' % number) for number in range(1, 6)]
        house.write(*events)
        await house.answer()
        house.load(events[3], events[0])
        house.write(event(6))
        house.load()
        house.load(events[4])
        await idle()
        payloads = [answer.payloads for answer in all_taken(house.answers)]
        assert payloads == [[b'{"n":4}', b'{"n":1}'], [], [], [b'{"n":5}']]


async def test_facts_and_payloads_can_travel_together() -> None:
    async with open_house() as house:
        one = event(1, payload=b'{"cold":1}')
        house.write(one)
        await house.answer()
        lease = Leased(one, Stamp(1, 1), NOW + 5, 5)
        house.wal.append([lease], load=[one], to=house.answers)
        assert (await house.answer()).payloads == [b'{"cold":1}']


# Policies


async def test_in_interval_mode_answers_come_first_and_the_sync_within_the_interval() -> None:
    async with open_house(INTERVAL) as house:
        _, syncs = house.work()
        await trio.sleep(10)
        house.write(event(1))
        await house.answer()
        await trio.sleep(0.4)
        house.write(event(2))
        await house.answer()
        await trio.sleep(0.099)
        assert house.work()[1] == syncs
        await trio.sleep(0.001)
        await idle()
        assert house.work()[1] == syncs + 1
        assert house.log.synced == house.log.end
        # Nothing is synced while nothing is written.
        await trio.sleep(60)
        assert house.work()[1] == syncs + 1
        house.write(event(3))
        await trio.sleep(0.5)
        await idle()
        assert house.work()[1] == syncs + 2


async def test_in_interval_mode_steady_writes_do_not_put_the_sync_off() -> None:
    async with open_house(INTERVAL) as house:
        _, syncs = house.work()
        for number in range(1, 101):
            house.write(event(number))
            await trio.sleep(0.1)
        # Each interval begins with the first write after the sync before.
        assert house.work()[1] - syncs in range(16, 21)


async def test_in_interval_mode_reading_needs_no_sync() -> None:
    async with open_house(INTERVAL) as house:
        one = event(1)
        house.write(one)
        await trio.sleep(1)
        _, syncs = house.work()
        house.load(one)
        await trio.sleep(10)
        assert house.work()[1] == syncs


async def test_a_failed_sync_in_interval_mode_fails_the_log() -> None:
    with pytest.raises(LogFailed, match="syncing"):
        async with open_house(INTERVAL) as house:
            house.disk.faults.fail_sync()
            house.write(event(1))
            assert (await house.answer()).failure is None
            await trio.sleep(0.6)
            assert house.wal.failure is not None
            house.write(event(2))
            assert (await house.answer()).failure == house.wal.failure
            await trio.sleep_forever()


async def test_without_fsync_only_the_end_syncs() -> None:
    async with open_house(NEVER) as house:
        _, syncs = house.work()
        for number in range(1, 20):
            house.write(event(number))
            await trio.sleep(100)
        assert house.work()[1] == syncs
    assert house.work()[1] > syncs
    assert recovered(cut_off(house.disk)) == list(range(1, 20))


# Failure


@pytest.mark.parametrize("fault", ["write", "sync"])
async def test_a_failing_disk_is_told_to_everybody_and_then_ends_the_process(fault: str) -> None:
    with pytest.raises(LogFailed) as caught:
        async with open_house() as house:
            house.write(event(1))
            await house.answer()
            if fault == "write":
                house.disk.faults.fail_write(error=errno.EIO)
            else:
                house.disk.faults.fail_sync(error=errno.EIO)
            writes, syncs = house.work()
            house.write(event(2))
            house.write(event(3))
            house.load(event(7))
            await idle()
            failed = [answer.failure for answer in all_taken(house.answers)]
            assert house.wal.failed.is_set()
            assert house.wal.failure is not None
            assert failed == [house.wal.failure] * 3
            # Nothing is tried twice.
            assert house.work() == (writes + 1, syncs + (fault == "sync"))
            broken_at, work = trio.current_time(), house.work()

            # For a moment it goes on telling so, and touches the disk no more.
            await trio.sleep(FAILURE_LINGER_S / 2)
            house.write(event(4))
            assert (await house.answer()).failure == house.wal.failure
            assert house.work() == work
            await trio.sleep_forever()
    # Who reads the logs is told the file and the reason; who asked over the network is not.
    assert "events.log" in str(caught.value)
    assert "events.log" not in str(house.wal.failure)
    assert trio.current_time() == pytest.approx(broken_at + FAILURE_LINGER_S)
    assert house.work() == work
    house.write(event(5))
    assert recovered(house.disk.kill())[:1] == [1]


async def test_after_a_failed_sync_leaving_still_raises_and_syncs_nothing() -> None:
    with pytest.raises(LogFailed):
        async with open_house() as house:
            house.disk.faults.fail_sync()
            house.write(event(1))
            await house.answer()
            work = house.work()
    assert house.work() == work


async def test_a_read_that_fails_is_a_failed_log() -> None:
    with pytest.raises(LogFailed):
        async with open_house() as house:
            one = event(1, payload=b"x" * 100)
            house.write(one)
            await house.answer()
            one.payload_size = 10_000
            house.load(one)
            assert (await house.answer()).failure is not None
            await trio.sleep_forever()


# The end


async def test_leaving_writes_what_was_submitted_syncs_and_closes() -> None:
    async with open_house() as house:
        for number in range(1, 1501):  # more than one wake-up takes
            house.write(event(number), sync=False)
    assert house.answers.waiting == 1500
    assert all(answer.failure is None for answer in all_taken(house.answers))
    assert recovered(cut_off(house.disk)) == list(range(1, 1501))
    # Nobody reads any more.
    house.write(event(2000))
    assert house.wal.mailbox_view().waiting == 0


async def test_a_cancelled_writer_finishes_the_write_it_is_in_and_refuses_the_rest() -> None:
    with trio.CancelScope() as scope:
        async with open_house() as house:
            house.write(event(1))
            await house.answer()
            scope.cancel()
            house.write(event(2))
    answer = house.answers.take()
    assert answer is not None
    assert answer.failure == "the log is closed"
