"""The compactor: the actor that copies what is alive out of the poorest segments.

It works in small steps and waits for each to be written before the next, so that no commit of
anybody else waits longer for it than for one ordinary batch. The segment itself is deleted by the
WAL writer when nothing in it is alive any more.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio

from actors.blocking import Blocking
from actors.mailbox import Mailbox
from actors.running import running
from actors.wal_port import Committed, WalWriter
from persistence.copying import Body, Selection, changed, copies, select
from persistence.errors import StorageError, Undecodable
from persistence.facts import Fact
from persistence.holdings import Holding
from persistence.log import EventLog
from persistence.reading import LogReader
from persistence.segment_files import SegmentGone

LOOK_EVERY_S = 1.0
"""How often it looks for a segment that is worth it, seconds."""

STEP_BYTES = 128 * 1024
"""How much of a segment is looked through in one step, unless one batch is larger."""

_MAILBOX_ROOM = 8

_log = structlog.get_logger(__name__)


class _Stopped(Exception):
    """The compactor is to end, or the log takes nothing more."""


class _CompactorActor:
    def __init__(
        self,
        mailbox: Mailbox[Committed | None],
        *,
        log: EventLog,
        wal: WalWriter,
        blocking: Blocking,
    ) -> None:
        self._mailbox = mailbox
        self._log = log
        self._wal = wal
        self._blocking = blocking
        self._reader = LogReader(log)

    async def run(self) -> None:
        """Look and copy, until told to stop."""
        try:
            while True:
                victim = self._victim()
                if victim is None:
                    await self._pause()
                else:
                    await self._copy(victim)
        except _Stopped:
            pass
        except (StorageError, Undecodable) as error:
            # The log goes on growing; whatever cannot be read is for people to look at.
            _log.error("compaction stopped", reason=str(error))
        finally:
            self._mailbox.close()
            self._reader.close()

    async def _pause(self) -> None:
        with trio.move_on_after(LOOK_EVERY_S):
            await self._answer()

    async def _append(self, facts: list[Fact]) -> None:
        """Wait until these facts, and all that was submitted before, are written.

        Raises:
            _Stopped: the compactor is to end.
        """
        self._wal.append(facts, to=self._mailbox)
        await self._answer()

    async def _answer(self) -> None:
        """Wait for an answer of the WAL writer.

        Raises:
            _Stopped: the compactor is to end.
        """
        for message in await self._mailbox.drain():
            if message is None or message.failure is not None:
                raise _Stopped

    def _victim(self) -> Holding | None:
        victim = self._log.fold.holdings.poorest(self._log.options.compaction_ratio)
        if victim is not None and self._wal.full and victim.live_bytes > self._log.reserved // 4:
            return None  # what is set aside has to last for acknowledgements too
        return victim

    async def _copy(self, victim: Holding) -> None:
        """Copy all that is alive in a segment forward."""
        live_bytes = victim.live_bytes
        await self._append([])  # perhaps it is sealed in memory only as yet
        try:
            await self._copy_bodies(victim)
        except SegmentGone:
            pass  # all that was in it, or something that was to be copied with it, has died
        finally:
            self._reader.close()  # a file that is open keeps its space when it is deleted
        _log.debug("segment copied", segment=victim.number, size=victim.size, live=live_bytes)
        if victim.live:  # not all could be copied: do not try again at once
            await self._pause()

    async def _copy_bodies(self, victim: Holding) -> None:
        offset = 0
        while victim.live:
            read = partial(self._reader.batches, victim.number, offset, STEP_BYTES)
            bodies, offset = await self._blocking(read)
            if not bodies:
                return
            await self._copy_step(bodies)

    async def _copy_step(self, bodies: list[Body]) -> None:
        """Copy what is alive in some batches; again, if something moved on meanwhile."""
        again = True
        while again:
            selection = await self._selection(bodies)
            again = changed(self._log.fold, selection)
            facts = copies(self._log.fold, selection)
            if facts:
                await self._append(facts)

    async def _selection(self, bodies: list[Body]) -> Selection:
        selection = select(self._log.fold, bodies)
        missing = selection.missing()
        while any(span.position >= self._log.end for span in missing):
            await self._append([])  # what is only submitted as yet cannot be read
            selection = select(self._log.fold, bodies)
            missing = selection.missing()
        if missing:
            selection.bring(await self._blocking(partial(self._reader.read, missing)))
        return selection


@asynccontextmanager
async def open_compactor(
    log: EventLog, *, wal: WalWriter, blocking: Blocking
) -> AsyncIterator[None]:
    """Run the compactor.

    Args:
        log: looked at, and changed through `wal` alone.
        wal: where copies are written.
        blocking: how to run reads; not the WAL writer's.
    """
    mailbox = Mailbox[Committed | None]("compactor", _MAILBOX_ROOM)
    actor = _CompactorActor(mailbox, log=log, wal=wal, blocking=blocking)
    async with running(actor.run, partial(mailbox.put, None)):
        yield
