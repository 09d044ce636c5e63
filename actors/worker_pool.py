"""The worker pool: keeps a number of workers running, each for itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from actors.broker import Broker
from actors.handler import Handler
from actors.worker import Worker, WorkerTimes, describe

RESTART_S_FIRST = 0.5
RESTART_S_MAX = 30.0
"""Pause before a crashed worker is started again; doubles with each crash in a row, seconds."""

_log = structlog.get_logger(__name__)


class WorkerPool:
    """The workers of one process. Made by `open_workers`."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._running = len(workers)
        self._all_ended = trio.Event()
        self._finishing = trio.Event()
        if not workers:
            self._all_ended.set()

    @property
    def total(self) -> int:
        """How many workers there are."""
        return len(self._workers)

    @property
    def active(self) -> int:
        """How many run a handler now."""
        return sum(worker.delivery is not None for worker in self._workers)

    async def finish(self) -> None:
        """Take no further event, and wait until the handlers that run have ended.

        Cancellation stops the waiting; the workers still end.
        """
        self._finishing.set()
        for worker in self._workers:
            worker.stop()
        await self._all_ended.wait()

    async def _supervise(self, worker: Worker) -> None:
        """Run a worker, and again when it crashes: what it held goes back, others go on."""
        pause = RESTART_S_FIRST
        try:
            while not self._finishing.is_set():
                started = trio.current_time()
                try:
                    await worker.run()
                except Exception as error:  # noqa: BLE001 -- a supervisor
                    _log.error("worker crashed", worker=worker.name, error=describe(error))
                else:
                    return
                if trio.current_time() - started > RESTART_S_MAX:
                    pause = RESTART_S_FIRST
                with trio.move_on_after(pause):
                    await self._finishing.wait()
                pause = min(RESTART_S_MAX, 2 * pause)
        finally:
            self._running -= 1
            if self._running == 0:
                self._all_ended.set()


@asynccontextmanager
async def open_workers(
    broker: Broker,
    handler: Handler,
    *,
    count: int,
    visibility_timeout_ms: int,
    handler_timeout_ms: int | None = None,
) -> AsyncIterator[WorkerPool]:
    """Run workers until the block ends.

    The end of the block cancels handlers that still run and gives their events back without a
    retry counted; call `WorkerPool.finish` before to let them end.

    Args:
        broker: whose events they handle.
        handler: what they run.
        count: how many at a time, at least 0.
        visibility_timeout_ms: the broker's visibility timeout.
        handler_timeout_ms: how long a handler may run; see `WorkerTimes`.
    """
    times = WorkerTimes(visibility_timeout_ms, handler_timeout_ms)
    workers = [Worker(f"worker-{i}", broker, handler, times) for i in range(1, count + 1)]
    pool = WorkerPool(workers)
    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(pool._supervise, worker)  # noqa: SLF001 -- its own module
        yield pool
        nursery.cancel_scope.cancel()
