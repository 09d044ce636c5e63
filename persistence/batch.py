"""What is written as one."""

from collections.abc import Sequence

import attrs

from persistence.facts import Fact
from persistence.fold import Before
from persistence.segment import FRAME_HEADER_SIZE, SegmentHeader, encode_frame


@attrs.define(eq=False)
class Batch:
    """Facts that will hold together or not at all, encoded and with their place in the log.

    Attributes:
        segment: header of the segment that it belongs to.
        position: log position of its first byte.
        end: log position after its last byte.
        facts: what it says.
        time: wall time, milliseconds.
        parts: the facts' bytes in pieces.
        sizes: length of each fact in bytes.
        before: for each fact what it replaced.
        counters_before: the totals without it.
        last_event_before: when the newest event before it was accepted.
    """

    segment: SegmentHeader
    position: int
    end: int
    facts: Sequence[Fact]
    time: int
    parts: list[bytes]
    sizes: list[int]
    before: list[Before]
    counters_before: tuple[int, ...]
    last_event_before: int | None

    @property
    def size(self) -> int:
        """Its length in the log in bytes."""
        return self.end - self.position

    @property
    def body_position(self) -> int:
        """Log position of its first fact."""
        return self.position + FRAME_HEADER_SIZE

    def frame(self, synced: int) -> bytearray:
        """Give its bytes.

        Args:
            synced: log position known to be on disk.
        """
        return encode_frame(
            self.parts,
            position=self.position,
            count=len(self.facts),
            synced=synced,
            time=self.time,
            salt=self.segment.salt,
        )
