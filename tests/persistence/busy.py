"""A log that goes on while somebody else looks at its files, copies them and puts them back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import attrs

from persistence.backup import BackupReport, backup
from persistence.copying import copies, select
from persistence.disk import Disk
from persistence.entry import Place, Stamp
from persistence.facts import Dead, Enqueued, Fact, Leased, Settled
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.reading import LogReader
from persistence.restore import RestoreReport, restore
from tests.persistence.samples import NOW

SEGMENT_BYTES = 2048


class Known(NamedTuple):
    """What a log says of an event, wherever it lies."""

    timestamp: int
    due: int
    topic: str
    payload_size: int
    retries: int
    stamp: Stamp
    place: int
    foreign_id: str | None


def view(log: EventLog) -> dict[int, Known]:
    register = log.register
    return {
        number: Known(
            row.timestamp,
            row.due,
            register.topics.name(row.topic),
            row.payload_size,
            row.retries,
            row.stamp,
            row.place,
            register.foreign.id_of(number),
        )
        for number, row in register.rows()
    }


@attrs.define(eq=False)
class Broker:
    """Writes a log as a broker does: batches, syncs, marks, copies forward, drops.

    Attributes:
        syncs: whether each write is synced.
        known: what the log said after each of its batches, by the position where that ends.
    """

    log: EventLog
    syncs: bool = True
    known: dict[int, dict[int, Known]] = attrs.field(factory=dict)

    @classmethod
    def on(cls, disk: MemoryDisk, *, syncs: bool = True) -> "Broker":
        log = EventLog.open(disk, now=NOW, options=LogOptions(segment_max_bytes=SEGMENT_BYTES))
        broker = cls(log, syncs)
        broker.note()
        return broker

    def note(self) -> None:
        self.known[self.log.next] = view(self.log)

    def said_at(self, position: int) -> dict[int, Known]:
        """What the log said as far as a position."""
        return self.known[max(at for at in self.known if at <= position)]

    def write(self, *facts: Fact) -> None:
        self.log.append(list(facts), now=NOW)
        self.note()
        self.log.write()
        if self.syncs:
            self.log.sync()

    def publish(self, count: int = 1, size: int = 100) -> None:
        first = self.log.fold.next_number
        payload = b'{"x":"%s"}' % (b"y" * size)
        self.write(*(Enqueued(n, NOW, NOW + n, "t", payload) for n in range(first, first + count)))

    def lease(self) -> None:
        for number, row in self.log.register.rows():
            if row.place == Place.WAITING:
                stamp = Stamp(self.log.boot, row.delivery + 1)
                self.write(Leased(number, row.due, row.retries, stamp, NOW + 9, 9))
                return

    def bury(self) -> None:
        for number, row in self.log.register.rows():
            if row.place == Place.LEASED:
                self.write(Dead(number, NOW + 3, 1, row.stamp, "rejected", "no"))
                return

    def settle(self, count: int = 1) -> None:
        alive = [n for n, row in self.log.register.rows() if row.place != Place.DEAD]
        for number in alive[:count]:
            self.write(Settled(number))

    def mark(self) -> None:
        if self.log.mark():
            self.note()
            self.log.write()

    def compact(self) -> None:
        """Copy the poorest segment forward, and drop what nobody needs."""
        log = self.log
        victim = log.fold.holdings.poorest(0.1)
        if victim is not None:
            reader = LogReader(log)
            bodies, _ = reader.batches(victim.number, 0, 1 << 20)
            selection = select(log.fold, bodies)
            selection.bring(reader.read(selection.missing()))
            facts = copies(log.fold, selection)
            if facts:
                self.write(*facts)
        numbers = log.droppable()
        if numbers:
            log.sync()
            log.drop(numbers)
            log.fold.holdings.drop(numbers)

    def live_a_little(self) -> None:
        """Do some of everything: roll, copy, drop."""
        self.publish(3)
        self.lease()
        self.bury()
        self.lease()
        self.publish(12)
        self.settle(9)
        self.compact()
        self.compact()
        self.publish(1)


class Watched(MemoryDisk):
    """Another process's view of a disk, in which something happens before one of its operations."""

    def __init__(self, disk: MemoryDisk, happens: Callable[[int], Any]) -> None:
        super().__init__(machine=disk._machine)
        self._happens = happens
        self.count = 0

    def _operate(self) -> None:
        self.count += 1
        self._happens(self.count)
        super()._operate()


def nothing_comes() -> None:
    """Nobody writes meanwhile."""


def back_up(
    disk: Disk, pause: Callable[[], None] = nothing_comes
) -> tuple[MemoryDisk, BackupReport]:
    target = MemoryDisk()
    return target, backup(disk, target, pause=pause)


def put_back(
    copy: MemoryDisk, random_below: Callable[[int], int] = lambda _: 0
) -> tuple[MemoryDisk, RestoreReport]:
    target = MemoryDisk()
    report = restore(copy.another(), target, now=NOW, random_below=random_below)
    return target, report


def restored(copy: MemoryDisk) -> EventLog:
    target, _ = put_back(copy)
    return EventLog.open(target.another(), now=NOW)


def busy() -> tuple[MemoryDisk, Broker]:
    disk = MemoryDisk()
    broker = Broker.on(disk)
    for _ in range(3):
        broker.live_a_little()
    return disk, broker
