"""The rules for events in consumers' hands: leases, retries and death. Pure; takes the moment."""

from collections.abc import Callable, Iterable, Sequence
from sys import intern

import attrs

from actors.backoff import Backoff
from actors.broker import Consumer
from actors.clock import Moment
from actors.leases import Lease, LeaseTable
from actors.waiting import Waiting
from persistence.entry import ConsumerKind, Row, Stamp
from persistence.facts import Dead, Extended, Fact, Leased, ReturnCause, Returned, Settled

WORKER_LOST = "the process ended while a worker held the event"


@attrs.frozen
class DeliveryPolicy:
    """How often and for how long an event is tried; see `BrokerSettings`."""

    visibility_timeout_ms: int
    max_retries: int
    backoff: Backoff


@attrs.define(eq=False)
class Moves:
    """What is to be done after a step: write facts, then send events to their next place.

    Attributes:
        facts: to be written in this order.
        waiting: events for the queue.
        dead: numbers of events for the dead letters.
    """

    facts: list[Fact] = attrs.field(factory=list)
    waiting: list[Waiting] = attrs.field(factory=list)
    dead: list[int] = attrs.field(factory=list)


class Custody:
    """Leases, and what becomes of them. Each step notes its consequences in `moves`.

    Facts say all about an event's delivery, so they are made from the event's row. A row may be
    older than its lease by the facts of this very step, but what they change is in the lease.

    Args:
        boot: this process's boot number, the first half of every stamp given here.
        policy: how often and for how long an event is tried.
        row_of: gives the row of an event that is leased, or about to be.
        topic_of: gives the name of the topic in a row.
    """

    def __init__(
        self,
        boot: int,
        policy: DeliveryPolicy,
        row_of: Callable[[int], Row],
        topic_of: Callable[[Row], str],
    ) -> None:
        self._boot = boot
        self._policy = policy
        self._row_of = row_of
        self._topic_of = topic_of
        self.leases = LeaseTable()
        self.moves = Moves()

    def take_moves(self) -> Moves:
        """Return the consequences noted since the last call, to be carried out now."""
        moves, self.moves = self.moves, Moves()
        return moves

    def restore(self, leases: Iterable[Lease], at: Moment) -> None:
        """Take over the leases of the last process; its workers' deliveries have failed."""
        for lease in leases:
            if lease.kind is ConsumerKind.WORKER:
                self._failed(lease, ReturnCause.WORKER_LOST, WORKER_LOST, at)
            else:
                self.leases.add(lease)

    def lease(
        self, events: Sequence[Waiting], consumer: Consumer, at: Moment
    ) -> list[tuple[Lease, Row]]:
        """Hand events out to a consumer; return their leases, with the rows as they were."""
        length = self._policy.visibility_timeout_ms
        deadline, facts = at.now + length, self.moves.facts
        deadline_wall = at.to_wall(deadline)
        kind, name = consumer.kind, intern(consumer.name)
        leases: list[tuple[Lease, Row]] = []
        for event in events:
            number = event.number
            row = self._row_of(number)
            stamp = Stamp(self._boot, row.delivery + 1)
            lease = Lease(number, stamp, deadline, length, event.due, at.now, kind, name)
            facts.append(
                Leased(number, row.due, row.retries, stamp, deadline_wall, length, kind, name)
            )
            self.leases.add(lease)
            leases.append((lease, row))
        return leases

    def settle(self, number: int) -> None:
        """Note that an event is done. Its lease, if it had one, was removed before."""
        self.moves.facts.append(Settled(number))

    def extend(self, lease: Lease, length: int | None, at: Moment) -> int:
        """Let a lease run for `length` from now on; return its deadline on the wall."""
        length = self._policy.visibility_timeout_ms if length is None else length
        self.leases.extend(lease.number, at.now + length, length)
        deadline, row = at.to_wall(at.now + length), self._row_of(lease.number)
        self.moves.facts.append(
            Extended(
                lease.number,
                row.due,
                row.retries,
                lease.stamp,
                deadline,
                length,
                lease.kind,
                lease.consumer,
            )
        )
        return deadline

    def reject(
        self, lease: Lease, *, requeue: bool, delay_ms: int | None, error: str, at: Moment
    ) -> None:
        """End a lease whose consumer said no."""
        self.leases.remove(lease.number)
        if requeue:
            self._failed(lease, ReturnCause.REJECTED, error, at, delay_ms)
        else:
            self._bury(lease, self._row_of(lease.number), "rejected", error, at)

    def release(self, lease: Lease, at: Moment) -> None:
        """End a lease whose event never reached its consumer: it regains its old place."""
        self.leases.remove(lease.number)
        row = self._row_of(lease.number)
        self._return(lease, row, lease.due, row.retries, ReturnCause.RELEASED, "", at)

    def expire(self, at: Moment, at_most: int) -> int:
        """End leases that have run out, `at_most` so many; return how many."""
        expired = self.leases.expire(at.now, at_most)
        for lease in expired:
            error = f"not settled within {lease.length} ms"
            self._failed(lease, ReturnCause.TIMED_OUT, error, at, delay_ms=0)
        return len(expired)

    def _failed(
        self,
        lease: Lease,
        cause: ReturnCause,
        error: str,
        at: Moment,
        delay_ms: int | None = None,
    ) -> None:
        """Count a failed delivery: another try after a delay, or the end."""
        row = self._row_of(lease.number)
        if row.retries >= self._policy.max_retries:
            timed_out = cause is ReturnCause.TIMED_OUT
            reason = "visibility_timeout" if timed_out else "max_retries_exceeded"
            self._bury(lease, row, reason, error, at)
            return
        retries = row.retries + 1
        delay = self._policy.backoff.delay_ms(retries) if delay_ms is None else delay_ms
        self._return(lease, row, at.now + delay, retries, cause, error, at)

    def _return(
        self,
        lease: Lease,
        row: Row,
        due: int,
        retries: int,
        cause: ReturnCause,
        error: str,
        at: Moment,
    ) -> None:
        number = lease.number
        self.moves.facts.append(
            Returned(number, at.to_wall(due), retries, lease.stamp, cause, error)
        )
        self.moves.waiting.append(Waiting(number, due, self._topic_of(row)))

    def _bury(self, lease: Lease, row: Row, reason: str, error: str, at: Moment) -> None:
        self.moves.facts.append(
            Dead(lease.number, at.wall, row.retries, lease.stamp, reason, error)
        )
        self.moves.dead.append(lease.number)
