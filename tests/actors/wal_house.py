"""The WAL writer at work: with a real log on a disk in memory, in virtual time."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

import attrs
import trio

from actors.blocking import Blocking, inline
from actors.mailbox import Mailbox
from actors.settings import FsyncPolicy
from actors.wal_writer import Committed, WalWriter, open_wal_writer
from persistence.entry import Stamp
from persistence.facts import Enqueued, Fact, Leased
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from tests.actors.samples import NOW, all_taken, idle, wall

T = TypeVar("T")

ALWAYS = FsyncPolicy()
INTERVAL = FsyncPolicy(before_answer=False, interval_ms=500)
NEVER = FsyncPolicy(before_answer=False, interval_ms=None)


class Steps:
    """Blocking work that is done piece by piece, when the test says so."""

    def __init__(self) -> None:
        self._permits = trio.Semaphore(0)
        self._free = True

    async def __call__(self, work: Callable[[], T], /) -> T:
        if self._free:
            return await inline(work)
        await self._permits.acquire()
        result = work()
        await self._permits.acquire()
        return result

    def hold(self) -> None:
        self._free = False

    async def half_step(self) -> None:
        """Let the piece that waits be done; or, if it is, let who asked for it know."""
        self._permits.release()
        await idle()

    async def step(self) -> None:
        """Let the piece that waits be done, and everything that follows from it."""
        await self.half_step()
        await self.half_step()

    async def let_go(self) -> None:
        """Finish the piece that waits, and do all others at once."""
        self.let_go_soon()
        await idle()

    def let_go_soon(self) -> None:
        """Let go as soon as the caller waits for something."""
        self._free = True
        self._permits.release()
        self._permits.release()


@attrs.define(eq=False)
class House:
    """The WAL writer, its disk, and a mailbox for its answers."""

    wal: WalWriter
    log: EventLog
    disk: MemoryDisk
    answers: Mailbox[Committed]

    def publish(self, *numbers: int, sync: bool = True, payload: bytes = b"{}") -> None:
        """Submit new events, together."""
        facts: list[Fact] = [Enqueued(number, NOW, NOW, "t", payload) for number in numbers]
        self.wal.append(facts, sync=sync, to=self.answers, new_events=True)

    def lease(self, number: int, *, load: Sequence[int] = ()) -> None:
        self.submit(leased(number), load=load)

    def submit(
        self,
        *facts: Fact,
        sync: bool = False,
        load: Sequence[int] = (),
        look: Sequence[int] = (),
    ) -> None:
        self.wal.append(list(facts), sync=sync, load=load, look=look, to=self.answers)

    async def answer(self) -> Committed:
        await idle()
        message = self.answers.take()
        assert message is not None
        return message

    async def all_answers(self) -> list[Committed]:
        await idle()
        return all_taken(self.answers)

    def work(self) -> tuple[int, int]:
        """Writes and syncs so far."""
        return self.disk.faults.writes, self.disk.faults.syncs

    def fill_disk(self, room: int = 0) -> None:
        """Leave so many bytes of room."""
        self.disk.capacity = None
        used = sum(self.disk.open_to_read(name).size() for name in self.disk.names())
        self.disk.capacity = used + room

    def empty_disk(self) -> None:
        self.disk.capacity = None

    def why_full(self) -> str | None:
        """Say why new events are refused, as it is now."""
        return self.wal.full

    def segments(self) -> list[str]:
        """Names of the segments that are on the disk."""
        return [name for name in self.disk.names() if name.endswith(".log")]


def leased(number: int, delivery: int = 1) -> Leased:
    return Leased(number, NOW, 0, Stamp(1, delivery), NOW + 5000, 5000)


@asynccontextmanager
async def open_house(
    fsync: FsyncPolicy = ALWAYS,
    disk: MemoryDisk | None = None,
    blocking: Blocking = inline,
    *,
    segment_max_bytes: int = 1 << 20,
    reserved_bytes: int = 0,
) -> AsyncIterator[House]:
    disk = disk or MemoryDisk()
    options = LogOptions(segment_max_bytes=segment_max_bytes, reserved_bytes=reserved_bytes)
    log = EventLog.open(disk, now=NOW, options=options)
    async with open_wal_writer(
        log, capacity=2000, fsync=fsync, blocking=blocking, wall=wall
    ) as wal:
        yield House(wal, log, disk, Mailbox("answers", 2000))


def cut_off(disk: MemoryDisk, seed: int = 1) -> MemoryDisk:
    return disk.crash(Random(seed))


def recovered(disk: MemoryDisk) -> list[int]:
    """Numbers of the events that a start finds."""
    log = EventLog.open(disk, now=NOW)
    found = [number for number, _ in log.register.rows()]
    log.close()
    return found
