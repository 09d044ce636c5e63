"""What is written as one."""

from collections.abc import Sequence

import attrs

from persistence.facts import Fact


@attrs.define(eq=False)
class Batch:
    """Facts that will hold together or not at all, encoded and with their place in the log.

    Attributes:
        position: log position of its first byte.
        end: log position after its last byte.
        facts: what it says.
        time: wall time, milliseconds.
        parts: the facts' bytes in pieces.
        counters_before: the totals without it.
    """

    position: int
    end: int
    facts: Sequence[Fact]
    time: int
    parts: list[bytes]
    counters_before: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its length in the log in bytes."""
        return self.end - self.position
