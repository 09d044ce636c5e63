"""A topic keeps its id as long as somebody holds it, and no longer."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from persistence.topics import Topics, TopicsCapture

NAMES = ["orders", "bäd", "mail/eu", "x", ""]


def test_the_same_name_has_one_id_and_other_names_have_others() -> None:
    topics = Topics()
    orders, mail = topics.enter("orders"), topics.enter("mail")
    assert topics.enter("orders") == orders != mail
    assert len(topics) == 2
    assert topics.find("mail") == mail
    assert topics.holders(orders) == 2


def test_a_size_is_that_of_the_name_in_utf_8() -> None:
    topics = Topics()
    assert topics.size(topics.enter("bäd")) == 4


def test_an_id_is_given_to_another_topic_once_nobody_holds_it() -> None:
    topics = Topics()
    orders = topics.enter("orders")
    topics.enter("mail")
    topics.leave(orders)
    assert topics.find("orders") is None
    assert topics.enter("other") == orders
    assert topics.name(orders) == "other"


@pytest.mark.parametrize("topic", [0, 1, -1])
def test_an_id_that_nobody_holds_is_a_key_error(topic: int) -> None:
    topics = Topics()
    topics.leave(topics.enter("orders"))
    for use in (topics.leave, topics.name, topics.size, topics.holders):
        with pytest.raises(KeyError):
            use(topic)
    assert len(topics) == 0


def test_restored_topics_go_on_as_the_captured_ones_would() -> None:
    topics = Topics()
    ids = [topics.enter(name) for name in ("a", "b", "c", "d", "c")]
    topics.leave(ids[1])
    restored = Topics()
    restored.restore(topics.capture())
    assert restored.capture() == topics.capture() == ((0, 2, 3), ("a", "c", "d"), (1, 2, 1))
    assert restored.enter("new") == 1
    assert restored.enter("newer") == 4
    assert restored.size(2) == 1


@pytest.mark.parametrize(
    "capture",
    [
        TopicsCapture((0, 0), ("a", "b"), (1, 1)),
        TopicsCapture((0, 1), ("a", "a"), (1, 1)),
        TopicsCapture((0,), ("a", "b"), (1, 1)),
        TopicsCapture((0,), ("a",), (0,)),
        TopicsCapture((-1,), ("a",), (1,)),
    ],
)
def test_what_cannot_have_been_captured_is_refused(capture: TopicsCapture) -> None:
    topics = Topics()
    with pytest.raises(ValueError, match=r"."):
        topics.restore(capture)
    assert topics.capture() == Topics().capture()


def test_topics_are_restored_only_where_there_are_none() -> None:
    topics = Topics()
    topics.enter("a")
    with pytest.raises(ValueError, match="held already"):
        topics.restore(TopicsCapture((), (), ()))


@given(st.lists(st.sampled_from(NAMES)))
def test_ids_are_as_small_as_there_were_topics_at_once(names: list[str]) -> None:
    topics = Topics()
    for name in names:
        topics.leave(topics.enter(name))
        assert topics.enter("kept") <= 1


class TopicsAgainstACounter(RuleBasedStateMachine):
    """Topics are a counter of names, in which each name has one id while it is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.topics = Topics()
        self.holders: Counter[str] = Counter()
        self.ids: dict[str, int] = {}

    @rule(name=st.sampled_from(NAMES))
    def enter(self, name: str) -> None:
        topic = self.topics.enter(name)
        assert self.ids.setdefault(name, topic) == topic
        self.holders[name] += 1

    @rule(name=st.sampled_from(NAMES))
    def leave(self, name: str) -> None:
        if name not in self.ids:
            return
        self.topics.leave(self.ids[name])
        self.holders[name] -= 1
        if not self.holders[name]:
            del self.holders[name], self.ids[name]

    @rule()
    def restart(self) -> None:
        capture = self.topics.capture()
        self.topics = Topics()
        self.topics.restore(capture)

    @invariant()
    def every_name_is_counted_under_its_own_id(self) -> None:
        assert len(self.topics) == len(self.ids) == len(set(self.ids.values()))
        for name in NAMES:
            topic = self.topics.find(name)
            assert topic == self.ids.get(name)
            if topic is not None:
                assert self.topics.name(topic) == name
                assert self.topics.size(topic) == len(name.encode())
                assert self.topics.holders(topic) == self.holders[name]
        assert all(topic < len(NAMES) for topic in self.ids.values())


TopicsAgainstACounter.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestTopicsAgainstACounter = TopicsAgainstACounter.TestCase
