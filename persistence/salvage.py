"""Finds every valid batch of a segment, also behind what is damaged.

Pure: it reads and tells. A start stops at the first byte that it cannot trust, with
`persistence.scan`; whoever wants to know what else there is goes on here.
"""

from collections.abc import Iterator
from enum import Enum

import attrs

from persistence.errors import NewerFormat
from persistence.scan import Frame, Scan, Source
from persistence.segment import FRAME_HEADER_SIZE, FRAME_MAGIC, SegmentHeader

_CHUNK = 4 * 1024 * 1024


class Flaw(Enum):
    """Why bytes cannot be used."""

    DAMAGED = "damaged"
    """They were on disk and have changed."""
    TORN = "torn"
    """Nobody was promised them: a write that was cut short, or that is going on."""
    NEWER = "newer"
    """A later version of this program wrote them."""
    NONSENSE = "nonsense"
    """They pass their checksum and cannot follow what is before them."""


@attrs.frozen
class Hole:
    """Bytes of a segment that cannot be used, or are not there.

    Attributes:
        position: log position of the first one.
        size: how many.
        detail: what is wrong.
        flaw: why they cannot be used.
        where: log position of the first byte that is wrong; within the hole.
    """

    position: int
    size: int
    detail: str
    flaw: Flaw
    where: int

    @property
    def end(self) -> int:
        """Log position after the last one."""
        return self.position + self.size


class Salvage(Scan):
    """One pass over a segment that goes on behind damage: iterate over `pieces`.

    Args:
        source: the segment's bytes. More of them may come meanwhile; they do not count.
        header: what stands, or should stand, at their beginning.
        end: log position at which the segment ends; None if it is active.
        past_torn: whether to go on also behind what nobody was promised.
        chunk_size: how much is read at a time, in bytes.
    """

    def __init__(
        self,
        source: Source,
        header: SegmentHeader,
        *,
        end: int | None,
        past_torn: bool = False,
        chunk_size: int = _CHUNK,
    ) -> None:
        super().__init__(source, header, chunk_size=chunk_size)
        self._sealed = end is not None
        self._end = header.base + self._size if end is None else end
        self._size = min(self._size, self._end - header.base)
        self._past_torn = past_torn
        self.synced = header.base + header.size
        """Everything before this log position was on disk, as far as batches say so."""

    def pieces(self) -> Iterator[Frame | Hole]:
        """Yield the valid batches, and what lies between them, in order."""
        at = self.header.size
        judged = False
        while at < self._size:
            frame = self._frame_again(at)
            if isinstance(frame, Frame):
                yield frame
                at = frame.header.end - self.header.base
                self.synced = max(self.synced, frame.header.synced)
                continue
            if not judged:  # this looks at all that is behind
                verdict = self._judge(at, self.synced, _detail(frame))
                self.synced, detail = verdict.synced, verdict.detail
                judged = True
            else:
                detail = _detail(frame)
            flaw = self._flaw(at, frame)
            after = self._resume(at) if self._goes_on(flaw) else None
            end = self._end if after is None else self.header.base + after
            position = self.header.base + at
            yield Hole(position, end - position, detail, flaw, position)
            if after is None:
                return
            at = after
        position = self.header.base + at
        if position < self._end:
            missing = self._end - position
            yield Hole(position, missing, "the file is cut short", Flaw.DAMAGED, position)

    def _frame_again(self, at: int) -> Frame | str | NewerFormat:
        """Look for a frame, twice before it is denied: the file may be written at this moment."""
        try:
            frame = self._frame_at(at)
            if not isinstance(frame, Frame):
                self._window = memoryview(b"")
                frame = self._frame_at(at)
        except NewerFormat as error:
            return error
        return frame

    def _flaw(self, at: int, frame: str | NewerFormat) -> Flaw:
        if isinstance(frame, NewerFormat):
            return Flaw.NEWER
        torn = not self._sealed and self.header.base + at >= self.synced
        return Flaw.TORN if torn else Flaw.DAMAGED

    def _goes_on(self, flaw: Flaw) -> bool:
        return flaw is Flaw.DAMAGED or (flaw is Flaw.TORN and self._past_torn)

    def _resume(self, at: int) -> int | None:
        """Give the offset of the next valid batch behind an offset, None if there is none."""
        first = at + FRAME_HEADER_SIZE
        for start in range(first, self._size, self._chunk_size):
            wanted = min(self._chunk_size + FRAME_HEADER_SIZE - 1, self._size - start)
            data = bytes(self._source.read(start, wanted))
            found = data.find(FRAME_MAGIC)
            while found >= 0:
                if self._begins(start + found):
                    return start + found
                found = data.find(FRAME_MAGIC, found + 1)
        return None

    def _begins(self, offset: int) -> bool:
        try:
            return isinstance(self._frame_at(offset), Frame)
        except NewerFormat:
            return True  # that is said when it is reached


def _detail(frame: str | NewerFormat) -> str:
    return frame.detail if isinstance(frame, NewerFormat) else frame
