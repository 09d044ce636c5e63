"""Wires the actors into an engine: the place where everybody learns whom they talk to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import structlog

from actors.blocking import Blocking, InThread
from actors.broker import Counters, StorageView
from actors.clock import Clock, Moment, system_wall
from actors.compactor import open_compactor
from actors.credits import Credits
from actors.custody import DeliveryPolicy
from actors.dead_letters import open_dead_letters
from actors.dead_letters_port import DeadLettersMessage, DeadLettersPort
from actors.embedded import Crew, EmbeddedBroker, OpenRequests
from actors.historian import Historian
from actors.ids import EventIds
from actors.inflight import open_inflight
from actors.inflight_port import InflightMessage, InflightPort
from actors.leases import Lease
from actors.mailbox import Mailbox
from actors.naming import Naming
from actors.queue import QueueLimits, open_queue
from actors.queue_port import QueueMessage, QueuePort
from actors.reaper import open_reaper
from actors.reaper_port import ReaperMessage, ReaperPort
from actors.receipts import Receipts
from actors.recovery_progress import RecoveryProgress
from actors.restored import Restored, held, restore
from actors.settings import BrokerSettings
from actors.snapshots import open_snapshots
from actors.wal_writer import LogFailed, WalWriter, open_wal_writer
from persistence.disk import Disk
from persistence.errors import StorageError
from persistence.log import EventLog, LogOptions
from persistence.posix_disk import PosixDisk

__all__ = ["LogFailed", "StartError", "open_broker"]

_SPARE_PLACES = 256
"""Room for messages that nobody's credit covers: ticks, inspections, stops. A few at a time."""

_NUMBERS_OF_A_BOOT_BITS = 32
"""Each process gives event numbers of its own. The last one may have given some of which a power
cut left no trace; a receipt for such an event must never be good for another one."""

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
    # What only reads must not keep the WAL writer waiting: it has a thread of its own.
    aside = blocking or InThread()
    blocking = blocking or InThread()
    log = await _open_log(disk, settings, wall, blocking)
    try:
        async with _run(log, settings, Clock(wall), blocking, aside) as broker:
            yield broker
    finally:
        # After a crash of an actor; otherwise the WAL writer has done it. Another process may
        # start at once, and a failed log has said so already.
        with suppress(StorageError):
            await blocking(log.close)


async def _open_log(
    disk: Disk | None, settings: BrokerSettings, wall: Callable[[], int], blocking: Blocking
) -> EventLog:
    options = LogOptions(
        segment_max_bytes=settings.segment_max_bytes,
        compaction_ratio=settings.compaction_ratio,
        reserved_bytes=settings.reserved_bytes,
    )

    def work() -> EventLog:
        place = PosixDisk(settings.data_dir) if disk is None else disk
        return EventLog.open(place, now=wall(), options=options, progress=RecoveryProgress())

    try:
        log = await blocking(work)
    except StorageError as error:
        raise StartError(str(error)) from error
    for repair in log.repairs:
        _log.warning("log repaired", detail=repair)
    for note in log.notes:
        _log.info("log opened", detail=note)
    return log


@asynccontextmanager
async def _run(
    log: EventLog, settings: BrokerSettings, clock: Clock, blocking: Blocking, aside: Blocking
) -> AsyncIterator[EmbeddedBroker]:
    restored, leases_held = await _restore(log, clock.moment(), blocking)
    boxes = _Mailboxes.sized_for(settings.open_requests_max, settings.leases_max)
    queue, inflight = QueuePort(boxes.queue), InflightPort(boxes.inflight)
    dead_letters, reaper = DeadLettersPort(boxes.dead_letters), ReaperPort(boxes.reaper)
    leases = Credits(settings.leases_max)
    naming, receipts = Naming(EventIds(log.key), log.register), Receipts(log.key)
    sync_default = settings.fsync.before_answer

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
        open_snapshots(
            log,
            wal=wal,
            blocking=aside,
            after_bytes=settings.snapshot_after_bytes,
            wall=clock.wall,
        ),
        open_compactor(log, wal=wal, blocking=aside),
        open_dead_letters(
            boxes.dead_letters,
            wal=wal,
            queue=queue,
            clock=clock,
            naming=naming,
            receipts=receipts,
            sync_default=sync_default,
            page_bytes_max=settings.delivery_bytes_max,
            graveyard=restored.graveyard,
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
            naming=naming,
            receipts=receipts,
            sync_default=sync_default,
            leases=leases_held,
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
            naming=naming,
            sync_default=sync_default,
            backlog=restored.backlog,
            departures=restored.departures,
            put_off=restored.put_off,
            boot=log.boot,
            next_number=max(log.fold.next_number, log.boot << _NUMBERS_OF_A_BOOT_BITS),
            last_event_at=log.fold.last_event_at,
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
            storage=partial(_storage, log, wal),
            historian=Historian(
                log, wal, blocking=aside, clock=clock, naming=naming, receipts=receipts
            ),
        )
        try:
            yield broker
        finally:
            broker.close_intake()


async def _restore(log: EventLog, at: Moment, blocking: Blocking) -> tuple[Restored, list[Lease]]:
    """Build from the log's register what the actors begin with; nobody else has it yet."""

    def work() -> tuple[Restored, list[Lease]]:
        restored = restore(log.register, log.boot, at)
        return restored, held(log.read_facts(restored.leased), at)

    try:
        return await blocking(work)
    except StorageError as error:
        raise StartError(str(error)) from error


def _counters(log: EventLog) -> Counters:
    """Return the log's counters as they stand; the log keeps them, so that they outlive it."""
    return Counters(**attrs.asdict(log.fold.counters))


def _storage(log: EventLog, wal: WalWriter) -> StorageView:
    """Return what the log takes on the disk."""
    return StorageView(
        segments=len(log.fold.holdings),
        size=sum(holding.size for holding in log.fold.holdings),
        live=sum(holding.live_bytes for holding in log.fold.holdings),
        written=log.end,
        reserved=log.reserved,
        full=wal.full,
    )
