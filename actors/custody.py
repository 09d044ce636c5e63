"""The rules for events in consumers' hands: leases, retries and death. Pure; takes the moment."""

from collections.abc import Iterable, Sequence

import attrs

from actors.backoff import Backoff
from actors.broker import Consumer
from actors.clock import Moment
from actors.leases import LeaseTable
from persistence.entry import ConsumerKind, DeadLetter, Entry, Lease, Stamp
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
        waiting: entries for the queue.
        dead: entries for the dead letters.
    """

    facts: list[Fact] = attrs.field(factory=list)
    waiting: list[Entry] = attrs.field(factory=list)
    dead: list[DeadLetter] = attrs.field(factory=list)


class Custody:
    """Leases, and what becomes of them. Each step notes its consequences in `moves`.

    Args:
        boot: this process's boot number, the first half of every stamp given here.
        policy: how often and for how long an event is tried.
    """

    def __init__(self, boot: int, policy: DeliveryPolicy) -> None:
        self._boot = boot
        self._policy = policy
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
                self._failed(lease.entry, ReturnCause.WORKER_LOST, WORKER_LOST, at)
            else:
                self.leases.add(lease)

    def lease(self, entries: Sequence[Entry], consumer: Consumer, at: Moment) -> list[Lease]:
        """Hand events out to a consumer."""
        length = self._policy.visibility_timeout_ms
        deadline, facts = at.now + length, self.moves.facts
        deadline_wall = at.to_wall(deadline)
        leases: list[Lease] = []
        for entry in entries:
            entry.stamp = Stamp(self._boot, entry.stamp.delivery + 1)
            entry.receipt_open = True
            lease = Lease(entry, deadline, length, consumer.kind, at.now, consumer.name)
            facts.append(
                Leased(
                    entry.event, entry.stamp, deadline_wall, length, consumer.kind, consumer.name
                )
            )
            self.leases.add(lease)
            leases.append(lease)
        return leases

    def settle(self, entry: Entry) -> None:
        """Note that an event is done. Its lease, if it had one, was removed before."""
        self.moves.facts.append(Settled(entry.event))

    def extend(self, lease: Lease, length: int | None, at: Moment) -> int:
        """Let a lease run for `length` from now on; return its deadline on the wall."""
        length = self._policy.visibility_timeout_ms if length is None else length
        self.leases.extend(lease, at.now + length, length)
        deadline = at.to_wall(lease.deadline)
        self.moves.facts.append(Extended(lease.entry.event, deadline, length))
        return deadline

    def reject(
        self, lease: Lease, *, requeue: bool, delay_ms: int | None, error: str, at: Moment
    ) -> None:
        """End a lease whose consumer said no."""
        self.leases.remove(lease)
        if requeue:
            self._failed(lease.entry, ReturnCause.REJECTED, error, at, delay_ms)
        else:
            self._bury(lease.entry, "rejected", error, at)

    def release(self, lease: Lease, at: Moment) -> None:
        """End a lease whose event never reached its consumer: it regains its old place."""
        self.leases.remove(lease)
        self._return(lease.entry, ReturnCause.RELEASED, "", at)

    def expire(self, at: Moment) -> int:
        """End the leases that have run out; return how many."""
        expired = self.leases.expire(at.now)
        for lease in expired:
            error = f"not settled within {lease.length} ms"
            self._failed(lease.entry, ReturnCause.TIMED_OUT, error, at, delay_ms=0)
        return len(expired)

    def _failed(
        self,
        entry: Entry,
        cause: ReturnCause,
        error: str,
        at: Moment,
        delay_ms: int | None = None,
    ) -> None:
        """Count a failed delivery: another try after a delay, or the end."""
        if entry.retries >= self._policy.max_retries:
            timed_out = cause is ReturnCause.TIMED_OUT
            reason = "visibility_timeout" if timed_out else "max_retries_exceeded"
            self._bury(entry, reason, error, at)
            return
        entry.retries += 1
        delay = self._policy.backoff.delay_ms(entry.retries) if delay_ms is None else delay_ms
        entry.due = at.now + delay
        self._return(entry, cause, error, at)

    def _return(self, entry: Entry, cause: ReturnCause, error: str, at: Moment) -> None:
        entry.receipt_open = cause in {ReturnCause.TIMED_OUT, ReturnCause.RELEASED}
        due = at.to_wall(entry.due)
        self.moves.facts.append(Returned(entry.event, due, entry.retries, cause, error))
        self.moves.waiting.append(entry)

    def _bury(self, entry: Entry, reason: str, error: str, at: Moment) -> None:
        entry.receipt_open = False
        self.moves.facts.append(Dead(entry.event, at.wall, entry.retries, reason, error))
        self.moves.dead.append(DeadLetter(entry, at.wall, reason, error))
