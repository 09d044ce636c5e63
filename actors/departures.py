"""Events that have left the queue although the register does not say so yet. Pure."""

from collections.abc import Iterable

from persistence.entry import Place, Row
from persistence.register import Register

_REMEMBERED_MIN = 4096
_WAITING = int(Place.WAITING)


class Departures:
    """Tells which events of the register are the queue's to hand out.

    An event that the queue has granted, or given up for its acknowledgement, is out of its hands
    at once; the fact that says so is submitted by the inflight tracker a moment later.

    Args:
        register: where every event is; read only.
    """

    def __init__(self, register: Register) -> None:
        self._get = register.get
        self._out: set[int] = set()
        self._prune_at = _REMEMBERED_MIN

    def __len__(self) -> int:
        return len(self._out)

    def waits(self, number: int) -> bool:
        """Tell whether an event waits, and has not left."""
        row = self._get(number)
        return row is not None and row.place == _WAITING and number not in self._out

    def waiting_row(self, number: int) -> Row | None:
        """Return the row of an event that waits and has not left, else None."""
        row = self._get(number)
        if row is None or row.place != _WAITING or number in self._out:
            return None
        return row

    def leave(self, numbers: Iterable[int]) -> None:
        """Note that events have left."""
        self._out.update(numbers)
        if len(self._out) > self._prune_at:
            # Where the register says so by now, it need not be remembered.
            self._out = {number for number in self._out if self._still_waits(number)}
            self._prune_at = max(_REMEMBERED_MIN, 2 * len(self._out))

    def come_back(self, numbers: Iterable[int]) -> None:
        """Note that events are here again."""
        self._out.difference_update(numbers)

    def _still_waits(self, number: int) -> bool:
        row = self._get(number)
        return row is not None and row.place == _WAITING
