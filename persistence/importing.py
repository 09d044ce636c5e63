"""Takes over what an earlier broker has left. Doing it twice, or in parts, is doing it once.

Every batch of events says up to which offset of which file everything has been dealt with. Since a
batch is in the log whole or not at all, another run goes on where the one before ended, however it
ended.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum

import attrs

from persistence.entry import NEVER_DELIVERED
from persistence.errors import StorageError
from persistence.facts import Dead, Enqueued, Fact, Imported, ReturnCause, Returned
from persistence.id_set import IdSet
from persistence.log import EventLog
from persistence.old_broker import Entry, OldDeath, OldEvent, OldFiles, RecordFile, Rules
from persistence.progress import Progress
from persistence.steps import Steps, no_steps

_BATCH_EVENTS = 4000
_BATCH_BYTES = 1024 * 1024
_TELL_EVERY = 1024 * 1024
"""How many bytes are read between two reports of progress."""


class Outcome(StrEnum):
    """What became of a record."""

    TAKEN = "taken"
    """It is in the log now."""
    EARLIER = "earlier"
    """An earlier import has dealt with it."""
    COMMITTED = "committed"
    """The earlier broker was done with it."""
    DEAD = "dead"
    """It is a dead letter, and comes from there."""
    HERE = "here"
    """There is an event with its id already."""
    FAULTY = "faulty"
    """It cannot be taken over."""


@attrs.frozen
class Skip:
    """A line that something should have come of, and nothing came.

    Attributes:
        file: its name.
        line: its number, from 1.
        reason: why, in words.
    """

    file: str
    line: int
    reason: str


@attrs.define
class ImportReport:
    """What an import did.

    Attributes:
        events: how many records of events.log had which outcome.
        dead: the same of dlq.log.
        committed: how many ids there are in committed.log.
        finished_since: how many of the events that an earlier import took over, and that are still
            here, the earlier broker has committed meanwhile.
    """

    events: Counter[Outcome] = attrs.field(factory=Counter)
    dead: Counter[Outcome] = attrs.field(factory=Counter)
    committed: int = 0
    finished_since: int = 0


class OldFileChanged(StorageError):
    """A file is not the one that was imported in part."""

    def __init__(self, where: str, offset: int, detail: str) -> None:
        super().__init__(
            f"{where} was imported before up to offset {offset}, and {detail}: an import goes on"
            " only with the files as they were, or longer; the rest was not imported"
        )


class Import:
    """One run of an import.

    Args:
        log: open, and used by nobody else meanwhile.
        files: of the earlier broker.
        rules: what is accepted.
        wall: the wall clock, milliseconds since the epoch.
        skipped: is told of every line that is left out and should not be.
        steps: is told how far it comes.
    """

    def __init__(
        self,
        log: EventLog,
        files: OldFiles,
        rules: Rules,
        *,
        wall: Callable[[], int],
        skipped: Callable[[Skip], None],
        steps: Steps = no_steps,
    ) -> None:
        self._log = log
        self._files = files
        self._rules = rules
        self._wall = wall
        self._skipped = skipped
        self._steps = steps
        self._committed = IdSet()
        self._dead = IdSet()
        self._report = ImportReport()

    def run(self) -> ImportReport:
        """Take over all that is to be taken over. It is on disk then.

        Raises:
            OldFileChanged: a file is another than before.
            ReadFailed: a file could not be read.
            StorageError: the log could not be written. Another run goes on from there.
        """
        files, report = self._files, self._report
        self._learn_committed()
        self._learn_dead()
        if files.dead is not None:
            self._take(files.dead, report.dead)
        if files.events is not None:
            self._take(files.events, report.events)
        return report

    def _learn_committed(self) -> None:
        done = self._files.done
        if done is None:
            return
        foreign = self._log.register.foreign
        teller = _Teller(self._steps(f"reading {done.name}"), done.size())
        for line, one, fault in done.ids():
            teller.tell(line.end)
            if fault:
                self._skipped(Skip(done.name, line.number, fault))
            elif self._committed.add(one):
                self._report.committed += 1
                self._report.finished_since += foreign.number_of(one) is not None
        teller.end()

    def _learn_dead(self) -> None:
        dead = self._files.dead
        if dead is None:
            return
        teller = _Teller(self._steps(f"reading {dead.name}"), dead.size())
        for entry in dead.entries(self._rules):
            teller.tell(entry.line.end)
            if entry.event is not None:
                self._dead.add(entry.event.id)
        teller.end()

    def _take(self, file: RecordFile, outcomes: Counter[Outcome]) -> None:
        source = file.source() or ""
        mark = self._log.fold.imports.get(source)
        offset = 0 if mark is None else mark.offset
        size = file.size()
        if size < offset:
            raise OldFileChanged(file.where, offset, f"has {size} bytes now")
        batch = _Batch(self._log, source, offset, self._wall)
        teller = _Teller(self._steps(f"importing {file.name}"), size)
        for entry in file.entries(self._rules):
            line = entry.line
            teller.tell(line.end)
            if entry.fault:
                self._skipped(Skip(file.name, line.number, entry.fault))
            if line.start < offset:
                if line.end > offset:
                    detail = f"now that is within line {line.number}"
                    raise OldFileChanged(file.where, offset, detail)
                outcomes[Outcome.FAULTY if entry.fault else Outcome.EARLIER] += 1
                continue
            outcome = self._decide(entry, batch)
            outcomes[outcome] += 1
            if outcome is Outcome.HERE:
                reason = "there is an event with its id already"
                self._skipped(Skip(file.name, line.number, reason))
            if line.ended:
                batch.reach(line.end)
        batch.end()
        teller.end()

    def _decide(self, entry: Entry, batch: "_Batch") -> Outcome:
        """Say what becomes of a record, and bring it about."""
        event, death = entry.event, entry.death
        if event is None:
            return Outcome.FAULTY
        if event.id in self._committed:
            return Outcome.COMMITTED
        if death is None and event.id in self._dead:
            return Outcome.DEAD
        if event.id in batch.ids or self._log.register.foreign.number_of(event.id) is not None:
            return Outcome.HERE
        batch.add(event, death)
        return Outcome.TAKEN


class _Teller:
    """Tells progress now and then."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._told = 0
        progress(0, total)

    def tell(self, done: int) -> None:
        if done - self._told >= _TELL_EVERY:
            self._told = done
            self._progress(done, self._total)

    def end(self) -> None:
        self._progress(self._total, self._total)


class _Batch:
    """What is about to be appended.

    Attributes:
        ids: of the events in it.
    """

    def __init__(self, log: EventLog, source: str, offset: int, wall: Callable[[], int]) -> None:
        self.ids: set[str] = set()
        self._log = log
        self._source = source
        self._logged = self._reached = offset
        self._wall = wall
        self._facts: list[Fact] = []
        self._size = 0
        self._due = 0

    def add(self, event: OldEvent, death: OldDeath | None) -> None:
        """Take an event in. Its id is not there yet."""
        number = self._log.fold.next_number + len(self.ids)
        # Their order is that of the file, wherever a clock was wrong, and none has to wait.
        self._due = due = max(self._due, min(event.timestamp, self._wall()))
        self._facts.append(
            Enqueued(number, event.timestamp, due, event.topic, event.payload, foreign_id=event.id)
        )
        if death is not None:
            self._facts.append(
                Dead(number, death.time, event.retries, NEVER_DELIVERED, death.reason, death.error)
            )
        elif event.retries:
            self._facts.append(
                Returned(number, due, event.retries, NEVER_DELIVERED, ReturnCause.RELEASED)
            )
        self.ids.add(event.id)
        self._size += len(event.payload)

    def reach(self, offset: int) -> None:
        """Note that everything before an offset is dealt with; write what is enough for a batch."""
        self._reached = offset
        if len(self.ids) >= _BATCH_EVENTS or self._size >= _BATCH_BYTES:
            self.end()

    def end(self) -> None:
        """Write what there is, and how far it goes."""
        if self._reached == self._logged or not self._source:
            return
        log = self._log
        self._facts.append(Imported(self._source, self._reached))
        log.append(self._facts, now=self._wall())
        log.write()
        log.sync()
        self._logged = self._reached
        self._facts, self._size = [], 0
        self.ids.clear()
