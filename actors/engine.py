"""Wires the actors into an engine: the place where everybody learns whom they talk to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import structlog

from actors.blocking import Blocking, InThread
from actors.broker import Counters
from actors.clock import Clock, system_wall
from actors.credits import Credits
from actors.custody import DeliveryPolicy
from actors.dead_letters import open_dead_letters
from actors.dead_letters_port import DeadLettersMessage, DeadLettersPort
from actors.embedded import Crew, EmbeddedBroker, OpenRequests
from actors.ids import EventIds
from actors.inflight import open_inflight
from actors.inflight_port import InflightMessage, InflightPort
from actors.mailbox import Mailbox
from actors.queue import QueueLimits, open_queue
from actors.queue_port import QueueMessage, QueuePort
from actors.reaper import open_reaper
from actors.reaper_port import ReaperMessage, ReaperPort
from actors.receipts import Receipts
from actors.restored import restore
from actors.settings import BrokerSettings
from actors.wal_writer import LogFailed, open_wal_writer
from persistence.disk import Disk
from persistence.errors import StorageError
from persistence.log import EventLog
from persistence.posix_disk import PosixDisk

__all__ = ["LogFailed", "StartError", "open_broker"]

_SPARE_PLACES = 256
"""Room for messages that nobody's credit covers: ticks, inspections, stops. A few at a time."""

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The engine cannot start. The text is one sentence that says why and what to do."""


@attrs.frozen
class _Mailboxes:
    """One for each actor, made before any of them runs, since some know each other.

    Sized so that none can ever be full: every message belongs to an open request or to a lease,
    and these are bounded.
    """

    queue: Mailbox[QueueMessage]
    inflight: Mailbox[InflightMessage]
    dead_letters: Mailbox[DeadLettersMessage]
    reaper: Mailbox[ReaperMessage]

    @classmethod
    def sized_for(cls, requests: int, leases: int) -> "_Mailboxes":
        room = 4 * requests + 2 * leases + _SPARE_PLACES
        return cls(
            Mailbox("queue", room),
            Mailbox("inflight", room),
            Mailbox("dead_letters", room),
            Mailbox("reaper", _SPARE_PLACES),
        )


@asynccontextmanager
async def open_broker(
    settings: BrokerSettings | None = None,
    *,
    disk: Disk | None = None,
    wall: Callable[[], int] = system_wall,
    blocking: Blocking | None = None,
) -> AsyncIterator[EmbeddedBroker]:
    """Open the log, recover what it holds, and run the broker's actors until the block ends.

        async with open_broker(BrokerSettings(data_dir=Path("data"))) as broker:
            await broker.enqueue([NewEvent(b'{"hello": "world"}')])

    On the way out parked polls are answered, what the log has accepted is synced, and the data
    directory is unlocked. An exception or a cancellation of the block ends the actors at once:
    what was promised is on disk.

    Args:
        settings: how the engine behaves.
        disk: where the log lives instead of `settings.data_dir`.
        wall: the wall clock, milliseconds since the epoch.
        blocking: how disk work is run; a thread by default.

    Raises:
        StartError: if the log cannot be opened.
        LogFailed: in an exception group, after the disk failed under a running broker.
    """
    settings = settings or BrokerSettings()
    blocking = blocking or InThread()
    log = await _open_log(disk, settings, wall, blocking)
    try:
        async with _run(log, settings, Clock(wall), blocking) as broker:
            yield broker
    finally:
        # After a crash of an actor; otherwise the WAL writer has done it. Another process may
        # start at once, and a failed log has said so already.
        with suppress(StorageError):
            await blocking(log.close)


async def _open_log(
    disk: Disk | None, settings: BrokerSettings, wall: Callable[[], int], blocking: Blocking
) -> EventLog:
    def work() -> EventLog:
        place = PosixDisk(settings.data_dir) if disk is None else disk
        return EventLog.open(place, now=wall())

    try:
        log = await blocking(work)
    except StorageError as error:
        raise StartError(str(error)) from error
    for repair in log.repairs:
        _log.warning("log repaired", detail=repair)
    return log


@asynccontextmanager
async def _run(
    log: EventLog, settings: BrokerSettings, clock: Clock, blocking: Blocking
) -> AsyncIterator[EmbeddedBroker]:
    restored = restore(log.recovered, clock.moment())
    boxes = _Mailboxes.sized_for(settings.open_requests_max, settings.leases_max)
    queue, inflight = QueuePort(boxes.queue), InflightPort(boxes.inflight)
    dead_letters, reaper = DeadLettersPort(boxes.dead_letters), ReaperPort(boxes.reaper)
    leases = Credits(settings.leases_max)
    ids, receipts = EventIds(log.key), Receipts(log.key)

    # Each block below ends before the one above it: new events and polls first, then what
    # consumers hold, then the dead, and last the log, which writes what they all left behind.
    async with (
        open_wal_writer(
            log,
            capacity=boxes.queue.capacity,
            fsync=settings.fsync,
            blocking=blocking,
            wall=clock.wall,
        ) as wal,
        open_dead_letters(
            boxes.dead_letters,
            wal=wal,
            queue=queue,
            clock=clock,
            ids=ids,
            receipts=receipts,
            page_bytes_max=settings.delivery_bytes_max,
            letters=restored.dead,
        ),
        open_inflight(
            boxes.inflight,
            wal=wal,
            queue=queue,
            dead_letters=dead_letters,
            reaper=reaper,
            credit=leases,
            boot=log.boot,
            policy=DeliveryPolicy(
                settings.visibility_timeout_ms, settings.max_retries, settings.backoff
            ),
            clock=clock,
            ids=ids,
            receipts=receipts,
            leases=restored.leases,
        ),
        open_queue(
            boxes.queue,
            wal=wal,
            inflight=inflight,
            reaper=reaper,
            leases=leases,
            limits=QueueLimits(
                size=settings.queue_max_size,
                open_bytes=settings.open_bytes_max,
                delivery_bytes=settings.delivery_bytes_max,
                payload_cache_bytes=settings.payload_cache_bytes,
            ),
            clock=clock,
            ids=ids,
            entries=restored.waiting,
            next_number=restored.next_number,
            last_event_at=restored.last_event_at,
        ),
        open_reaper(
            boxes.reaper,
            inflight=inflight,
            queue=queue,
            interval_ms=settings.reaper_interval_ms,
            clock=clock,
        ),
    ):
        broker = EmbeddedBroker(
            Crew(wal, queue, inflight, dead_letters, reaper),
            OpenRequests.up_to(settings.open_requests_max),
            clock=clock,
            queue_max_size=settings.queue_max_size,
            counters=partial(_counters, log),
        )
        try:
            yield broker
        finally:
            broker.close_intake()


def _counters(log: EventLog) -> Counters:
    """Return the log's counters as they stand; the log keeps them, so that they outlive it."""
    return Counters(**attrs.asdict(log.counters))
