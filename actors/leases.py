"""Who holds what until when. Pure; takes `now`."""

from array import array
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from struct import Struct
from typing import NamedTuple

from persistence.entry import ConsumerKind, Stamp

_STALE_DEADLINES_MIN = 64

_ROW = Struct("<QIIqqqqB")
_SIZE = _ROW.size
_pack, _unpack = _ROW.pack_into, _ROW.unpack_from
_DEADLINE_AT = 16
_unpack_deadline = Struct("<q").unpack_from
_KINDS = tuple(sorted(ConsumerKind))


class Lease(NamedTuple):
    """An event in a consumer's hands; what is published about it is in the register.

    Attributes:
        number: of the event.
        stamp: names this delivery.
        deadline: when the lease runs out, engine time.
        length: the length that it was last given, milliseconds.
        due: its place in the order, which it regains if it is released, engine time.
        since: when it was handed out, engine time; 0 if nobody knows.
        kind: who holds it.
        consumer: who exactly, for people.
    """

    number: int
    stamp: Stamp
    deadline: int
    length: int
    due: int
    since: int = 0
    kind: ConsumerKind = ConsumerKind.CLIENT
    consumer: str = ""


class LeaseTable:
    """Leases by event number, and in the order of their deadlines.

    There may be a hundred thousand, so they are packed into slots: they take little memory and
    are no objects, which the garbage collector would visit one by one. A consumer's name should
    be the same object in all of its leases.
    """

    def __init__(self) -> None:
        self._slots: dict[int, int] = {}
        self._free = array("I")
        self._rows = bytearray()
        self._consumers: list[str] = []
        # The slots of leases that end together are linked in a ring, in the order of their coming.
        self._next = array("I")
        self._before = array("I")
        # By deadline the slot where the ring begins.
        self._ending: dict[int, int] = {}
        # A heap. May hold deadlines at which nothing ends any more.
        self._deadlines: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Lease]:
        """Yield the leases, those handed out first first."""
        return map(self._read, self._slots.values())

    def add(self, lease: Lease) -> None:
        """Add a lease."""
        slot = self._free.pop() if self._free else self._new_slot()
        number, (boot, delivery), deadline, length, due, since, kind, consumer = lease
        at = slot * _SIZE
        _pack(self._rows, at, number, boot, delivery, deadline, length, due, since, kind)
        self._consumers[slot] = consumer
        self._slots[number] = slot
        self._link(slot, deadline)

    def get(self, number: int) -> Lease | None:
        """Return the lease of event `number`."""
        slot = self._slots.get(number)
        return None if slot is None else self._read(slot)

    def find(self, number: int, stamp: Stamp) -> Lease | None:
        """Return the lease of event `number` if `stamp` names that very delivery."""
        lease = self.get(number)
        return lease if lease is not None and lease.stamp == stamp else None

    def find_settled_by(self, number: int, stamp: Stamp) -> Lease | None:
        """Return the lease of event `number` if the receipt of `stamp` may acknowledge it.

        A receipt holds unless a later delivery of its event exists. One that is later than the
        lease was written before a power cut that took its own lease, which is not synced, away.
        """
        lease = self.get(number)
        return lease if lease is not None and stamp >= lease.stamp else None

    def remove(self, number: int) -> None:
        """Remove the lease of an event that has one."""
        slot = self._slots[number]
        (deadline,) = _unpack_deadline(self._rows, slot * _SIZE + _DEADLINE_AT)
        self._unlink(slot, deadline)
        self._forget(number)

    def extend(self, number: int, deadline: int, length: int) -> None:
        """Give the lease of an event that has one another deadline, earlier or later."""
        slot = self._slots[number]
        lease = self._read(slot)
        self._unlink(slot, lease.deadline)
        _, (boot, delivery), _, _, due, since, kind, _ = lease
        at = slot * _SIZE
        _pack(self._rows, at, number, boot, delivery, deadline, length, due, since, kind)
        self._link(slot, deadline)

    def expire(self, now: int, at_most: int) -> list[Lease]:
        """Remove and return leases whose deadline has come, the earliest first.

        Args:
            now: engine time.
            at_most: how many; the others are left for the next call.
        """
        expired: list[Lease] = []
        while len(expired) < at_most:
            deadline = self.next_deadline()
            if deadline is None or deadline > now:
                break
            slot = self._ending[deadline]
            self._unlink(slot, deadline)
            expired.append(self._read(slot))
        # Those that end together, in the order of their events.
        expired.sort(key=_place)
        for lease in expired:
            self._forget(lease.number)
        return expired

    def next_deadline(self) -> int | None:
        """Return the earliest deadline."""
        while self._deadlines:
            if self._deadlines[0] in self._ending:
                return self._deadlines[0]
            heappop(self._deadlines)
        return None

    def _new_slot(self) -> int:
        slot = len(self._consumers)
        self._rows += bytes(_SIZE)
        self._consumers.append("")
        self._next.append(0)
        self._before.append(0)
        return slot

    def _read(self, slot: int) -> Lease:
        number, boot, delivery, deadline, length, due, since, kind = _unpack(
            self._rows, slot * _SIZE
        )
        stamp, consumer = Stamp(boot, delivery), self._consumers[slot]
        return Lease(number, stamp, deadline, length, due, since, _KINDS[kind], consumer)

    def _forget(self, number: int) -> None:
        slot = self._slots.pop(number)
        self._consumers[slot] = ""
        self._free.append(slot)

    def _link(self, slot: int, deadline: int) -> None:
        first = self._ending.get(deadline)
        if first is None:
            self._next[slot] = self._before[slot] = slot
            self._ending[deadline] = slot
            heappush(self._deadlines, deadline)
            self._tidy()
        else:
            last = self._before[first]
            self._next[last] = self._before[first] = slot
            self._next[slot], self._before[slot] = first, last

    def _unlink(self, slot: int, deadline: int) -> None:
        following, last = self._next[slot], self._before[slot]
        if following == slot:
            del self._ending[deadline]
            return
        self._next[last], self._before[following] = following, last
        if self._ending[deadline] == slot:
            self._ending[deadline] = following

    def _tidy(self) -> None:
        """Drop the stale deadlines when they are more than a quarter."""
        if len(self._deadlines) > len(self._ending) * 5 // 4 + _STALE_DEADLINES_MIN:
            self._deadlines = list(self._ending)
            heapify(self._deadlines)


def _place(lease: Lease) -> tuple[int, int]:
    return lease.deadline, lease.number
