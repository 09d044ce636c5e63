"""The order of what waits, held against a plain sorted list, and what it costs."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.backlog import Backlog
from persistence.entry import Entry
from tests.actors.samples import entry, numbers

TOPICS = ("", "a", "b", "c")


class BacklogAgainstAList(RuleBasedStateMachine):
    """The model keeps every waiting entry in a list, and whether it is ready beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.now = 1000
        self.next_number = 1
        self.ready: list[Entry] = []
        self.delayed: list[Entry] = []
        self.outside: list[Entry] = []

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(1, 4), size=st.integers(0, 9))
    def publish(self, topic: str, count: int, size: int) -> None:
        for _ in range(count):
            new = entry(self.next_number, self.now, topic, payload=bytes(size))
            self.next_number += 1
            self.backlog.add_fresh(new)
            self.ready.append(new)

    @rule(step=st.integers(1, 20))
    def time_passes(self, step: int) -> None:
        self.now += step

    @precondition(lambda self: self.outside)
    @rule(data=st.data(), delay=st.none() | st.integers(0, 30))
    def something_comes_back(self, data: st.DataObject, delay: int | None) -> None:
        back = self.outside.pop(data.draw(st.integers(0, len(self.outside) - 1)))
        if delay is not None:
            back.due = self.now + delay
        ready = self.backlog.add(back, self.now)
        assert ready == (back.due <= self.now)
        (self.ready if ready else self.delayed).append(back)

    @rule()
    def promote(self) -> None:
        due = sorted((e for e in self.delayed if e.due <= self.now), key=place)
        assert self.backlog.promote(self.now) == [e.event.topic for e in due]
        self.ready += due
        self.delayed = [e for e in self.delayed if e.due > self.now]

    @rule(
        topic=st.none() | st.sampled_from((*TOPICS, "nobody")),
        count=st.integers(1, 6),
        size=st.integers(0, 30),
    )
    def take(self, topic: str | None, count: int, size: int) -> None:
        wanted = sorted((e for e in self.ready if topic in {None, e.event.topic}), key=place)
        expected = wanted[:1]
        left = size - (expected[0].event.payload_size if expected else 0)
        for candidate in wanted[1:count]:
            left -= candidate.event.payload_size
            if left < 0:
                break
            expected.append(candidate)
        assert self.backlog.take(topic, count, size) == expected
        for one in expected:
            self.ready.remove(one)
        self.outside += expected

    @precondition(lambda self: self.ready or self.delayed)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.ready + self.delayed))
        number = one.event.number
        assert self.backlog.find(number) is one
        assert self.backlog.withdraw(number) is one
        assert self.backlog.find(number) is None
        assert self.backlog.withdraw(number) is None
        (self.ready if one in self.ready else self.delayed).remove(one)

    @precondition(lambda self: self.outside)
    @rule(data=st.data())
    def what_is_elsewhere_is_not_here(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.outside)).event.number
        assert self.backlog.find(number) is None
        assert self.backlog.withdraw(number) is None

    @invariant()
    def the_figures_agree(self) -> None:
        backlog = self.backlog
        assert (backlog.ready, backlog.delayed) == (len(self.ready), len(self.delayed))
        assert len(backlog) == len(self.ready) + len(self.delayed)
        topics = [e.event.topic for e in self.ready], [e.event.topic for e in self.delayed]
        expected = {t: (topics[0].count(t), topics[1].count(t)) for t in topics[0] + topics[1]}
        assert {t: (ready, delayed) for t, ready, delayed in backlog.topics()} == expected
        for topic in TOPICS:
            assert backlog.has_ready(topic) == (topic in topics[0])
        assert backlog.has_ready(None) == bool(self.ready)
        assert backlog.next_due() == min((e.due for e in self.delayed), default=None)
        assert sorted(numbers(backlog.entries())) == sorted(numbers(self.ready + self.delayed))

    def teardown(self) -> None:
        rest = sorted(self.ready, key=place)
        assert self.backlog.take(None, len(rest) + 1, 2**40) == rest


def place(waiting: Entry) -> tuple[int, int]:
    return waiting.due, waiting.event.number


TestBacklogAgainstAList = BacklogAgainstAList.TestCase
TestBacklogAgainstAList.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_without_a_topic_events_come_in_the_order_of_due_and_number() -> None:
    backlog = Backlog()
    for number, topic in enumerate(["x", "y", "x", "z", "y"], 1):
        backlog.add_fresh(entry(number, 100, topic))
    backlog.add(entry(99, 50, "z"), 100)
    assert numbers(backlog.take(None, 10, 1000)) == [99, 1, 2, 3, 4, 5]


def test_a_topic_is_never_held_up_by_another() -> None:
    backlog = Backlog()
    for number in range(1, 100):
        backlog.add_fresh(entry(number, 100, "busy"))
    backlog.add_fresh(entry(100, 100, "quiet"))
    assert numbers(backlog.take("quiet", 10, 1000)) == [100]


def test_a_released_event_regains_its_old_place_and_a_retried_one_takes_a_new_one() -> None:
    backlog = Backlog()
    for number in range(1, 5):
        backlog.add_fresh(entry(number, 100 + number))
    first, second = backlog.take(None, 2, 1000)
    backlog.add(second, 110)
    first.due = 103
    backlog.add(first, 110)
    assert numbers(backlog.take(None, 10, 1000)) == [2, 1, 3, 4]


def test_a_delayed_event_takes_its_place_by_its_due_time() -> None:
    backlog = Backlog()
    backlog.add(entry(1, 150), 100)
    backlog.add(entry(2, 120), 100)
    backlog.add_fresh(entry(3, 100))
    backlog.add_fresh(entry(4, 130))
    assert (backlog.ready, backlog.delayed, backlog.next_due()) == (2, 2, 120)
    assert backlog.promote(119) == []
    assert backlog.promote(150) == ["", ""]
    assert numbers(backlog.take(None, 10, 1000)) == [3, 2, 4, 1]


def test_an_answer_stops_before_the_byte_limit_but_not_before_its_first_event() -> None:
    backlog = Backlog()
    for number, size in enumerate([50, 30, 20, 1], 1):
        backlog.add_fresh(entry(number, 100, payload=bytes(size)))
    assert numbers(backlog.take(None, 10, 40)) == [1]
    assert numbers(backlog.take(None, 10, 50)) == [2, 3]
    assert numbers(backlog.take(None, 10, 0)) == [4]


def test_the_heap_of_heads_stays_small_when_everybody_consumes_by_topic() -> None:
    backlog = Backlog()
    backlog.add_fresh(entry(1, 0, "idle"))
    for number in range(2, 3000):
        topic = f"t{number % 3}"
        backlog.add_fresh(entry(number, number, topic))
        (one,) = backlog.take(topic, 1, 1000)
        if number % 7 == 0:
            backlog.add(one, number)
            backlog.take(topic, 1, 1000)
        assert len(backlog._heads) <= 2 * 4 + 65
    assert numbers(backlog.take(None, 5, 1000)) == [1]
    assert not backlog.has_ready(None)


def test_events_withdrawn_behind_the_head_leave_nothing_when_the_head_goes() -> None:
    backlog = Backlog()
    for number in range(1, 4):
        backlog.add_fresh(entry(number, 100, "t"))
    backlog.withdraw(2)
    backlog.withdraw(3)
    assert list(backlog.topics()) == [("t", 1, 0)]
    assert numbers(backlog.take("t", 5, 1000)) == [1]
    assert not backlog.has_ready("t")
    assert list(backlog.topics()) == []
    assert backlog._lanes == {}
