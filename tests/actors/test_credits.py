"""Credits bound what is under way: taken and given back, forced beyond the limit by a restart."""

import pytest

from actors.credits import Credits


def test_credits_run_out_and_come_back() -> None:
    places = Credits(2)
    assert places.take()
    assert places.take()
    assert not places.take()
    assert (places.free, places.taken) == (0, 2)
    places.give_back()
    assert (places.free, places.taken) == (1, 1)
    assert places.take()


def test_several_are_taken_all_or_none() -> None:
    places = Credits(3)
    assert not places.take(4)
    assert places.free == 3
    assert places.take(3)
    places.give_back(3)
    assert places.free == 3


def test_a_restart_may_take_more_than_there_are() -> None:
    places = Credits(2)
    places.force(5)
    assert (places.free, places.taken) == (0, 5)
    assert not places.take()
    assert places.take(0)
    places.give_back(3)
    assert not places.take()
    places.give_back()
    assert places.take()
    assert places.free == 0


def test_giving_back_what_was_never_taken_is_a_bug() -> None:
    places = Credits(2)
    places.take()
    places.give_back()
    with pytest.raises(AssertionError, match="3 credits free of 2"):
        places.give_back()
