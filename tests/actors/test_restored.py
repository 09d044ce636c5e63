"""What a restart gives back, when the wall clock was set back or ahead between two processes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clock import Moment
from actors.put_off import DELAY_MAX_MS
from actors.restored import Restored, held, restore
from actors.waiting import Waiting
from persistence.entry import ConsumerKind, Stamp
from persistence.facts import Dead, Extended, Fact, Leased
from tests.actors.samples import NOW, Past, numbers

DAY_MS = 24 * 60 * 60 * 1000
SHIFTS = st.integers(-3 * DAY_MS, 3 * DAY_MS)
TOPICS = st.sampled_from(["", "a", "b"])
BOOT = 7


def at(offset: int) -> Moment:
    return Moment(NOW + offset, NOW + offset)


def restored(past: Past, offset: int = 0) -> Restored:
    return restore(past.register, BOOT, at(offset))


def ready(back: Restored, topic: str | None = None) -> list[Waiting]:
    return back.backlog.take(topic, 1000, lambda _: 0, 1)


def all_waiting(back: Restored) -> list[Waiting]:
    """Let all the time pass that there is."""
    back.backlog.promote(NOW + 10 * DAY_MS)
    return ready(back)


@settings(max_examples=50)
@given(SHIFTS, st.lists(st.tuples(TOPICS, st.integers(0, DAY_MS)), max_size=12))
def test_new_events_are_due_at_once_in_the_order_of_acceptance(
    shift: int, published: list[tuple[str, int]]
) -> None:
    # The wall clock was set to and fro while these were accepted, too.
    past = Past()
    for number, (topic, offset) in enumerate(published, 1):
        past.event(number, topic, due=NOW + offset, timestamp=NOW + offset)
    back = restored(past, shift)
    assert back.backlog.delayed == 0
    waiting = ready(back)
    assert numbers(waiting) == list(range(1, len(published) + 1))
    assert [one.topic for one in waiting] == [topic for topic, _ in published]
    assert all(one.due <= NOW + shift for one in waiting)


@settings(max_examples=50)
@given(SHIFTS, st.lists(st.tuples(st.integers(0, 5), st.integers(0, DELAY_MAX_MS)), max_size=12))
def test_a_retry_never_waits_longer_than_the_longest_delay(
    shift: int, failed: list[tuple[int, int]]
) -> None:
    past = Past()
    for number, (retries, delay) in enumerate(failed, 1):
        stamp = Stamp(1, retries + 1)
        past.event(number, due=NOW + delay, retries=retries + 1, stamp=stamp)
    waiting = all_waiting(restored(past, shift))
    assert len(waiting) == len(failed)
    for one in waiting:
        assert one.due <= NOW + shift + DELAY_MAX_MS
        if shift >= 0:
            assert one.due == NOW + failed[one.number - 1][1]
    places = [(one.due, one.number) for one in waiting]
    assert places == sorted(places)


@settings(max_examples=50)
@given(SHIFTS, st.lists(st.tuples(st.integers(-DAY_MS, DAY_MS), st.integers(0, DAY_MS))))
def test_a_lease_lasts_at_most_its_length_and_at_least_nothing(
    shift: int, leases: list[tuple[int, int]]
) -> None:
    facts: list[Fact] = [
        Leased(number, NOW, 0, Stamp(1, 1), NOW + deadline, length)
        for number, (deadline, length) in enumerate(leases, 1)
    ]
    now = NOW + shift
    assert [one.deadline - now for one in held(facts, at(shift))] == [
        min(length, max(0, NOW + deadline - now)) for deadline, length in leases
    ]


def test_a_lease_is_as_its_newest_fact_says() -> None:
    fact = Extended(3, NOW - 5, 2, Stamp(4, 9), NOW + 700, 1000, ConsumerKind.WORKER, "worker-1")
    (lease,) = held([fact], at(0))
    assert (lease.number, lease.stamp) == (3, Stamp(4, 9))
    assert (lease.deadline, lease.length, lease.due) == (NOW + 700, 1000, NOW - 5)
    assert (lease.kind, lease.consumer) == (ConsumerKind.WORKER, "worker-1")
    assert lease.since == 0  # nobody knows


def test_a_leased_event_regains_no_place_in_the_future() -> None:
    (lease,) = held([Leased(3, NOW, 0, Stamp(1, 1), NOW + 700, 1000)], at(-DAY_MS))
    assert lease.due == NOW - DAY_MS


def test_an_untroubled_clock_changes_no_time() -> None:
    past = Past()
    past.event(1, due=NOW - 10, timestamp=NOW - 10)
    past.event(2, due=NOW + 5, retries=1, stamp=Stamp(1, 1))
    back = restored(past)
    assert (back.backlog.ready, back.backlog.delayed) == (1, 1)
    assert back.backlog.next_due() == NOW + 5
    assert all_waiting(back) == [Waiting(1, NOW - 10, ""), Waiting(2, NOW + 5, "")]


def test_what_was_released_or_timed_out_is_due_at_once_when_the_clock_was_set_back() -> None:
    past = Past()
    past.event(1, stamp=Stamp(1, 1), receipt_open=True)
    past.event(2, due=NOW + 10, stamp=Stamp(1, 1), retries=1, receipt_open=True)
    past.event(3, due=NOW + 20, stamp=Stamp(1, 6))  # as one that was reprocessed
    waiting = ready(restored(past, -DAY_MS))
    assert waiting == [Waiting(number, NOW - DAY_MS, "") for number in (1, 2, 3)]


def test_what_came_back_takes_its_old_place_among_new_events() -> None:
    past = Past()
    for number in (1, 2, 3):
        past.event(number, due=NOW + number, timestamp=NOW + number)
    past.event(9, due=NOW + 2, stamp=Stamp(1, 1), receipt_open=True)
    assert numbers(ready(restored(past, 100))) == [1, 2, 9, 3]


def test_a_new_event_that_was_put_off_waits_for_its_time() -> None:
    past = Past()
    past.event(1, due=NOW + 5000)
    back = restored(past, 1000)
    assert (back.backlog.delayed, back.backlog.next_due()) == (1, NOW + 5000)


def test_every_event_is_restored_in_its_place() -> None:
    past = Past()
    past.event(1)
    past.lease(2)
    past.die(3)
    past.event(4, due=NOW + 5)
    past.lease(5)
    back = restored(past)
    assert back.leased == [2, 5]
    assert (back.backlog.ready, back.backlog.delayed, len(back.graveyard)) == (1, 1, 1)
    past.log.write()
    assert numbers(held(past.log.read_facts(back.leased), at(0))) == [2, 5]


def deaths(back: Restored) -> list[int]:
    return [number for chunk in back.graveyard.chunks for number in chunk.firsts]


def test_dead_letters_are_in_the_order_of_their_death() -> None:
    past = Past()
    for number, time in ((1, 50), (2, 10), (3, 50), (4, 40)):
        past.die(number, topic="ba"[number % 2], time=NOW + time, delivery=number)
    back = restored(past)
    assert deaths(back) == [2, 4, 1, 3]
    assert back.graveyard.count("a") == 2
    assert all(back.graveyard.is_dead(number, number) for number in range(1, 5))


def test_dead_letters_of_one_millisecond_are_in_the_order_of_the_log() -> None:
    past = Past()
    past.die(5, 3, 9, 1)
    assert deaths(restored(past)) == [5, 3, 9, 1]


def test_an_imported_dead_letter_was_never_delivered() -> None:
    past = Past()
    past.event(1, "a")
    past.append(Dead(1, NOW, 3, Stamp(0, 0), "max_retries_exceeded"))
    back = restored(past)
    assert back.graveyard.is_dead(1, 0)
    assert len(back.backlog) == 0


def test_what_waits_is_the_backlogs_until_it_leaves() -> None:
    past = Past()
    past.event(1)
    past.event(2)
    back = restored(past)
    back.departures.leave([1])
    back.backlog.withdraw("", delayed=False)
    assert numbers(ready(back)) == [2]
