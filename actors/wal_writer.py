"""The WAL writer: the actor that brings the log to disk. One wake-up, one write, many answers."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import structlog
import trio

from actors.blocking import Blocking
from actors.clock import system_wall
from actors.mailbox import Mailbox
from actors.running import running
from actors.settings import FsyncPolicy
from actors.wal_port import Append, Committed, DropDead, Stop, WalMessage, WalWriter
from persistence.errors import StorageError, WriteFailed
from persistence.facts import Discarded
from persistence.log import EventLog
from persistence.segment_files import Span

__all__ = ["Committed", "LogFailed", "WalWriter", "open_wal_writer"]

MARK_AFTER_S = 0.05
"""How long nothing comes before the log notes what is synced, seconds; see `EventLog.mark`."""

FAILURE_LINGER_S = 1.0
"""How long a failed log goes on telling callers so before it ends the process, seconds."""

ROOM_CHECK_S = 1.0
"""How often a full disk is looked at for room, seconds."""

_FAILED = "The log failed; the broker is ending, and will recover when it is started again."
_FULL = "The disk is full; events that are there can be consumed, new ones are refused."
_NEVER = float("inf")

_log = structlog.get_logger(__name__)


class LogFailed(Exception):
    """The log can no longer be trusted with facts; the process must end and recover."""


@attrs.define(eq=False)
class _Timers:
    """When the WAL writer has something to do of its own accord, on trio's clock."""

    sync: float = _NEVER
    mark: float = _NEVER
    room: float = _NEVER

    def next(self) -> float:
        return min(self.sync, self.mark, self.room)


class _WalWriterActor:
    def __init__(
        self,
        log: EventLog,
        handle: WalWriter,
        mailbox: Mailbox[WalMessage],
        fsync: FsyncPolicy,
        blocking: Blocking,
        wall: Callable[[], int],
    ) -> None:
        self._wall = wall
        self._log = log
        self._handle = handle
        self._mailbox = mailbox
        self._fsync = fsync
        self._blocking = blocking
        self._timers = _Timers()
        self._stopping = False
        # Segments to delete when the `DropDead` that is in the mailbox comes.
        self._doomed: list[int] = []

    async def run(self) -> None:
        """Write until told to stop.

        Raises:
            LogFailed: after an error of the disk; everybody was told before.
        """
        try:
            while not self._stopping:
                await self._serve(await self._drain())
            await self._blocking(self._log.close)
        except StorageError as error:
            await self._fail(str(error))
        finally:
            for message in self._mailbox.close():
                self._refuse(message, "the log is closed")

    async def _drain(self) -> list[WalMessage]:
        """Wait for messages, but no longer than until something is due."""
        with trio.move_on_at(self._timers.next()):
            return await self._mailbox.drain()
        return []

    def _appends(self, messages: list[WalMessage]) -> list[Append]:
        self._stopping = self._stopping or any(isinstance(m, Stop) for m in messages)
        return [message for message in messages if isinstance(message, Append)]

    async def _serve(self, messages: list[WalMessage]) -> None:
        """Commit what the messages carry, and do what is due."""
        if appends := self._appends(messages):
            await self._commit(appends)
        if any(isinstance(message, DropDead) for message in messages):
            await self._drop_dead()
        if appends:
            self._plan_drop()
        now = trio.current_time()
        if now >= self._timers.sync:
            await self._blocking(self._log.sync)
            self._synced()
        if now >= self._timers.room:
            await self._look_for_room()
        if now >= self._timers.mark and not messages:
            await self._leave_mark()
            self._plan_drop()

    async def _leave_mark(self) -> None:
        """Let the log say what is synced. That is not worth a sync of its own."""
        if self._log.mark():
            await self._commit([])
        self._timers.mark = _NEVER  # it is not tried again before something else is synced

    # Commits

    async def _commit(self, appends: list[Append]) -> None:
        """Write and sync all that is appended, and answer."""
        try:
            found = iter(await self._written(appends))
        except StorageError:
            for append in appends:
                append.answer(Committed(failure=_FAILED))
            raise
        synced = self._log.synced == self._log.end
        if synced:
            self._synced()
        elif any(append.facts for append in appends):
            self._plan_sync()
        for append in appends:
            append.answer(self._answer(append, found, synced=synced))

    def _answer(self, append: Append, found: Iterator[bytes], *, synced: bool) -> Committed:
        """Say what became of an append; take what was read back for it from `found`."""
        if append.refused:
            return Committed(full=True)
        read = [next(found) if span.size else b"" for span in append.spans]
        count = len(append.load)
        facts = [
            self._log.decode(data, span.position) if data else Discarded(0)
            for data, span in zip(read[count:], append.spans[count:], strict=True)
        ]
        return Committed(read[:count], facts, synced)

    async def _written(self, appends: list[Append]) -> list[bytes]:
        """Bring the appends to the log, whatever a full disk takes; return what was read back.

        On a full disk the appends that wait in the mailbox are added to `appends`.
        """
        while True:
            serving = [append for append in appends if not append.refused]
            spans = [span for append in serving for span in append.spans if span.size]
            sync = any(append.sync for append in serving)
            try:
                return await self._blocking(partial(self._do, spans, sync=sync))
            except WriteFailed as error:
                if not error.full:
                    raise
                await self._make_room(appends, error)

    def _do(self, spans: list[Span], *, sync: bool) -> list[bytes]:
        """Do all the disk work of one commit."""
        self._log.write()
        if sync:
            self._log.sync()
        return self._log.read(spans) if spans else []

    # A full disk

    async def _make_room(self, appends: list[Append], error: WriteFailed) -> None:
        """Take the new events back that there is no room for; append the rest again.

        The rest gets some of the space that was set aside. Whether that can be set aside again
        later tells whether there is room, also within a quota. What was written before the disk
        was full stays as it is.
        """
        self._be_full(str(error))
        relieved = await self._blocking(self._log.relieve)
        # All that is submitted was to be written, and moves if something before it is taken back:
        # from here on nothing may come between.
        while (message := self._mailbox.take()) is not None:
            appends += self._appends([message])
        unwritten = self._unwritten(appends)
        needed = any(append.facts for append in unwritten)
        if needed and not relieved and not any(append.new_events for append in unwritten):
            raise error
        self._doomed = []
        self._log.abandon()
        for append in unwritten:
            append.refused = append.new_events
            if not append.refused:
                append.submit(self._log, self._wall())

    def _unwritten(self, appends: list[Append]) -> list[Append]:
        """Tell which appends are not in the log, or follow on some that are not."""
        end = self._log.end
        return [append for append in appends if append.end > end and not append.refused]

    def _be_full(self, reason: str) -> None:
        if self._handle.full is None:
            _log.error("the disk is full, refusing new events", reason=reason)
        self._handle.full = _FULL
        self._timers.room = min(self._timers.room, trio.current_time() + ROOM_CHECK_S)

    async def _look_for_room(self) -> None:
        """Accept new events again if all the space that is to be set aside could be."""
        if await self._blocking(self._log.refill):
            self._timers.room = _NEVER
            self._handle.full = None
            _log.info("there is room on the disk again, accepting new events")
        else:
            self._timers.room = trio.current_time() + ROOM_CHECK_S
        self._plan_drop()

    # What goes when nobody needs it

    def _plan_drop(self) -> None:
        """See to it that segments go that nobody needs, after all that was submitted by now.

        That is what killed them, and what may still want to read from them.
        """
        if self._doomed:
            return
        self._doomed = self._log.droppable()
        if self._doomed:
            self._mailbox.put(DropDead())

    async def _drop_dead(self) -> None:
        """Delete the segments that were found dead when all was submitted that is written now."""
        numbers, self._doomed = self._doomed, []
        if numbers and await self._dropped(numbers):
            self._log.fold.holdings.drop(numbers)
            _log.debug("segments dropped", count=len(numbers))
            self._synced()
            self._plan_drop()

    async def _dropped(self, numbers: list[int]) -> bool:
        """Delete segments; if there is no room even for that, leave them for another time."""
        while True:
            try:
                await self._blocking(partial(self._sync_and_drop, numbers))
            except WriteFailed as error:
                if not error.full:
                    raise
                self._be_full(str(error))
                if not await self._blocking(self._log.relieve):
                    return False
            else:
                return True

    def _sync_and_drop(self, numbers: list[int]) -> None:
        self._log.sync()
        self._log.drop(numbers)

    # Syncs that nobody waits for

    def _synced(self) -> None:
        self._timers.sync = _NEVER
        self._timers.mark = trio.current_time() + MARK_AFTER_S

    def _plan_sync(self) -> None:
        """See to the sync of what was written without one."""
        if not self._fsync.before_answer and self._fsync.interval_ms is not None:
            at = trio.current_time() + self._fsync.interval_ms / 1000
            self._timers.sync = min(self._timers.sync, at)

    # The end

    async def _fail(self, reason: str) -> None:
        """Never touch the log again; tell everybody for a moment; then end the process."""
        _log.error("log failed", reason=reason)
        self._handle.failure = _FAILED
        self._handle.failed.set()
        with trio.move_on_after(FAILURE_LINGER_S):
            while True:
                for message in await self._mailbox.drain():
                    self._refuse(message, _FAILED)
        raise LogFailed(reason)

    def _refuse(self, message: WalMessage, reason: str) -> None:
        if isinstance(message, Append):
            message.answer(Committed(failure=reason))


@asynccontextmanager
async def open_wal_writer(
    log: EventLog,
    *,
    capacity: int,
    fsync: FsyncPolicy,
    blocking: Blocking,
    wall: Callable[[], int] = system_wall,
) -> AsyncIterator[WalWriter]:
    """Run the WAL writer; on the way out it writes what was submitted, syncs and closes the log.

    Args:
        log: an open log; from now on it is changed through the handle alone.
        capacity: submissions that may wait; the caller's credits must cover it.
        fsync: when to force facts to the disk that nobody waits for.
        blocking: how to run disk work.
        wall: the wall clock, milliseconds since the epoch.

    Raises:
        LogFailed: out of the nursery, after the disk failed.
    """
    mailbox = Mailbox[WalMessage]("wal_writer", capacity)
    handle = WalWriter(mailbox, log, wall)
    actor = _WalWriterActor(log, handle, mailbox, fsync, blocking, wall)
    async with running(actor.run, handle.stop):
        yield handle
