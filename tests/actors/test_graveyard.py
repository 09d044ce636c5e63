"""Dead letters in the order of their death, by page and by topic, held against a plain list."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors import graveyard as graveyard_module
from actors import pairs
from actors.graveyard import Graveyard
from actors.page_search import PageSearch
from persistence.entry import Place, Row

TOPICS = ("", "a", "b")


class Letter(NamedTuple):
    number: int
    topic: str
    size: int
    delivery: int = 1


class Deaths:
    """A graveyard, and in the place of the register a dict of rows."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.topics: dict[int, str] = {}
        self.graveyard = Graveyard(self.rows.get, self.topics.__getitem__)

    def die(self, number: int, topic: str = "", size: int = 2, delivery: int = 1) -> None:
        self.rows[number] = Row(0, 0, 0, 0, size, 0, boot=1, delivery=delivery, place=Place.DEAD)
        self.topics[number] = topic
        self.graveyard.add(topic, number, delivery)

    def discard(self, *numbers: int) -> None:
        for number in numbers:
            del self.rows[number]
        for number in numbers:
            self.graveyard.remove(self.topics.pop(number))

    def reprocess(self, *numbers: int) -> None:
        for number in numbers:
            self.rows[number] = self.rows[number]._replace(place=Place.WAITING)
        for number in numbers:
            self.graveyard.remove(self.topics[number])

    def search(self, **options: Any) -> PageSearch:
        asked = {"topic": None, "offset": 0, "limit": 10, "payload_bytes": 1000, **options}
        return PageSearch(self.graveyard, **asked)

    def page(self, **options: Any) -> list[int]:
        search = self.search(**options)
        while not search.step(1):
            pass
        return search.numbers


def filled() -> Deaths:
    deaths = Deaths()
    for number, topic in ((5, "a"), (3, "b"), (9, "a"), (1, "")):
        deaths.die(number, topic)
    return deaths


@pytest.fixture
def small() -> Iterator[None]:
    """Makes a few letters many: short chunks, swept as soon as most pairs are stale."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_TAKEN_MIN", 1)
        patch.setattr(graveyard_module, "CHUNK_PAIRS", 8)
        patch.setattr(graveyard_module, "_STALE_MIN", 1)
        patch.setattr(graveyard_module, "_SWEPT_AT_ONCE", 2)
        yield


class GraveyardAgainstAList(RuleBasedStateMachine):
    """The model keeps the dead in a list; those that left may die again after a new delivery."""

    def __init__(self) -> None:
        super().__init__()
        self.deaths = Deaths()
        self.dead: list[Letter] = []
        self.elsewhere: list[Letter] = []
        self.next_number = 1
        self.searches: list[tuple[PageSearch, slice, list[Letter]]] = []

    @rule(topic=st.sampled_from(TOPICS), count=st.integers(1, 9), size=st.integers(0, 9))
    def die(self, topic: str, count: int, size: int) -> None:
        for _ in range(count):
            letter = Letter(self.next_number, topic, size)
            self.next_number += 1
            self.deaths.die(*letter)
            self.dead.append(letter)

    @precondition(lambda self: self.elsewhere)
    @rule(data=st.data())
    def die_again(self, data: st.DataObject) -> None:
        letter = self.elsewhere.pop(data.draw(st.integers(0, len(self.elsewhere) - 1)))
        letter = letter._replace(delivery=letter.delivery + 1)
        self.deaths.die(*letter)
        self.dead.append(letter)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), count=st.integers(1, 12), reprocess=st.booleans(), together=st.booleans())
    def leave(self, data: st.DataObject, count: int, *, reprocess: bool, together: bool) -> None:
        first = data.draw(st.integers(0, len(self.dead) - 1))
        leaving = data.draw(st.permutations(self.dead[first : first + count]))
        leave = self.deaths.reprocess if reprocess else self.deaths.discard
        for some in [leaving] if together else [[letter] for letter in leaving]:
            leave(*[letter.number for letter in some])
        if reprocess:
            self.elsewhere += leaving
        self.dead = [letter for letter in self.dead if letter not in leaving]

    @rule(
        topic=st.none() | st.sampled_from((*TOPICS, "nobody")),
        offset=st.integers(0, 30),
        limit=st.integers(0, 8),
        payload_bytes=st.integers(0, 40),
    )
    def list_page(self, topic: str | None, offset: int, limit: int, payload_bytes: int) -> None:
        wanted = [x for x in self.dead if topic in {None, x.topic}][offset : offset + limit]
        expected: list[Letter] = []
        for letter in wanted:
            payload_bytes_left = payload_bytes - sum(x.size for x in (*expected, letter))
            if expected and payload_bytes_left < 0:
                break
            expected.append(letter)
        page = self.deaths.page(
            topic=topic, offset=offset, limit=limit, payload_bytes=payload_bytes
        )
        assert page == [letter.number for letter in expected]

    @rule(
        topic=st.none() | st.sampled_from(TOPICS),
        offset=st.integers(0, 9),
        limit=st.integers(1, 20),
    )
    def begin_a_search(self, topic: str | None, offset: int, limit: int) -> None:
        search = self.deaths.search(topic=topic, offset=offset, limit=limit)
        then = [letter for letter in self.dead if topic in {None, letter.topic}]
        self.searches.append((search, slice(offset, offset + limit), then))

    @precondition(lambda self: self.searches)
    @rule(data=st.data(), at_most=st.integers(1, 6))
    def go_on_searching(self, data: st.DataObject, at_most: int) -> None:
        at = data.draw(st.integers(0, len(self.searches) - 1))
        search, page, then = self.searches[at]
        if not search.step(at_most):
            return
        del self.searches[at]
        found = search.numbers
        assert found == [letter.number for letter in self.dead if letter.number in found]
        stayed = [letter for letter in then if letter in self.dead]
        of_these = [letter for letter in stayed if letter.number in found]
        if stayed == then:
            assert of_these == then[page]
        elif of_these:
            first = stayed.index(of_these[0])
            assert of_these == stayed[first : first + len(of_these)]

    @invariant()
    def the_counts_agree(self) -> None:
        graveyard = self.deaths.graveyard
        assert len(graveyard) == graveyard.count(None) == len(self.dead)
        for topic in TOPICS:
            assert graveyard.count(topic) == sum(letter.topic == topic for letter in self.dead)
        assert graveyard._pairs == sum(map(len, graveyard.chunks))
        assert all(map(len, graveyard.chunks))
        assert self.dead or not graveyard.chunks


TestGraveyardAgainstAList = pytest.mark.usefixtures("small")(GraveyardAgainstAList.TestCase)
TestGraveyardAgainstAList.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)


def test_letters_are_listed_in_the_order_of_their_death() -> None:
    assert filled().page() == [5, 3, 9, 1]


def test_a_page_begins_at_the_offset_and_ends_at_the_limit() -> None:
    deaths = filled()
    assert deaths.page(offset=1, limit=2) == [3, 9]
    assert deaths.page(offset=3, limit=2) == [1]
    assert deaths.page(offset=4) == []
    assert deaths.page(limit=0) == []


def test_a_page_of_a_topic_counts_its_letters_alone() -> None:
    deaths = filled()
    assert deaths.page(topic="a") == [5, 9]
    assert deaths.page(topic="a", offset=1) == [9]
    assert deaths.page(topic="") == [1]
    assert deaths.page(topic="nobody") == []


def test_counts_by_topic_and_over_all() -> None:
    deaths = filled()
    graveyard = deaths.graveyard
    assert len(graveyard) == 4
    assert [graveyard.count(topic) for topic in (None, "a", "b", "", "c")] == [4, 2, 1, 1, 0]
    deaths.discard(3)
    assert [graveyard.count(topic) for topic in (None, "a", "b")] == [3, 2, 0]


def test_a_page_stops_before_the_byte_limit_but_not_before_its_first_letter() -> None:
    deaths = Deaths()
    for number, size in ((1, 100), (2, 10), (3, 10), (4, 1)):
        deaths.die(number, size=size)
    assert deaths.page(payload_bytes=50) == [1]
    assert deaths.page(payload_bytes=20, offset=1) == [2, 3]
    assert deaths.page(payload_bytes=0, offset=3) == [4]


def test_a_letter_that_died_again_is_listed_last() -> None:
    deaths = filled()
    deaths.reprocess(5)
    assert deaths.page() == [3, 9, 1]
    deaths.die(5, "a", delivery=2)
    assert deaths.page() == [3, 9, 1, 5]


def test_all_letters_may_leave_together() -> None:
    deaths = filled()
    deaths.discard(5, 3, 9, 1)
    assert len(deaths.graveyard) == 0
    assert deaths.graveyard.chunks == []
    deaths.die(7)
    assert deaths.page() == [7]


def test_a_search_looks_at_no_more_letters_in_a_step_than_it_was_told_to_and_one_chunk() -> None:
    deaths = Deaths()
    for number in range(10_000):
        deaths.die(number, "ab"[number % 2])
    asked: list[int] = []

    def row_of(number: int) -> Row | None:
        asked.append(number)
        return deaths.rows.get(number)

    deaths.graveyard.row_of = row_of
    search = deaths.search(topic="b", offset=4990)
    steps = 0
    while not search.step(2000):
        assert len(asked) < 2000 + 1024
        asked.clear()
        steps += 1
    assert steps == 4
    assert search.numbers == list(range(9981, 10_000, 2))


def test_chunks_before_the_offset_are_not_looked_at_while_letters_leave_in_their_order() -> None:
    deaths = Deaths()
    for number in range(100_000):
        deaths.die(number)
    asked: list[int] = []

    def row_of(number: int) -> Row | None:
        asked.append(number)
        return deaths.rows.get(number)

    deaths.graveyard.row_of = row_of
    for number in range(10):
        deaths.discard(number)
    assert deaths.page(offset=90_000, limit=2) == [90_010, 90_011]
    assert len(asked) < 3 * 1024
    deaths.discard(50_000)
    assert deaths.page(offset=90_000, limit=2) == [90_011, 90_012]
    asked.clear()
    assert deaths.page(offset=80_000, limit=2) == [80_011, 80_012]
    assert len(asked) < 2 * 1024


def test_letters_that_leave_in_their_order_leave_no_pair_behind() -> None:
    deaths = Deaths()
    for number in range(5000):
        deaths.die(number)
    for number in range(4999):
        deaths.discard(number)
        assert deaths.graveyard._pairs == 4999 - number


def test_stale_pairs_are_swept_when_they_outnumber_the_others() -> None:
    deaths = Deaths()
    for number in range(20_000):
        deaths.die(number)
    for number in range(19_999, 0, -1):
        deaths.discard(number)
        # While a round of sweeping lasts, an eighth of what there is may become stale more.
        assert deaths.graveyard._pairs <= 2.5 * number + 100
    assert deaths.page() == [0]
    deaths.discard(0)
    assert deaths.graveyard.chunks == []


@pytest.mark.usefixtures("small")
def test_what_was_dropped_at_the_front_stays_away_when_chunks_are_joined() -> None:
    deaths = Deaths()
    graveyard = deaths.graveyard
    for number in range(16):
        deaths.die(number)
    for number in (0, 1, 2, *range(15, 8, -1), 7, 6, 5):
        deaths.discard(number)
    for number in range(100, 150):
        deaths.die(number)
        deaths.discard(number)
    assert len(graveyard.chunks) <= 2
    assert sum(map(len, graveyard.chunks)) == graveyard._pairs <= 8
    assert deaths.page() == [3, 4, 8]


def test_poor_chunks_are_joined() -> None:
    deaths = Deaths()
    for number in range(50_000):
        deaths.die(number)
    for number in range(50_000):
        if number % 100:
            deaths.discard(number)
        if number >= 25_000 and number % 1000 < 20:
            assert deaths.page(offset=249, limit=2) == [24_900, 25_000]
    assert len(deaths.graveyard.chunks) <= 10
    assert deaths.page(offset=100, limit=3) == [10_000, 10_100, 10_200]
