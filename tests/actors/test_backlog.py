"""The order of what waits, held against a plain sorted list, and what it costs."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors import backlog as backlog_module
from actors import pairs, sorted_runs
from actors.backlog import Backlog
from actors.waiting import Waiting

TOPICS = ("", "a", "b", "c")
LONG_AGO = -1


class Event(NamedTuple):
    """What the register would know of an event."""

    topic: str
    size: int = 2


class Waits:
    """A backlog, and in the place of the register a dict of what waits."""

    def __init__(self, **options: Any) -> None:
        self.events: dict[int, Event] = {}
        self.backlog = Backlog(
            self.events.__contains__, lambda number: self.events[number].topic, **options
        )

    def add_fresh(self, number: int, due: int, topic: str = "", size: int = 2) -> None:
        self.events[number] = Event(topic, size)
        self.backlog.add_fresh(topic, due, number)

    def add(self, number: int, due: int, now: int, topic: str = "") -> bool:
        self.events[number] = Event(topic)
        return self.backlog.add(topic, due, number, now)

    def take(self, topic: str | None = None, count: int = 10, size: int = 1000) -> list[int]:
        return numbers(self.backlog.take(topic, count, self.size_of, size))

    def withdraw(self, *gone: int, delayed: bool = False) -> None:
        for event in [self.events.pop(number) for number in gone]:
            self.backlog.withdraw(event.topic, delayed=delayed)

    def size_of(self, number: int) -> int:
        return self.events[number].size


def numbers(taken: Sequence[Waiting]) -> list[int]:
    return [waiting.number for waiting in taken]


@pytest.fixture
def small() -> Iterator[pytest.MonkeyPatch]:
    """Makes a few events many: runs are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_TAKEN_MIN", 1)
        patch.setattr(sorted_runs, "RUN_PAIRS", 4)
        patch.setattr(sorted_runs, "_REST_PAIRS", 1)
        patch.setattr(backlog_module, "_OUTDATED_HEADS_MIN", 1)
        yield patch


@pytest.fixture
def swept(small: pytest.MonkeyPatch) -> None:
    """Stale pairs are swept as soon as they are more than the others."""
    small.setattr(backlog_module, "_STALE_MIN", 1)
    small.setattr(backlog_module, "_SWEPT_AT_ONCE", 2)


class BacklogAgainstAList(RuleBasedStateMachine):
    """The model keeps every waiting event in a list, and whether it is ready beside it."""

    passed_over_max = 10**6

    def __init__(self) -> None:
        super().__init__()
        self.waits = Waits(passed_over_max=self.passed_over_max)
        self.backlog = self.waits.backlog
        self.now = 1000
        self.next_number = 1
        self.ready: list[Waiting] = []
        self.delayed: list[Waiting] = []
        self.outside: list[Waiting] = []

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(1, 4), size=st.integers(0, 9))
    def publish(self, topic: str, count: int, size: int) -> None:
        for _ in range(count):
            new = Waiting(self.next_number, self.now, topic)
            self.waits.add_fresh(new.number, new.due, topic, size)
            self.next_number += 1
            self.ready.append(new)

    @rule(step=st.integers(1, 20))
    def time_passes(self, step: int) -> None:
        self.now += step

    @precondition(lambda self: self.outside)
    @rule(data=st.data(), delay=st.none() | st.integers(0, 30))
    def something_comes_back(self, data: st.DataObject, delay: int | None) -> None:
        back = self.outside.pop(data.draw(st.integers(0, len(self.outside) - 1)))
        if delay is not None:
            back = back._replace(due=self.now + delay)
        ready = self.backlog.add(back.topic, back.due, back.number, self.now)
        assert ready == (back.due <= self.now)
        (self.ready if ready else self.delayed).append(back)

    @rule(at_most=st.integers(1, 10))
    def promote(self, at_most: int) -> None:
        self.come_in_sight()
        due = sorted((w for w in self.delayed if w.due <= self.now), key=place)
        topics, more = self.backlog.promote(self.now, at_most)
        gained = len(self.delayed) - self.backlog.delayed
        assert gained == at_most or not more
        assert topics == list(dict.fromkeys(w.topic for w in due[:gained]))
        self.ready += due[:gained]
        self.delayed = [w for w in self.delayed if w not in due[:gained]]
        if not more:
            assert gained == len(due)

    @rule(
        topic=st.none() | st.sampled_from((*TOPICS, "nobody")),
        count=st.integers(1, 6),
        size=st.integers(0, 30),
    )
    def take(self, topic: str | None, count: int, size: int) -> None:
        wanted = sorted((w for w in self.ready if topic in {None, w.topic}), key=place)
        expected = wanted[:1]
        left = size - (self.waits.size_of(expected[0].number) if expected else 0)
        for candidate in wanted[1:count]:
            left -= self.waits.size_of(candidate.number)
            if left < 0:
                break
            expected.append(candidate)
        taken = self.backlog.take(topic, count, self.waits.size_of, size)
        self.check_taken(taken, expected)
        for one in taken:
            self.ready.remove(one)
        self.outside += taken

    def check_taken(self, taken: list[Waiting], expected: list[Waiting]) -> None:
        assert taken == expected

    @precondition(lambda self: self.ready or self.delayed)
    @rule(data=st.data(), count=st.integers(1, 8), together=st.booleans())
    def withdraw(self, data: st.DataObject, count: int, *, together: bool) -> None:
        """Withdraw neighbours in any order, so that stale pairs stand in a row."""
        here = sorted(self.ready + self.delayed, key=place)
        first = data.draw(st.integers(0, len(here) - 1))
        gone = data.draw(st.permutations(here[first : first + count]))
        for delayed, waiting in (False, self.ready), (True, self.delayed):
            these = [one for one in gone if one in waiting]
            for some in [these] if together else [[one] for one in these]:
                self.waits.withdraw(*numbers(some), delayed=delayed)
            waiting[:] = [one for one in waiting if one not in these]

    def come_in_sight(self) -> None:
        """Let the backlog pass over stale pairs, but promote nothing."""

    @invariant()
    def the_figures_agree(self) -> None:
        self.come_in_sight()
        backlog = self.backlog
        assert (backlog.ready, backlog.delayed) == (len(self.ready), len(self.delayed))
        assert len(backlog) == len(self.ready) + len(self.delayed)
        topics = [w.topic for w in self.ready], [w.topic for w in self.delayed]
        expected = {t: (topics[0].count(t), topics[1].count(t)) for t in topics[0] + topics[1]}
        assert {t: (ready, delayed) for t, ready, delayed in backlog.topics()} == expected
        for topic in TOPICS:
            assert backlog.has_ready(topic) == (topic in topics[0])
        assert backlog.has_ready(None) == bool(self.ready)

    @invariant()
    def the_next_due_time_is_known(self) -> None:
        assert self.backlog.next_due() == min((w.due for w in self.delayed), default=None)
        for waiting in self.delayed:
            assert self.backlog.is_delayed(waiting.due, waiting.number)
        if all(w.due > self.now for w in self.delayed):
            for waiting in self.ready:
                assert not self.backlog.is_delayed(waiting.due, waiting.number)

    @invariant()
    def stale_pairs_do_not_pile_up(self) -> None:
        for lane in self.backlog._lanes.values():
            assert lane.ready > 0
        if not self.delayed:
            assert len(self.backlog._later) == 0

    def teardown(self) -> None:
        self.come_in_sight()
        while self.backlog.has_ready(None):
            self.take(None, max(1, len(self.ready)), 2**40)
            self.come_in_sight()
        assert not self.ready


class BacklogThatPassesOverOneByOne(BacklogAgainstAList):
    """The same where a lane is out of sight as soon as two stale pairs stand at its front."""

    passed_over_max = 1

    def come_in_sight(self) -> None:
        backlog = self.backlog
        ready = {w.topic for w in self.ready}
        for topic in TOPICS:
            assert topic in ready or not backlog.has_ready(topic)
        hidden = {topic for topic in ready if not backlog.has_ready(topic)}
        seen: list[str] = []
        while backlog._out_of_sight:
            due = backlog.next_due()
            assert due is not None
            assert due <= self.now
            topics, more = backlog.promote(LONG_AGO)
            assert more == bool(backlog._out_of_sight)
            seen += topics
        assert sorted(seen) == sorted(hidden)

    def check_taken(self, taken: list[Waiting], expected: list[Waiting]) -> None:
        assert set(taken) <= set(self.ready)
        for topic in TOPICS:
            of_topic = sorted((w for w in self.ready if w.topic == topic), key=place)
            got = [w for w in taken if w.topic == topic]
            assert got == of_topic[: len(got)]
        assert bool(taken) or not expected or not self.backlog.has_ready(expected[0].topic)

    @invariant()
    def the_next_due_time_is_known(self) -> None:
        due = self.backlog.next_due()
        earliest = min((w.due for w in self.delayed), default=None)
        assert (due is None) == (earliest is None)
        assert due is None or earliest is None or due <= earliest


def place(waiting: Waiting) -> tuple[int, int]:
    return waiting.due, waiting.number


steps = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBacklogAgainstAList = pytest.mark.usefixtures("swept")(BacklogAgainstAList.TestCase)
TestBacklogAgainstAList.settings = steps
TestBacklogThatPassesOverOneByOne = pytest.mark.usefixtures("small")(
    BacklogThatPassesOverOneByOne.TestCase
)
TestBacklogThatPassesOverOneByOne.settings = steps


def test_without_a_topic_events_come_in_the_order_of_due_and_number() -> None:
    waits = Waits()
    for number, topic in enumerate(["x", "y", "x", "z", "y"], 1):
        waits.add_fresh(number, 100, topic)
    waits.add(99, 50, 100, "z")
    assert waits.take() == [99, 1, 2, 3, 4, 5]


def test_the_next_event_is_found_among_many_topics_whatever_stands_beside_it() -> None:
    waits = Waits()
    for number, due, topic in ((1, 1, "a"), (4, 4, "a"), (5, 5, "b"), (3, 3, "c")):
        waits.add_fresh(number, due, topic)
    assert waits.take() == [1, 3, 4, 5]


def test_an_event_that_comes_back_goes_before_those_of_the_same_time_that_came_later() -> None:
    waits = Waits()
    waits.add_fresh(3, 100, "x")
    waits.add_fresh(2, 100, "y")
    waits.add(1, 100, 100, "x")
    assert waits.take() == [1, 2, 3]


def test_a_topic_is_never_held_up_by_another() -> None:
    waits = Waits()
    for number in range(1, 100):
        waits.add_fresh(number, 100, "busy")
    waits.add_fresh(100, 100, "quiet")
    assert waits.take("quiet") == [100]


def test_a_released_event_regains_its_old_place_and_a_retried_one_takes_a_new_one() -> None:
    waits = Waits()
    for number in range(1, 5):
        waits.add_fresh(number, 100 + number)
    first, second = waits.backlog.take(None, 2, waits.size_of, 1000)
    assert waits.add(second.number, second.due, 110)
    assert waits.add(first.number, 103, 110)
    assert waits.take() == [2, 1, 3, 4]


def test_a_delayed_event_takes_its_place_by_its_due_time() -> None:
    waits = Waits()
    waits.add(1, 150, 100)
    waits.add(2, 120, 100)
    waits.add_fresh(3, 100)
    waits.add_fresh(4, 130)
    backlog = waits.backlog
    assert (backlog.ready, backlog.delayed, backlog.next_due()) == (2, 2, 120)
    assert backlog.promote(119) == ([], False)
    assert backlog.promote(150) == ([""], False)
    assert waits.take() == [3, 2, 4, 1]


def test_an_event_that_was_settled_before_its_time_is_not_promoted() -> None:
    waits = Waits()
    for number in range(1, 6):
        waits.add(number, 100 + number, 0)
    for number in (2, 3, 5):
        waits.withdraw(number, delayed=True)
    assert waits.backlog.promote(110) == ([""], False)
    assert waits.backlog.next_due() is None
    assert waits.take() == [1, 4]


def test_events_that_are_due_at_once_are_promoted_in_slices() -> None:
    waits = Waits()
    for number in range(1, 11):
        waits.add(number, 100 + number, 0, "ab"[number % 2])
    assert waits.backlog.promote(109, 1) == (["b"], True)
    assert waits.backlog.promote(109, 4) == (["a", "b"], True)
    assert waits.backlog.next_due() == 106
    assert waits.backlog.promote(109, 4) == (["a", "b"], False)
    assert waits.backlog.next_due() == 110
    assert waits.take() == list(range(1, 10))


def test_an_answer_stops_before_the_byte_limit_but_not_before_its_first_event() -> None:
    waits = Waits()
    for number, size in enumerate([50, 30, 20, 1], 1):
        waits.add_fresh(number, 100, size=size)
    assert waits.take(size=40) == [1]
    assert waits.take(size=50) == [2, 3]
    assert waits.take(size=0) == [4]


def test_the_heap_of_heads_stays_small_when_everybody_consumes_by_topic() -> None:
    waits = Waits()
    waits.add_fresh(1, 0, "idle")
    for number in range(2, 3000):
        topic = f"t{number % 3}"
        waits.add_fresh(number, number, topic)
        assert waits.take(topic, 1) == [number]
        if number % 7 == 0:
            waits.add(number, number, number, topic)
            waits.take(topic, 1)
        assert len(waits.backlog._heads) <= 2 * 4 + 65
    assert waits.take() == [1]
    assert not waits.backlog.has_ready(None)


def test_events_withdrawn_behind_the_head_leave_nothing_when_the_head_goes() -> None:
    waits = Waits()
    for number in range(1, 4):
        waits.add_fresh(number, 100, "t")
    waits.withdraw(2)
    waits.withdraw(3)
    assert list(waits.backlog.topics()) == [("t", 1, 0)]
    assert waits.take("t") == [1]
    assert not waits.backlog.has_ready("t")
    assert list(waits.backlog.topics()) == []
    assert waits.backlog._lanes == {}


def test_events_may_be_withdrawn_together_when_none_of_them_waits_any_more() -> None:
    waits = Waits()
    for number in range(1, 21):
        waits.add_fresh(number, 100, "t")
        waits.add(100 + number, 200, 100, "t")
    waits.withdraw(*range(1, 15))
    assert list(waits.backlog.topics()) == [("t", 6, 20)]
    waits.withdraw(*range(15, 21))
    waits.withdraw(*range(101, 121), delayed=True)
    assert list(waits.backlog.topics()) == []
    assert waits.backlog.next_due() is None


def test_a_topic_whose_events_are_all_withdrawn_goes_at_once() -> None:
    waits = Waits()
    for number in range(1, 100):
        waits.add_fresh(number, 100, "t")
        waits.add(100 + number, 200, 100, "t")
    for number in range(99, 0, -1):
        waits.withdraw(number)
        waits.withdraw(100 + number, delayed=True)
    assert not waits.backlog.has_ready("t")
    assert list(waits.backlog.topics()) == []
    assert waits.backlog.next_due() is None
    assert waits.backlog._lanes == {}
    assert len(waits.backlog._later) == 0


def test_stale_pairs_are_swept_when_they_outnumber_the_others() -> None:
    waits = Waits()
    for number in range(1, 20_001):
        waits.add_fresh(number, 100, "t")
        waits.add(100_000 + number, 200, 100, "t")
    lane = waits.backlog._lanes["t"]
    for number in range(20_000, 1, -1):
        waits.withdraw(number)
        waits.withdraw(100_000 + number, delayed=True)
        for held in len(lane.pairs), len(waits.backlog._later):
            # While a round of sweeping lasts, an eighth of what there is may become stale more.
            assert held <= 2.5 * (number - 1) + 100
    assert waits.take() == [1]
    assert waits.backlog.promote(200) == (["t"], False)
    assert waits.take() == [100_001]


def test_no_step_passes_over_more_stale_pairs_than_it_may() -> None:
    asked: list[int] = []
    here = dict.fromkeys(range(1, 10_001), "t")

    def waiting(number: int) -> bool:
        asked.append(number)
        return number in here

    backlog = Backlog(waiting, here.__getitem__)
    for number in here:
        backlog.add_fresh("t", 100, number)
    backlog.add_fresh("other", 101, 20_000)
    for number in range(4000, 0, -1):
        del here[number]
        asked.clear()
        backlog.withdraw("t", delayed=False)
        assert len(asked) <= 16
    # Its front is stale further than one step goes: nobody sees it until `promote` is through.
    assert backlog.ready == 6001
    assert not backlog.has_ready("t")
    assert numbers(backlog.take(None, 2, lambda _: 0, 0)) == [20_000]
    assert not backlog.has_ready(None)
    assert backlog.next_due() == 100
    steps, more = 0, True
    while more:
        asked.clear()
        topics, more = backlog.promote(100)
        assert len(asked) <= 1025
        assert topics == ([] if more else ["t"])
        steps += 1
    assert steps == 4
    assert numbers(backlog.take(None, 2, lambda _: 0, 0)) == [4001, 4002]


@pytest.mark.parametrize("topic", [None, "t"])
def test_an_answer_passes_over_no_more_stale_pairs_than_one_step_may(topic: str | None) -> None:
    waits = Waits()
    for number in range(1, 10_001):
        waits.add_fresh(number, 100, "t")
    for number in range(1, 2001):
        if number % 200 != 1:
            waits.withdraw(number)
    assert waits.take(topic, 20) == [1, 201, 401, 601, 801, 1001]
    assert not waits.backlog.has_ready(topic)
    assert waits.take(topic) == []
    assert waits.backlog.promote(100) == (["t"], False)
    assert waits.take(topic, 6) == [1201, 1401, 1601, 1801, 2001, 2002]


def test_nobody_is_asked_whether_an_event_waits_while_no_pair_is_stale() -> None:
    asked: list[int] = []

    def waiting(number: int) -> bool:
        asked.append(number)
        return number != 2

    backlog = Backlog(waiting, str)
    for number in range(1, 9):
        backlog.add("t", 100, number, 100)
    assert numbers(backlog.take("t", 1, lambda _: 0, 0)) == [1]
    assert asked == []
    backlog.withdraw("t", delayed=False)
    assert numbers(backlog.take("t", 9, lambda _: 0, 0)) == [3, 4, 5, 6, 7, 8]
    assert asked == [2, 3]


def test_an_event_that_was_withdrawn_and_one_that_was_not_there_are_a_bug_to_withdraw() -> None:
    waits = Waits()
    waits.add_fresh(1, 100, "t")
    waits.withdraw(1)
    for delayed in (False, True):
        with pytest.raises(KeyError):
            waits.backlog.withdraw("t", delayed=delayed)
