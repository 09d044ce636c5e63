"""The register is a sorted dict of rows, whatever comes and goes."""

import struct
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from persistence.block import BLOCK_ROWS, ROW
from persistence.entry import Place, Row
from persistence.register import Capture, Register
from tests.persistence.register_samples import add, check_structure, row

i64 = st.integers(-(2**63), 2**63 - 1)
u32 = st.integers(0, 2**32 - 1)
u8 = st.integers(0, 255)
any_rows = st.builds(
    Row, i64, i64, i64, i64, u32, u32, u32, u32, u32, u32, st.sampled_from(Place), u8, u8, u8
)
sizes = st.integers(1, BLOCK_ROWS + 300)


@given(any_rows, any_rows)
def test_a_row_comes_back_as_it_was_given(first: Row, second: Row) -> None:
    register = Register()
    register.insert(1, first)
    assert register.get(1) == first
    register.replace(1, second)
    found = register.get(1)
    assert found == second
    assert isinstance(found, Row)
    assert [register.count(place) for place in Place] == [second.place == place for place in Place]


def test_an_event_that_is_not_there_is_none_or_a_key_error() -> None:
    register = Register()
    add(register, [5, 9])
    for number in (-1, 0, 1, 6, 10, 2**64, 2**70):
        assert register.get(number) is None
        with pytest.raises(KeyError):
            register.replace(number, row(number))
        with pytest.raises(KeyError):
            register.remove(number)
    assert Register().get(0) is None


@pytest.mark.parametrize("number", [0, -1, 5, 9, 2**64])
def test_a_number_that_is_taken_or_impossible_is_refused(number: int) -> None:
    register = Register()
    add(register, [5, 9])
    before = list(register.rows())
    with pytest.raises(ValueError, match=r"."):
        register.insert(number, row(1))
    assert list(register.rows()) == before


@pytest.mark.parametrize("numbers", [[*range(2, BLOCK_ROWS + 2)], [2], [2, 4], [2**63]])
def test_a_row_that_cannot_be_packed_changes_nothing(numbers: list[int]) -> None:
    register = Register()
    add(register, numbers)
    before = list(register.rows())
    wrong_size, wrong_place = row(1)._replace(payload_size=-1), row(1)._replace(place=3)
    for number in (1, numbers[0] + 1, numbers[-1] + 1000):
        for wrong in (wrong_size, wrong_place):
            if register.get(number) is None:
                with pytest.raises((struct.error, IndexError)):
                    register.insert(number, wrong)
    for wrong in (wrong_size, wrong_place):
        with pytest.raises((struct.error, IndexError)):
            register.replace(numbers[0], wrong)
    assert list(register.rows()) == before
    assert register.count(Place.WAITING) == len(numbers)
    # What is between the last number and the refused one still finds its place.
    add(register, [numbers[-1] + 1])
    assert register.get(numbers[-1] + 1) is not None
    check_structure(register)


def test_removing_an_event_lets_go_of_its_topic_and_its_foreign_id() -> None:
    register = Register()
    for number in (1, 2):
        register.insert(number, row(number, register.topics.enter("orders"), named=1))
        register.foreign.add(number, f"a{number}")
    assert register.remove(1) == row(1, named=1)
    assert register.foreign.number_of("a1") is None
    assert len(register.topics) == 1
    register.remove(2)
    assert len(register.topics) == len(register.foreign) == len(register) == 0


def test_a_row_whose_topic_is_not_held_stays() -> None:
    register = Register()
    register.insert(1, row(1, topic=4))
    with pytest.raises(KeyError):
        register.remove(1)
    assert register.get(1) == row(1, topic=4)
    assert register.count(Place.WAITING) == 1


def test_rows_inserted_backwards_are_found() -> None:
    register = Register()
    numbers = range(3 * BLOCK_ROWS, 0, -1)
    add(register, numbers)
    assert [number for number, _ in register.rows()] == sorted(numbers)
    check_structure(register)


@pytest.mark.parametrize("first", [1, BLOCK_ROWS - 9, BLOCK_ROWS + 1])
@pytest.mark.parametrize("last", [BLOCK_ROWS * 2, BLOCK_ROWS * 3])
@pytest.mark.parametrize("order", ["ascending", "descending", "at random"])
def test_rows_that_are_taken_back_are_found(first: int, last: int, order: str) -> None:
    register = Register()
    add(register, range(1, 4 * BLOCK_ROWS))
    for number in (5, *range(first, last + 1)):
        if register.get(number):
            register.remove(number)
    gone = [number for number in range(1, last + 1) if not register.get(number)]
    if order == "descending":
        gone.reverse()
    if order == "at random":
        Random(1).shuffle(gone)
    register.get(last)
    for number in gone:
        add(register, [number])
        assert register.get(number) == row(number)
    assert [number for number, _ in register.rows()] == [*range(1, 4 * BLOCK_ROWS)]
    check_structure(register)


def test_a_row_inserted_where_a_block_went_is_found() -> None:
    register = Register()
    add(register, range(1, 4 * BLOCK_ROWS))
    for number in (*range(1, 10), *range(BLOCK_ROWS + 1, BLOCK_ROWS * 2 + 1)):
        register.remove(number)
    add(register, [BLOCK_ROWS * 2])
    assert register.get(BLOCK_ROWS * 2) == row(BLOCK_ROWS * 2)


def test_the_row_found_last_is_changed_in_its_new_place_after_it_moved() -> None:
    register = Register()
    add(register, range(1, BLOCK_ROWS + 1))
    for number in range(1, BLOCK_ROWS):
        register.remove(number)
    assert register.get(BLOCK_ROWS) == row(BLOCK_ROWS)
    more = Register()
    add(more, range(BLOCK_ROWS + 1, BLOCK_ROWS + 10))
    register.absorb(more.capture(0, 10))
    register.replace(BLOCK_ROWS, row(7))
    assert next(register.rows()) == (BLOCK_ROWS, row(7))


def test_rows_can_go_and_come_while_they_are_read() -> None:
    register = Register()
    add(register, range(1, 5 * BLOCK_ROWS))
    seen: list[int] = []
    for number, _ in register.rows(10):
        seen.append(number)
        if number % 1000 == 0 and number < 10**6:
            register.remove(number)
            register.remove(number + 1)
            add(register, [number, 10**6 + number])
    assert sorted(set(seen)) == seen
    untouched = {number for number in range(10, 5 * BLOCK_ROWS) if number % 1000 != 1}
    assert untouched <= set(seen)


@given(st.sets(st.integers(1, 4000), max_size=40), st.integers(0, 4100), st.integers(1, 50))
def test_a_capture_is_the_next_rows_and_says_where_it_ends(
    numbers: set[int], start: int, rows_max: int
) -> None:
    register = Register()
    add(register, sorted(numbers))
    capture = register.capture(start, rows_max)
    behind = sorted(number for number in numbers if number >= start)
    assert memoryview(capture.numbers).cast("Q").tolist() == behind[:rows_max]
    assert capture.rows == b"".join(ROW.pack(*row(number)) for number in behind[:rows_max])
    assert capture.upper == (behind[rows_max] if len(behind) > rows_max else None)


def test_a_capture_of_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="0 rows"):
        Register().capture(0, 0)


def test_an_empty_register_is_captured_whole() -> None:
    assert list(Register().captures()) == [Capture(None, b"", b"")]
    register = Register()
    register.absorb(Register().capture(0, 10))
    assert len(register) == 0


def test_what_cannot_have_been_captured_is_not_absorbed() -> None:
    register = Register()
    add(register, [5])
    good = ROW.pack(*row(1))
    wrong_place = ROW.pack(*row(1)._replace(place=3))

    def numbers(*given: int) -> bytes:
        return struct.pack(f"={len(given)}Q", *given)

    for capture in (
        Capture(None, numbers(5), good),
        Capture(None, numbers(4), good),
        Capture(None, numbers(7, 6), good * 2),
        Capture(None, numbers(7, 7), good * 2),
        Capture(None, numbers(7), good * 2),
        Capture(None, numbers(7), good[1:]),
        Capture(None, numbers(7)[1:], good),
        Capture(None, numbers(7, 8), good + wrong_place),
    ):
        with pytest.raises(ValueError, match=r"."):
            register.absorb(capture)
    assert [number for number, _ in register.rows()] == [5]
    assert len(register) == 1
    register.absorb(Capture(None, numbers(6), good))
    assert register.get(6) == row(1)


class RegisterAgainstADict(RuleBasedStateMachine):
    """Rows come in order or not, change, go in runs or one by one, and live through restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.register = Register()
        self.rows: dict[int, Row] = {}
        self.newest = 0

    def insert(self, number: int, place: int) -> None:
        named = int(number % 5 == 0)
        added = row(number, self.register.topics.enter(f"t{number % 7}"), place, named)
        self.register.insert(number, added)
        if named:
            self.register.foreign.add(number, f"a{number}")
        self.rows[number] = added
        self.newest = max(self.newest, number)

    def remove(self, number: int) -> None:
        assert self.register.remove(number) == self.rows.pop(number)

    @rule(count=sizes, gap=st.integers(1, 3), place=st.sampled_from(Place))
    def insert_many_newest(self, count: int, gap: int, place: Place) -> None:
        for _ in range(count):
            self.insert(self.newest + gap, place)

    @rule(at=st.floats(0, 1), count=st.integers(1, 200))
    def insert_between(self, at: float, count: int) -> None:
        first = int(at * self.newest) + 1
        for number in range(first, first + count):
            if number not in self.rows:
                self.insert(number, Place.DEAD)

    @precondition(lambda self: self.rows)
    @rule(at=st.floats(0, 1), count=sizes, kept=st.sampled_from([0, 0, 2, 3, 100]))
    def remove_a_run(self, at: float, count: int, kept: int) -> None:
        numbers = sorted(self.rows)
        first = int(at * len(numbers))
        for index, number in enumerate(numbers[first : first + count]):
            if not kept or index % kept:
                self.remove(number)

    @precondition(lambda self: self.rows)
    @rule(seed=st.integers(0, 2**32), part=st.sampled_from([0.1, 0.5, 0.9]))
    def remove_at_random(self, seed: int, part: float) -> None:
        for number in Random(seed).sample(sorted(self.rows), int(part * len(self.rows))):
            self.remove(number)

    @rule(turns=st.integers(1, 100))
    def come_and_go(self, turns: int) -> None:
        for _ in range(turns):
            self.insert(self.newest + 1, Place.WAITING)
            self.remove(self.newest)

    @precondition(lambda self: self.rows)
    @rule(seed=st.integers(0, 2**32), place=st.sampled_from(Place))
    def use_at_random(self, seed: int, place: Place) -> None:
        random = Random(seed)
        numbers = sorted(self.rows)
        for _ in range(20):
            at = random.randrange(len(numbers))
            for number in random.choices(numbers[max(at - 2, 0) : at + 3], k=5):
                assert self.register.get(number) == self.rows.get(number)
                if number not in self.rows:
                    continue
                changed = self.rows[number]._replace(due=random.randrange(10**6), place=place)
                self.register.replace(number, changed)
                self.rows[number] = changed
                assert self.register.get(number) == changed
                if random.random() < 0.2:
                    self.remove(number)
                    assert self.register.get(number) is None

    @rule(rows_max=st.integers(1, 3000))
    def restart(self, rows_max: int) -> None:
        fresh = Register()
        fresh.topics.restore(self.register.topics.capture())
        for capture in self.register.captures(rows_max=max(rows_max, len(self.rows) // 20)):
            fresh.absorb(capture)
        for number, foreign_id in self.register.foreign.items():
            fresh.foreign.add(number, foreign_id)
        self.register = fresh
        self.newest = max(self.rows, default=0)

    @invariant()
    def the_register_is_the_dict(self) -> None:
        register = self.register
        assert list(register.rows()) == sorted(self.rows.items())
        middle = self.newest // 2
        behind = [number for number, _ in register.rows(middle)]
        assert behind == sorted(number for number in self.rows if number >= middle)
        for number in (self.newest, self.newest + 1, middle, 1, 0):
            assert register.get(number) == self.rows.get(number)

    @invariant()
    def what_is_counted_is_there(self) -> None:
        register = self.register
        places = Counter(held.place for held in self.rows.values())
        assert len(register) == len(self.rows)
        assert [register.count(place) for place in Place] == [places[place] for place in Place]
        topics = Counter(held.topic for held in self.rows.values())
        assert {topic: register.topics.holders(topic) for topic in topics} == topics
        assert len(register.topics) == len(topics)
        assert dict(register.foreign.items()) == {
            number: f"a{number}" for number, held in self.rows.items() if held.named
        }

    @invariant()
    def the_structure_is_sound(self) -> None:
        check_structure(self.register)


RegisterAgainstADict.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
TestRegisterAgainstADict = RegisterAgainstADict.TestCase
