"""What is known of the events that a log speaks of, while it is read from one end to the other.

Only the fact that brings an event says when it came, on which topic, and which id it had elsewhere.
A bounded number of events is remembered; for others the way back through the log is followed.
"""

import struct

import attrs

from persistence import layout
from persistence.encode import payload_offset
from persistence.errors import Undecodable
from persistence.facts import Enqueued, FactKind
from persistence.fields import text_at
from persistence.segment_files import SegmentFiles, SegmentGone, SegmentMap, Span

_EVENTS_MAX = 50_000
_STEPS_MAX = 1000
"""How far back the facts of one event are followed."""

_KINDS = frozenset(int(kind) for kind in FactKind)


@attrs.frozen
class Known:
    """What stays the same in an event's life.

    Attributes:
        timestamp: when it was accepted.
        topic: its topic.
        foreign_id: the id that another broker gave it, or "".
    """

    timestamp: int
    topic: str
    foreign_id: str


class Acquaintance:
    """The events that were met.

    Args:
        places: where the segments are, or were.
        files: reads them.
        events_max: how many events are remembered.
    """

    def __init__(
        self, places: SegmentMap, files: SegmentFiles, *, events_max: int = _EVENTS_MAX
    ) -> None:
        self._places = places
        self._files = files
        self._events_max = events_max
        # When the young ones are half of what is allowed, they become the old ones, and those go.
        self._young: dict[int, Known | None] = {}
        self._old: dict[int, Known | None] = {}

    def meet(self, fact: Enqueued) -> Known:
        """Remember an event."""
        known = Known(fact.timestamp, fact.topic, fact.foreign_id)
        self._remember(fact.number, known)
        return known

    def recall(self, number: int, previous: int) -> Known | None:
        """Tell what is known of an event; None if the log does not say it any more.

        Args:
            number: of the event.
            previous: log position of an older fact about it, or -1.
        """
        if number in self._young:
            return self._young[number]
        known = self._old.pop(number) if number in self._old else self._follow(number, previous)
        self._remember(number, known)
        return known

    def forget(self, number: int) -> None:
        """Forget an event that is done with."""
        self._young.pop(number, None)
        self._old.pop(number, None)

    def _remember(self, number: int, known: Known | None) -> None:
        if len(self._young) >= max(1, self._events_max // 2):
            self._old, self._young = self._young, {}
        self._young[number] = known

    def _follow(self, number: int, position: int) -> Known | None:
        try:
            for _ in range(_STEPS_MAX):
                if position < 0:
                    return None
                head = self._read(position, layout.HEAD.size)
                kind, flags, size, owner, previous = layout.HEAD.unpack(head)
                if owner != number or kind not in _KINDS:
                    return None
                if kind == FactKind.ENQUEUED:
                    return self._known(position, flags, size)
                position = previous if previous < position else -1
        except (SegmentGone, Undecodable, OSError, struct.error, ValueError):
            return None  # it has been deleted, or is damaged
        return None

    def _known(self, position: int, flags: int, size: int) -> Known:
        fixed = self._read(position, layout.ENQUEUED.size)
        *_, timestamp, _, topic_size, payload_size = layout.ENQUEUED.unpack(fixed)
        topic = self._read(position + layout.ENQUEUED.size, topic_size).decode()
        foreign_id = ""
        if flags & layout.FOREIGN:
            before = payload_offset(topic_size) + payload_size + layout.FOREIGN_SIZE.size
            tail = memoryview(self._read(position + before, size - before))
            foreign_id = text_at(tail, 0, len(tail))
        return Known(timestamp, topic, foreign_id)

    def _read(self, position: int, size: int) -> bytes:
        return self._files.read(self._places, [Span(position, size)])[0]
