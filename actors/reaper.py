"""The reaper: the actor that sleeps until something runs out, and says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from actors.clock import Clock
from actors.inflight_port import InflightPort
from actors.mailbox import Mailbox
from actors.queue_port import QueuePort
from actors.reaper_port import ReaperMessage, ReaperPort, WakeAt


class _ReaperActor:
    def __init__(
        self,
        mailbox: Mailbox[ReaperMessage],
        *,
        inflight: InflightPort,
        queue: QueuePort,
        interval_ms: int,
        clock: Clock,
    ) -> None:
        self._mailbox = mailbox
        self._inflight = inflight
        self._queue = queue
        self._interval_ms = interval_ms
        self._clock = clock

    async def run(self) -> None:
        """Sleep and tell, until told to stop."""
        try:
            while (due := await self._sleep()) is not None:
                if self._clock.now() >= due:
                    # Both look at the clock themselves and announce what comes next.
                    self._inflight.expire()
                    self._queue.promote()
        finally:
            self._mailbox.close()

    async def _sleep(self) -> int | None:
        """Sleep until the earliest announced moment; return it, or None to stop."""
        due = self._clock.now() + self._interval_ms
        while True:
            with trio.move_on_at(self._clock.to_trio(due)) as scope:
                for message in await self._mailbox.drain():
                    if not isinstance(message, WakeAt):
                        return None
                    due = min(due, message.at)
            if scope.cancelled_caught:
                return due


@asynccontextmanager
async def open_reaper(
    mailbox: Mailbox[ReaperMessage],
    *,
    inflight: InflightPort,
    queue: QueuePort,
    interval_ms: int,
    clock: Clock,
) -> AsyncIterator[ReaperPort]:
    """Run the reaper.

    Args:
        mailbox: made by the caller, since those whom the reaper wakes know it.
        inflight: told to expire leases.
        queue: told to promote delayed events.
        interval_ms: the longest sleep, milliseconds.
        clock: the engine's time.
    """
    actor = _ReaperActor(
        mailbox, inflight=inflight, queue=queue, interval_ms=interval_ms, clock=clock
    )
    port = ReaperPort(mailbox)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actor.run)
        try:
            yield port
        finally:
            port.stop()
