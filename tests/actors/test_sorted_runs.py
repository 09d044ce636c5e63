"""The packed priority queue, held against a plain sorted list, and what it costs."""

import random
import sys
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors import pairs, sorted_runs
from actors.sorted_runs import RUN_PAIRS, SortedRuns


@pytest.fixture(autouse=True, scope="module")
def short_runs() -> Iterator[None]:
    """Runs so short that a few pairs make many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_TAKEN_MIN", 1)
        patch.setattr(sorted_runs, "RUN_PAIRS", 6)
        patch.setattr(sorted_runs, "_REST_PAIRS", 2)
        patch.setattr(sorted_runs, "_GONE_MIN", 1)
        yield


class SortedRunsAgainstAList(RuleBasedStateMachine):
    """The model is a sorted list; odd numbers may become stale, and sweeping may drop these."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = SortedRuns()
        self.live: list[tuple[int, int]] = []
        self.stale: set[tuple[int, int]] = set()
        self.next_number = 1

    @rule(firsts=st.lists(st.integers(-5, 40), max_size=12))
    def push(self, firsts: list[int]) -> None:
        for first in firsts:
            pair = (first, self.next_number)
            self.next_number += 1
            self.runs.push(*pair)
            heappush(self.live, pair)

    @rule(count=st.integers(1, 9), first=st.integers(0, 40))
    def push_in_order(self, count: int, first: int) -> None:
        self.push([first] * count)

    @rule(count=st.integers(1, 15))
    def pop(self, count: int) -> None:
        for _ in range(count):
            if not self.live:
                return
            pair = self.runs.peek()
            assert self.runs.pop() == pair
            if pair in self.stale:
                self.stale.remove(pair)
                assert pair < self.live[0]
            else:
                assert pair == heappop(self.live)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), share=st.floats(0, 1))
    def some_become_stale(self, data: st.DataObject, share: float) -> None:
        chosen = data.draw(st.randoms(use_true_random=False))
        gone = {pair for pair in self.live if chosen.random() < share}
        self.stale |= gone
        self.live = sorted(set(self.live) - gone)

    @rule(at_most=st.integers(1, 8), steps=st.integers(1, 20))
    def sweep(self, at_most: int, steps: int) -> None:
        for _ in range(steps):
            self.runs.sweep(self.drop, at_most)

    def drop(self, first: int, second: int) -> bool:
        """Drop a stale pair; the model forgets it too."""
        if (first, second) not in self.stale:
            return True
        self.stale.remove((first, second))
        return False

    @invariant()
    def all_are_there(self) -> None:
        assert len(self.runs) == len(self.live) + len(self.stale)
        assert len(self.runs._open.firsts) < sorted_runs.RUN_PAIRS

    def teardown(self) -> None:
        while len(self.runs):
            pair = self.runs.pop()
            if pair not in self.stale:
                assert pair == heappop(self.live)
        assert not self.live


TestSortedRunsAgainstAList = SortedRunsAgainstAList.TestCase
TestSortedRunsAgainstAList.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)


def test_an_empty_queue_has_nothing_to_give() -> None:
    runs = SortedRuns()
    for ask in (runs.peek, runs.pop):
        with pytest.raises(IndexError):
            ask()


def test_the_same_pair_twice_comes_out_twice() -> None:
    runs = SortedRuns()
    for _ in range(20):
        runs.push(1, 1)
    assert [runs.pop() for _ in range(20)] == [(1, 1)] * 20


def test_a_whole_round_of_sweeping_leaves_no_stale_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_runs, "RUN_PAIRS", 16)
    monkeypatch.setattr(sorted_runs, "_REST_PAIRS", 4)
    runs = SortedRuns()
    numbers = list(range(3000))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        runs.push(number, number)
    for _ in range(3000 // 4 + 3000 // 16 + 1):
        runs.sweep(lambda first, _: first % 30 == 0, 4)
    assert len(runs) == 100
    for _ in range(200):  # once the runs are poor, the next round puts them together
        runs.sweep(lambda first, _: first % 30 == 0, 4)
    check_overhead(runs)
    assert [runs.pop()[0] for _ in range(100)] == list(range(0, 3000, 30))


@pytest.mark.parametrize("dropped", range(18))
def test_what_is_swept_at_the_front_is_not_found_there_any_more(dropped: int) -> None:
    runs = SortedRuns()
    for number in range(18):
        runs.push(number, number)
    for _ in range(4):
        runs.sweep(lambda first, _: first >= dropped, 6)
    assert [runs.peek(), runs.pop()] == [(dropped, dropped)] * 2
    assert len(runs) == 17 - dropped


def test_few_pairs_move_at_a_time_even_where_all_runs_run_low_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sorted_runs, "RUN_PAIRS", 64)
    monkeypatch.setattr(sorted_runs, "_REST_PAIRS", 16)
    runs = SortedRuns()
    for number in range(64 * 100):
        runs.push(number % 64, number)
    moved = 0
    for _ in range(64 * 100):
        before = len(runs._open)
        runs.pop()
        moved = max(0, moved - 1 + max(0, len(runs._open) - before))
        assert moved <= 2 * 16
        assert len(runs._open.firsts) < 64


@pytest.mark.parametrize(
    "first_of",
    [
        pytest.param(lambda number: number, id="ascending"),
        pytest.param(lambda number: -number, id="descending"),
        pytest.param(lambda number: number * 7919 % 100_003, id="mixed"),
    ],
)
def test_fifty_thousand_pairs_come_out_in_order(
    first_of: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, size in (
        (pairs, "_TAKEN_MIN", 8),
        (sorted_runs, "RUN_PAIRS", RUN_PAIRS),
        (sorted_runs, "_REST_PAIRS", RUN_PAIRS // 16),
    ):
        monkeypatch.setattr(module, name, size)
    runs = SortedRuns()
    expected = sorted((first_of(number), number) for number in range(50_000))
    for number in range(50_000):
        runs.push(first_of(number), number)
    assert bytes_held(runs) < 50_000 * 18
    popped = []
    for left in range(49_999, -1, -1):
        popped.append(runs.pop())
        if left % 5000 == 0:
            # Taken prefixes are freed: at most as much is held as is in use, and poor runs go.
            assert bytes_held(runs) < left * 2 * 18 + 100_000
    assert popped == expected


def test_runs_that_hardly_anything_is_left_of_go() -> None:
    runs = SortedRuns()
    far = 10**6
    for number in range(20_000):
        # All but the last of each run leave at once, and the last one stays for long.
        runs.push(far if number % 6 == 5 else 0, number)
        if number % 6 == 5:
            for _ in range(5):
                assert runs.pop()[0] == 0
    check_overhead(runs)


def check_overhead(runs: SortedRuns) -> None:
    """Hold against the number of pairs what costs more than a pair."""
    sealed = runs._sealed
    if sealed is not None:
        assert len(sealed._runs) * sorted_runs.RUN_PAIRS <= 5 * len(runs) + 64
        assert len(sealed._heads) <= 2 * len(sealed._runs) + 1


def bytes_held(runs: SortedRuns) -> int:
    lines = [runs._open]
    if runs._sealed is not None:
        lines += runs._sealed._runs.values()
    return sum(sys.getsizeof(line.firsts) + sys.getsizeof(line.seconds) for line in lines)
