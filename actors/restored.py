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
    """

    waiting: list[Entry]
    leases: list[Lease]
    dead: list[DeadLetter]
    next_number: int


def restore(recovered: Recovered, at: Moment) -> Restored:
    """Bring recovered times onto the engine's time line, whatever the wall clock did meanwhile.

    The line starts at the wall clock, so stored times are right as they are, except where a wall
    clock that was set back would make an event wait longer than it ever could: a new event is due
    at once, a delay is at most `DELAY_MAX_MS`, a lease lasts at most its length.
    """
    for entry in recovered.waiting:
        is_new = entry.stamp == NEVER_DELIVERED and entry.due <= entry.event.timestamp
        entry.due = min(entry.due, at.now if is_new else at.now + DELAY_MAX_MS)
    recovered.waiting.sort(key=lambda entry: (entry.due, entry.event.number))
    for lease in recovered.leases:
        lease.deadline = at.now + min(lease.length, max(0, lease.deadline - at.now))
    return Restored(recovered.waiting, recovered.leases, recovered.dead, recovered.next_number)
