"""The reaper: the actor that sleeps until something runs out, and says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from actors.clock import Clock
from actors.inflight_port import InflightPort
from actors.mailbox import Mailbox
from actors.queue_port import QueuePort
from actors.reaper_port import ReaperMessage, ReaperPort, WakeAt
from actors.running import running


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
            while await self._sleep():
                # Both look at the clock themselves and announce what comes next.
                self._inflight.expire()
                self._queue.promote()
        finally:
            self._mailbox.close()

    async def _sleep(self) -> bool:
        """Sleep until the earliest announced moment; return False to stop."""
        due = self._clock.now() + self._interval_ms
        while self._clock.now() < due:
            with trio.move_on_at(self._clock.to_trio(due)):
                for message in await self._mailbox.drain():
                    if not isinstance(message, WakeAt):
                        return False
                    due = min(due, message.at)
        return True


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
    async with running(actor.run, port.stop):
        yield port
