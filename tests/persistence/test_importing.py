"""Taking over another broker's events: all of them once, wherever it is cut off and begun again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence import importing
from persistence.entry import NEVER_DELIVERED, Place
from persistence.errors import StorageError, WriteFailed
from persistence.facts import Dead, Discarded, Enqueued, Settled
from persistence.importing import Import, ImportReport, OldFileChanged, Outcome, Skip
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.old_broker import OldFiles
from persistence.steps import Steps, no_steps
from tests.persistence.old_files import RULES, json_lines, letter, old_disk, record
from tests.persistence.samples import NOW, seeded

LATER = NOW + 60_000
SMALL = LogOptions(segment_max_bytes=4096)


class Found(NamedTuple):
    """An event as it is in the log."""

    id: str
    place: Place
    payload: bytes
    topic: str
    retries: int
    timestamp: int


@contextmanager
def opened(disk: MemoryDisk) -> Iterator[EventLog]:
    log = EventLog.open(disk, now=LATER, options=SMALL)
    try:
        yield log
    finally:
        log.close()


def found_in(log: EventLog) -> list[Found]:
    """What is in a log, in the order of delivery."""
    register = log.register
    rows = sorted(register.rows(), key=lambda pair: (pair[1].due, pair[0]))
    payloads = log.read(log.spans(number for number, _ in rows))
    return [
        Found(
            register.foreign.id_of(number) or "",
            Place(row.place),
            payload,
            register.topics.name(row.topic),
            row.retries,
            row.timestamp,
        )
        for (number, row), payload in zip(rows, payloads, strict=True)
    ]


@attrs.define
class Run:
    """What one import said."""

    report: ImportReport
    skips: list[Skip]


def run(log: EventLog, old: MemoryDisk, steps: Steps = no_steps) -> Run:
    files = OldFiles.open(old)
    skips: list[Skip] = []
    work = Import(log, files, RULES, wall=lambda: LATER, skipped=skips.append, steps=steps)
    try:
        return Run(work.run(), skips)
    finally:
        files.close()


def take(disk: MemoryDisk, old: MemoryDisk) -> tuple[Run, list[Found]]:
    """Import into the log on a disk, and tell what a process after that one finds."""
    with opened(disk) as log:
        result = run(log, old)
        seen = found_in(log)
    with opened(disk.another()) as log:
        assert found_in(log) == seen
    return result, seen


def test_what_is_neither_committed_nor_dead_is_taken_over_and_the_dead_are_dead() -> None:
    old = old_disk(
        events=[record("a"), record("b", topic="t", retries=2), record("c"), record("d")],
        dead=[letter("c", error="bäd"), letter("gone")],
        done=["a", "gone"],
    )
    result, seen = take(MemoryDisk(), old)
    assert seen == [
        Found("b", Place.WAITING, b'{"name": "b"}', "t", 2, NOW),
        Found("d", Place.WAITING, b'{"name": "d"}', "", 0, NOW),
        Found("c", Place.DEAD, b'{"name": "c"}', "", 5, NOW),
    ]
    taken, committed = Outcome.TAKEN, Outcome.COMMITTED
    assert result.report == ImportReport(
        events=Counter({taken: 2, committed: 1, Outcome.DEAD: 1}),
        dead=Counter({taken: 1, committed: 1}),
        committed=2,
    )
    assert result.skips == []


def test_a_dead_letter_keeps_its_death() -> None:
    with opened(MemoryDisk()) as log:
        run(log, old_disk(dead=[letter("c", error="bäd")]))
        (number,) = (number for number, _ in log.register.rows())
        (fact,) = log.read_facts([number])
    assert isinstance(fact, Dead)
    assert (fact.time, fact.reason, fact.error) == (NOW + 5, "max_retries_exceeded", "bäd")
    assert (fact.retries, fact.stamp) == (5, NEVER_DELIVERED)


def test_totals_count_what_came() -> None:
    with opened(MemoryDisk()) as log:
        run(log, old_disk(events=[record("a", retries=1), record("b")], dead=[letter("c")]))
        counters = log.fold.counters
        assert (counters.enqueued, counters.dead, counters.consumed) == (3, 1, 0)


def test_the_order_is_that_of_the_file_whatever_the_clock_was() -> None:
    times = [NOW, NOW - 500, LATER + 10**9, NOW + 1]
    events = [record(f"e{n}", ts=time) for n, time in enumerate(times)]
    _, seen = take(MemoryDisk(), old_disk(events=events))
    assert [found.id for found in seen] == ["e0", "e1", "e2", "e3"]
    assert [found.timestamp for found in seen] == times
    with opened(MemoryDisk()) as log:
        run(log, old_disk(events=events))
        assert all(row.due <= LATER for _, row in log.register.rows())


def test_what_cannot_be_taken_is_named_with_its_line() -> None:
    events = json_lines([record("a")]) + b"rubbish\n" + json_lines([record("b", payload=3)])
    old = old_disk(events + json_lines([record("a")]) + b'{"id"', [letter("c"), letter("c")])
    result, seen = take(MemoryDisk(), old)
    assert sorted(found.id for found in seen) == ["a", "c"]
    assert [(skip.file, skip.line) for skip in result.skips] == [
        ("dlq.log", 2),
        ("events.log", 2),
        ("events.log", 3),
        ("events.log", 4),
        ("events.log", 5),
    ]
    assert result.report.events == Counter({Outcome.TAKEN: 1, Outcome.FAULTY: 3, Outcome.HERE: 1})
    assert "there is an event with its id already" in result.skips[3].reason


def test_a_second_run_changes_nothing_and_names_the_bad_lines_again() -> None:
    old = old_disk(json_lines([record("a"), record("b")]) + b"rubbish\n", [letter("c")], ["b"])
    disk = MemoryDisk()
    first, seen = take(disk, old)
    with opened(disk.another()) as log:
        end = log.next
        second = run(log, old)
        assert log.next == end
        assert found_in(log) == seen
    assert second.skips == first.skips
    assert second.report.events == Counter({Outcome.EARLIER: 2, Outcome.FAULTY: 1})
    assert second.report.dead == Counter({Outcome.EARLIER: 1})


def test_what_is_done_with_here_does_not_come_back() -> None:
    old = old_disk([record("a"), record("b")], [letter("c")])
    disk = MemoryDisk()
    with opened(disk) as log:
        run(log, old)
        ids = log.register.foreign
        a, c = ids.number_of("a"), ids.number_of("c")
        assert a is not None
        assert c is not None
        log.append([Settled(a), Discarded(c)])
        log.write()
    _, seen = take(disk.another(), old)
    assert [found.id for found in seen] == ["b"]


def test_what_the_earlier_broker_wrote_since_is_taken_alone() -> None:
    disk = MemoryDisk()
    before = [record("a"), record("b")]
    take(disk, old_disk(json_lines(before) + b'{"id": "c", "ts"', [letter("x")]))
    rest = [record("c"), record("d"), record("a"), record("y")]
    result, seen = take(
        disk.another(), old_disk(before + rest, [letter("x"), letter("y")], ["b", "nobody"])
    )
    assert sorted(found.id for found in seen) == ["a", "b", "c", "d", "x", "y"]
    assert result.report.events == Counter(
        {Outcome.EARLIER: 2, Outcome.TAKEN: 2, Outcome.HERE: 1, Outcome.DEAD: 1}
    )
    assert result.report.finished_since == 1  # b, which the earlier broker has committed


def test_a_copy_of_the_directory_is_the_same_one_and_another_is_not() -> None:
    disk = MemoryDisk()
    take(disk, old_disk([record("a")]))
    result, _ = take(disk.another(), old_disk([record("a"), record("b")]))
    assert result.report.events == Counter({Outcome.EARLIER: 1, Outcome.TAKEN: 1})
    result, seen = take(disk.another(), old_disk([record("c"), record("a")]))
    assert result.report.events == Counter({Outcome.TAKEN: 1, Outcome.HERE: 1})
    assert [found.id for found in seen] == ["a", "b", "c"]


def test_a_file_that_is_not_what_it_was_is_refused() -> None:
    disk = MemoryDisk()
    take(disk, old_disk([record("a"), record("b"), record("c")]))
    for other in ([record("a")], [record("a"), record("b" * 50), record("d")]):
        with (
            opened(disk.another()) as log,
            pytest.raises(OldFileChanged, match=r"memory/events\.log was imported before"),
        ):
            run(log, old_disk(other))


def test_topics_and_long_ids_are_kept() -> None:
    old = old_disk([record("é" * 255, topic="t" * 255)])
    _, (found,) = take(MemoryDisk(), old)
    assert (found.id, found.topic) == ("é" * 255, "t" * 255)


def test_events_that_were_here_before_stay() -> None:
    disk = MemoryDisk()
    with opened(disk) as log:
        log.append([Enqueued(log.fold.next_number, NOW, NOW, "t", b"{}")])
        log.write()
    _, seen = take(disk.another(), old_disk([record("a")]))
    assert sorted(found.id for found in seen) == ["", "a"]


def test_progress_is_told_step_by_step() -> None:
    told: dict[str, list[tuple[int, int]]] = {}

    def steps(what: str) -> Any:
        calls = told.setdefault(what, [])
        return lambda done, total: calls.append((done, total))

    with opened(MemoryDisk()) as log:
        run(log, old_disk([record("a")], [letter("b")], ["c"]), steps)
    assert list(told) == [
        "reading committed.log",
        "reading dlq.log",
        "importing dlq.log",
        "importing events.log",
    ]
    for calls in told.values():
        assert calls[0][0] == 0
        assert calls[-1][0] == calls[-1][1] > 0


# Interruptions

EVENTS = [record(f"e{n}", payload={"x": "y" * 300}, retries=n % 2) for n in range(24)]
DEAD = [letter(f"d{n}") for n in range(6)] + [letter("e3")]
DONE = ["e1", "d2"]
ALL = sorted([f"e{n}" for n in range(24) if n != 1] + ["d0", "d1", "d3", "d4", "d5"])


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_BATCH_EVENTS", 5)


def attempt(disk: MemoryDisk, old: MemoryDisk) -> None:
    """Open the log and import, as far as the disk lets it come."""
    try:
        with opened(disk) as log:
            run(log, old)
    except (StorageError, OSError):
        pass


def check(disk: MemoryDisk) -> None:
    """Check that another run brings everything, once, and tell how much was there before."""
    with opened(disk) as log:
        result = run(log, old_disk(EVENTS, DEAD, DONE))
        assert result.skips == []  # as an event that is there already would be
        found = found_in(log)
        assert sorted(one.id for one in found) == ALL
        dead = {one.id for one in found if one.place is Place.DEAD}
        assert dead == {"d0", "d1", "d3", "d4", "d5", "e3"}
        assert [one.retries for one in found if one.id == "e5"] == [1]
        waiting = [one.id for one in found if one.place is Place.WAITING]
        assert waiting == sorted(waiting, key=lambda one: int(one[1:]))


def operations() -> int:
    disk = MemoryDisk()
    attempt(disk, old_disk(EVENTS, DEAD, DONE))
    return disk.faults.operations


@pytest.mark.usefixtures("small_batches")
def test_a_kill_at_any_operation_doubles_and_loses_nothing() -> None:
    total = operations()
    for cut in range(1, total + 2):
        disk = MemoryDisk()
        disk.faults.cut_power(cut)
        attempt(disk, old_disk(EVENTS, DEAD, DONE))
        check(disk.kill())
    assert total > 50


@pytest.mark.usefixtures("small_batches")
def test_a_kill_in_the_middle_of_a_write_doubles_and_loses_nothing() -> None:
    writes = 0
    for cut in range(1, operations() + 2):
        disk = MemoryDisk()
        disk.faults.cut_power(cut)
        attempt(disk, old_disk(EVENTS, DEAD, DONE))
        if disk.faults.writes == writes:
            continue
        writes = disk.faults.writes  # the last operation was the one that made it so many
        for written in (100, 700, 1500, 2000, 2100):
            disk = MemoryDisk()
            disk.faults.fail_write(writes, written=written)
            disk.faults.cut_power(cut)  # so that the half written is not cut off again
            attempt(disk, old_disk(EVENTS, DEAD, DONE))
            check(disk.kill())
    assert writes > 10


@pytest.mark.usefixtures("small_batches")
def test_a_power_cut_at_any_operation_doubles_and_loses_nothing() -> None:
    for cut in range(1, operations() + 2):
        disk = MemoryDisk()
        disk.faults.cut_power(cut)
        attempt(disk, old_disk(EVENTS, DEAD, DONE))
        for seed in range(2):
            check(disk.crash(seeded(seed)))


@pytest.mark.usefixtures("small_batches")
def test_a_full_disk_stops_it_and_room_lets_it_go_on() -> None:
    disk = MemoryDisk(capacity=6000)
    with opened(disk) as log, pytest.raises(WriteFailed, match="no space left"):
        run(log, old_disk(EVENTS, DEAD, DONE))
    again = disk.another()
    again.capacity = None
    check(again)


@pytest.mark.usefixtures("small_batches")
def test_what_was_reported_as_taken_outlives_a_power_cut() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=LATER, options=SMALL)
    run(log, old_disk(EVENTS, DEAD, DONE))
    for seed in range(10):
        with opened(disk.crash(seeded(seed))) as after:
            assert sorted(one.id for one in found_in(after)) == ALL


@settings(max_examples=40)
@given(st.lists(st.integers(0, 24), max_size=4), st.integers(0, 7), st.data())
def test_pieces_make_the_whole(cuts: list[int], dead_first: int, data: st.DataObject) -> None:
    disk = MemoryDisk()
    for cut in sorted(cuts):
        part = json_lines(EVENTS[:cut])
        torn = json_lines(EVENTS[cut : cut + 1])[: data.draw(st.integers(0, 20))]
        with opened(disk) as log:
            run(log, old_disk(part + torn, DEAD[:dead_first], DONE))
        disk = disk.another()
    with opened(disk) as log:
        run(log, old_disk(EVENTS, DEAD, DONE))
        assert sorted(one.id for one in found_in(log)) == ALL
