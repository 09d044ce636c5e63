"""Which events are the queue's: those that wait, but for the ones that it has just let go."""

from actors.departures import _REMEMBERED_MIN, Departures
from persistence.entry import Stamp
from persistence.facts import Leased, ReturnCause, Returned, Settled
from tests.actors.samples import NOW, Past


def leased(number: int, delivery: int = 1) -> Leased:
    return Leased(number, NOW, 0, Stamp(1, delivery), NOW + 10, 10)


def returned(number: int) -> Returned:
    return Returned(number, NOW, 0, Stamp(1, 1), ReturnCause.RELEASED)


def test_only_what_waits_in_the_register_waits() -> None:
    past = Past()
    past.event(1)
    past.lease(2)
    past.die(3)
    departures = Departures(past.register)
    assert [departures.waits(number) for number in (1, 2, 3, 4)] == [True, False, False, False]
    assert departures.waiting_row(1) == past.row(1)
    assert departures.waiting_row(2) is None


def test_what_has_left_waits_no_more_until_it_is_back() -> None:
    past = Past()
    past.event(1)
    departures = Departures(past.register)
    departures.leave([1])
    assert not departures.waits(1)
    assert departures.waiting_row(1) is None
    past.append(leased(1), returned(1))
    assert not departures.waits(1)  # the register is ahead of the queue
    departures.come_back([1])
    assert departures.waits(1)


def test_what_the_register_knows_is_not_remembered_for_long() -> None:
    past = Past()
    departures = Departures(past.register)
    count = 3 * _REMEMBERED_MIN
    for number in range(1, count + 1):
        past.event(number)
        departures.leave([number])
        past.append(leased(number))
        if number % 2:
            past.append(Settled(number))
    assert len(departures) <= _REMEMBERED_MIN
    assert not any(departures.waits(number) for number in range(1, count + 1))


def test_what_the_register_does_not_know_yet_is_remembered_however_much_it_is() -> None:
    past = Past()
    departures = Departures(past.register)
    count = 3 * _REMEMBERED_MIN
    for number in range(1, count + 1):
        past.event(number)
        departures.leave([number])
    assert not any(departures.waits(number) for number in range(1, count + 1))
