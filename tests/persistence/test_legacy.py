"""Facts that release 0.1.0 wrote are read, and get what they lack from what was known before."""

import pytest

from persistence.decode import decode, decode_one
from persistence.entry import ConsumerKind, Place, Row, Stamp
from persistence.errors import Undecodable
from persistence.facts import (
    Dead,
    Extended,
    Fact,
    Leased,
    Reprocessed,
    ReturnCause,
    Returned,
)
from tests.persistence.samples import (
    NOW,
    content,
    old_dead,
    old_extended,
    old_leased,
    old_reprocessed,
    old_returned,
)

START = 9000
WAITING = Row(100, 50, NOW, NOW + 3, 10, 1, 0, 2, 4, 5)
LEASED = WAITING._replace(place=Place.LEASED, kind=ConsumerKind.WORKER)
OLD = [
    old_leased(7, 50, (6, 1), NOW + 9, 9),
    old_extended(7, 50, NOW + 9, 9),
    old_returned(7, 50, NOW, 3, 1),
    old_dead(7, 50, NOW, 3, b"rejected"),
    old_reprocessed(7, 50, NOW),
]


def read(data: bytes, row: Row = LEASED) -> Fact:
    rows = {7: row}
    [(position, size, previous, fact)] = decode(memoryview(data), START, rows.get)
    assert (position, size, previous) == (START, len(data), 50)
    assert content(decode_one(data + b"more", START, rows.get)[0]) == content(fact)
    return fact


def same(found: Fact, expected: Fact) -> None:
    assert content(found) == content(expected)


def test_a_lease_has_the_place_and_the_retries_of_its_event() -> None:
    data = old_leased(7, 50, (6, 1), NOW + 9, 9, 1, "wörker".encode())
    expected = Leased(7, NOW + 3, 2, Stamp(6, 1), NOW + 9, 9, ConsumerKind.WORKER, "wörker")
    same(read(data, WAITING), expected)


def test_an_extension_goes_on_with_its_lease() -> None:
    expected = Extended(7, NOW + 3, 2, Stamp(4, 5), NOW + 99, 90, ConsumerKind.WORKER)
    same(read(old_extended(7, 50, NOW + 99, 90)), expected)


def test_a_return_has_the_stamp_of_the_newest_delivery() -> None:
    expected = Returned(7, NOW + 1, 3, Stamp(4, 5), ReturnCause.TIMED_OUT, "läte")
    same(read(old_returned(7, 50, NOW + 1, 3, 2, "läte".encode())), expected)


def test_a_death_has_the_stamp_of_the_newest_delivery() -> None:
    expected = Dead(7, NOW + 1, 3, Stamp(4, 5), "rejected", "nö")
    same(read(old_dead(7, 50, NOW + 1, 3, b"rejected", "nö".encode())), expected)


def test_a_reprocessed_event_has_the_stamp_of_the_newest_delivery() -> None:
    same(read(old_reprocessed(7, 50, NOW + 1)), Reprocessed(7, NOW + 1, Stamp(4, 5)))


def test_the_row_is_looked_up_as_it_is_before_each_fact() -> None:
    rows = {7: WAITING}
    found: list[Fact] = []
    for *_, fact in decode(memoryview(b"".join(OLD)), START, rows.get):
        found.append(fact)
        rows[7] = rows[7]._replace(boot=rows[7].boot + 1)
    assert [fact.stamp.boot for fact in found if not isinstance(fact, Leased)] == [5, 6, 7, 8]  # type: ignore[union-attr]


@pytest.mark.parametrize("data", OLD)
def test_a_fact_about_an_unknown_event_is_refused(data: bytes) -> None:
    with pytest.raises(Undecodable, match="event 7, which is not there") as caught:
        decode_one(data, START, {8: LEASED}.get)
    assert caught.value.position == START


@pytest.mark.parametrize("stamp", [(2**32, 1), (1, 2**32)])
def test_a_stamp_that_no_row_can_hold_is_refused(stamp: tuple[int, int]) -> None:
    with pytest.raises(Undecodable, match="greater than any can be"):
        read(old_leased(7, 50, stamp, NOW, 9))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (old_leased(7, 50, (1, 1), NOW, 9, 2), "not a valid ConsumerKind"),
        (old_leased(7, 50, (1, 1), NOW, 9, 0, b"\xff"), "codec can't decode"),
        (old_returned(7, 50, NOW, 1, 0), "not a valid ReturnCause"),
        (old_returned(7, 50, NOW, 1, 1, b"\xff"), "codec can't decode"),
        (old_dead(7, 50, NOW, 1, b"\xff", b"no"), "codec can't decode"),
        (old_dead(7, 50, NOW, 1, b"no", b"\xff"), "codec can't decode"),
    ],
)
def test_what_means_nothing_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(Undecodable, match=what) as caught:
        read(data)
    assert caught.value.position == START
