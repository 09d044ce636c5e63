"""The files of a log's segments, opened when they are needed, a bounded number at a time."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import attrs

from persistence.disk import Disk, File
from persistence.errors import LogDamaged, Undecodable
from persistence.names import sealed_name
from persistence.segment import SEGMENT_HEADER_SIZE_MAX, SegmentHeader, decode_header

_OPEN_MAX = 64
"""Files kept open at a time."""

_READ_GAP = 4096
"""Spans no further apart than this many bytes are read as one: a read costs more than that."""

_READ_SIZE = 1024 * 1024
"""How much is read as one, in bytes, unless a single span is larger."""


class Span(NamedTuple):
    """Some bytes of the log."""

    position: int
    size: int


class Place(NamedTuple):
    """Where one segment lies.

    Attributes:
        number: the segment's number.
        base: log position of its first byte.
        name: of its file.
        end: log position behind its last byte; None if it grows, or if that is not known.
    """

    number: int
    base: int
    name: str
    end: int | None = None


@attrs.frozen
class SegmentMap:
    """The segments of a log in order, at one moment; immutable, so threads may share it."""

    places: tuple[Place, ...]
    bases: tuple[int, ...]

    @classmethod
    def of(cls, places: Iterable[Place]) -> "SegmentMap":
        """Make a map of segments in order."""
        in_order = tuple(places)
        return cls(in_order, tuple(place.base for place in in_order))

    def at(self, position: int) -> Place | None:
        """Give the segment that a log position lies in, None if there is none (any more)."""
        index = bisect_right(self.bases, position) - 1
        if index < 0:
            return None
        place = self.places[index]
        return place if place.end is None or position < place.end else None

    def find(self, number: int) -> Place | None:
        """Give the segment of a number, None if there is none (any more)."""
        return next((place for place in self.places if place.number == number), None)


class SegmentGone(Exception):
    """The segment that a log position lies in has been dropped."""


class SegmentFiles:
    """Reads the log at any position. Belongs to one thread at a time.

    Args:
        disk: where the segments are.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: OrderedDict[int, File] = OrderedDict()

    def read(self, places: SegmentMap, spans: Sequence[Span]) -> list[bytes]:
        """Read some bytes of the log, neighbours in one go.

        Args:
            places: where the segments are now.
            spans: in any order; each within one segment, unless it is empty.

        Returns:
            Their bytes in the same order.

        Raises:
            SegmentGone: a segment has been dropped.
            Undecodable: a segment ends before a span does.
            OSError: the disk could not be read.
        """
        found: list[bytes] = [b""] * len(spans)
        # What is empty may be nowhere.
        order = sorted((i for i, span in enumerate(spans) if span.size), key=spans.__getitem__)
        first = 0
        while first < len(order):
            place = places.at(spans[order[first]].position)
            if place is None:
                raise SegmentGone
            last, end = _neighbours(spans, order, first, place.end)
            start = spans[order[first]].position
            data = self.get(place).read(start - place.base, end - start)
            if len(data) < end - start:
                raise Undecodable(start + len(data), "the file is shorter than it was")
            for index in order[first:last]:
                at = spans[index].position - start
                found[index] = data[at : at + spans[index].size]
            first = last
        return found

    def get(self, place: Place) -> File:
        """Give the file of a segment.

        Raises:
            SegmentGone: there is no such file any more.
            Undecodable: its header is damaged.
            OSError: it could not be read.
        """
        file = self._open.get(place.number)
        if file is None:
            file = self._open[place.number] = self._find(place)
            while len(self._open) > _OPEN_MAX:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(place.number)
        return file

    def forget(self, number: int) -> None:
        """Close the file of one segment, if it is open."""
        file = self._open.pop(number, None)
        if file is not None:
            file.close()

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _find(self, place: Place) -> File:
        # The active segment gets another name when it is sealed, perhaps this very moment.
        for name in (place.name, sealed_name(place.number)):
            try:
                file = self._disk.open_to_read(name)
            except FileNotFoundError:
                continue
            try:
                if header_of(file, place).number == place.number:
                    return file
            except BaseException:
                file.close()
                raise
            file.close()
        raise SegmentGone


def header_of(file: File, place: Place) -> SegmentHeader:
    """Read the header of a segment.

    Raises:
        Undecodable: it is damaged.
        OSError: it could not be read.
    """
    try:
        return decode_header(file.read(0, SEGMENT_HEADER_SIZE_MAX))
    except Undecodable as error:
        raise Undecodable(place.base + error.position, error.detail) from error


def damage_in(disk: Disk, places: SegmentMap, error: Undecodable) -> LogDamaged:
    """Name the file and the offset at which something makes no sense."""
    place = places.at(error.position)
    if place is None:  # its segment has been dropped meanwhile
        return LogDamaged(disk.path, error.position, error.detail)
    return LogDamaged(f"{disk.path}/{place.name}", error.position - place.base, error.detail)


def _neighbours(
    spans: Sequence[Span], order: list[int], first: int, limit: int | None
) -> tuple[int, int]:
    """Tell how far, in `order` and in the log, one read from the span at `first` should go.

    Args:
        spans: what is wanted.
        order: indices into it, ascending by position.
        first: index into that.
        limit: log position where the segment ends, None if it is the last one.
    """
    start = spans[order[first]].position
    end = start + spans[order[first]].size
    last = first + 1
    while last < len(order):
        span = spans[order[last]]
        span_end = span.position + span.size
        if span.position - end > _READ_GAP or span_end - start > _READ_SIZE:
            break
        if limit is not None and span.position >= limit:
            break
        end = max(end, span_end)
        last += 1
    return last, end
