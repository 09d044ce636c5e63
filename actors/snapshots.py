"""Takes snapshots of the log, so that the next start need not read all of it.

While the broker works, a snapshot is taken a piece at a time, with everybody else between two
pieces. At a clean stop it is taken as fast as it goes. Nothing depends on a snapshot: when one
fails the next start only takes longer.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio

from actors.blocking import Blocking
from actors.clock import system_wall
from actors.mailbox import Mailbox
from actors.running import running
from actors.wal_port import Committed, WalWriter
from persistence.errors import StorageError, reason
from persistence.log import EventLog
from persistence.snapshot_writer import (
    SnapshotSpoilt,
    SnapshotWriter,
    newest_snapshot,
    snapshot_size,
)

LOOK_EVERY_S = 1.0
"""How often it looks whether the log has grown enough, seconds."""

PAUSE_S = 0.005
"""How long everybody else has the processor and the disk between two pieces, seconds."""

RETRY_AFTER_S = 60.0
"""How long it waits after a snapshot that failed, seconds."""

STOP_BYTES = 4 * 1024 * 1024
"""How much the log must have grown for a snapshot at a clean stop, bytes: reading that takes as
long as taking the snapshot of a small log."""

_MAILBOX_ROOM = 8

_log = structlog.get_logger(__name__)


class _GivenUp(Exception):
    """No snapshot for now. The text says why; it is empty if people need not know."""


class _SnapshotsActor:
    def __init__(
        self,
        mailbox: Mailbox[Committed | None],
        *,
        log: EventLog,
        wal: WalWriter,
        blocking: Blocking,
        after_bytes: int,
        wall: Callable[[], int],
    ) -> None:
        self._mailbox = mailbox
        self._log = log
        self._wal = wal
        self._blocking = blocking
        self._after_bytes = after_bytes
        self._wall = wall
        self._stopping = False
        # Log position of the newest snapshot; without one all of the log counts.
        self._newest = log.places.places[0].base
        self._not_before = 0.0
        self._warned = False

    async def run(self) -> None:
        """Look and take snapshots, until told to stop; then perhaps a last one."""
        try:
            await self._find_newest()
            while not self._stopping:
                await self._hear_within(LOOK_EVERY_S)
                if self._due():
                    await self._take()
            if self._grown >= STOP_BYTES:
                await self._take()
        finally:
            self._mailbox.close()

    async def _find_newest(self) -> None:
        def find() -> int | None:
            return newest_snapshot(self._log.disk, self._log.key)

        try:
            newest = await self._blocking(find)
        except OSError as error:
            self._warn(reason(error))
            return
        if newest is not None:
            self._newest = newest

    async def _hear(self) -> Committed | None:
        """Wait for messages; return the WAL writer's answer if one is among them."""
        answer = None
        for message in await self._mailbox.drain():
            if message is None:
                self._stopping = True
            else:
                answer = message
        return answer

    async def _hear_within(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._hear()

    @property
    def _grown(self) -> int:
        """How many bytes of the log a snapshot would save reading."""
        return self._log.next - self._newest

    def _due(self) -> bool:
        return (
            not self._stopping
            and 0 < self._after_bytes <= self._grown
            and trio.current_time() >= self._not_before
            and self._wal.full is None
        )

    async def _take(self) -> None:
        """Take a snapshot, or give up and say so."""
        writer = SnapshotWriter(self._log)
        began, finished = trio.current_time(), False
        try:
            await self._check_room()
            await self._write(writer)
            finished = True
        except (OSError, StorageError, SnapshotSpoilt, _GivenUp) as error:
            self._not_before = trio.current_time() + RETRY_AFTER_S
            self._warn(reason(error) if isinstance(error, OSError) else str(error))
        finally:
            if not finished:
                await self._blocking(writer.give_up)
        if finished:
            self._newest = writer.end
            self._warned = False
            seconds = round(trio.current_time() - began, 3)
            _log.info("snapshot taken", events=writer.rows, bytes=writer.size, seconds=seconds)

    async def _check_room(self) -> None:
        """Leave the log enough room on the disk."""
        needed = snapshot_size(self._log) + self._log.options.segment_max_bytes
        free = await self._blocking(self._log.disk.free)
        if free is not None and free < needed:
            raise _GivenUp("there is too little room on the disk")

    async def _write(self, writer: SnapshotWriter) -> None:
        while (piece := writer.step(self._wall())) is not None:
            await self._blocking(partial(writer.write, piece))
            if self._wal.full is not None:
                raise _GivenUp
            if not self._stopping:
                await self._hear_within(PAUSE_S)
        # The segment with the last mark must not go before that is read back.
        self._log.pin()
        try:
            trailer = writer.last_step(self._wall())
            await self._sync()
            await self._blocking(partial(writer.finish, trailer))
        finally:
            self._log.unpin()

    async def _sync(self) -> None:
        """Wait until all that is appended is on disk."""
        self._wal.append([], sync=True, to=self._mailbox)
        while (answer := await self._hear()) is None:
            pass
        if answer.failure is not None:
            raise _GivenUp

    def _warn(self, why: str) -> None:
        """Tell people once, until it goes well again."""
        if why and not self._warned:
            self._warned = True
            _log.warning("no snapshot could be taken, the next start takes longer", reason=why)


@asynccontextmanager
async def open_snapshots(
    log: EventLog,
    *,
    wal: WalWriter,
    blocking: Blocking,
    after_bytes: int,
    wall: Callable[[], int] = system_wall,
) -> AsyncIterator[None]:
    """Take snapshots until the block ends, and perhaps one then.

    Args:
        log: looked at; empty batches are appended to it.
        wal: brings the log to disk.
        blocking: how to run disk work; not the WAL writer's.
        after_bytes: how much the log grows between two snapshots; 0 for none before the end.
        wall: the wall clock, milliseconds since the epoch.
    """
    mailbox = Mailbox[Committed | None]("snapshots", _MAILBOX_ROOM)
    actor = _SnapshotsActor(
        mailbox, log=log, wal=wal, blocking=blocking, after_bytes=after_bytes, wall=wall
    )
    async with running(actor.run, partial(mailbox.put, None)):
        yield
