"""Long lives of a small log: traffic, rolls, compaction, deletion, crashes and full disks.

A model keeps what was promised. After every crash the log must say what was promised, or a little
more: what was written and not yet synced may have come through, batch by batch.
`MACHINE_EXAMPLES` and `MACHINE_STEPS` make the search longer.
"""

import os
from collections.abc import Callable
from random import Random

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from persistence.copying import copies, select
from persistence.entry import Stamp
from persistence.errors import StorageError, WriteFailed
from persistence.facts import Enqueued, Fact, Imported, Leased, Settled
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.reading import LogReader
from tests.persistence.logs import everything, let_go, payloads, told
from tests.persistence.samples import files_of
from tests.persistence.teller import ACTIONS, fact_about

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "60"))
STEPS = int(os.environ.get("MACHINE_STEPS", "50"))

CHANGES = [action for action in ACTIONS if not action.startswith("copy")]

RATIO = 0.5
OPTIONS = LogOptions(segment_max_bytes=800, compaction_ratio=RATIO, reserved_bytes=300_000)


def state_of(log: EventLog) -> dict[str, object]:
    """Tell what must survive everything."""
    known = everything(log.fold)
    imports = {source: mark.offset for source, mark in log.fold.imports.items()}
    same = ("ids", "foreign", "counters", "last_event_at")
    return {"told": told(log.fold), "imports": imports, **{name: known[name] for name in same}}


@attrs.define
class Life:
    """One log over many processes, and what it has promised."""

    disk: MemoryDisk = attrs.field(factory=MemoryDisk)
    now: int = 1000
    # What the log said after each batch, by the log position behind it; the first one is safe.
    states: list[tuple[int, dict[str, object]]] = attrs.field(factory=list)
    payloads: dict[int, bytes] = attrs.field(factory=dict)
    log: EventLog = attrs.field(init=False)
    reader: LogReader = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.log = EventLog.open(self.disk, now=self.now, options=OPTIONS)
        self.reader = LogReader(self.log)
        self.states = [(self.log.next, state_of(self.log))]

    # What happens to events

    def append(self, *facts: Fact) -> None:
        self.now += 1
        for fact in facts:
            if isinstance(fact, Enqueued) and fact.payload is not None:
                self.payloads[fact.number] = fact.payload
        self.log.append(facts, now=self.now)
        self.states.append((self.log.next, state_of(self.log)))

    def happen(self, what: str, pick: int) -> None:
        if what == "come":
            number = self.log.fold.next_number + pick % 2
            foreign_id = f"old-{number}" if pick % 5 == 0 else ""
            content = b'{"n":"%s"}' % (b"x" * (pick % 60))
            topic = ["", "a", "b"][pick % 3]
            self.append(Enqueued(number, self.now, self.now, topic, content, foreign_id=foreign_id))
        elif what == "import":
            self.append(Imported("st"[pick % 2], pick))
        else:
            places = ACTIONS[what]
            rows = [(n, row) for n, row in self.log.register.rows() if row.place in places]
            if rows:
                self.append(fact_about(what, *rows[pick % len(rows)], pick))

    # What happens to the log

    def write(self) -> None:
        """Write as the broker does: a full disk refuses new events, and nothing else."""
        while True:
            try:
                self.log.write()
            except WriteFailed as error:
                if not error.full:
                    raise
                self._make_room()
            else:
                return

    def _make_room(self) -> None:
        written = [state for at, state in self.states if at <= self.log.end]
        batches = self.log.abandon()
        del self.states[len(written) :]
        assert state_of(self.log) == written[-1]
        kept = [batch.facts for batch in batches if not any(map(_is_new, batch.facts))]
        if len(kept) == len(batches):
            assert self.log.relieve()
        refused = {fact.number for batch in batches for fact in batch.facts if _is_new(fact)}
        for facts in kept:
            left = [fact for fact in facts if fact.number not in refused]
            if left:
                self.append(*left)

    def sync(self) -> None:
        self.log.sync()
        safe = self.said_last(self.log.end)
        self.states = [one for one in self.states if one[0] >= safe]

    def said_last(self, position: int) -> int:
        """Give the position behind the last batch up to another position."""
        return max(at for at, _ in self.states if at <= position)

    def compact(self, *, whole: bool, step: int = 1024) -> int:
        """Copy some batches, or all, of the poorest segment forward; give the number of copies."""
        self.write()
        victim = self.log.fold.holdings.poorest(RATIO)
        copied = offset = 0
        while victim is not None:
            bodies, offset = self.reader.batches(victim.number, offset, step)
            if not bodies:
                break
            selection = select(self.log.fold, bodies)
            selection.bring(self.reader.read(selection.missing()))
            facts = copies(self.log.fold, selection)
            if facts:
                copied += len(facts)
                self.append(*facts)
                self.write()
                if not whole:
                    break
        return copied

    def drop(self) -> int:
        self.write()
        self.sync()
        try:
            dropped = let_go(self.log)
        except WriteFailed as error:
            if not error.full:
                raise
            assert self.log.relieve()
            dropped = let_go(self.log)
        for number in dropped:
            self.reader.forget(number)
        return len(dropped)

    # The end of a process

    def end(self, way: str, random: Random, *, writing: bool = False) -> None:
        """End this process in some way; the next one finds what was promised.

        Args:
            way: close, kill or crash.
            random: decides what comes through.
            writing: whether the power went while something was being written.
        """
        end, synced, next_ = self.log.end, self.log.synced, self.log.next
        safe = {"close": end, "kill": end, "crash": synced}[way]
        # What had been told at `safe`, or something that was written behind it.
        first = self.said_last(safe)
        last = next_ if writing else end
        possible = [state for at, state in self.states if first <= at <= last]
        before, clean = alive(self.log), way == "close" and end == next_
        if way == "close":
            self.log.close()
            self.disk = self.disk.another()
        else:
            self.disk = self.disk.kill() if way == "kill" else self.disk.crash(random)
        self.open()
        found = state_of(self.log)
        assert found in possible
        numbers = [number for number, _ in self.log.register.rows()]
        assert payloads(self.log, numbers) == [self.payloads[number] for number in numbers]
        assert not clean or alive(self.log) == before


def alive(log: EventLog) -> list[tuple[int, int, int, dict[int, int]]]:
    """Tell what each segment holds."""
    return [(h.number, h.live, h.live_bytes, h.needs.copy()) for h in log.fold.holdings if h.live]


def _is_new(fact: Fact) -> bool:
    return isinstance(fact, Enqueued) and not fact.copied


ways = st.sampled_from(["close", "kill", "crash", "crash"])
seeds = st.integers(0, 2**16)
happenings = st.lists(
    st.tuples(st.sampled_from(["import", *CHANGES]), st.integers(0, 10_000)),
    min_size=1,
    max_size=8,
)


class StorageMachine(RuleBasedStateMachine):
    """Lets anything happen to a log."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life()
        # Whether the disk was told to fail.
        self.failing = False

    def attempt(self, work: Callable[[], object], seed: int) -> None:
        """Do something; if the disk fails as it was told to, the process ends."""
        try:
            work()
        except StorageError:
            assert self.failing
            self.end(["kill", "crash"][seed % 2], seed, writing=True)

    def end(self, way: str, seed: int, *, writing: bool = False) -> None:
        self.failing = False
        self.life.end(way, Random(seed), writing=writing)

    @rule(count=st.integers(1, 12), pick=st.integers(0, 100))
    def come(self, count: int, pick: int) -> None:
        for another in range(count):
            self.life.happen("come", pick + another)

    @rule(happened=happenings)
    def happen(self, happened: list[tuple[str, int]]) -> None:
        for what, pick in happened:
            self.life.happen(what, pick)

    @rule(share=st.integers(1, 4), seed=seeds)
    def settle_oldest(self, share: int, seed: int) -> None:
        """Make whole segments worthless."""
        rows = [n for n, row in self.life.log.register.rows() if row.place < 2]
        for number in rows[: len(rows) * share // 4]:
            self.life.append(Settled(number))
        self.attempt(self.life.write, seed)

    @rule(sync=st.booleans(), seed=seeds)
    def write(self, sync: bool, seed: int) -> None:
        def work() -> None:
            self.life.write()
            if sync:
                self.life.sync()

        self.attempt(work, seed)

    @rule(whole=st.booleans(), step=st.sampled_from([100, 2000]), seed=seeds)
    def compact(self, whole: bool, step: int, seed: int) -> None:
        self.attempt(lambda: self.life.compact(whole=whole, step=step), seed)

    @rule(seed=seeds)
    def drop(self, seed: int) -> None:
        self.attempt(self.life.drop, seed)

    @rule(way=ways, seed=seeds)
    def stop(self, way: str, seed: int) -> None:
        self.end("crash" if self.failing else way, seed)

    @precondition(lambda self: not self.failing)
    @rule(kind=st.sampled_from(["power", "power", "sync", "write", "change"]), nth=seeds)
    def fail(self, kind: str, nth: int) -> None:
        """Let the disk fail some time from now."""
        faults = self.life.disk.faults
        if kind == "power":
            faults.cut_power(1 + nth % 40)
        elif kind == "write":
            faults.fail_write(1 + nth % 4, written=nth % 200)
        else:
            getattr(faults, f"fail_{kind}")(1 + nth % 8)
        self.failing = True

    @precondition(lambda self: not self.failing and self.life.log.reserved > 0)
    @rule(room=st.integers(0, 700), count=st.integers(0, 5))
    def fill(self, room: int, count: int) -> None:
        """Let the disk be full, with all that is appended and some new events still to be written.

        What has been set aside is used up only once, so there is room again afterwards.
        """
        life = self.life
        life.disk.capacity = sum(map(len, files_of(life.disk).values())) + room
        self.come(count, room)
        life.write()
        life.drop()
        life.disk.capacity = None
        assert life.log.refill()

    @invariant()
    def the_register_says_what_was_said_last(self) -> None:
        at, state = self.life.states[-1]
        assert state == state_of(self.life.log)
        assert at <= self.life.log.next

    def teardown(self) -> None:
        self.end("crash", 1)


TestStorageMachine = StorageMachine.TestCase
TestStorageMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None
)


def grown(events: int) -> Life:
    """A log in which events came and went, with as many segments as that takes."""
    life = Life()
    random = Random(events)
    while life.log.fold.next_number < events:
        life.happen(random.choice([*CHANGES, *["come"] * 4]), random.randrange(10_000))
        life.write()
    life.sync()
    return life


@pytest.mark.parametrize("seed", range(12))
def test_a_power_cut_at_any_operation_of_compaction_and_deletion_loses_nothing(seed: int) -> None:
    random = Random(seed)
    life = grown(60)
    for cut in range(1 + seed, 100, 12):
        life.disk.faults.cut_power(cut)
        with pytest.raises(StorageError):
            while True:
                for what in ("come", "come", "lease", "settle", "settle"):
                    life.happen(what, random.randrange(10_000))
                life.write()
                life.compact(whole=True)
                life.drop()
        life.end("crash", random, writing=True)
        assert life.log.repairs == life.log.notes == [] or "cut" in life.log.repairs[0]


def test_thousands_of_events_pass_through_and_leave_little_behind() -> None:
    life = Life()
    log = life.log
    dropped = 0
    for number in range(1, 3001):
        log.append([Enqueued(number, 5, 5, "t", b'{"n":1}')])
        log.append([Leased(number, 5, 0, Stamp(log.boot, 1), 99, 9)])
        if number % 100:
            log.append([Settled(number)])
        log.write()
        if number % 10 == 0:
            log.sync()
            dropped += len(let_go(log))
            while log.fold.holdings.poorest(RATIO):
                life.compact(whole=True)
                dropped += len(let_go(log))
            live = sum(h.live_bytes for h in log.fold.holdings)
            total = sum(h.size for h in log.fold.holdings)
            assert total <= 2 * live + 2 * OPTIONS.segment_max_bytes
    assert len(log.register) == 30
    assert dropped > 300
