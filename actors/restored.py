"""What the log gave back, brought onto the engine's time line. Pure."""

import attrs

from actors.clock import Moment
from persistence.entry import NEVER_DELIVERED, DeadLetter, Entry, Lease
from persistence.replay import Recovered

DELAY_MAX_MS = 12 * 60 * 60 * 1000
"""The longest delay or visibility timeout anybody can ask for, milliseconds."""


@attrs.frozen
class Restored:
    """Where every event stands at the start.

    Attributes:
        waiting: in the order of (due, number).
        leases: whose holders may still settle them.
        dead: in the order of death.
        next_number: of the next new event.
        last_event_at: when the newest event was accepted, wall time; None if there was none.
    """

    waiting: list[Entry]
    leases: list[Lease]
    dead: list[DeadLetter]
    next_number: int
    last_event_at: int | None = None


def restore(recovered: Recovered, at: Moment) -> Restored:
    """Bring recovered times onto the engine's time line, whatever the wall clock did meanwhile.

    The line starts at the wall clock, so stored times are right as they are, except where a wall
    clock that was set back would make an event wait longer than it ever could: what nobody put off
    is due at once, a delay is at most `DELAY_MAX_MS`, a lease lasts at most its length. New events
    keep the order of their acceptance, also where the clock was set back between two of them.
    """
    new: list[Entry] = []
    for entry in recovered.waiting:
        put_off = _put_off(entry)
        entry.due = min(entry.due, at.now + DELAY_MAX_MS if put_off else at.now)
        if entry.stamp == NEVER_DELIVERED and not put_off:
            new.append(entry)
    new.sort(key=lambda entry: entry.event.number)
    due = at.now
    for entry in reversed(new):
        entry.due = due = min(entry.due, due)
    recovered.waiting.sort(key=lambda entry: (entry.due, entry.event.number))
    for lease in recovered.leases:
        lease.deadline = at.now + min(lease.length, max(0, lease.deadline - at.now))
    return Restored(
        recovered.waiting,
        recovered.leases,
        recovered.dead,
        recovered.next_number,
        recovered.last_event_at,
    )


def _put_off(entry: Entry) -> bool:
    """Tell whether an event waits for its time: after a rejection, or from its publication on.

    After a timeout or a release, which leave the receipt open, an event is due at once; so is a
    reprocessed one, whose retries are 0.
    """
    if entry.stamp == NEVER_DELIVERED:
        return entry.due > entry.event.timestamp
    return entry.retries > 0 and not entry.receipt_open
