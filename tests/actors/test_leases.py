"""Who holds what until when, held against a plain dict."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.leases import LeaseTable
from persistence.entry import Lease, Stamp
from tests.actors.samples import lease, numbers


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
        new = lease(number, self.now + length, delivery=self.deliveries[number])
        self.table.add(new)
        self.model[number] = new

    @rule(step=st.integers(1, 20))
    def time_passes(self, step: int) -> None:
        self.now += step

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model)))
        self.table.remove(self.model.pop(number))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), length=st.integers(0, 80))
    def extend(self, data: st.DataObject, length: int) -> None:
        one = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        self.table.extend(one, self.now + length, length)
        assert (one.deadline, one.length) == (self.now + length, length)

    @rule()
    def expire(self) -> None:
        expired = self.table.expire(self.now)
        expected = {n for n, held in self.model.items() if held.deadline <= self.now}
        deadlines = [held.deadline for held in expired]
        assert deadlines == sorted(deadlines)
        assert set(numbers(held.entry for held in expired)) == expected
        assert len(expired) == len(expected)
        for number in expected:
            del self.model[number]

    @rule(number=st.integers(1, 12), delivery=st.integers(0, 4))
    def find(self, number: int, delivery: int) -> None:
        held = self.model.get(number)
        is_it = held is not None and held.entry.stamp.delivery == delivery
        assert self.table.find(number, Stamp(1, delivery)) is (held if is_it else None)
        assert self.table.find(number, Stamp(2, delivery)) is None
        still = held is not None and held.entry.stamp.delivery <= delivery
        assert self.table.find_settled_by(number, Stamp(1, delivery)) is (held if still else None)
        assert self.table.find_settled_by(number, Stamp(2, delivery)) is held
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
    assert table.expire(99) == []
    assert numbers(held.entry for held in table.expire(100)) == [1]
    assert table.expire(1000) == []


def test_deadlines_that_are_no_longer_true_do_not_pile_up() -> None:
    table = LeaseTable()
    held = lease(1, 100)
    table.add(held)
    for deadline in range(101, 5000):
        table.extend(held, deadline, 10)
    assert len(table._deadlines) <= 2 + 65
    assert table.expire(4998) == []
    assert table.expire(4999) == [held]
