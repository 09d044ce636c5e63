"""Copies of events say what the events said, whatever happens while they are made."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from persistence.copying import Body, Selection, changed, copies, select
from persistence.entry import NEVER_DELIVERED, ConsumerKind, Place, Stamp
from persistence.errors import Undecodable
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
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.reading import LogReader
from tests.persistence.logs import (
    commit,
    copy_forward,
    everything,
    let_go,
    open_log,
    payloads,
    told,
)
from tests.persistence.old_release import an_old_log
from tests.persistence.samples import NOW, content, enqueued, seeded
from tests.persistence.teller import copied

STAMP = Stamp(1, 1)
DUE = NOW + 5
HOME = enqueued(1, due=DUE)
LEASED = Leased(1, DUE, 0, STAMP, NOW + 50, 45, consumer="me")
WORKER = Leased(1, DUE, 2, STAMP, NOW + 50, 45, ConsumerKind.WORKER, "w-1")
EXTENDED = Extended(1, DUE, 2, STAMP, NOW + 99, 90, ConsumerKind.WORKER, "w-1")
DEAD = Dead(1, NOW + 60, 3, STAMP, "rejected", "bäd")
NAMED = enqueued(1, b"", "", foreign_id="1526919030474-55")

LIVES: dict[str, list[Fact]] = {
    "waiting": [HOME],
    "delayed": [attrs.evolve(HOME, due=NOW + 10**9)],
    "empty": [Enqueued(1, NOW, NOW, "", b"")],
    "leased": [HOME, LEASED],
    "leased to a worker": [HOME, WORKER],
    "extended": [HOME, WORKER, EXTENDED],
    **{
        f"returned, {cause.name}": [HOME, LEASED, Returned(1, NOW + 9, 1, STAMP, cause, "no")]
        for cause in ReturnCause
    },
    "leased again": [
        HOME,
        LEASED,
        Returned(1, NOW + 9, 1, STAMP, ReturnCause.TIMED_OUT),
        Leased(1, NOW + 9, 1, Stamp(1, 2), NOW + 70, 45),
    ],
    "dead": [HOME, LEASED, DEAD],
    "reprocessed": [HOME, LEASED, DEAD, Reprocessed(1, NOW + 80, STAMP)],
    "imported": [NAMED],
    "imported, tried": [NAMED, Returned(1, NOW, 4, NEVER_DELIVERED, ReturnCause.RELEASED)],
    "imported, dead": [NAMED, Dead(1, NOW + 60, 4, NEVER_DELIVERED, "elsewhere", "x")],
}
SEGMENT_BYTES = 600


def roll(log: EventLog) -> int:
    """Let the next batch begin another segment; give the number of the one that is sealed."""
    sealed = log.fold.holdings.active.number
    while log.fold.holdings.active.number == sealed:
        number = log.fold.next_number
        commit(log, enqueued(number, b"x" * 200, "filler"))
        commit(log, Settled(number))
    return sealed


def a_log(*facts: Fact) -> EventLog:
    """A log in which some facts, each in a batch of its own, are in the first segments."""
    log = open_log(MemoryDisk(), segment_max_bytes=SEGMENT_BYTES)
    for fact in facts:
        commit(log, attrs.evolve(fact))
    roll(log)
    return log


def segments(log: EventLog) -> list[int]:
    return [holding.number for holding in log.fold.holdings][:-1]


def reopened(log: EventLog) -> EventLog:
    disk = log.disk
    assert isinstance(disk, MemoryDisk)
    return open_log(disk.crash(seeded(7)), segment_max_bytes=SEGMENT_BYTES)


def then_and_later(log: EventLog) -> Iterator[EventLog]:
    """A log, and what is left of it after a power cut."""
    yield log
    yield reopened(log)


def bodies_of(log: EventLog, number: int) -> list[Body]:
    reader = LogReader(log)
    bodies, _ = reader.batches(number, 0, 1 << 20)
    reader.close()
    return bodies


def selected(log: EventLog, number: int) -> Selection:
    selection = select(log.fold, bodies_of(log, number))
    selection.bring(log.read(selection.missing()))
    return selection


def said(log: EventLog) -> dict[str, Any]:
    """What must not change by copying."""
    known = everything(log.fold)
    same = ("ids", "foreign", "counters", "next_number", "last_event_at")
    return {"told": told(log.fold), **{name: known[name] for name in same}}


# Whatever an event went through


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_copy_says_what_the_event_said(life: str, step: int) -> None:
    facts = LIVES[life]
    log = a_log(*facts)
    before = said(log), payloads(log, [1]), content(log.read_facts([1])[0])
    made: list[Fact] = []
    for number in segments(log):
        made += copy_forward(log, number, step=step)
    # Only what it went through at last is told.
    newest = {content(copied(fact)) for fact in (facts[0], facts[-1])}
    assert {content(fact) for fact in made} == newest
    assert let_go(log)[0] == 0
    for again in then_and_later(log):
        after = said(again), payloads(again, [1]), content(again.read_facts([1])[0])
        assert after[:2] == before[:2]
        assert after[2] == (*before[2][:-1], ("copied", True))


def test_events_that_are_done_with_are_not_copied() -> None:
    log = a_log(HOME, LEASED, Settled(1), enqueued(2), attrs.evolve(DEAD, number=2), Discarded(2))
    for number in segments(log):
        assert copy_forward(log, number) == []


def test_facts_of_release_0_1_0_are_copied_as_facts_of_today() -> None:
    log = open_log(an_old_log().disk(), segment_max_bytes=SEGMENT_BYTES)
    roll(log)
    numbers = [number for number, _ in log.register.rows()]
    before = said(log), payloads(log, numbers)
    newest = [content(fact) for fact in log.read_facts(numbers)]
    made = copy_forward(log, 0)
    assert len(made) == len({fact.number for fact in made}) + sum(
        row.state_size > 0 for _, row in log.register.rows()
    )
    assert 0 in let_go(log)
    for again in then_and_later(log):
        assert (said(again), payloads(again, numbers)) == before
        found = [content(fact) for fact in again.read_facts(numbers)]
        assert found == [(*one[:-1], ("copied", True)) for one in newest]


# Where home and newest fact lie apart


def apart() -> tuple[EventLog, int, int]:
    """An event with its home in one sealed segment, and its newest fact in another."""
    log = a_log(HOME)
    home = log.places.at(log.spans([1])[0].position)
    commit(log, attrs.evolve(WORKER))
    newest = log.places.at(log.newest_facts([1])[0].position)
    roll(log)
    assert home is not None
    assert newest is not None
    assert home.number < newest.number
    return log, home.number, newest.number


def test_the_newest_fact_comes_along_when_the_home_is_copied() -> None:
    log, home, newest = apart()
    before = said(log)
    selection = select(log.fold, bodies_of(log, home))
    [span] = selection.missing()
    assert log.newest_facts([1]) == [span]
    made = copy_forward(log, home)
    assert [type(fact) for fact in made] == [Enqueued, Leased]
    holding = log.fold.holdings.find(newest)
    assert holding is not None
    assert holding.live == 0
    assert said(log) == said(reopened(log)) == before


def test_the_home_stays_where_it_is_when_only_the_newest_fact_is_copied() -> None:
    log, home, newest = apart()
    before = said(log), log.spans([1])
    assert [type(fact) for fact in copy_forward(log, newest)] == [Leased]
    assert newest in let_go(log)
    for again in then_and_later(log):
        assert (said(again), again.spans([1])) == before
    assert log.places.find(home) is not None


# What happens meanwhile


@pytest.mark.parametrize("facts", [[HOME], [HOME, LEASED]])
def test_an_event_that_ends_meanwhile_is_left_out(facts: list[Fact]) -> None:
    log = a_log(*facts)
    selection = selected(log, 0)
    commit(log, Settled(1))
    assert copies(log.fold, selection) == []
    assert not changed(log.fold, selection)
    assert len(reopened(log).register) == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([HOME], [LEASED]),
        ([HOME, LEASED], [Returned(1, NOW, 1, STAMP, ReturnCause.REJECTED)]),
        ([HOME, LEASED], [Extended(1, DUE, 0, STAMP, NOW + 99, 90)]),
        ([HOME, LEASED], [DEAD, Reprocessed(1, NOW, STAMP), attrs.evolve(LEASED)]),
    ],
)
def test_an_event_that_moves_on_meanwhile_has_to_be_selected_again(
    before: list[Fact], after: list[Fact]
) -> None:
    log = a_log(*before)
    [number] = {log.fold.holdings.at(span.position).number for span in log.spans([1])}  # type: ignore[union-attr]
    selection = selected(log, number)
    commit(log, *map(attrs.evolve, after))
    known = said(log)
    assert changed(log.fold, selection)
    assert copies(log.fold, selection) == []
    again = selected(log, number)
    assert not changed(log.fold, again)
    made = copies(log.fold, again)
    assert [type(fact) for fact in made] == [Enqueued, type(after[-1])]
    commit(log, *made)
    assert said(log) == said(reopened(log)) == known
    assert log.fold.holdings.find(number).live == 0  # type: ignore[union-attr]


def test_a_newest_fact_that_is_another_meanwhile_needs_no_copy() -> None:
    log, _, newest = apart()
    selection = selected(log, newest)
    commit(log, Returned(1, NOW, 3, STAMP, ReturnCause.REJECTED))
    assert copies(log.fold, selection) == []
    assert not changed(log.fold, selection)


def test_what_others_do_meanwhile_does_not_matter() -> None:
    log = a_log(HOME, enqueued(2), enqueued(3))
    selection = selected(log, 0)
    commit(log, Settled(2), attrs.evolve(LEASED, number=3))
    made = copies(log.fold, selection)
    assert {fact.number for fact in made} <= {1}


def test_copies_are_made_again_in_their_place_when_the_disk_was_full() -> None:
    log = a_log(HOME, LEASED)
    known = said(log)
    for number in segments(log):
        facts = copies(log.fold, selected(log, number))
        if facts:
            log.append(facts)
            assert log.abandon()
            assert said(log) == known
            commit(log, *facts)
    assert said(log) == said(reopened(log)) == known


# Imports


def test_the_newest_mark_of_an_import_is_copied() -> None:
    log = a_log(Imported("a", 1), Imported("a", 2), Imported("b", 3))
    made = [fact for number in segments(log) for fact in copy_forward(log, number)]
    assert [content(fact) for fact in made] == [
        content(Imported("a", 2, copied=True)),
        content(Imported("b", 3, copied=True)),
    ]
    assert 0 in let_go(log)
    for again in then_and_later(log):
        assert {source: m.offset for source, m in again.fold.imports.items()} == {"a": 2, "b": 3}


def test_an_import_that_comes_further_meanwhile_is_left_out() -> None:
    log = a_log(Imported("a", 1), Imported("b", 3))
    selection = selected(log, 0)
    commit(log, Imported("a", 2))
    assert [content(fact) for fact in copies(log.fold, selection)] == [
        content(Imported("b", 3, copied=True))
    ]


# What cannot be copied


def test_a_state_that_was_not_brought_is_not_forgotten() -> None:
    log, home, _ = apart()
    selection = select(log.fold, bodies_of(log, home))
    with pytest.raises(Undecodable):
        copies(log.fold, selection)


def test_what_was_brought_must_be_the_newest_fact_of_the_event() -> None:
    log, home, _ = apart()
    commit(log, enqueued(90), attrs.evolve(LEASED, number=90))
    for wrong in log.read(log.newest_facts([90])) + log.read(log.spans([1])) + [b""]:
        selection = select(log.fold, bodies_of(log, home))
        selection.bring([wrong])
        with pytest.raises(Undecodable):
            copies(log.fold, selection)


def test_bytes_that_are_no_facts_are_refused() -> None:
    log = a_log(HOME)
    with pytest.raises(Undecodable) as caught:
        select(log.fold, [Body(5000, b"\xee" * 60)])
    assert caught.value.position == 5000


def test_a_batch_tells_where_it_ends() -> None:
    log = a_log(HOME)
    bodies = bodies_of(log, 0)
    assert [body.end for body in bodies][-1] == log.places.places[1].base
    assert all(row.place == Place.WAITING for _, row in log.register.rows())
