"""The embedded engine on a disk in memory, in virtual time."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from actors.blocking import inline
from actors.broker import Broker
from actors.engine import open_broker
from actors.settings import BrokerSettings
from persistence.memory_disk import MemoryDisk
from tests.broker.bench import Bench, Call

T = TypeVar("T")

EPOCH_MS = 1_700_000_000_000
POINTS_IN_A_COMMIT = 4
"""Operations on the disk among which a power cut during a call chooses."""


class EmbeddedBench(Bench):
    """Runs `open_broker` in a task of its own, life after life."""

    def __init__(self, nursery: trio.Nursery, settings: BrokerSettings) -> None:
        super().__init__(nursery)
        self.settings = settings
        self.disk = MemoryDisk()
        self._wall_step = 0
        self._broker: Broker | None = None
        self._crash: Exception | None = None
        self._scope = trio.CancelScope()
        self._leave = trio.Event()
        self._ended = trio.Event()

    @property
    def broker(self) -> Broker:
        assert self._broker is not None, "no broker runs"
        return self._broker

    @property
    def crash(self) -> Exception | None:
        return self._crash

    def now(self) -> int:
        return EPOCH_MS + math.floor(trio.current_time() * 1000 + 1e-3)

    def wall(self) -> int:
        return self.now() + self._wall_step

    def step_wall_clock(self, by_ms: int) -> None:
        self._wall_step += by_ms

    async def advance(self, ms: int) -> None:
        # The nanoseconds keep what is due then from being a rounding error later than that.
        await trio.sleep(ms / 1000 + 1e-7 if ms else 0)
        await self.idle()

    async def idle(self) -> None:
        await wait_all_tasks_blocked()

    async def start(self, **settings: Any) -> None:
        self.settings = attrs.evolve(self.settings, **settings)
        self._scope, self._leave, self._ended = trio.CancelScope(), trio.Event(), trio.Event()
        self._crash = None
        await self._nursery.start(self._live)

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        started = False
        try:
            with self._scope:
                async with open_broker(
                    self.settings, disk=self.disk, wall=self.wall, blocking=inline
                ) as self._broker:
                    started = True
                    task_status.started()
                    await self._leave.wait()
        except Exception as error:
            if not started:
                raise
            self._crash = error
        finally:
            self._broker = None
            self._ended.set()

    async def stop(self) -> None:
        self._leave.set()
        await self._ended.wait()
        self.disk = self.disk.kill()

    async def kill(self) -> None:
        self.disk = self.disk.kill()
        await self._end_at_once()

    async def cut_power(
        self, seed: int, during: Callable[[], Awaitable[T]] | None = None
    ) -> Call[T] | None:
        random = Random(seed)
        call = None
        if during is not None:
            self.disk.faults.cut_power(random.randint(1, POINTS_IN_A_COMMIT))
            call = await self.begin(during)
        self.disk = self.disk.crash(random)
        await self._end_at_once()
        return call

    async def _end_at_once(self) -> None:
        """End the tasks; their disk is gone already, so they can do no harm on their way."""
        self._scope.cancel()
        await self._ended.wait()
        await self.idle()

    def break_storage(self) -> None:
        self.disk.faults.fail_sync()

    def fill_storage(self, room: int = 0) -> None:
        self.disk.capacity = None
        used = sum(self.disk.open_to_read(name).size() for name in self.disk.names())
        self.disk.capacity = used + room

    def make_room(self) -> None:
        self.disk.capacity = None


@asynccontextmanager
async def open_embedded_bench(settings: BrokerSettings) -> AsyncIterator[EmbeddedBench]:
    """Run an embedded engine until the block ends; calls still under way are cancelled then."""
    async with trio.open_nursery() as nursery:
        bench = EmbeddedBench(nursery, settings)
        await bench.start()
        yield bench
        nursery.cancel_scope.cancel()
