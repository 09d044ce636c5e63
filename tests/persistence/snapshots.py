"""What the tests of snapshots share: a log, taking one, and all that is known after reading it."""

from typing import Any

from persistence.copying import copies, select
from persistence.entry import Place, Row
from persistence.facts import Fact, Imported, Settled
from persistence.fold import Fold
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.progress import Progress, no_progress
from persistence.reading import LogReader
from persistence.recovery import Recovered, Recovery
from persistence.segment import FRAME_HEADER_SIZE
from persistence.snapshot_writer import SnapshotWriter
from persistence.survey import survey
from tests.persistence.samples import NOW, bytes_of, disk_with, enqueued, files_of, history

LOG = "events.log"
SMALL = 2000
"""Room for some events in a segment, bytes."""


def take_snapshot(log: EventLog, *, rows_max: int = 2) -> SnapshotWriter:
    """Take a snapshot while nothing else happens; the log is synced then."""
    writer = SnapshotWriter(log, rows_max=rows_max)
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
    finish(log, writer)
    return writer


def finish(log: EventLog, writer: SnapshotWriter) -> None:
    trailer = writer.last_step(NOW)
    log.write()
    log.sync()
    writer.finish(trailer)


def recovered(
    files: dict[str, bytes], *, snapshots: bool, progress: Progress = no_progress
) -> Recovered:
    disk = disk_with(files)
    return Recovery(disk, survey(disk), progress, snapshots=snapshots).run()


def row_view(fold: Fold, number: int, row: Row) -> tuple[object, ...]:
    # Who had the newest delivery is said by the fact about it alone, which may be gone.
    kind = row.kind if row.place == Place.LEASED else None
    topic = fold.register.topics.name(row.topic)
    return (row._replace(topic=0, kind=0), kind, topic, fold.register.foreign.id_of(number))


def view(fold: Fold) -> dict[str, Any]:
    """All that a fold knows, with topics by their names."""
    register = fold.register
    _, names, holders = register.topics.capture()
    return {
        "rows": {number: row_view(fold, number, row) for number, row in register.rows()},
        "places": [register.count(place) for place in Place],
        "topics": dict(zip(names, holders, strict=True)),
        "foreign": dict(register.foreign.items()),
        "counters": fold.counters.values(),
        "boot": fold.boot,
        "next_number": fold.next_number,
        "last_event_at": fold.last_event_at,
        "imports": fold.imports,
        "holdings": [
            (h.number, h.base, h.size, h.live, h.live_bytes, h.needs) for h in fold.holdings
        ],
        "droppable": fold.holdings.droppable(),
    }


class House:
    """A log on a disk of its own."""

    def __init__(self, segment_max_bytes: int = 64 * 1024) -> None:
        self.disk = MemoryDisk()
        options = LogOptions(segment_max_bytes=segment_max_bytes)
        self.log = EventLog.open(self.disk, now=NOW, options=options)

    def append(self, *facts: Fact) -> None:
        self.log.append(facts, now=NOW)

    def commit(self) -> None:
        self.log.write()
        self.log.sync()

    def roll(self) -> None:
        """Begin a new segment, by import notes; of these only the newest is alive."""
        number = self.log.fold.holdings.active.number
        while self.log.fold.holdings.active.number == number:
            self.append(Imported("s" * 150, 1))

    def fill(self, fact: Fact) -> None:
        """Let a fact end where its segment does, with an event before it that comes and goes."""
        number = self.log.fold.next_number
        sizes = [FRAME_HEADER_SIZE + len(bytes_of(one)) for one in (fact, enqueued(number, b""))]
        active = self.log.fold.holdings.active
        left = active.base + self.log.options.segment_max_bytes - self.log.next - sum(sizes)
        self.append(enqueued(number, b"x" * left))
        self.append(fact)
        assert active.size == self.log.options.segment_max_bytes
        self.append(Settled(number))

    def drop(self) -> list[int]:
        """Delete what nobody needs."""
        self.commit()
        numbers = self.log.droppable()
        self.log.drop(numbers)
        self.log.fold.holdings.drop(numbers)
        return numbers

    def copy(self, segment: int) -> None:
        """Copy what is alive in a segment forward."""
        self.commit()
        reader = LogReader(self.log)
        bodies, _ = reader.batches(segment, 0, 1 << 20)
        selection = select(self.log.fold, bodies)
        selection.bring(reader.read(selection.missing()))
        self.append(*copies(self.log.fold, selection))

    def files(self) -> dict[str, bytes]:
        self.commit()
        return files_of(self.disk)

    def fold(self) -> Fold:
        """Read the log with the snapshot, and see that it is as it is without, and as it was."""
        files = self.files()
        found = recovered(files, snapshots=True)
        assert found.snapshot_problem == ""
        assert view(found.fold) == view(recovered(files, snapshots=False).fold)
        assert view(found.fold) == view(self.log.fold)
        return found.fold


def house_with_history(rows_max: int = 2) -> House:
    """A house where everything has happened, and then a snapshot was taken."""
    house = House()
    for batch in history():
        house.append(*batch)
    take_snapshot(house.log, rows_max=rows_max)
    return house
