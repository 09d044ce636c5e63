"""What each fact means, what cannot be meant, and that each can be taken back to the last bit."""

from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from persistence.encode import home_size, payload_offset
from persistence.entry import NEVER_DELIVERED, ConsumerKind, Place, Row, Stamp
from persistence.errors import Undecodable
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Imported,
    Leased,
    Lost,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.fold import Fold, ImportMark
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE
from tests.persistence.logs import everything, held
from tests.persistence.samples import NOW, bytes_of, enqueued
from tests.persistence.teller import Teller, copied, happenings

STAMP = Stamp(1, 1)
HOME = enqueued(1, due=NOW + 5, foreign_id="")
LEASED = Leased(1, NOW + 5, 2, STAMP, NOW + 50, 45, ConsumerKind.WORKER, "w-1")
DEAD = Dead(1, NOW + 7, 3, STAMP, "rejected", "no")

# An event in each place, and in none.
PLACES: dict[str, list[Fact]] = {
    "nowhere": [],
    "waiting": [HOME],
    "leased": [HOME, LEASED],
    "dead": [HOME, LEASED, DEAD],
}
EVERY = {"waiting", "leased", "dead"}
RETURNED = Returned(1, NOW + 9, 3, STAMP, ReturnCause.REJECTED)
# Where an event must be for a fact about it.
FOLLOWS: list[tuple[Fact, set[str]]] = [
    (HOME, {"nowhere"}),
    (LEASED, {"waiting"}),
    (Extended(1, 0, 0, STAMP, 0, 0), {"leased"}),
    (RETURNED, {"leased", "waiting"}),
    (DEAD, {"leased", "waiting"}),
    (Settled(1), {"leased", "waiting"}),
    (Reprocessed(1, 0, STAMP), {"dead"}),
    (Discarded(1), {"dead"}),
    (attrs.evolve(HOME, copied=True), EVERY),
    (attrs.evolve(LEASED, copied=True), EVERY),
    (Extended(1, 0, 0, STAMP, 0, 0, copied=True), EVERY),
    (attrs.evolve(RETURNED, copied=True), EVERY),
    (attrs.evolve(DEAD, copied=True), EVERY),
    (Reprocessed(1, 0, STAMP, copied=True), EVERY),
]


def told(*facts: Fact) -> Teller:
    teller = Teller()
    for fact in facts:
        teller.tell(fact)
    return teller


def row_after(*facts: Fact) -> Row:
    row = told(*facts).fold.register.get(1)
    assert row is not None
    return row


def state(row: Row) -> tuple[Any, ...]:
    return (row.place, row.due, row.retries, row.stamp, row.receipt_open, row.kind)


# What each fact means


def test_an_event_that_was_accepted_waits_with_its_payload_in_the_log() -> None:
    teller = told(HOME)
    row = teller.fold.register.get(1)
    assert row is not None
    at = HEADER_SIZE + FRAME_HEADER_SIZE
    size = len(bytes_of(HOME))
    assert row == Row(
        at + payload_offset(len("orders")), at, NOW + 1, NOW + 5, HOME.payload_size, 0
    )
    assert teller.fold.home_of(1, row) == (at, size)
    assert teller.fold.register.topics.name(row.topic) == "orders"
    assert (teller.fold.next_number, teller.fold.last_event_at) == (2, NOW + 1)
    assert held(teller.fold)[0][3:5] == (1, size)


def test_an_event_from_elsewhere_is_found_by_its_name_there() -> None:
    teller = told(enqueued(1, topic="ü", foreign_id="äb"))
    register = teller.fold.register
    row = register.get(1)
    assert row is not None
    assert row.named
    assert (register.foreign.id_of(1), register.foreign.number_of("äb")) == ("äb", 1)
    assert teller.fold.home_of(1, row)[1] == home_size(row.payload_size, 2, 3)
    teller.tell(Settled(1))
    assert register.foreign.number_of("äb") is None


def test_a_leased_event_keeps_its_place_in_the_order() -> None:
    expected = (Place.LEASED, NOW + 5, 2, STAMP, 1, ConsumerKind.WORKER)
    assert state(row_after(HOME, LEASED)) == expected


def test_an_extension_says_all_that_its_lease_said() -> None:
    extended = Extended(1, NOW + 6, 3, Stamp(1, 2), NOW + 99, 90)
    expected = (Place.LEASED, NOW + 6, 3, Stamp(1, 2), 1, ConsumerKind.CLIENT)
    assert state(row_after(HOME, LEASED, extended)) == expected


@pytest.mark.parametrize(
    ("cause", "receipt_open"),
    [
        (ReturnCause.REJECTED, 0),
        (ReturnCause.TIMED_OUT, 1),
        (ReturnCause.RELEASED, 1),
        (ReturnCause.WORKER_LOST, 0),
    ],
)
def test_an_event_that_came_back_waits_again(cause: ReturnCause, receipt_open: int) -> None:
    returned = Returned(1, NOW + 9, 3, STAMP, cause)
    expected = (Place.WAITING, NOW + 9, 3, STAMP, receipt_open, 0)
    assert state(row_after(HOME, LEASED, returned)) == expected


def test_a_fresh_event_may_return_since_it_was_tried_elsewhere() -> None:
    returned = Returned(1, NOW + 9, 3, NEVER_DELIVERED, ReturnCause.RELEASED)
    expected = (Place.WAITING, NOW + 9, 3, NEVER_DELIVERED, 1, 0)
    assert state(row_after(HOME, returned)) == expected


@pytest.mark.parametrize("facts", [[HOME], [HOME, LEASED]])
def test_a_dead_letter_keeps_the_time_of_its_death(facts: list[Fact]) -> None:
    assert state(row_after(*facts, DEAD)) == (Place.DEAD, NOW + 7, 3, STAMP, 0, 0)


def test_a_reprocessed_event_begins_anew_but_for_its_deliveries() -> None:
    row = row_after(HOME, LEASED, DEAD, Reprocessed(1, NOW + 8, STAMP))
    assert state(row) == (Place.WAITING, NOW + 8, 0, STAMP, 0, 0)


@pytest.mark.parametrize("facts", [[HOME, Settled(1)], [HOME, LEASED, DEAD, Discarded(1)]])
def test_an_event_that_is_done_with_is_nowhere(facts: list[Fact]) -> None:
    fold = told(*facts).fold
    assert len(fold.register) == len(fold.register.topics) == 0
    assert held(fold)[0][3:5] == (0, 0)


def test_an_opening_counts_the_processes() -> None:
    assert told(Opened(1, NOW), Opened(4, NOW)).fold.boot == 4


def test_an_import_goes_on_from_its_newest_mark() -> None:
    first, second = Imported("a", 5), Imported("a", 9)
    teller = told(first, Imported("b", 7), second)
    imports = teller.fold.imports
    assert {source: mark.offset for source, mark in imports.items()} == {"a": 9, "b": 7}
    size = len(bytes_of(second))
    assert imports["a"] == ImportMark(9, teller.end - size, size)
    assert held(teller.fold)[0][3:5] == (2, 2 * size)


def test_only_the_home_and_the_newest_fact_of_an_event_are_alive() -> None:
    teller = Teller()
    facts: list[Fact] = [HOME, LEASED, RETURNED, LEASED, DEAD]
    for fact in facts:
        teller.tell(fact)
        teller.roll()
    sizes = [len(bytes_of(fact)) for fact in facts]
    live = [(1, sizes[0]), (0, 0), (0, 0), (0, 0), (1, sizes[4]), (0, 0)]
    assert [(h.live, h.live_bytes) for h in teller.fold.holdings] == live


def test_what_ends_or_copies_an_event_holds_back_its_home() -> None:
    teller = told(HOME)
    teller.roll()
    teller.tell(attrs.evolve(HOME, copied=True))
    teller.roll()
    teller.tell(Settled(1))
    assert [h.needs for h in teller.fold.holdings] == [{}, {0: 1}, {1: 1}]
    assert [h.live for h in teller.fold.holdings] == [0, 0, 0]


# Copies


@pytest.mark.parametrize("facts", PLACES.values())
def test_a_copy_says_nothing_new(facts: list[Fact]) -> None:
    teller = told(*facts, enqueued(9, topic="other"))
    before = everything(teller.fold)
    teller.roll()
    for fact in facts[:1] + facts[1:][-1:]:
        teller.tell(copied(fact))
    after = everything(teller.fold)
    for same in ("ids", "foreign", "counters", "next_number", "last_event_at", "imports"):
        assert after[same] == before[same]
    if facts:
        (topic, old), (_, new) = before["rows"][1], after["rows"][1]
        moved = {"payload_at": new.payload_at, "last_fact": new.last_fact}
        assert (topic, old._replace(**moved)) == after["rows"][1]
        assert new.last_fact != old.last_fact


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(HOME, timestamp=3, copied=True),
        attrs.evolve(HOME, topic="another", copied=True),
        attrs.evolve(HOME, payload=b"", payload_size=0, copied=True),
        attrs.evolve(HOME, foreign_id="x", copied=True),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_copy_of_another_event_is_refused(other: Fact, strict: bool) -> None:
    teller = told(HOME)
    teller.fold.strict = strict
    refused(teller, other)


def test_copies_of_events_that_share_a_name_change_nothing_about_whom_it_leads_to() -> None:
    first, second = enqueued(1, foreign_id="x"), enqueued(2, foreign_id="x")
    teller = told(first, second, attrs.evolve(first, copied=True))
    assert teller.fold.register.foreign.number_of("x") == 2


# What cannot be


def refused(teller: Teller, fact: Fact) -> None:
    """See that a fact is refused, and that nothing has changed."""
    before = teller.known()
    at = teller.end + FRAME_HEADER_SIZE
    with pytest.raises(Undecodable, match=type(fact).__name__) as caught:
        teller.tell(fact)
    assert caught.value.position == at
    assert teller.known() == before


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("fact", "places"), FOLLOWS)
def test_a_fact_follows_from_some_places_only(fact: Fact, places: set[str], place: str) -> None:
    teller = told(*PLACES[place])
    if place in places:
        teller.tell(fact)
    else:
        refused(teller, fact)


@pytest.mark.parametrize("boot", [1, 2])
def test_no_process_comes_before_the_last_one(boot: int) -> None:
    refused(told(Opened(2, NOW)), Opened(boot, NOW))


@pytest.mark.parametrize("number", [0, 1])
def test_no_event_comes_twice_or_without_a_number(number: int) -> None:
    refused(told(HOME), attrs.evolve(HOME, number=number, topic="fresh"))


@pytest.mark.parametrize("fact", [fact for fact, _ in FOLLOWS if not isinstance(fact, Enqueued)])
def test_where_segments_are_gone_a_fact_may_be_about_nothing(fact: Fact) -> None:
    teller = told(enqueued(5))
    teller.fold.strict = False
    before = teller.known()
    teller.tell(fact)
    after = teller.known()
    for known in (before, after):
        del known["held"], known["counters"]
    assert after == before
    teller.take_back()
    assert teller.fold.holdings.active.live == 1


@pytest.mark.parametrize("place", EVERY)
@pytest.mark.parametrize("fact", [fact for fact, places in FOLLOWS if "nowhere" not in places])
def test_where_segments_are_gone_a_fact_may_follow_on_any(fact: Fact, place: str) -> None:
    teller = told(*PLACES[place])
    teller.fold.strict = False
    known = teller.known()
    teller.tell(fact)
    assert teller.take_back() == known == teller.known()


def test_where_segments_are_gone_a_copy_brings_its_event() -> None:
    teller = told(enqueued(5))
    teller.fold.strict = False
    known = teller.known()
    copy = attrs.evolve(enqueued(1, foreign_id="x"), copied=True)
    row = teller.tell(copy)
    assert row is not None
    assert teller.fold.register.foreign.number_of("x") == 1
    assert teller.fold.counters.enqueued == 1
    assert teller.fold.last_event_at == NOW + 5
    assert teller.take_back() == known == teller.known()


def test_behind_lost_facts_nothing_is_strict() -> None:
    teller = told(HOME, Lost(30), Settled(90), Discarded(1))
    assert not teller.fold.strict
    assert len(teller.fold.register) == 0


def test_facts_of_release_0_1_0_are_looked_up_where_they_are() -> None:
    fold = told(HOME).fold
    assert fold.look(1) == fold.register.get(1)
    assert fold.look(2) is None
    fold.strict = False
    assert fold.look(2) is not None


def test_new_events_are_not_looked_for() -> None:
    fold = told(HOME).fold
    assert fold.row_of(attrs.evolve(HOME, number=1)) is None
    assert fold.row_of(Opened(2, NOW)) is None
    assert fold.row_of(attrs.evolve(HOME, copied=True)) == fold.register.get(1)


# Taking back


@settings(max_examples=150)
@given(happenings)
def test_whatever_was_told_can_be_taken_back(happened: list[tuple[str, int]]) -> None:
    teller = Teller()
    for what, pick in happened:
        teller.happen(what, pick)
    while len(teller.told) > 1:
        assert teller.take_back() == teller.known()
    assert everything(teller.fold)["rows"] == {}


@settings(max_examples=50)
@given(happenings, happenings)
def test_what_was_taken_back_leaves_no_trace_in_what_is_told_then(
    kept: list[tuple[str, int]], taken: list[tuple[str, int]]
) -> None:
    one, other = Teller(), Teller()
    for teller in (one, other):
        for what, pick in kept:
            teller.happen(what, pick)
    count, next_number = len(one.told), one.fold.next_number
    for what, pick in taken:
        one.happen(what, pick)
    while len(one.told) > count:
        one.take_back()
    one.fold.next_number = next_number
    for what, pick in reversed(kept):
        one.happen(what, pick)
        other.happen(what, pick)
        assert one.known() == other.known()


@settings(max_examples=100)
@given(happenings)
def test_what_segments_hold_is_what_rows_and_imports_need(happened: list[tuple[str, int]]) -> None:
    teller = Teller()
    for what, pick in happened:
        teller.happen(what, pick)
    fold = teller.fold
    spans = [(mark.position, mark.size) for mark in fold.imports.values()]
    for number, row in fold.register.rows():
        spans.append(fold.home_of(number, row))
        if row.state_size:
            spans.append((row.last_fact, row.state_size))
    for holding in fold.holdings:
        here = [size for at, size in spans if holding.base <= at < holding.base + holding.size]
        assert (holding.live, holding.live_bytes) == (len(here), sum(here))


def test_a_fold_begins_with_nothing() -> None:
    fold = Fold()
    assert (fold.boot, fold.next_number, fold.last_event_at, fold.strict) == (0, 1, None, True)
