"""What the tests of this room share: events, a history with every kind of fact, plain views."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeAlias

from persistence.entry import ConsumerKind, Event, Stamp
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Leased,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.replay import Recovered, Replay

NOW = 1_700_000_000_000
KEY = bytes(range(16))

View: TypeAlias = tuple[Any, ...]


def event(number: int, payload: bytes | None = None, topic: str = "orders") -> Event:
    content = b'{"n":%d}' % number if payload is None else payload
    return Event(number, NOW + number, topic, content, len(content))


def open_log(disk: MemoryDisk) -> EventLog:
    return EventLog.open(disk, now=NOW, random_bytes=lambda size: KEY[:size])


def write(log: EventLog, *facts: Fact) -> None:
    log.write(log.prepare(facts, now=NOW))


def append(log: EventLog, *facts: Fact) -> None:
    write(log, *facts)
    log.sync()


def history() -> list[list[Fact]]:
    """Batches with every kind of fact; the events end in every place."""
    a, b, c, d, e, f = (event(number) for number in range(1, 7))
    return [
        [Enqueued(a, NOW), Enqueued(b, NOW + 5000), Enqueued(c, NOW)],
        [
            Leased(a, Stamp(1, 1), NOW + 10_000, 10_000),
            Leased(c, Stamp(1, 2), NOW + 9, 9, ConsumerKind.WORKER, "w-1"),
        ],
        [Extended(a, NOW + 20_000, 15_000), Enqueued(d, NOW), Enqueued(e, NOW), Enqueued(f, NOW)],
        [Returned(c, NOW + 1000, 1, ReturnCause.REJECTED, "no"), Leased(d, Stamp(1, 3), NOW, 1)],
        [Dead(d, NOW + 7, 5, "max_retries_exceeded", "bäd"), Leased(e, Stamp(1, 4), NOW + 5, 5)],
        [Settled(a), Returned(e, NOW + 2, 0, ReturnCause.RELEASED)],
        [Reprocessed(d, NOW + 3), Leased(f, Stamp(1, 5), NOW + 6, 6, ConsumerKind.CLIENT, "x")],
        [Dead(f, NOW + 8, 0, "rejected"), Leased(b, Stamp(1, 6), NOW + 9, 9)],
        [Discarded(f), Settled(b), Leased(c, Stamp(1, 7), NOW + 30, 30)],
    ]


def view(recovered: Recovered) -> View:
    """Everything that must be the same whichever way a state came about."""
    return (
        [(entry.event.number, *_entry(entry)) for entry in recovered.waiting],
        sorted(
            (
                lease.entry.event.number,
                lease.deadline,
                lease.length,
                lease.kind,
                lease.consumer,
                *_entry(lease.entry),
            )
            for lease in recovered.leases
        ),
        [
            (dead.entry.event.number, dead.timestamp, dead.reason, dead.error, *_entry(dead.entry))
            for dead in recovered.dead
        ],
        recovered.next_number,
        recovered.counters.values(),
    )


def _entry(entry: Any) -> tuple[Any, ...]:
    event = entry.event
    return (
        event.timestamp,
        event.topic,
        event.payload_size,
        entry.due,
        entry.retries,
        entry.stamp,
        entry.receipt_open,
    )


def state_after(batches: Iterable[Sequence[Fact]]) -> View:
    """The state that facts lead to when they never become bytes."""
    replay = Replay()
    for batch in batches:
        for fact in batch:
            replay.apply(0, fact)
    return view(replay.recovered())


def disk_with(files: Mapping[str, bytes]) -> MemoryDisk:
    disk = MemoryDisk()
    for name, data in files.items():
        file = disk.create(name)
        file.write(0, data)
        file.sync()
    disk.sync_directory()
    return disk


def seeded(seed: int) -> Random:
    return Random(seed)


def files_of(disk: MemoryDisk) -> dict[str, bytes]:
    files = {}
    for name in disk.names():
        file = disk.open(name)
        files[name] = file.read(0, file.size())
    return files
