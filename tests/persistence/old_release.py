"""Logs as release 0.1.0 wrote them: one segment, facts of the old kinds."""

from collections.abc import Callable
from typing import Any

import attrs

from persistence.entry import NOT_WRITTEN
from persistence.facts import Discarded, Enqueued, Opened, Settled
from persistence.memory_disk import MemoryDisk
from persistence.segment import FRAME_HEADER_SIZE, SegmentHeader, encode_frame
from tests.persistence.directories import old_header, old_manifest
from tests.persistence.logs import LOG
from tests.persistence.samples import (
    KEY,
    NOW,
    bytes_of,
    disk_with,
    enqueued,
    old_dead,
    old_extended,
    old_leased,
    old_reprocessed,
    old_returned,
)

WORKER = 1
REJECTED, TIMED_OUT, RELEASED, WORKER_LOST = 1, 2, 3, 4
STAMP = (1, 1)


@attrs.define
class OldLog:
    """Writes a log of that release, a fact to a batch, all but the last of them synced."""

    image: bytearray = attrs.field(factory=lambda: bytearray(old_header(boot=0, next_number=1)))
    newest: dict[int, int] = attrs.field(factory=dict)

    def fact(self, fact: Enqueued | Settled | Discarded | Opened) -> None:
        """Write a fact whose bytes have stayed the same."""
        self._write(fact.number, bytes_of(fact, self._previous(fact.number)))

    def old(self, make: Callable[..., bytes], number: int, *rest: Any) -> None:
        """Write a fact of an old kind."""
        self._write(number, make(number, self._previous(number), *rest))

    def _previous(self, number: int) -> int:
        return self.newest.get(number, NOT_WRITTEN)

    def _write(self, number: int, data: bytes) -> None:
        at = len(self.image)
        salt = SegmentHeader(0, 0, NOW, KEY).salt
        self.image += encode_frame([data], position=at, count=1, synced=at, time=NOW, salt=salt)
        if number:
            self.newest[number] = at + FRAME_HEADER_SIZE

    def disk(self) -> MemoryDisk:
        """The data directory."""
        return disk_with({LOG: bytes(self.image), "events.manifest": old_manifest()})


def an_old_log() -> OldLog:
    """A log in which something of every kind has happened.

    Event 1 waits; 2 is leased, and its lease extended; 3 to 6 came back from each cause; 7 is dead;
    8 was reprocessed; 9 was acknowledged; 10 discarded; 11 is held by a worker; 12 is delayed, has
    no topic and was reprocessed and leased again.
    """
    log = OldLog()
    log.fact(Opened(1, NOW))
    for number in range(1, 13):
        due = NOW + 5000 if number == 12 else NOW + number
        log.fact(enqueued(number, topic="" if number == 12 else "orders", due=due))
    for number in range(2, 13):
        kind = WORKER if number in {6, 11} else 0
        log.old(old_leased, number, STAMP, NOW + 100, 100, kind, b"w-1" if kind else b"")
    log.old(old_extended, 2, NOW + 900, 800)
    log.old(old_extended, 11, NOW + 900, 800)
    for number, cause in ((3, REJECTED), (4, TIMED_OUT), (5, RELEASED), (6, WORKER_LOST)):
        log.old(old_returned, number, NOW + 50, 0 if cause == RELEASED else 1, cause, b"no")
    for number in (7, 8, 10, 12):
        log.old(old_dead, number, NOW + 60, 5, b"max_retries_exceeded", b"n\xc3\xb6")
    log.old(old_reprocessed, 8, NOW + 70)
    log.old(old_reprocessed, 12, NOW + 71)
    log.old(old_leased, 12, (1, 2), NOW + 200, 100)
    log.fact(Settled(9))
    log.fact(Discarded(10))
    return log
