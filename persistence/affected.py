"""Tells which events a damaged place is about, as far as that can be told. Pure."""

from bisect import bisect_right
from struct import Struct

import attrs

from persistence.decode import HEAD_SIZE, heads
from persistence.errors import Undecodable
from persistence.facts import FactKind
from persistence.register import Register
from persistence.scan import Frame
from persistence.segment import FRAME_HEADER_SIZE, FRAME_MAGIC

_EVENTS_MAX = 100_000
_TIMESTAMP = Struct("<q")
_ENDS = frozenset({int(FactKind.SETTLED), int(FactKind.DISCARDED)})
_HEAD_ALONE = frozenset({int(FactKind.OPENED), int(FactKind.IMPORTED), int(FactKind.LOST)})
_KNOWN = frozenset(int(kind) for kind in FactKind) - _HEAD_ALONE


@attrs.frozen
class Affected:
    """An event of which a fact was lost.

    Attributes:
        number: its number.
        timestamp: when it was accepted; None if that is not known.
        foreign_id: the id that it had at another broker, if it is known.
        there: whether it is in what is left of the log; then it may be in an older state than it
            was, and come again. Otherwise it is lost.
    """

    number: int
    timestamp: int | None
    foreign_id: str | None
    there: bool


class AffectedEvents:
    """The events that lost places are about.

    Two things tell them: what can still be read in the damaged bytes, and facts behind, which say
    where the fact before them about the same event was.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        # With the time of acceptance, if the damaged bytes say it.
        self._events: dict[int, int | None] = {}
        self._done: set[int] = set()

    def lose(self, start: int, end: int, data: bytes = b"") -> None:
        """Note that a place is lost, behind the ones before.

        Args:
            start: log position of its first byte.
            end: log position behind it.
            data: what stands there.
        """
        self._starts.append(start)
        self._ends.append(end)
        at = 0
        while 0 <= at < len(data):
            self._read(data, at + FRAME_HEADER_SIZE)
            at = data.find(FRAME_MAGIC, at + 1)

    def follow(self, frame: Frame) -> None:
        """Look at a sound batch behind."""
        if not self._starts:
            return
        for head in heads(frame.body, frame.body_position):
            if head.kind in _ENDS:
                self._events.pop(head.number, None)
                self._done.add(head.number)
            elif head.previous >= 0 and self._is_lost(head.previous):
                self._add(head.number, None)

    def found(self, register: Register, limit: int) -> list[Affected]:
        """Give the events, ascending by number.

        Args:
            register: what is left.
            limit: no event can have this number or a greater one: damage is all that says so.
        """
        events = []
        for number, said in sorted(self._events.items()):
            if number >= limit:
                break
            row = register.get(number)
            timestamp = said if row is None else row.timestamp
            foreign_id = register.foreign.id_of(number) if row is not None and row.named else None
            events.append(Affected(number, timestamp, foreign_id, row is not None))
        return events

    def _is_lost(self, position: int) -> bool:
        index = bisect_right(self._starts, position) - 1
        return index >= 0 and position < self._ends[index]

    def _add(self, number: int, timestamp: int | None) -> None:
        if number in self._done or not number:
            return
        if number in self._events:
            timestamp = timestamp or self._events[number]
        elif len(self._events) >= _EVENTS_MAX:
            return
        self._events[number] = timestamp

    def _read(self, data: bytes, at: int) -> None:
        """Read facts that may stand from an offset on, as long as they look like facts."""
        try:
            for head in heads(memoryview(data)[at:], 0):
                if head.kind not in _KNOWN:
                    continue
                timestamp = None
                if head.kind == FactKind.ENQUEUED:
                    (timestamp,) = _TIMESTAMP.unpack_from(data, at + head.position + HEAD_SIZE)
                self._add(head.number, timestamp)
        except Undecodable:
            pass
