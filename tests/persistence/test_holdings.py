"""What segments hold: which may go, which hold others back, and which are worth being copied."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.holdings import Holding, Holdings

SIZE = 100
"""Of the segments in most of these tests, bytes."""


def some(count: int) -> Holdings:
    """Segments of equal size; the last one is active."""
    holdings = Holdings()
    for number in range(count):
        holdings.begin(number, number * SIZE)
        holdings.grow((number + 1) * SIZE)
    return holdings


def numbers(holdings: Holdings) -> list[int]:
    return [holding.number for holding in holdings]


# Where a position lies


def test_a_position_lies_in_the_segment_around_it() -> None:
    holdings = some(3)
    found = [holdings.at(position) for position in (0, 99, 100, 250, 10_000)]
    assert [h.number if h else None for h in found] == [0, 0, 1, 2, 2]
    assert holdings.active is holdings.find(2)
    assert holdings.find(3) is None
    assert len(holdings) == 3


def test_a_position_in_a_segment_that_was_dropped_lies_nowhere() -> None:
    holdings = some(4)
    holdings.drop([0, 2])
    assert numbers(holdings) == [1, 3]
    assert [holdings.at(position) for position in (50, 250)] == [None, None]
    assert holdings.at(150) is holdings.find(1)
    holdings.enter(50, 10)
    holdings.leave(250, 10)
    holdings.need(150, 50)
    assert all((h.live, h.live_bytes, h.needs) == (0, 0, {}) for h in holdings)


# What may go


def test_a_segment_without_anything_alive_may_go_unless_it_is_active() -> None:
    holdings = some(4)
    holdings.enter(110, 5)
    holdings.enter(120, 5)
    assert holdings.droppable() == [0, 2]
    holdings.leave(110, 5)
    assert holdings.droppable() == [0, 2]
    holdings.leave(120, 5)
    assert holdings.droppable() == [0, 1, 2]
    holdings.enter(130, 5)
    assert holdings.droppable() == [0, 2]


def test_what_comes_alive_in_the_active_segment_counts_when_it_is_sealed() -> None:
    holdings = some(1)
    holdings.enter(10, 5)
    holdings.begin(1, 100)
    assert holdings.droppable() == []
    holdings.leave(10, 5)
    assert holdings.droppable() == [0]


def test_a_segment_waits_for_those_that_it_needs_to_go_first() -> None:
    holdings = some(4)
    holdings.enter(10, 5)
    holdings.need(150, 20)
    holdings.need(250, 120)
    assert holdings.droppable() == []
    holdings.leave(10, 5)
    assert holdings.droppable() == [0, 1, 2]  # all at once, the needed ones first
    holdings.drop([0])
    assert [holding.needs for holding in holdings] == [{}, {1: 1}, {}]
    assert holdings.droppable() == [1, 2]


def test_a_need_that_is_taken_back_as_often_is_none() -> None:
    holdings = some(3)
    holdings.enter(10, 5)
    holdings.need(150, 20)
    holdings.need(160, 30)
    holdings.need(160, 30, -1)
    assert holdings.droppable() == []
    holdings.need(150, 20, -1)
    assert holdings.droppable() == [1]


def test_no_segment_needs_itself() -> None:
    holdings = some(2)
    holdings.need(50, 20)
    assert holdings.droppable() == [0]


def test_a_segment_that_was_begun_can_be_taken_back() -> None:
    holdings = some(2)
    holdings.begin(2, 200)
    assert holdings.droppable() == [0, 1]
    holdings.take_back()
    assert holdings.droppable() == [0]
    assert holdings.active.number == 1
    holdings.enter(150, 5)
    holdings.begin(2, 200)
    assert holdings.droppable() == [0]


# What is worth being copied


def live(holdings: Holdings, *shares: int) -> Holdings:
    for number, share in enumerate(shares):
        if share:
            holdings.enter(number * SIZE, share)
    return holdings


@pytest.mark.parametrize(
    ("shares", "ratio", "expected"),
    [
        ((), 0.5, None),
        ((100, 100), 0.0, None),
        ((50, 50), 0.5, None),  # just so much may be dead
        ((49, 50), 0.5, 0),
        ((50, 49), 0.5, 1),
        ((30, 30), 0.5, 0),  # the older one of two
        ((90, 80, 85), 0.1, 1),
        ((90, 80, 85), 0.2, None),
        ((30, 70), 1.0, None),
        ((100, 99), 0.0, 1),
        ((40, 80, 81), 0.2, 0),
    ],
)
def test_the_poorest_sealed_segment_is_copied_when_too_much_is_dead(
    shares: tuple[int, ...], ratio: float, expected: int | None
) -> None:
    holdings = live(some(len(shares) + 1), *shares)
    found = holdings.poorest(ratio)
    assert (None if found is None else found.number) == expected


def test_what_goes_by_itself_does_not_make_others_be_copied() -> None:
    holdings = live(some(4), 0, 0, 60)
    assert holdings.droppable() == [0, 1]
    assert holdings.poorest(0.5) is None


def test_dead_bytes_in_the_active_segment_do_not_count() -> None:
    holdings = live(some(2), 100)
    assert holdings.poorest(0.0) is None


def test_where_nothing_is_alive_nothing_is_copied() -> None:
    assert some(4).poorest(0.5) is None


def test_what_holds_back_dead_segments_is_worth_more_than_it_is_itself() -> None:
    holdings = live(some(6), 95, 40, 0, 0, 0)
    holdings.need(250, 50)
    holdings.need(350, 250)
    holdings.need(450, 350)
    found = holdings.poorest(0.5)
    assert found is not None
    assert found.number == 0


def test_the_oldest_of_several_that_hold_back_a_dead_segment_is_copied_first() -> None:
    holdings = live(some(4), 80, 80, 0)
    holdings.need(250, 50)
    holdings.need(250, 150)
    found = holdings.poorest(0.4)
    assert found is not None
    assert found.number == 0


# Laws


@attrs.define
class World:
    """Events that come, are copied and end, in segments of a hundred bytes."""

    holdings: Holdings = attrs.field(factory=lambda: some(1))
    end: int = 0
    # Where the newest copy of each event lies, and how long it is.
    events: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    # All that was ever written: where, about which event, and whether that is there after it.
    facts: list[tuple[int, int, bool]] = attrs.field(factory=list)
    count: int = 0

    def write(self, size: int, event: int, *, there: bool) -> int:
        at, base = self.end, self.holdings.active.base
        if at + size > base + SIZE:
            self.holdings.begin(self.holdings.active.number + 1, at)
        self.facts.append((at, event, there))
        self.end += size
        self.holdings.grow(self.end)
        return at

    def come(self, size: int) -> None:
        self.count += 1
        self.events[self.count] = self.write(size, self.count, there=True), size
        self.holdings.enter(*self.events[self.count])

    def finish(self, pick: int) -> None:
        if self.events:
            event = list(self.events)[pick % len(self.events)]
            home, size = self.events.pop(event)
            at = self.write(4, event, there=False)
            self.holdings.leave(home, size)
            self.holdings.need(at, home)

    def copy(self, event: int) -> None:
        home, size = self.events[event]
        at = self.write(size, event, there=True)
        self.holdings.leave(home, size)
        self.holdings.need(at, home)
        self.events[event] = at, size
        self.holdings.enter(at, size)

    def drop(self) -> None:
        self.holdings.drop(self.holdings.droppable())

    def clear(self, victim: Holding) -> None:
        """Copy all that is alive in a segment forward."""
        for event, (at, _) in list(self.events.items()):
            if self.holdings.at(at) is victim:
                self.copy(event)

    def happen(self, what: str, pick: int) -> None:
        if what == "come":
            self.come(10 + pick % 30)
        elif what == "finish":
            self.finish(pick)
        elif what == "drop":
            self.drop()
        elif self.events:
            self.copy(list(self.events)[pick % len(self.events)])


happenings = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "come", "finish", "finish", "finish", "copy", "drop"]),
        st.integers(0, 1000),
    ),
    min_size=30,
    max_size=150,
)


def world_after(happened: list[tuple[str, int]]) -> World:
    world = World()
    for what, pick in happened:
        world.happen(what, pick)
    return world


@given(happenings)
def test_what_may_go_is_all_that_needs_nothing_that_stays(happened: list[tuple[str, int]]) -> None:
    world = world_after(happened)
    holdings = world.holdings
    gone = holdings.droppable()
    there = set(numbers(holdings))
    assert gone == sorted(set(gone))
    for holding in holdings:
        may_go = (
            holding is not holdings.active
            and not holding.live
            and all(older in gone for older in holding.needs if older in there)
        )
        assert may_go == (holding.number in gone)
    world.drop()
    assert holdings.droppable() == []
    assert all(holdings.at(at) is not None for at, _ in world.events.values())


@given(happenings)
def test_an_event_that_ended_is_never_there_again(happened: list[tuple[str, int]]) -> None:
    # Whatever segments are left, reading them in order must find just the events that are alive.
    world = World()
    for what, pick in happened:
        world.happen(what, pick)
        alive: set[int] = set()
        for at, event, there in world.facts:
            if world.holdings.at(at) is not None:
                (alive.add if there else alive.discard)(event)
        assert alive == set(world.events)


@settings(max_examples=60)
@given(happenings, st.sampled_from([0.2, 0.5, 0.8]))
def test_when_too_much_is_dead_something_can_always_be_done_about_it(
    happened: list[tuple[str, int]], ratio: float
) -> None:
    world = world_after(happened)
    holdings = world.holdings
    steps = 0
    while True:
        world.drop()
        sealed = list(holdings)[:-1]
        total = sum(holding.size for holding in sealed)
        dead = total - sum(holding.live_bytes for holding in sealed)
        victim = holdings.poorest(ratio)
        assert (victim is None) == (dead <= ratio * total)
        if victim is None:
            break
        steps += 1
        assert victim.live
        world.clear(victim)
        assert not victim.live
        assert steps <= 5 + 4 * len(happened)
    assert total * (1 - ratio) <= total - dead
