"""New events taken in many at a time leave what they would leave one by one."""

from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from persistence.decode import decode
from persistence.encode import encode
from persistence.entry import NOT_WRITTEN, Stamp
from persistence.errors import Undecodable
from persistence.facts import Enqueued, Fact, Leased, Opened, Settled
from persistence.fold import Fold
from persistence.fresh import take_in_fresh
from persistence.layout import ENQUEUED
from tests.persistence.logs import everything
from tests.persistence.samples import NOW, bytes_of, enqueued
from tests.persistence.teller import Teller, happenings

START = 5000

fresh = st.builds(
    lambda step, due, topic, size, foreign_id: (step, due, topic, b"x" * size, foreign_id),
    # Numbers may come in another order than they were given away.
    st.sampled_from([1, 1, 1, 2, 5, -1]),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(["", "a", "b", "ünï"]) | st.text(max_size=4),
    st.integers(0, 60),
    st.sampled_from(["", "", "", "x", "y"]),
)


def a_fold() -> Fold:
    fold = Fold()
    fold.holdings.begin(0, 0)
    fold.holdings.grow(1 << 40)
    return fold


def known(fold: Fold) -> dict[str, Any]:
    topics = fold.register.topics.capture()
    return {**everything(fold), "raw": list(fold.register.rows()), "topics": topics}


def take_in(fold: Fold, body: bytes, *, fast: bool) -> str | None:
    """Take in a batch's facts; give what is wrong with them, if something is."""
    view = memoryview(body)
    at = take_in_fresh(fold, view, START, 0)[1] if fast else 0
    try:
        for position, size, _, fact in decode(view[at:], START + at, fold.look):
            fold.apply(fact, fold.row_of(fact), position, size)
    except Undecodable as error:
        return str(error)
    return None


def agree(body: bytes) -> None:
    fast, slow = a_fold(), a_fold()
    assert take_in(fast, body, fast=True) == take_in(slow, body, fast=False)
    assert known(fast) == known(slow)


def newcomers(drawn: list[tuple[int, int, str, bytes, str]]) -> list[Fact]:
    facts: list[Fact] = []
    number = 3
    for step, due, topic, payload, foreign_id in drawn:
        number = max(1, number + step)
        facts.append(Enqueued(number, NOW, due, topic, payload, foreign_id=foreign_id))
    return facts


def test_new_events_are_taken_in_up_to_the_first_other_fact() -> None:
    body = [bytes_of(enqueued(1)), bytes_of(enqueued(2, topic="ü")), bytes_of(Settled(1))]
    fold = a_fold()
    taken = take_in_fresh(fold, memoryview(b"".join(body)), START, 0)
    assert taken == (2, len(body[0]) + len(body[1]))
    assert [number for number, _ in fold.register.rows()] == [1, 2]
    assert (fold.next_number, fold.last_event_at) == (3, NOW + 2)
    assert fold.counters.enqueued == 2


def test_it_begins_where_it_is_told() -> None:
    body = bytes_of(Opened(1, NOW)) + bytes_of(enqueued(7))
    fold = a_fold()
    assert take_in_fresh(fold, memoryview(body), START, len(bytes_of(Opened(1, NOW)))) == (
        1,
        len(body),
    )
    row = fold.register.get(7)
    assert row is not None
    assert row.last_fact == START + len(bytes_of(Opened(1, NOW)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes_of(Settled(1)),
        bytes_of(Leased(1, 0, 0, Stamp(1, 1), 0, 0)),
        bytes_of(enqueued(1, foreign_id="x")),
        bytes_of(attrs.evolve(enqueued(1), copied=True)),
        bytes_of(enqueued(1))[:-1],
        bytes_of(enqueued(1))[:30],
    ],
)
def test_what_is_no_plain_new_event_changes_nothing(data: bytes) -> None:
    fold = a_fold()
    before = known(fold)
    assert take_in_fresh(fold, memoryview(data), START, 0) == (0, 0)
    assert known(fold) == before


@given(st.lists(fresh, max_size=30))
def test_new_events_leave_what_they_would_leave_one_by_one(
    drawn: list[tuple[int, int, str, bytes, str]],
) -> None:
    agree(b"".join(map(bytes_of, newcomers(drawn))))


@given(happenings)
def test_whatever_comes_between_new_events_is_left_to_others(
    happened: list[tuple[str, int]],
) -> None:
    teller = Teller()
    for what, pick in happened:
        teller.happen(what, pick)
    parts: list[bytes] = []
    for one in teller.told:
        if one.fact is not None:
            encode(one.fact, NOT_WRITTEN, parts)
    agree(b"".join(parts))


@settings(max_examples=150)
@given(
    st.lists(fresh, min_size=1, max_size=4),
    st.data(),
)
def test_bytes_that_make_no_sense_are_judged_as_if_read_one_by_one(
    drawn: list[tuple[int, int, str, bytes, str]], data: st.DataObject
) -> None:
    body = bytearray(b"".join(map(bytes_of, newcomers(drawn))))
    for _ in range(data.draw(st.integers(1, 3))):
        # Most of what can go wrong stands in the fixed part of a fact.
        at = data.draw(st.integers(0, min(len(body), ENQUEUED.size + 8) - 1))
        body[at] = data.draw(st.sampled_from([0, 1, 2, 3, 0xFF, body[at] ^ 1, body[at] ^ 64]))
    agree(bytes(body))


@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(-3, 3))
@example(0, 1, 0)
@example(0, 0, 1)
def test_sizes_that_do_not_fit_are_refused(size: int, topic: int, payload: int) -> None:
    event = enqueued(1)
    head = list(ENQUEUED.unpack_from(bytes_of(event)))
    head[2] += size
    head[7] += topic
    head[8] += payload
    tail = bytes_of(event)[ENQUEUED.size :]
    agree(ENQUEUED.pack(*head) + tail + bytes_of(enqueued(2)))
