"""Events that were put off: whether one of them is delayed still. Pure."""

from collections.abc import Iterable

from actors.waiting import Waiting
from persistence.entry import Row

DELAY_MAX_MS = 12 * 60 * 60 * 1000
"""The longest delay or visibility timeout anybody can ask for, milliseconds."""


def was_put_off(row: Row) -> bool:
    """Tell whether an event waits for its time: after a rejection, or from its publication on.

    After a timeout or a release, which leave the receipt open, an event is due at once; so is a
    reprocessed one, whose retries are 0.
    """
    if not row.delivery:
        return row.due > row.timestamp
    return row.retries > 0 and not row.receipt_open


def restored_due(row: Row, start: int) -> int:
    """Bring the due time of an event that waited at the start onto the engine's time line.

    It is right as it is, except where a wall clock that was set back would make the event wait
    longer than it ever could.

    Args:
        row: of the event.
        start: engine time of the start, which is wall time.
    """
    return min(row.due, start + DELAY_MAX_MS if was_put_off(row) else start)


class PutOff:
    """Tells when events are due that receipts of an earlier process may acknowledge.

    Such a receipt may be for a lease that a power cut took out of the log, so its event may wait
    here for anything, a delay included. The register cannot say when that is over, since it has
    wall time and the wall clock may have been set since. But it can for what waited at the start,
    and hardly any other event still has the stamp of an earlier process: those that came back
    since are remembered here.

    Args:
        boot: this process's boot number.
        start: engine time of the start.
    """

    def __init__(self, boot: int, start: int) -> None:
        self._boot = boot
        self._start = start
        self._back: dict[int, int | None] = {}

    def __len__(self) -> int:
        return len(self._back)

    def came_back(self, event: Waiting, row: Row, *, ready: bool) -> None:
        """Note that an event waits again, delayed unless it is ready at once."""
        if row.boot < self._boot and was_put_off(row):
            self._back[event.number] = None if ready else event.due

    def left(self, numbers: Iterable[int]) -> None:
        """Note that events have been handed out, or are no more."""
        if self._back:
            for number in numbers:
                self._back.pop(number, None)

    def due_of(self, number: int, row: Row) -> int | None:
        """Return when an event becomes ready; None if it was from the moment on when it came.

        Args:
            number: of an event that waits, and that this process has not handed out.
            row: its row.
        """
        if number in self._back:
            return self._back[number]
        if not was_put_off(row):
            return None
        due = restored_due(row, self._start)
        return due if due > self._start else None
