"""Who holds what until when, held against a plain dict."""

import gc
import tracemalloc
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.leases import Lease, LeaseTable
from persistence.entry import ConsumerKind, Stamp


def lease(
    number: int, deadline: int, *, delivery: int = 1, length: int = 10, since: int = 0
) -> Lease:
    return Lease(number, Stamp(1, delivery), deadline, length, due=number * 7, since=since)


def numbers(leases: Iterable[Lease]) -> list[int]:
    return [held.number for held in leases]


class LeasesAgainstADict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = LeaseTable()
        self.model: dict[int, Lease] = {}
        self.deliveries: dict[int, int] = {}
        self.now = 1000

    @rule(number=st.integers(1, 12), length=st.integers(0, 50))
    def hand_out(self, number: int, length: int) -> None:
        if number in self.model:
            return
        self.deliveries[number] = self.deliveries.get(number, 0) + 1
        new = lease(
            number,
            self.now + length,
            delivery=self.deliveries[number],
            length=length,
            since=self.now,
        )
        self.table.add(new)
        self.model[number] = new

    @rule(step=st.integers(1, 20))
    def time_passes(self, step: int) -> None:
        self.now += step

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model)))
        self.table.remove(number)
        del self.model[number]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), length=st.integers(0, 80))
    def extend(self, data: st.DataObject, length: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.model)))
        self.table.extend(number, self.now + length, length)
        self.model[number] = self.model[number]._replace(deadline=self.now + length, length=length)

    @rule(at_most=st.integers(1, 20))
    def expire(self, at_most: int) -> None:
        over = [held for held in self.model.values() if held.deadline <= self.now]
        expired = self.table.expire(self.now, at_most)
        assert len(expired) == min(at_most, len(over))
        deadlines = [held.deadline for held in expired]
        assert deadlines == sorted(held.deadline for held in over)[:at_most]
        places = [(held.deadline, held.number) for held in expired]
        assert places == sorted(places)
        for held in expired:
            assert self.model.pop(held.number) == held

    @rule(number=st.integers(1, 12), delivery=st.integers(0, 4))
    def find(self, number: int, delivery: int) -> None:
        held = self.model.get(number)
        is_it = held is not None and held.stamp.delivery == delivery
        assert self.table.find(number, Stamp(1, delivery)) == (held if is_it else None)
        assert self.table.find(number, Stamp(2, delivery)) is None
        still = held is not None and held.stamp.delivery <= delivery
        assert self.table.find_settled_by(number, Stamp(1, delivery)) == (held if still else None)
        assert self.table.find_settled_by(number, Stamp(2, delivery)) == held
        assert self.table.find_settled_by(number, Stamp(0, 99)) is None

    @invariant()
    def the_figures_agree(self) -> None:
        assert len(self.table) == len(self.model)
        assert list(self.table) == list(self.model.values())
        deadlines = [held.deadline for held in self.model.values()]
        assert self.table.next_deadline() == min(deadlines, default=None)


TestLeasesAgainstADict = LeasesAgainstADict.TestCase
TestLeasesAgainstADict.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_lease_runs_out_at_its_deadline_and_not_before() -> None:
    table = LeaseTable()
    table.add(lease(1, 100))
    assert table.expire(99, 10) == []
    assert numbers(table.expire(100, 10)) == [1]
    assert table.expire(1000, 10) == []


def test_leases_that_end_together_end_in_the_order_of_their_events() -> None:
    table = LeaseTable()
    for number in (5, 300_000, 2, 70_000, 9):
        table.add(lease(number, 100))
    assert numbers(table.expire(100, 10)) == [2, 5, 9, 70_000, 300_000]


def test_no_more_leases_end_at_once_than_asked_for_and_none_is_forgotten() -> None:
    table = LeaseTable()
    for number in range(25):
        table.add(lease(number, 100 if number < 20 else 50))
    assert numbers(table.expire(100, 10))[:5] == [20, 21, 22, 23, 24]
    assert table.next_deadline() == 100
    rest = numbers(table.expire(100, 10)) + numbers(table.expire(100, 10))
    assert len(rest) == 15
    assert len(table) == 0


def test_deadlines_that_are_no_longer_true_do_not_pile_up() -> None:
    table = LeaseTable()
    table.add(lease(1, 100))
    for deadline in range(101, 5000):
        table.extend(1, deadline, 10)
    assert len(table._deadlines) <= 2 + 65
    assert table.expire(4998, 10) == []
    assert numbers(table.expire(4999, 10)) == [1]


def test_a_lease_is_kept_as_it_is() -> None:
    table = LeaseTable()
    one = Lease(2**64 - 1, Stamp(2**32 - 1, 5), 7, 9, -3, 11, ConsumerKind.WORKER, "w")
    table.add(one)
    kept = table.get(one.number)
    assert kept == one
    assert kept is not None
    assert isinstance(kept.kind, ConsumerKind)


def test_places_of_leases_that_are_over_are_used_again() -> None:
    table = LeaseTable()
    for start in range(0, 1000, 10):
        for number in range(start, start + 10):
            table.add(lease(number, 100 + number))
        for number in range(start, start + 9):
            table.remove(number)
        table.expire(10_000, 1)
    assert len(table) == 0
    assert len(table._rows) <= 10 * 64


def test_a_lease_takes_little_memory_and_is_no_object_even_if_it_shares_nothing() -> None:
    count = 20_000
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    try:
        table = LeaseTable()
        for number in range(10**9, 10**9 + count):
            table.add(lease(number, number * 7))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / count <= 400 - 85  # what the register keeps of each event comes on top
    gc.collect()
    assert len(gc.get_objects()) - objects < 100
