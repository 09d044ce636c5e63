"""Reads the segments of an open log from another thread than the one that writes."""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from persistence.copying import Body
from persistence.errors import LogDamaged, ReadFailed, Undecodable
from persistence.scan import headers_in
from persistence.segment import FRAME_HEADER_SIZE, FrameHeader, decode_frame_header
from persistence.segment_files import (
    Place,
    SegmentFiles,
    SegmentGone,
    Span,
    damage_in,
    header_of,
)

if TYPE_CHECKING:
    from persistence.log import EventLog

_LOOK_BACK = 64 * 1024


class LogReader:
    """Reads what is written. Belongs to one thread at a time; `close` may come from another.

    Args:
        log: an open log; only where its segments are is asked of it.
    """

    def __init__(self, log: "EventLog") -> None:
        self._log = log
        self._files = SegmentFiles(log.disk)
        self._salt = zlib.crc32(log.key)

    @property
    def path(self) -> str:
        """What to call the log in front of people."""
        return self._log.disk.path

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Read some bytes of the log.

        Raises:
            SegmentGone: a segment has been dropped.
            LogDamaged: a file is shorter than it was.
            ReadFailed: the disk could not be read.
        """
        try:
            return self._files.read(self._log.places, spans)
        except OSError as error:
            raise ReadFailed(self._log.disk.path, error) from error
        except Undecodable as error:
            raise self.damage(error) from error

    def damage(self, error: Undecodable) -> LogDamaged:
        """Name the file and the offset at which something makes no sense."""
        return damage_in(self._log.disk, self._log.places, error)

    def batches(self, number: int, offset: int, size: int) -> tuple[list[Body], int]:
        """Read some batches of a segment, as far as it is written.

        Args:
            number: of the segment.
            offset: 0 for the first batch, or what was returned before.
            size: how many bytes at most, but at least one batch.

        Returns:
            The batches, none where the segment ends so far, and the offset behind them.

        Raises:
            SegmentGone: the segment has been dropped.
            LogDamaged: the bytes are not what was written.
            ReadFailed: the disk could not be read.
        """
        # In this order: a segment that grows still has not been begun behind that end. And what is
        # being written behind it this moment may be there by halves.
        end = self._log.end
        place = self._log.places.find(number)
        if place is None:
            raise SegmentGone
        if place.end is not None:
            end = place.end
        try:
            if offset == 0:
                offset = header_of(self._files.get(place), place).size
            bodies = self._bodies(place, place.base + offset, size, end)
        except OSError as error:
            raise ReadFailed(f"{self._log.disk.path}/{place.name}", error) from error
        except Undecodable as error:
            raise self.damage(error) from error
        if bodies:
            offset = bodies[-1].end - place.base
        return bodies, offset

    def _bodies(self, place: Place, start: int, size: int, end: int) -> list[Body]:
        """Read whole batches from a log position on, at least one if there is one before `end`."""
        if start >= end:
            return []
        file, offset = self._files.get(place), start - place.base
        data = file.read(offset, min(max(size, FRAME_HEADER_SIZE), end - start))
        first = self._header_in(data, 0, start)
        if first.end - start > len(data):
            data = file.read(offset, first.end - start)
        bodies: list[Body] = []
        at = 0
        while len(data) - at >= FRAME_HEADER_SIZE:
            header = self._header_in(data, at, start + at)
            after = header.end - start
            if after > len(data):
                break
            body = data[at + FRAME_HEADER_SIZE : after]
            if zlib.crc32(body, self._salt) != header.body_crc:
                raise Undecodable(start + at, "the checksum of a batch is wrong")
            bodies.append(Body(start + at + FRAME_HEADER_SIZE, body, header.time))
            at = after
        if not bodies:
            raise Undecodable(start + len(data), "the file is shorter than it was")
        return bodies

    def _header_in(self, data: bytes, at: int, position: int) -> FrameHeader:
        if len(data) - at < FRAME_HEADER_SIZE:
            raise Undecodable(position, "the file is shorter than it was")
        header = decode_frame_header(data, at, self._salt)
        if header is None or header.position != position:
            raise Undecodable(position, "no valid header of a batch")
        return header

    def written_at(self, position: int) -> int | None:
        """Tell when the batch with the fact at a log position was written, None if unknown.

        Batches lead only forward, so it looks backward for the header of one that has the position
        in it; salted checksums keep it from taking a payload for one.

        Raises:
            SegmentGone: the segment has been dropped.
            ReadFailed: the disk could not be read.
        """
        place = self._log.places.at(position)
        if place is None:
            raise SegmentGone
        try:
            file = self._files.get(place)
            end = position - place.base
            while end > 0:
                start = max(0, end - _LOOK_BACK)
                data = file.read(start, end - start + FRAME_HEADER_SIZE - 1)
                for header in reversed(list(headers_in(data, self._salt))):
                    if header.position <= position < header.end:
                        return header.time or None
                end = start
        except OSError as error:
            raise ReadFailed(f"{self._log.disk.path}/{place.name}", error) from error
        return None

    def numbers_from(self, event: int) -> list[int]:
        """Tell the segments that may have facts about an event, in order.

        Raises:
            ReadFailed: the disk could not be read.
        """
        numbers: list[int] = []
        for place in self._log.places.places:
            try:
                header = header_of(self._files.get(place), place)
            except SegmentGone:
                continue
            except OSError as error:
                raise ReadFailed(f"{self._log.disk.path}/{place.name}", error) from error
            except Undecodable as error:
                raise self.damage(error) from error
            if header.next_number <= event:
                numbers.clear()  # accepted later than all that is before this segment
            numbers.append(place.number)
        return numbers

    def forget(self, number: int) -> None:
        """Close the file of one segment, so that its space can be given back."""
        self._files.forget(number)

    def close(self) -> None:
        """Close all files."""
        self._files.close()
