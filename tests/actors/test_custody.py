"""The rules for what consumers hold: retries, backoff and death are exact to the millisecond."""

from typing import Any

import pytest

from actors.backoff import Backoff
from actors.broker import Consumer
from actors.clock import Moment
from actors.custody import WORKER_LOST, Custody, DeliveryPolicy, Moves
from actors.leases import Lease
from actors.waiting import Waiting
from persistence.entry import ConsumerKind, Place, Stamp
from persistence.facts import Dead, Extended, Leased, ReturnCause, Returned, Settled
from tests.actors.samples import NOW, Past, numbers

WALL_AHEAD = 5000
CLIENT = Consumer()
BOOT = 7


def at(offset: int = 0) -> Moment:
    """A moment at which the wall clock is ahead of the engine's time."""
    return Moment(NOW + offset, NOW + offset + WALL_AHEAD)


class House:
    """Custody over the events of a log, which takes in the facts of every step."""

    def __init__(self, *, max_retries: int = 3, boot: int = BOOT) -> None:
        self.past = Past()
        policy = DeliveryPolicy(10_000, max_retries, Backoff(1000, 3000, 2.0))
        self.custody = Custody(boot, policy, self.past.row, self.past.topic)

    def moves(self) -> Moves:
        """Write what was noted, as the inflight tracker does, and return it."""
        moves = self.custody.take_moves()
        self.past.append(*moves.facts)
        return moves

    def lease(self, event: Waiting, moment: Moment | None = None) -> Lease:
        ((held, _),) = self.custody.lease([event], CLIENT, moment or at())
        self.moves()
        return held

    def reject(
        self,
        held: Lease,
        *,
        requeue: bool = True,
        delay_ms: int | None = None,
        error: str = "",
        moment: Moment | None = None,
    ) -> Moves:
        self.custody.reject(
            held, requeue=requeue, delay_ms=delay_ms, error=error, at=moment or at()
        )
        return self.moves()


def only(items: Any) -> Any:
    (item,) = items
    return item


def test_a_lease_is_a_new_delivery_with_a_deadline() -> None:
    house = House()
    past = house.past
    first = past.event(1, due=NOW - 3, timestamp=NOW - 3)
    second = past.event(2, retries=2, stamp=Stamp(3, 8))
    before = past.row(1), past.row(2)
    worker = Consumer(ConsumerKind.WORKER, "w")
    leased = house.custody.lease([first, second], worker, at(10))
    held = [lease for lease, _ in leased]
    assert tuple(row for _, row in leased) == before
    assert [lease.stamp for lease in held] == [Stamp(BOOT, 1), Stamp(BOOT, 9)]
    assert [lease.deadline for lease in held] == [NOW + 10_010] * 2
    assert [lease.since for lease in held] == [NOW + 10] * 2
    facts = house.moves().facts
    assert all(isinstance(fact, Leased) for fact in facts)
    fact = facts[1]
    assert isinstance(fact, Leased)
    assert (fact.number, fact.stamp) == (2, Stamp(BOOT, 9))
    assert (fact.due, fact.retries) == (NOW, 2)
    assert (fact.deadline, fact.length) == (NOW + 10_010 + WALL_AHEAD, 10_000)
    assert (fact.kind, fact.consumer) == (ConsumerKind.WORKER, "w")
    row = past.row(1)
    assert (row.place, row.stamp, row.receipt_open) == (Place.LEASED, Stamp(BOOT, 1), 1)
    assert (row.due, row.retries, row.kind) == (NOW - 3, 0, ConsumerKind.WORKER)


def test_all_leases_of_a_consumer_share_its_name() -> None:
    house = House()
    for number in (1, 2):
        name = "".join(["work", "er"])  # a new object each time
        house.custody.lease([house.past.event(number)], Consumer(name=name), at())
    first, second = house.custody.leases
    assert first.consumer is second.consumer


def test_moves_are_handed_over_once() -> None:
    house = House()
    house.custody.lease([house.past.event(1)], CLIENT, at())
    assert len(house.custody.take_moves().facts) == 1
    assert house.custody.take_moves().facts == []


def test_every_failed_delivery_waits_longer_until_the_last_one_kills() -> None:
    house = House(max_retries=3)
    one = house.past.event(1, "t")
    delays = []
    for retry in range(1, 4):
        moves = house.reject(house.lease(one), error=f"no {retry}", moment=at(retry))
        one = only(moves.waiting)
        assert (one.number, one.topic) == (1, "t")
        assert moves.dead == []
        delays.append(one.due - (NOW + retry))
        fact = only(moves.facts)
        assert isinstance(fact, Returned)
        assert (fact.cause, fact.retries, fact.error) == (
            ReturnCause.REJECTED,
            retry,
            f"no {retry}",
        )
        assert fact.due == one.due + WALL_AHEAD
        assert fact.stamp == Stamp(BOOT, retry)
        row = house.past.row(1)
        assert (row.place, row.retries, row.due) == (Place.WAITING, retry, fact.due)
    assert delays == [1000, 2000, 3000]

    moves = house.reject(house.lease(one), error="at last", moment=at(9))
    assert (moves.waiting, moves.dead) == ([], [1])
    fact = only(moves.facts)
    assert isinstance(fact, Dead)
    assert (fact.reason, fact.error) == ("max_retries_exceeded", "at last")
    assert (fact.time, fact.retries, fact.stamp) == (NOW + 9 + WALL_AHEAD, 3, Stamp(BOOT, 4))
    row = house.past.row(1)
    assert (row.place, row.retries, row.stamp) == (Place.DEAD, 3, Stamp(BOOT, 4))
    assert row.due == NOW + 9 + WALL_AHEAD
    assert len(house.custody.leases) == 0


def test_without_retries_the_first_failure_kills() -> None:
    house = House(max_retries=0)
    moves = house.reject(house.lease(house.past.event(1)), delay_ms=0)
    assert only(moves.facts).reason == "max_retries_exceeded"
    assert house.past.row(1).retries == 0


@pytest.mark.parametrize("delay_ms", [0, 1, 123_456])
def test_a_delay_that_the_consumer_asks_for_takes_the_backoffs_place(delay_ms: int) -> None:
    house = House()
    moves = house.reject(house.lease(house.past.event(1)), delay_ms=delay_ms)
    assert only(moves.waiting).due == NOW + delay_ms
    assert house.past.row(1).retries == 1


def test_a_rejection_without_requeue_kills_at_once() -> None:
    house = House()
    moves = house.reject(house.lease(house.past.event(1)), requeue=False, error="poison")
    assert moves.dead == [1]
    fact = only(moves.facts)
    assert (fact.reason, fact.error, fact.retries) == ("rejected", "poison", 0)


def test_a_timeout_counts_as_a_retry_but_has_no_backoff() -> None:
    house = House(max_retries=2)
    rules, one = house.custody, house.past.event(1)
    for retry in (1, 2):
        house.lease(one)
        assert rules.expire(at(9999), 10) == 0
        assert rules.expire(at(10_000), 10) == 1
        moves = house.moves()
        one = only(moves.waiting)
        assert (one.number, one.due) == (1, NOW + 10_000)
        fact = only(moves.facts)
        assert isinstance(fact, Returned)
        assert (fact.cause, fact.retries) == (ReturnCause.TIMED_OUT, retry)
        assert fact.due == NOW + 10_000 + WALL_AHEAD
    house.lease(one)
    assert rules.expire(at(10_000), 10) == 1
    moves = house.moves()
    assert (moves.waiting, moves.dead) == ([], [1])
    fact = only(moves.facts)
    assert (fact.reason, fact.error) == ("visibility_timeout", "not settled within 10000 ms")
    assert fact.retries == 2


def test_leases_that_ran_out_together_end_a_bounded_number_at_a_time() -> None:
    house = House()
    for number in range(1, 26):
        house.lease(house.past.event(number))
    assert [house.custody.expire(at(10_000), 10) for _ in range(4)] == [10, 10, 5, 0]
    assert sorted(numbers(house.moves().waiting)) == list(range(1, 26))


def test_a_release_keeps_the_place_and_counts_no_retry() -> None:
    house = House(max_retries=0)
    one = house.past.event(1, due=NOW - 500, timestamp=NOW - 500)
    for _ in range(20):
        house.custody.release(house.lease(one), at())
        moves = house.moves()
        assert moves.waiting == [one]
        fact = only(moves.facts)
        assert isinstance(fact, Returned)
        assert (fact.cause, fact.retries) == (ReturnCause.RELEASED, 0)
        assert fact.due == NOW - 500 + WALL_AHEAD
    assert house.past.row(1).stamp == Stamp(BOOT, 20)


def test_the_receipt_stays_open_after_a_timeout_and_a_release_alone() -> None:
    house = House(max_retries=1)
    one = house.past.event(1)
    seen: list[tuple[str, int]] = []
    for step in ("time out", "release", "time out"):
        held = house.lease(one)
        seen.append(("lease", house.past.row(1).receipt_open))
        if step == "release":
            house.custody.release(held, at())
        else:
            house.custody.expire(at(10_000), 10)
        house.moves()
        seen.append((step, house.past.row(1).receipt_open))
    assert seen == [
        ("lease", 1),
        ("time out", 1),
        ("lease", 1),
        ("release", 1),
        ("lease", 1),
        ("time out", 0),  # it died of this one
    ]


@pytest.mark.parametrize("requeue", [True, False])
def test_the_receipt_is_spent_after_a_rejection(requeue: bool) -> None:
    house = House()
    house.reject(house.lease(house.past.event(1)), requeue=requeue)
    assert not house.past.row(1).receipt_open


def test_an_extension_counts_from_now_and_says_all_that_the_lease_said() -> None:
    house = House()
    one = house.past.event(1, retries=2, stamp=Stamp(3, 8))
    ((held, _),) = house.custody.lease([one], Consumer(ConsumerKind.WORKER, "w"), at())
    house.moves()
    assert house.custody.extend(held, 500, at(100)) == NOW + 600 + WALL_AHEAD
    (longer,) = house.custody.leases
    assert (longer.deadline, longer.length, longer.since) == (NOW + 600, 500, NOW)
    fact = only(house.moves().facts)
    assert isinstance(fact, Extended)
    assert (fact.deadline, fact.length) == (NOW + 600 + WALL_AHEAD, 500)
    assert (fact.due, fact.retries, fact.stamp) == (NOW, 2, Stamp(BOOT, 9))
    assert (fact.kind, fact.consumer) == (ConsumerKind.WORKER, "w")
    assert house.custody.expire(at(599), 10) == 0
    assert house.custody.expire(at(600), 10) == 1
    assert only(house.moves().facts).error == "not settled within 500 ms"


def test_an_extension_of_no_length_gives_the_visibility_timeout_and_one_of_zero_ends_it() -> None:
    house = House()
    held = house.lease(house.past.event(1))
    house.custody.extend(held, None, at(100))
    assert only(house.custody.leases).deadline == NOW + 10_100
    house.custody.extend(held, 0, at(200))
    assert house.custody.expire(at(200), 10) == 1


def test_what_happens_to_a_lease_in_the_step_that_made_it_is_right() -> None:
    house = House()
    one = house.past.event(1, due=NOW - 5, timestamp=NOW - 5)
    ((held, _),) = house.custody.lease([one], CLIENT, at())
    house.custody.extend(held, 500, at())
    house.custody.release(held, at())
    assert house.custody.leases.find(1, Stamp(BOOT, 1)) is None
    moves = house.moves()
    assert [type(fact) for fact in moves.facts] == [Leased, Extended, Returned]
    assert moves.waiting == [one]
    assert house.past.row(1).stamp == Stamp(BOOT, 1)


def test_settling_is_a_fact_and_no_move() -> None:
    house = House()
    house.past.event(1)
    house.custody.settle(1)
    moves = house.moves()
    assert isinstance(only(moves.facts), Settled)
    assert (moves.waiting, moves.dead) == ([], [])
    assert house.past.numbers() == []


def test_a_restart_keeps_clients_leases_and_fails_workers_deliveries() -> None:
    house = House(max_retries=2)
    past = house.past
    leases = [
        past.lease(1, delivery=1, kind=ConsumerKind.CLIENT, retries=0),
        past.lease(2, delivery=2, kind=ConsumerKind.WORKER, retries=1),
        past.lease(3, delivery=3, kind=ConsumerKind.WORKER, retries=2),
    ]
    house.custody.restore(leases, at())
    moves = house.moves()
    assert numbers(house.custody.leases) == [1]
    assert house.custody.leases.find(1, Stamp(1, 1)) is not None
    assert moves.waiting == [Waiting(2, NOW + 2000, "")]
    assert moves.dead == [3]
    returned, died = moves.facts
    assert isinstance(returned, Returned)
    assert returned.cause is ReturnCause.WORKER_LOST
    assert isinstance(died, Dead)
    assert (died.reason, died.error) == ("max_retries_exceeded", WORKER_LOST)
    assert (past.row(2).retries, past.row(2).receipt_open) == (2, 0)


def test_a_delivery_after_a_restart_is_later_than_any_before_it() -> None:
    house = House(boot=8)
    before = Stamp(7, 5)
    one = house.past.event(1, stamp=before)
    house.lease(one)
    assert house.past.row(1).stamp == Stamp(8, 6)
    assert house.past.row(1).stamp > before
