"""Reads payloads back, neighbours in one go."""

from collections.abc import Sequence

from persistence.entry import Event
from persistence.errors import Undecodable
from persistence.scan import Source

_READ_GAP = 4096
"""Payloads no further apart than this many bytes are read as one: a read costs more than that."""

_READ_SIZE = 1024 * 1024
"""How much is read as one, in bytes, unless a single payload is larger."""


def read_payloads(source: Source, base: int, events: Sequence[Event]) -> list[bytes]:
    """Read the payloads of events that are in a segment.

    Args:
        source: the segment.
        base: log position of its first byte.
        events: with `payload_position` set; in any order.

    Returns:
        Their payloads in the same order.

    Raises:
        Undecodable: the segment ends before a payload does.
        ValueError: an event is not in the segment.
        OSError: the disk could not be read.
    """
    payloads: list[bytes] = [b""] * len(events)
    order = sorted(range(len(events)), key=lambda index: events[index].payload_position)
    first = 0
    while first < len(order):
        start = events[order[first]].payload_position
        if start < base:
            raise ValueError(f"event {events[order[first]].number} is not in the log")
        last, end = _neighbours(events, order, first)
        data = bytes(source.read(start - base, end - start))
        if len(data) < end - start:
            raise Undecodable(start + len(data), "the file is shorter than it was")
        for index in order[first:last]:
            at = events[index].payload_position - start
            payloads[index] = data[at : at + events[index].payload_size]
        first = last
    return payloads


def _neighbours(events: Sequence[Event], order: list[int], first: int) -> tuple[int, int]:
    """Tell how far, in `order` and in the log, one read from the event at `first` should go."""
    start = events[order[first]].payload_position
    end = start + events[order[first]].payload_size
    last = first + 1
    while last < len(order):
        event = events[order[last]]
        event_end = event.payload_position + event.payload_size
        if event.payload_position - end > _READ_GAP or event_end - start > _READ_SIZE:
            break
        end = max(end, event_end)
        last += 1
    return last, end
