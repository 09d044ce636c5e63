"""The rules for what consumers hold: retries, backoff and death are exact to the millisecond."""

from typing import Any

import pytest

from actors.backoff import Backoff
from actors.broker import Consumer
from actors.clock import Moment
from actors.custody import WORKER_LOST, Custody, DeliveryPolicy
from persistence.entry import ConsumerKind, Entry, Lease, Stamp
from persistence.facts import Dead, Extended, Leased, ReturnCause, Returned, Settled
from tests.actors.samples import NOW, entry, numbers

WALL_AHEAD = 5000
CLIENT = Consumer()


def at(offset: int = 0) -> Moment:
    """A moment at which the wall clock is ahead of the engine's time."""
    return Moment(NOW + offset, NOW + offset + WALL_AHEAD)


def custody(*, max_retries: int = 3, boot: int = 7) -> Custody:
    return Custody(boot, DeliveryPolicy(10_000, max_retries, Backoff(1000, 3000, 2.0)))


def leased(rules: Custody, one: Entry, moment: Moment | None = None) -> Lease:
    (held,) = rules.lease([one], CLIENT, moment or at())
    rules.take_moves()
    return held


def only(items: Any) -> Any:
    (item,) = items
    return item


def test_a_lease_is_a_new_delivery_with_a_deadline() -> None:
    rules = custody()
    first, second = entry(1), entry(2, stamp=Stamp(3, 8))
    worker = Consumer(ConsumerKind.WORKER, "w")
    held = rules.lease([first, second], worker, at(10))
    assert [lease.entry.stamp for lease in held] == [Stamp(7, 1), Stamp(7, 9)]
    assert [lease.deadline for lease in held] == [NOW + 10_010] * 2
    assert [lease.since for lease in held] == [NOW + 10] * 2
    assert first.receipt_open
    facts = rules.take_moves().facts
    assert all(isinstance(fact, Leased) for fact in facts)
    fact = facts[1]
    assert isinstance(fact, Leased)
    assert (fact.event, fact.stamp) == (second.event, Stamp(7, 9))
    assert (fact.deadline, fact.length) == (NOW + 10_010 + WALL_AHEAD, 10_000)
    assert (fact.kind, fact.consumer) == (ConsumerKind.WORKER, "w")


def test_moves_are_handed_over_once() -> None:
    rules = custody()
    rules.lease([entry(1)], CLIENT, at())
    assert len(rules.take_moves().facts) == 1
    assert rules.take_moves().facts == []


def test_every_failed_delivery_waits_longer_until_the_last_one_kills() -> None:
    rules = custody(max_retries=3)
    one = entry(1)
    delays = []
    for retry in range(1, 4):
        rules.reject(
            leased(rules, one), requeue=True, delay_ms=None, error=f"no {retry}", at=at(retry)
        )
        moves = rules.take_moves()
        assert only(moves.waiting) is one
        assert moves.dead == []
        assert one.retries == retry
        delays.append(one.due - (NOW + retry))
        fact = only(moves.facts)
        assert isinstance(fact, Returned)
        assert (fact.cause, fact.retries, fact.error) == (
            ReturnCause.REJECTED,
            retry,
            f"no {retry}",
        )
        assert fact.due == one.due + WALL_AHEAD
    assert delays == [1000, 2000, 3000]

    rules.reject(leased(rules, one), requeue=True, delay_ms=None, error="at last", at=at(9))
    moves = rules.take_moves()
    assert moves.waiting == []
    dead = only(moves.dead)
    assert (dead.entry, dead.reason, dead.error) == (one, "max_retries_exceeded", "at last")
    assert dead.timestamp == NOW + 9 + WALL_AHEAD
    assert one.retries == 3
    assert one.stamp == Stamp(7, 4)
    fact = only(moves.facts)
    assert isinstance(fact, Dead)
    assert (fact.time, fact.retries, fact.reason) == (dead.timestamp, 3, "max_retries_exceeded")
    assert len(rules.leases) == 0


def test_without_retries_the_first_failure_kills() -> None:
    rules = custody(max_retries=0)
    one = entry(1)
    rules.reject(leased(rules, one), requeue=True, delay_ms=0, error="", at=at())
    assert only(rules.take_moves().dead).reason == "max_retries_exceeded"
    assert one.retries == 0


@pytest.mark.parametrize("delay_ms", [0, 1, 123_456])
def test_a_delay_that_the_consumer_asks_for_takes_the_backoffs_place(delay_ms: int) -> None:
    rules = custody()
    one = entry(1)
    rules.reject(leased(rules, one), requeue=True, delay_ms=delay_ms, error="", at=at())
    assert one.due == NOW + delay_ms
    assert one.retries == 1


def test_a_rejection_without_requeue_kills_at_once() -> None:
    rules = custody()
    one = entry(1)
    rules.reject(leased(rules, one), requeue=False, delay_ms=None, error="poison", at=at())
    dead = only(rules.take_moves().dead)
    assert (dead.reason, dead.error, one.retries) == ("rejected", "poison", 0)


def test_a_timeout_counts_as_a_retry_but_has_no_backoff() -> None:
    rules = custody(max_retries=2)
    one = entry(1)
    for retry in (1, 2):
        held = leased(rules, one)
        assert rules.expire(at(9999)) == 0
        assert rules.expire(at(10_000)) == 1
        moves = rules.take_moves()
        assert only(moves.waiting) is one
        assert (one.retries, one.due) == (retry, NOW + 10_000)
        fact = only(moves.facts)
        assert isinstance(fact, Returned)
        assert (fact.cause, fact.due) == (ReturnCause.TIMED_OUT, NOW + 10_000 + WALL_AHEAD)
        assert held.entry is one
    leased(rules, one)
    assert rules.expire(at(10_000)) == 1
    moves = rules.take_moves()
    assert moves.waiting == []
    dead = only(moves.dead)
    assert (dead.reason, dead.error) == ("visibility_timeout", "not settled within 10000 ms")
    assert one.retries == 2


def test_a_release_keeps_the_place_and_counts_no_retry() -> None:
    rules = custody(max_retries=0)
    one = entry(1, due=NOW - 500)
    for _ in range(20):
        rules.release(leased(rules, one), at())
        moves = rules.take_moves()
        assert only(moves.waiting) is one
        assert (one.due, one.retries) == (NOW - 500, 0)
        fact = only(moves.facts)
        assert isinstance(fact, Returned)
        assert (fact.cause, fact.retries) == (ReturnCause.RELEASED, 0)
    assert one.stamp == Stamp(7, 20)


def test_the_receipt_stays_open_after_a_timeout_and_a_release_alone() -> None:
    rules = custody(max_retries=1)
    one = entry(1)
    seen: list[tuple[str, bool]] = []
    for step in ("time out", "release", "time out"):
        held = leased(rules, one)
        seen.append(("lease", one.receipt_open))
        if step == "release":
            rules.release(held, at())
        else:
            rules.expire(at(10_000))
        seen.append((step, one.receipt_open))
    assert seen == [
        ("lease", True),
        ("time out", True),
        ("lease", True),
        ("release", True),
        ("lease", True),
        ("time out", False),  # it died of this one
    ]


@pytest.mark.parametrize("requeue", [True, False])
def test_the_receipt_is_spent_after_a_rejection(requeue: bool) -> None:
    rules = custody()
    one = entry(1)
    rules.reject(leased(rules, one), requeue=requeue, delay_ms=None, error="", at=at())
    assert not one.receipt_open


def test_an_extension_counts_from_now() -> None:
    rules = custody()
    held = leased(rules, entry(1))
    assert rules.extend(held, 500, at(100)) == NOW + 600 + WALL_AHEAD
    assert (held.deadline, held.length) == (NOW + 600, 500)
    fact = only(rules.take_moves().facts)
    assert isinstance(fact, Extended)
    assert (fact.deadline, fact.length) == (NOW + 600 + WALL_AHEAD, 500)
    assert rules.expire(at(599)) == 0
    assert rules.expire(at(600)) == 1
    assert only(rules.take_moves().facts).error == "not settled within 500 ms"


def test_an_extension_of_no_length_gives_the_visibility_timeout_and_one_of_zero_ends_it() -> None:
    rules = custody()
    held = leased(rules, entry(1))
    rules.extend(held, None, at(100))
    assert held.deadline == NOW + 10_100
    rules.extend(held, 0, at(200))
    assert rules.expire(at(200)) == 1


def test_settling_is_a_fact_and_no_move() -> None:
    rules = custody()
    one = entry(1)
    rules.settle(one)
    moves = rules.take_moves()
    fact = only(moves.facts)
    assert isinstance(fact, Settled)
    assert fact.event is one.event
    assert (moves.waiting, moves.dead) == ([], [])


def test_a_restart_keeps_clients_leases_and_fails_workers_deliveries() -> None:
    rules = custody(max_retries=2)
    client, lost, last = (
        entry(number, stamp=Stamp(6, number), receipt_open=True, retries=number - 1)
        for number in (1, 2, 3)
    )
    rules.restore(
        [
            Lease(client, NOW + 3000, 10_000),
            Lease(lost, NOW + 3000, 10_000, ConsumerKind.WORKER),
            Lease(last, NOW + 3000, 10_000, ConsumerKind.WORKER),
        ],
        at(),
    )
    moves = rules.take_moves()
    assert numbers(held.entry for held in rules.leases) == [1]
    assert rules.leases.find(1, Stamp(6, 1)) is not None
    assert numbers(moves.waiting) == [2]
    assert (lost.retries, lost.due, lost.receipt_open) == (2, NOW + 2000, False)
    dead = only(moves.dead)
    assert (dead.entry, dead.reason, dead.error) == (last, "max_retries_exceeded", WORKER_LOST)
    returned, died = moves.facts
    assert isinstance(returned, Returned)
    assert returned.cause is ReturnCause.WORKER_LOST
    assert isinstance(died, Dead)


def test_a_delivery_after_a_restart_is_later_than_any_before_it() -> None:
    rules = custody(boot=8)
    before = Stamp(7, 5)
    one = entry(1, stamp=before)
    rules.lease([one], CLIENT, at())
    assert one.stamp == Stamp(8, 6)
    assert one.stamp > before
