"""Parked polls stand in lines in the order of their coming; who gave up is passed over."""

from actors.broker import Consumer
from actors.polls import ParkedPolls, Poll, PollState
from actors.reply import Reply


def poll(topic: str | None = None) -> Poll:
    return Poll(topic, 10, parks=True, consumer=Consumer(), reply=Reply())


async def test_each_topic_and_any_have_a_line_of_their_own() -> None:
    parked = ParkedPolls()
    anything, early, late = poll(), poll("a"), poll("a")
    for one in (anything, early, late):
        parked.park(one)
    assert parked.first(None) is anything
    assert parked.first("a") is early
    assert parked.first("b") is None
    assert anything.ticket < early.ticket < late.ticket
    parked.leave(early)
    assert parked.first("a") is late
    parked.leave(late)
    assert parked.first("a") is None
    assert len(parked) == 1


async def test_the_empty_topic_is_not_any_topic() -> None:
    parked = ParkedPolls()
    parked.park(poll(""))
    assert parked.first(None) is None
    parked.park(poll())
    assert parked.first("") is not parked.first(None)


async def test_polls_that_gave_up_are_passed_over_and_dropped() -> None:
    parked = ParkedPolls()
    polls = [poll("a") for _ in range(4)]
    for one in polls:
        parked.park(one)
    assert polls[0].give_up()
    assert polls[1].give_up()
    assert parked.first("a") is polls[2]
    assert len(parked) == 2
    assert parked.in_order() == polls[2:]


async def test_a_line_in_which_all_gave_up_is_gone() -> None:
    parked = ParkedPolls()
    one, other = poll("a"), poll()
    parked.park(one)
    parked.park(other)
    one.give_up()
    other.give_up()
    assert parked.first("a") is parked.first(None) is None
    assert len(parked) == 0


async def test_a_granted_poll_cannot_give_up() -> None:
    one = poll()
    one.state = PollState.GRANTED
    assert not one.give_up()
    assert one.state is PollState.GRANTED


async def test_giving_up_twice_is_giving_up_once() -> None:
    one = poll()
    assert one.give_up()
    assert one.give_up()
    assert one.state is PollState.OVER


async def test_leaving_without_having_been_parked_changes_nothing() -> None:
    parked = ParkedPolls()
    stays = poll("a")
    parked.park(stays)
    parked.leave(poll("a"))
    parked.leave(poll("b"))
    assert parked.in_order() == [stays]


async def test_all_polls_are_told_in_the_order_in_which_they_came() -> None:
    parked = ParkedPolls()
    polls = [poll(topic) for topic in ("b", None, "a", "b", None)]
    for one in polls:
        parked.park(one)
    assert parked.in_order() == polls
