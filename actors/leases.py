"""Who holds what until when. Pure; takes `now`."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from persistence.entry import Lease, Stamp

_STALE_DEADLINES_MIN = 64


class LeaseTable:
    """Leases by event number, with their deadlines in order."""

    def __init__(self) -> None:
        self._leases: dict[int, Lease] = {}
        # May hold deadlines that are no longer true; they are passed over when they come up.
        self._deadlines: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        """Yield the leases, those handed out first first."""
        return iter(self._leases.values())

    def add(self, lease: Lease) -> None:
        """Add a lease."""
        number = lease.entry.event.number
        self._leases[number] = lease
        self._schedule(lease.deadline, number)

    def find(self, number: int, stamp: Stamp) -> Lease | None:
        """Return the lease of event `number` if `stamp` names that very delivery."""
        lease = self._leases.get(number)
        return lease if lease is not None and lease.entry.stamp == stamp else None

    def find_settled_by(self, number: int, stamp: Stamp) -> Lease | None:
        """Return the lease of event `number` if the receipt of `stamp` may acknowledge it.

        A receipt holds unless a later delivery of its event exists. One that is later than the
        lease was written before a power cut that took its own lease, which is not synced, away.
        """
        lease = self._leases.get(number)
        return lease if lease is not None and stamp >= lease.entry.stamp else None

    def remove(self, lease: Lease) -> None:
        """Remove a lease that is in the table."""
        del self._leases[lease.entry.event.number]

    def extend(self, lease: Lease, deadline: int, length: int) -> None:
        """Give a lease another deadline, earlier or later."""
        lease.deadline, lease.length = deadline, length
        self._schedule(deadline, lease.entry.event.number)

    def expire(self, now: int) -> list[Lease]:
        """Remove and return the leases whose deadline has come, the earliest first."""
        expired: list[Lease] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, number = heappop(self._deadlines)
            expired.append(self._leases.pop(number))
        return expired

    def next_deadline(self) -> int | None:
        """Return the earliest deadline."""
        while self._deadlines:
            deadline, number = self._deadlines[0]
            lease = self._leases.get(number)
            if lease is not None and lease.deadline == deadline:
                return deadline
            heappop(self._deadlines)
        return None

    def _schedule(self, deadline: int, number: int) -> None:
        heappush(self._deadlines, (deadline, number))
        if len(self._deadlines) > 2 * len(self._leases) + _STALE_DEADLINES_MIN:
            self._deadlines = [(lease.deadline, n) for n, lease in self._leases.items()]
            heapify(self._deadlines)
