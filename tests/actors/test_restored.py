"""What a restart gives back, when the wall clock was set back or ahead between two processes."""

from hypothesis import given
from hypothesis import strategies as st

from actors.clock import Moment
from actors.restored import DELAY_MAX_MS, restore
from persistence.counters import Counters
from persistence.entry import Entry, Lease, Stamp
from persistence.replay import Recovered
from tests.actors.samples import NOW, entry, lease, letter, numbers

DAY_MS = 24 * 60 * 60 * 1000
SHIFTS = st.integers(-3 * DAY_MS, 3 * DAY_MS)
TOPICS = st.sampled_from(["", "a", "b"])


def recovered(waiting: list[Entry] | None = None, leases: list[Lease] | None = None) -> Recovered:
    return Recovered(waiting or [], leases or [], [], 100, Counters(), 1)


def at(offset: int) -> Moment:
    return Moment(NOW + offset, NOW + offset)


@given(SHIFTS, st.lists(st.tuples(TOPICS, st.integers(0, DAY_MS)), max_size=12))
def test_new_events_are_due_at_once_in_the_order_of_acceptance(
    shift: int, published: list[tuple[str, int]]
) -> None:
    # The wall clock was set to and fro while these were accepted, too.
    waiting = [
        entry(number, NOW + offset, topic, timestamp=NOW + offset)
        for number, (topic, offset) in enumerate(published, 1)
    ]
    waiting.sort(key=lambda one: (one.due, one.event.number))
    restored = restore(recovered(waiting), at(shift)).waiting
    assert all(one.due <= NOW + shift for one in restored)
    for topic in ("", "a", "b"):
        order = numbers(one for one in restored if one.event.topic == topic)
        assert order == sorted(order)


@given(SHIFTS, st.lists(st.tuples(st.integers(0, 5), st.integers(0, DELAY_MAX_MS)), max_size=12))
def test_a_retry_never_waits_longer_than_the_longest_delay(
    shift: int, failed: list[tuple[int, int]]
) -> None:
    waiting = [
        entry(number, NOW + delay, retries=retries + 1, stamp=Stamp(1, retries + 1))
        for number, (retries, delay) in enumerate(failed, 1)
    ]
    restored = restore(recovered(waiting), at(shift)).waiting
    for one in restored:
        assert one.due <= NOW + shift + DELAY_MAX_MS
        if shift >= 0:
            assert one.due == NOW + failed[one.event.number - 1][1]
    places = [(one.due, one.event.number) for one in restored]
    assert places == sorted(places)


@given(SHIFTS, st.lists(st.tuples(st.integers(-DAY_MS, DAY_MS), st.integers(0, DAY_MS))))
def test_a_lease_lasts_at_most_its_length_and_at_least_nothing(
    shift: int, held: list[tuple[int, int]]
) -> None:
    leases = []
    for number, (deadline, length) in enumerate(held, 1):
        one = lease(number, NOW + deadline)
        one.length = length
        leases.append(one)
    now = NOW + shift
    restored = restore(recovered(leases=leases), at(shift)).leases
    assert [one.deadline - now for one in restored] == [
        min(length, max(0, NOW + deadline - now)) for deadline, length in held
    ]


def test_an_untroubled_clock_changes_no_time() -> None:
    waiting = [entry(1, NOW - 10, timestamp=NOW - 10), entry(2, NOW + 5, retries=1)]
    held = lease(3, NOW + 700)
    back = restore(recovered(waiting, [held]), at(0))
    assert [one.due for one in back.waiting] == [NOW - 10, NOW + 5]
    assert held.deadline == NOW + 700
    assert back.next_number == 100


def test_what_was_released_or_timed_out_is_due_at_once_when_the_clock_was_set_back() -> None:
    released = entry(1, NOW, stamp=Stamp(1, 1), receipt_open=True)
    timed_out = entry(2, NOW + 10, stamp=Stamp(1, 1), retries=1, receipt_open=True)
    reprocessed = entry(3, NOW + 20, stamp=Stamp(1, 6))
    restored = restore(recovered([released, timed_out, reprocessed]), at(-DAY_MS)).waiting
    assert numbers(restored) == [1, 2, 3]
    assert [one.due for one in restored] == [NOW - DAY_MS] * 3


def test_an_event_accepted_before_the_clock_was_set_back_stays_before_one_accepted_after() -> None:
    early, late = entry(1, NOW, timestamp=NOW), entry(2, NOW - 500, timestamp=NOW - 500)
    assert numbers(restore(recovered([late, early]), at(-400)).waiting) == [1, 2]


def test_a_new_event_that_was_put_off_waits_for_its_time() -> None:
    put_off = entry(1, NOW + 5000, timestamp=NOW)
    restore(recovered([put_off]), at(1000))
    assert put_off.due == NOW + 5000


def test_dead_letters_and_the_next_number_pass_through() -> None:
    dead = letter(4)
    state = Recovered([], [], [dead], 17, Counters(), 3)
    restored = restore(state, at(0))
    assert (restored.dead, restored.next_number) == ([dead], 17)
