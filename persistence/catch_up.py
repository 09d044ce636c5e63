"""Brings a snapshot up to the position where it holds; why so is told in `persistence.snapshot`."""

from bisect import bisect_right

from persistence.catalog import Catalog
from persistence.columns import payloads_in
from persistence.counters import Counters
from persistence.decode import decode
from persistence.errors import Undecodable
from persistence.fold import Fold, ImportMark
from persistence.holdings import Holdings
from persistence.register import Register
from persistence.scan import Frame
from persistence.snapshot import Loaded
from persistence.snapshot_layout import SegmentState

_BEYOND = 1 << 62
"""A log position behind all others."""


class CatchUp:
    """Takes in the batches from `start` to `end`, and then gives the state there.

    Attributes:
        start: log position of the first batch.
        end: log position behind the last one.

    Args:
        loaded: the snapshot; its register is used up.
        catalog: the segments that are there.
    """

    def __init__(self, loaded: Loaded, catalog: Catalog) -> None:
        self.start = loaded.start
        self.end = loaded.end
        self._loaded = loaded
        self._there = {segment.number for segment in catalog.segments}
        # Everything but the rows comes from the trailer: what the facts do to it here is for
        # nothing, and no position lies in a segment that these holdings know.
        self._fold = Fold(register=loaded.register)
        self._fold.holdings.begin(0, _BEYOND)

    def take_in(self, frame: Frame) -> None:
        """Take in a batch.

        Raises:
            Undecodable: it does not go with the snapshot.
        """
        if frame.header.end > self.end:
            raise Undecodable(frame.header.position, "the snapshot ends within a batch")
        fold, count = self._fold, 0
        row_of, apply, look = fold.row_of, fold.apply, fold.register.get
        for position, size, _, fact in decode(frame.body, frame.body_position, look):
            count += 1
            number = fact.number
            if number and position >= self._copied_at(number):
                apply(fact, row_of(fact), position, size)
        if count != frame.header.count:
            detail = f"a batch of {frame.header.count} facts has {count}"
            raise Undecodable(frame.header.position, detail)

    def _copied_at(self, number: int) -> int:
        """Tell up to which log position the facts about an event are in its row already."""
        loaded = self._loaded
        return loaded.positions[bisect_right(loaded.uppers, number)]

    def state(self) -> Fold:
        """Give the state at `end`. All batches before that have been taken in."""
        trailer = self._loaded.trailer
        holdings = _restored([s for s in trailer.segments if s.number in self._there])
        register = self._loaded.register
        if len(holdings) < len(trailer.segments):
            _drop_homeless(register, holdings)
        return Fold(
            register=register,
            holdings=holdings,
            counters=Counters(*trailer.counters),
            boot=trailer.boot,
            next_number=trailer.next_number,
            last_event_at=trailer.last_event_at,
            imports={
                one.source: ImportMark(one.offset, one.position, one.size)
                for one in trailer.imports
                if holdings.at(one.position) is not None
            },
        )


def _restored(segments: list[SegmentState]) -> Holdings:
    holdings = Holdings()
    there = {segment.number for segment in segments}
    for number, base, size, live, live_bytes, needs in segments:
        # Before the next one begins: that tells whether anything is alive in this one.
        holdings.begin(number, base)
        holding = holdings.active
        holding.size, holding.live, holding.live_bytes = size, live, live_bytes
        holding.needs = {older: count for older, count in needs.items() if older in there}
    return holdings


def _drop_homeless(register: Register, holdings: Holdings) -> None:
    """Remove the rows whose homes are in segments that have been deleted."""
    at = holdings.at
    for capture in register.captures():
        # The byte before the payload belongs to the same fact, also where a payload is empty.
        homes = [payload_at - 1 for payload_at in payloads_in(capture.rows)]
        if not homes or (at(min(homes)) is at(max(homes)) is not None):
            continue
        numbers = memoryview(capture.numbers).cast("Q")
        for number in [n for n, home in zip(numbers, homes, strict=True) if at(home) is None]:
            row = register.remove(number)
            if row.state_size:
                holdings.leave(row.last_fact, row.state_size)
