"""The end of the log that is in memory: what is appended and not written yet.

Appending gives facts their place in the log, encodes them and lets them count. Here, too, it is
decided where a segment ends and the next one begins.
"""

from collections import deque
from collections.abc import Sequence

from persistence.batch import Batch
from persistence.encode import encode
from persistence.entry import NOT_WRITTEN
from persistence.facts import Fact
from persistence.fold import Before, Fold
from persistence.segment import FRAME_HEADER_SIZE, SegmentHeader


class Tail:
    """Batches that wait to be written.

    `append` and `abandon` belong to one thread; `written` and `began` may come from another, though
    not beside `abandon`.

    Attributes:
        fold: the state after the newest fact.
        next: log position after the newest batch.
        unwritten: the batches, oldest first.
        segment: header of the segment that is being written; the batches may belong to later ones.

    Args:
        fold: the state at `end`.
        segment: header of the active segment.
        end: log position at its end.
        segment_max_bytes: a segment ends rather than grow beyond this, unless a single batch does.
    """

    def __init__(
        self, fold: Fold, segment: SegmentHeader, end: int, segment_max_bytes: int
    ) -> None:
        self.fold = fold
        self.next = end
        self.unwritten: deque[Batch] = deque()
        self.segment = segment
        self._segment_max_bytes = segment_max_bytes
        # Segments that batches belong to and that have no file yet.
        self._planned: deque[SegmentHeader] = deque()

    def append(self, facts: Sequence[Fact], now: int) -> Batch:
        """Give facts their place; see `EventLog.append`.

        Raises:
            ValueError, Undecodable: a fact cannot be written, or cannot follow; nothing has
                changed.
        """
        segment, next_number = self._newest, self.fold.next_number
        batch = self._take_in(facts, now)
        begin = segment.base + segment.size
        if batch.end - segment.base > self._segment_max_bytes and batch.position > begin:
            self._take_back(batch)
            self.fold.next_number = next_number  # the same numbers come again at once
            self._plan(now)
            batch = self._take_in(facts, now)
        self.unwritten.append(batch)
        return batch

    def abandon(self) -> list[Batch]:
        """Take all batches back, as if they had never been; see `EventLog.abandon`."""
        abandoned = list(self.unwritten)
        self.unwritten.clear()
        for batch in reversed(abandoned):
            self._unplan_behind(batch.segment)
            self._take_back(batch)
        self._unplan_behind(self.segment)
        return abandoned

    def written(self, count: int) -> None:
        """Note that the oldest batches are written."""
        for _ in range(count):
            self.unwritten.popleft()

    def began(self, segment: SegmentHeader) -> None:
        """Note that the first planned segment has its file."""
        self.segment = segment  # in this order: `append` may look in between
        self._planned.popleft()

    def _take_in(self, facts: Sequence[Fact], now: int) -> Batch:
        fold = self.fold
        counters_before = fold.counters.values()
        last_event_before = fold.last_event_at
        parts: list[bytes] = []
        sizes: list[int] = []
        before: list[Before] = []
        start = self.next
        at = start + FRAME_HEADER_SIZE
        batch = Batch(
            self._newest,
            start,
            at,
            facts,
            now,
            parts,
            sizes,
            before,
            counters_before,
            last_event_before,
        )
        try:
            for fact in facts:
                row = fold.row_of(fact)
                size = encode(fact, row.last_fact if row is not None else NOT_WRITTEN, parts)
                before.append(fold.apply(fact, row, at, size))
                sizes.append(size)
                at += size
        except BaseException:
            batch.end = at
            self._take_back(batch)
            raise
        batch.end = self.next = at
        fold.holdings.grow(at)
        return batch

    def _take_back(self, batch: Batch) -> None:
        fold = self.fold
        at = batch.end
        taken = list(zip(batch.facts, batch.sizes, batch.before, strict=False))
        for fact, size, before in reversed(taken):
            at -= size
            fold.take_back(fact, before, at, size)
        fold.counters.reset(batch.counters_before)
        fold.last_event_at = batch.last_event_before
        self.next = batch.position
        fold.holdings.grow(batch.position)

    @property
    def _newest(self) -> SegmentHeader:
        """Header of the segment that facts are appended to."""
        return self._planned[-1] if self._planned else self.segment

    def _plan(self, now: int) -> None:
        fold, old = self.fold, self._newest
        segment = SegmentHeader(
            number=old.number + 1,
            base=self.next,
            created=now or old.created,
            key=old.key,
            boot=fold.boot,
            next_number=fold.next_number,
            counters=fold.counters.values(),
            last_event_at=fold.last_event_at,
        )
        self._planned.append(segment)
        fold.holdings.begin(segment.number, segment.base)
        self.next += segment.size
        fold.holdings.grow(self.next)

    def _unplan_behind(self, segment: SegmentHeader) -> None:
        """Take back the planned segments behind one; there is nothing in them any more."""
        while self._newest is not segment:
            self.next = self._planned.pop().base
            self.fold.holdings.take_back()
