"""A machine that lets anything happen to a log while it is snapshotted: reading it with the
snapshot and without must give the same, and what the process knew."""

from itertools import cycle, islice

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from persistence.copying import copies, select
from persistence.entry import ConsumerKind, Place, Row, Stamp
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Imported,
    Leased,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.names import SNAPSHOT_NAME
from persistence.reading import LogReader
from persistence.snapshot_layout import Piece, Trailer
from persistence.snapshot_writer import SnapshotSpoilt, SnapshotWriter
from tests.persistence.samples import NOW, files_of
from tests.persistence.snapshots import recovered, view

OPTIONS = LogOptions(segment_max_bytes=1200, compaction_ratio=0.3)
TOPICS = st.sampled_from(["", "a", "b", "c", "ünï"])
PICK = st.integers(0, 1000)
GOOD_REASONS = {
    "",
    "a segment that it needs has been deleted",
    "most of what it speaks of has been deleted",
}
PLACES = {
    "lease": {Place.WAITING},
    "extend": {Place.LEASED},
    "return": {Place.WAITING, Place.LEASED},
    "settle": {Place.WAITING, Place.LEASED},
    "die": {Place.WAITING, Place.LEASED},
    "reprocess": {Place.DEAD},
    "discard": {Place.DEAD},
}
"""What can happen to an event, and where it is then."""
SOME_ACTIONS = st.lists(st.tuples(st.sampled_from(sorted(PLACES)), PICK), min_size=1, max_size=10)


class SnapshotMachine(RuleBasedStateMachine):
    """One log over several processes, and at most one snapshot in the making."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self.writer: SnapshotWriter | None = None
        self.copied: Piece | Trailer | None = None
        self.now = NOW
        self.late: list[int] = []
        self.open()

    def open(self) -> None:
        self.log = EventLog.open(self.disk, now=self.now, options=OPTIONS)
        self.reader = LogReader(self.log)

    def append(self, *facts: Fact) -> None:
        self.now += 1
        self.log.append(facts, now=self.now)

    # What happens to events

    @rule(topics=st.lists(TOPICS, min_size=1, max_size=3), count=st.integers(1, 12), pick=PICK)
    def enqueue(self, topics: list[str], count: int, pick: int) -> None:
        """Let events come; numbers may enter the log in another order than they were given."""
        for topic in islice(cycle(topics), count):
            pick += 1
            number = self.log.fold.next_number
            if pick % 7 == 0 and self.late:
                number = self.late.pop()
            elif pick % 5 == 0:
                self.late.append(number)
                number += 1
            foreign_id = f"id-{number}" if pick % 3 == 0 else ""
            payload = b"x" * (pick % 80)
            self.append(Enqueued(number, self.now, pick, topic, payload, foreign_id=foreign_id))

    @rule(actions=SOME_ACTIONS)
    def act(self, actions: list[tuple[str, int]]) -> None:
        for action, pick in actions:
            places = PLACES[action]
            rows = [(n, row) for n, row in self.log.register.rows() if row.place in places]
            if rows:
                self.append(self.fact(action, pick, *rows[pick % len(rows)]))

    def fact(self, action: str, pick: int, number: int, row: Row) -> Fact:
        due, retries, stamp = row.due, row.retries, row.stamp
        match action:
            case "lease":
                kind = ConsumerKind(pick % 2)
                stamp = Stamp(self.log.boot, row.delivery + 1)
                return Leased(number, due, retries, stamp, self.now, 9, kind, "me")
            case "extend":
                return Extended(number, due, retries, stamp, self.now, 9)
            case "return":
                cause = ReturnCause(1 + pick % 4)
                return Returned(number, self.now, retries + 1, stamp, cause, "no")
            case "settle":
                return Settled(number)
            case "die":
                return Dead(number, self.now, retries, stamp, "rejected", "why")
            case "reprocess":
                return Reprocessed(number, self.now, stamp)
            case _:
                return Discarded(number)

    @rule(share=st.integers(1, 3))
    def settle_oldest(self, share: int) -> None:
        """Make whole segments worthless."""
        numbers = [n for n, row in self.log.register.rows() if row.place != Place.DEAD]
        self.append(*map(Settled, numbers[: len(numbers) * share // 4]))

    @rule(source=st.sampled_from(["s", "t"]), offset=PICK)
    def note_import(self, source: str, offset: int) -> None:
        self.append(Imported(source, offset))

    # What happens to the log

    @rule(sync=st.booleans())
    def write(self, sync: bool) -> None:
        self.log.write()
        if sync:
            self.log.sync()

    @rule()
    def abandon(self) -> None:
        """What happens on a full disk: new events are refused, the rest moves."""
        refused: set[int] = set()
        for batch in self.log.abandon():
            kept: list[Fact] = []
            for fact in batch.facts:
                if type(fact) is Enqueued and not fact.copied:
                    refused.add(fact.number)
                elif fact.number not in refused:
                    kept.append(fact)
            if kept:
                self.append(*kept)

    @rule(pick=PICK, whole=st.booleans())
    def compact(self, pick: int, whole: bool) -> None:
        sealed = list(self.log.fold.holdings)[:-1]
        if not sealed:
            return
        number, offset = sealed[pick % len(sealed)].number, 0
        while True:
            self.log.write()
            bodies, offset = self.reader.batches(number, offset, 300)
            if not bodies:
                return
            selection = select(self.log.fold, bodies)
            selection.bring(self.reader.read(selection.missing()))
            facts = copies(self.log.fold, selection)
            if facts:
                self.append(*facts)
                if not whole:
                    return

    @rule()
    def drop(self) -> None:
        numbers = self.log.droppable()
        if numbers:
            self.log.write()
            self.log.sync()
            self.log.drop(numbers)
            self.log.fold.holdings.drop(numbers)
            for number in numbers:
                self.reader.forget(number)

    # The snapshot

    @rule(rows_max=st.integers(1, 4), between=SOME_ACTIONS)
    def snapshot(self, rows_max: int, between: list[tuple[str, int]]) -> None:
        """Go on with a snapshot, or begin one, and let something happen after each step."""
        if self.writer is None:
            self.writer = SnapshotWriter(self.log, rows_max=rows_max)
        for action in between:
            try:
                finished = self.snapshot_step(self.writer)
            except SnapshotSpoilt:
                self.writer.give_up()
                finished = True
            if finished:
                self.writer = self.copied = None
                return
            self.act([action])

    def snapshot_step(self, writer: SnapshotWriter) -> bool:
        """Tell whether it was the last one."""
        copied, self.copied = self.copied, None
        if copied is None:
            self.copied = writer.step(self.now) or writer.last_step(self.now)
        elif isinstance(copied, Piece):
            writer.write(copied)
        else:
            self.log.write()
            self.log.sync()
            writer.finish(copied)
        return isinstance(copied, Trailer)

    # What is found afterwards

    @rule(restart=st.booleans())
    def look(self, restart: bool) -> None:
        self.log.write()
        self.log.sync()
        files = files_of(self.disk)
        whole = view(recovered(files, snapshots=False).fold)
        recovery = recovered(files, snapshots=True)
        assert recovery.snapshot_problem in GOOD_REASONS
        found, known = view(recovery.fold), view(self.log.fold)
        # Numbers of events that were refused are given away all the same, until they are forgotten.
        numbers = [one.pop("next_number") for one in (whole, found, known)]
        assert numbers == sorted(numbers)
        assert found == whole
        assert whole == known
        if restart:
            self.writer = self.copied = None
            self.late.clear()  # they may be given away again
            self.disk = self.disk.kill()
            self.open()
            assert self.log.repairs == []
            if SNAPSHOT_NAME in files:
                assert (SNAPSHOT_NAME in self.disk.names()) == (not recovery.snapshot_problem)

    def teardown(self) -> None:
        self.look(restart=False)


TestSnapshotMachine = SnapshotMachine.TestCase
TestSnapshotMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
