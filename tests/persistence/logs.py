"""Logs for tests: how they are opened and written, and all that they say as plain values."""

from collections.abc import Iterable
from typing import Any

from persistence.batch import Batch
from persistence.copying import copies, select
from persistence.facts import Fact
from persistence.fold import Fold
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.reading import LogReader
from persistence.scan import Frame, scan
from tests.persistence.samples import KEY, NOW, files_of

LOG = "events.log"

Told = dict[int, tuple[object, ...]]


def open_log(
    disk: MemoryDisk,
    *,
    segment_max_bytes: int = 1 << 20,
    reserved_bytes: int = 0,
    boot_least: int = 0,
) -> EventLog:
    options = LogOptions(segment_max_bytes=segment_max_bytes, reserved_bytes=reserved_bytes)
    return EventLog.open(
        disk,
        now=NOW,
        options=options,
        random_bytes=lambda size: KEY[:size],
        boot_least=boot_least,
    )


def write(log: EventLog, *facts: Fact) -> Batch:
    batch = log.append(list(facts))
    log.write()
    return batch


def commit(log: EventLog, *facts: Fact) -> Batch:
    batch = write(log, *facts)
    log.sync()
    return batch


def let_go(log: EventLog) -> list[int]:
    """Delete the segments that nobody needs."""
    numbers = log.droppable()
    if numbers:
        log.write()
        log.sync()
        log.drop(numbers)
        log.fold.holdings.drop(numbers)
    return numbers


def copy_forward(log: EventLog, number: int, *, step: int = 1 << 20) -> list[Fact]:
    """Copy all that is alive in a segment, as the compactor does; give the copies."""
    reader = LogReader(log)
    offset = 0
    made: list[Fact] = []
    while True:
        log.write()
        bodies, offset = reader.batches(number, offset, step)
        if not bodies:
            reader.close()
            return made
        selection = select(log.fold, bodies)
        selection.bring(reader.read(selection.missing()))
        facts = copies(log.fold, selection)
        if facts:
            commit(log, *facts)
        made += facts


def told(fold: Fold) -> Told:
    """What a log says about each event, wherever it lies."""
    register = fold.register
    return {
        number: (
            row.timestamp,
            row.due,
            register.topics.name(row.topic),
            row.payload_size,
            row.retries,
            row.stamp,
            row.place,
            row.receipt_open,
            row.kind,
            register.foreign.id_of(number),
        )
        for number, row in register.rows()
    }


def held(fold: Fold) -> list[tuple[Any, ...]]:
    """What each segment holds."""
    return [(h.number, h.base, h.size, h.live, h.live_bytes, h.needs.copy()) for h in fold.holdings]


def everything(fold: Fold) -> dict[str, Any]:
    """All that a fold knows, with topics by their names."""
    register = fold.register
    topics = register.topics
    return {
        "rows": {
            number: (topics.name(row.topic), row._replace(topic=0))
            for number, row in register.rows()
        },
        "ids": {topics.name(topic): topics.holders(topic) for topic in topics.capture().ids},
        "foreign": {
            number: (foreign_id, register.foreign.number_of(foreign_id))
            for number, foreign_id in register.foreign.items()
        },
        "held": held(fold),
        "droppable": fold.holdings.droppable(),
        "counters": fold.counters.values(),
        "boot": fold.boot,
        "next_number": fold.next_number,
        "last_event_at": fold.last_event_at,
        "imports": dict(fold.imports),
    }


def payloads(log: EventLog, numbers: Iterable[int]) -> list[bytes]:
    return log.read(log.spans(numbers))


def frames_in(disk: MemoryDisk, name: str = LOG) -> list[Frame]:
    return list(scan(files_of(disk)[name]))


def state_after(batches: Iterable[Iterable[Fact]]) -> Told:
    """What a log tells after some batches."""
    log = open_log(MemoryDisk())
    for batch in batches:
        log.append(list(batch))
    return told(log.fold)
