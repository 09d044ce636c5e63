"""One broker process from start to stop: engine, workers, server, in this order and back."""

import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import structlog
import trio

from actors.broker import Broker
from actors.engine import open_broker
from actors.handler import Handler, load_handler
from actors.worker_pool import WorkerPool, open_workers
from web.app import open_doors
from web.call import Desk
from web.observe import version
from web.server import open_server
from web.settings import Settings
from web.sockets import bind_sockets
from web.stopping import Stopping

__all__ = ["serve"]

log = structlog.get_logger(__name__)

PARTING_S = 0.2
"""How long connections in use may end by themselves before the rest are closed, seconds."""


def wall_ms() -> int:
    """Return wall time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def serve(settings: Settings, last_resort: Callable[[int], None]) -> int:
    """Run the broker until a signal stops it, and return the exit code.

    Args:
        settings: the effective ones.
        last_resort: called with the exit code when everything is to end at once.

    Raises:
        HandlerError: the handler cannot be used.
        ListenError: the address cannot be listened on.
        StartError: the engine cannot start.
        LogFailed: the log failed under way, in an exception group.
    """
    stopping = Stopping(last_resort)
    async with trio.open_nursery() as nursery:
        await nursery.start(stopping.watch)
        with stopping.everything:
            await _run(settings, stopping)
        nursery.cancel_scope.cancel()
    return stopping.exit_code


async def _run(settings: Settings, stopping: Stopping) -> None:
    handler = load_handler(settings.event_handler) if settings.event_handler else None
    with ExitStack() as stack:
        sockets = bind_sockets(settings.host, settings.port)
        for sock in sockets:
            stack.callback(sock.close)
        log.info("starting", version=version(), **settings.shown())
        async with (
            open_broker(settings.broker_settings()) as broker,
            _open_pool(settings, broker, handler) as pool,
        ):
            # What was recovered stays: the garbage collector need not walk it ever again.
            gc.freeze()
            desk = Desk(broker, settings, wall_ms, pool)
            async with open_server(open_doors(desk), desk, sockets) as server:
                stopping.be_orderly()
                log.info(
                    "listening",
                    url=", ".join(server.urls),
                    data_dir=str(settings.data_dir.absolute()),
                    stop_with="Ctrl-C",
                )
                await stopping.asked.wait()
                await _finish(settings, broker, pool)
                # Who is sending hears with its response that it is the last one.
                with trio.move_on_after(PARTING_S):
                    await server.connections.wait_all_gone()
                log.info("closing connections")
            log.info("connections closed, closing the log")
    log.info("stopped")


async def _finish(settings: Settings, broker: Broker, pool: WorkerPool | None) -> None:
    """Refuse new work and let the handlers that run come to their end, if they are quick."""
    broker.close_intake()
    log.info(
        "taking no new work, waiting for handlers",
        running=pool.active if pool else 0,
        at_most_ms=settings.shutdown_timeout_ms,
    )
    if pool is not None:
        with trio.move_on_after(settings.shutdown_timeout_ms / 1000) as patience:
            await pool.finish()
        if patience.cancelled_caught:
            log.warning("handlers still run; their events will be delivered again")


@asynccontextmanager
async def _open_pool(
    settings: Settings, broker: Broker, handler: Handler | None
) -> AsyncIterator[WorkerPool | None]:
    if handler is None:
        yield None
        return
    open_them = partial(
        open_workers,
        count=settings.worker_count,
        visibility_timeout_ms=settings.visibility_timeout_ms,
        handler_timeout_ms=settings.handler_timeout_ms or None,
    )
    async with open_them(broker, handler) as pool:
        yield pool
