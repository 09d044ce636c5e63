"""The WAL writer: the actor that owns the log. One wake-up, one disk write, many answers."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import attrs
import structlog
import trio

from actors.blocking import Blocking
from actors.broker import MailboxView
from actors.clock import system_wall
from actors.mailbox import Address, Mailbox
from actors.running import running
from actors.settings import FsyncPolicy
from persistence.batch import Batch
from persistence.entry import Event
from persistence.errors import StorageError
from persistence.facts import Fact
from persistence.log import EventLog

MARK_AFTER_S = 0.05
"""How long nothing comes before the log notes what is synced, seconds; see `EventLog.mark`."""

FAILURE_LINGER_S = 1.0
"""How long a failed log goes on telling callers so before it ends the process, seconds."""

_FAILED = "The log failed; the broker is ending, and will recover when it is started again."

_log = structlog.get_logger(__name__)


class LogFailed(Exception):
    """The log can no longer be trusted with facts; the process must end and recover."""


@attrs.define(eq=False)
class Committed:
    """An `Append` was written, and synced if it had to be; or the log failed under it.

    These come in the order of the appends.

    Attributes:
        payloads: what `load` asked for, in order.
        failure: why it is not known whether the facts are in the log; None if they are.
    """

    payloads: list[bytes]
    failure: str | None = None


@attrs.define(eq=False)
class Append:
    """Write these facts, next to each other and in this order, all or none.

    Attributes:
        facts: perhaps none.
        sync: whether `Committed` waits until they are forced to the disk.
        load: events whose payloads to read back.
        to: who wants to know; None if nobody.
    """

    facts: Sequence[Fact]
    sync: bool
    load: Sequence[Event]
    to: Address[Committed] | None

    def answer(self, payloads: list[bytes], failure: str | None = None) -> None:
        """Tell who wants to know. An actor that has stopped does not."""
        if self.to is not None:
            self.to.put(Committed(payloads, failure))


@attrs.define(eq=False)
class _Stop:
    """Write what came before this, sync, and end."""


_Message: TypeAlias = Append | _Stop


class WalWriter:
    """Handle of the WAL writer.

    Attributes:
        failed: set when the log fails; `failure` then says why.
    """

    def __init__(self, mailbox: Mailbox[_Message]) -> None:
        self._mailbox = mailbox
        self.failed = trio.Event()
        self.failure: str | None = None

    def append(
        self,
        facts: Sequence[Fact],
        *,
        sync: bool = False,
        load: Sequence[Event] = (),
        to: Address[Committed] | None = None,
    ) -> None:
        """Submit facts; see `Append`. Facts are written in the order in which they came here."""
        self._mailbox.put(Append(facts, sync, load, to))

    def stop(self) -> None:
        """Write what came before this, sync, and end."""
        self._mailbox.put(_Stop())

    def mailbox_view(self) -> MailboxView:
        """Tell how many messages wait."""
        return self._mailbox.view()


class _WalWriterActor:
    def __init__(
        self,
        log: EventLog,
        handle: WalWriter,
        mailbox: Mailbox[_Message],
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
        self._sync_at = float("inf")
        self._mark_at = float("inf")

    async def run(self) -> None:
        """Write until told to stop.

        Raises:
            LogFailed: after an error of the disk; everybody was told before.
        """
        try:
            while await self._serve(await self._drain()):
                pass
            await self._blocking(self._log.close)
        except StorageError as error:
            await self._fail(str(error))
        finally:
            for message in self._mailbox.close():
                self._refuse(message, "the log is closed")

    async def _drain(self) -> list[_Message]:
        """Wait for messages, but no longer than until a sync or a mark is due."""
        with trio.move_on_at(min(self._sync_at, self._mark_at)):
            return await self._mailbox.drain()
        return []

    async def _serve(self, messages: list[_Message]) -> bool:
        """Commit what the messages carry; return whether to go on."""
        appends = [message for message in messages if isinstance(message, Append)]
        if appends:
            await self._commit(appends)
        now = trio.current_time()
        if now >= self._sync_at:
            await self._blocking(self._log.sync)
            self._synced()
        elif now >= self._mark_at and not messages:
            await self._blocking(self._log.mark)
            self._mark_at = float("inf")
        return len(appends) == len(messages)

    async def _commit(self, appends: list[Append]) -> None:
        facts = [fact for append in appends for fact in append.facts]
        events = [event for append in appends for event in append.load]
        sync = self._fsync.before_answer and any(append.sync for append in appends)
        try:
            batch = self._log.prepare(facts, now=self._wall()) if facts else None
            payloads = await self._blocking(partial(self._do, batch, events, sync=sync))
        except StorageError:
            for append in appends:
                append.answer([], _FAILED)
            raise
        if sync:
            self._synced()
        elif batch is not None:
            self._plan_sync()
        start = 0
        for append in appends:
            end = start + len(append.load)
            append.answer(payloads[start:end])
            start = end

    def _do(self, batch: Batch | None, load: list[Event], *, sync: bool) -> list[bytes]:
        """Do all the disk work of one commit: the only thing here that runs in a thread."""
        if batch is not None:
            self._log.write(batch)
        if sync:
            self._log.sync()
        return self._log.read(load) if load else []

    def _synced(self) -> None:
        self._sync_at = float("inf")
        self._mark_at = trio.current_time() + MARK_AFTER_S

    def _plan_sync(self) -> None:
        """See to the sync of what was written without one."""
        if not self._fsync.before_answer and self._fsync.interval_ms is not None:
            at = trio.current_time() + self._fsync.interval_ms / 1000
            self._sync_at = min(self._sync_at, at)

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

    def _refuse(self, message: _Message, reason: str) -> None:
        if isinstance(message, Append):
            message.answer([], reason)


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
        log: an open log; from now on nobody else may use it.
        capacity: submissions that may wait; the caller's credits must cover it.
        fsync: when to force facts to the disk.
        blocking: how to run disk work.
        wall: the wall clock, milliseconds since the epoch.

    Raises:
        LogFailed: out of the nursery, after the disk failed.
    """
    mailbox = Mailbox[_Message]("wal_writer", capacity)
    handle = WalWriter(mailbox)
    actor = _WalWriterActor(log, handle, mailbox, fsync, blocking, wall)
    async with running(actor.run, handle.stop):
        yield handle
