"""What each segment still holds that somebody needs, counted as facts come and go. Pure.

A segment may be dropped when nothing in it is alive and nothing in it holds back something older:

- alive are, for each event that is not done with, its *home* (the fact with its payload) and its
  newest fact;
- a fact that ended an event must stay as long as the segment with the event's home does, or the
  event would be back after a restart. In the same way a copy of an event holds back the segment
  with the original. So a segment *needs* older ones to go first; never the other way round.

The idea of cleaning the poorest segments first is that of log-structured file systems (Rosenblum
and Ousterhout, SOSP 1991).
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator

import attrs


@attrs.define(eq=False)
class Holding:
    """What is known of one segment.

    Attributes:
        number: the segment's number.
        base: log position of its first byte.
        size: its length in bytes.
        live: how many facts in it are alive.
        live_bytes: their length in bytes.
        needs: for each older segment that must go first, how many facts in this one say so.
    """

    number: int
    base: int
    size: int = 0
    live: int = 0
    live_bytes: int = 0
    needs: dict[int, int] = attrs.field(factory=dict)


class Holdings:
    """The segments of a log, in order; the last one is active, the others are sealed."""

    def __init__(self) -> None:
        self._holdings: list[Holding] = []
        self._bases: list[int] = []
        self._numbers: dict[int, Holding] = {}
        # Sealed segments in which nothing is alive.
        self._idle: set[int] = set()

    def __len__(self) -> int:
        return len(self._holdings)

    def __iter__(self) -> Iterator[Holding]:
        return iter(self._holdings)

    @property
    def active(self) -> Holding:
        """The segment that grows."""
        return self._holdings[-1]

    def find(self, number: int) -> Holding | None:
        """Give the segment of a number, or None if it has been dropped."""
        return self._numbers.get(number)

    def begin(self, number: int, base: int) -> None:
        """Add a segment behind the others; it becomes the active one."""
        if self._holdings and self.active.live == 0:
            self._idle.add(self.active.number)
        holding = Holding(number, base)
        self._holdings.append(holding)
        self._bases.append(base)
        self._numbers[number] = holding

    def take_back(self) -> None:
        """Remove the newest segment again, in which there is nothing."""
        holding = self._holdings.pop()
        self._bases.pop()
        del self._numbers[holding.number]
        self._idle.discard(self.active.number)

    def at(self, position: int) -> Holding | None:
        """Give the segment that a log position lies in, or None if it has been dropped."""
        newest = self._holdings[-1]
        if position >= newest.base:
            return newest
        index = bisect_right(self._bases, position) - 1
        if index < 0:
            return None
        holding = self._holdings[index]
        return holding if position < holding.base + holding.size else None

    def enter(self, position: int, size: int) -> None:
        """Note that the fact at a position is alive."""
        holding = self.at(position)
        if holding is not None:
            if holding.live == 0:
                self._idle.discard(holding.number)
            holding.live += 1
            holding.live_bytes += size

    def leave(self, position: int, size: int) -> None:
        """Note that the fact at a position is alive no more."""
        holding = self.at(position)
        if holding is not None:
            holding.live -= 1
            holding.live_bytes -= size
            if holding.live == 0 and holding is not self._holdings[-1]:
                self._idle.add(holding.number)

    def need(self, position: int, older: int, count: int = 1) -> None:
        """Note that the segment with the fact at `position` needs that with `older` to go first.

        Args:
            position: of the fact that ends or copies an event.
            older: of what it ends or copies.
            count: -1 takes it back.
        """
        holding, first = self.at(position), self.at(older)
        if holding is None or first is None or holding is first:
            return
        left = holding.needs.get(first.number, 0) + count
        if left:
            holding.needs[first.number] = left
        else:
            del holding.needs[first.number]

    def grow(self, end: int) -> None:
        """Note the log position at which the active segment ends now."""
        active = self._holdings[-1]
        active.size = end - active.base

    def droppable(self) -> list[int]:
        """Tell the sealed segments that can be dropped together, the oldest first."""
        if not self._idle:
            return []
        drop: dict[int, None] = {}
        for number in sorted(self._idle):
            needs = self._numbers[number].needs
            if all(older in drop or older not in self._numbers for older in needs):
                drop[number] = None
        return list(drop)

    def drop(self, numbers: Collection[int]) -> None:
        """Forget segments."""
        for number in numbers:
            holding = self._numbers.pop(number)
            index = self._holdings.index(holding)
            del self._holdings[index], self._bases[index]
            self._idle.discard(number)
        for holding in self._holdings:
            for number in holding.needs.keys() & set(numbers):
                del holding.needs[number]

    def poorest(self, ratio: float) -> Holding | None:
        """Give the sealed segment whose copying gains most, if there is enough to be gained.

        What a copy gains are the segment's dead bytes, and those of the dead segments that need it
        to go first; what it costs are its live bytes. Segments that go by themselves do not count.

        Args:
            ratio: the share of the sealed bytes, 0 to 1, that may be dead.
        """
        going = set(self.droppable())
        sealed = [holding for holding in self._holdings[:-1] if holding.number not in going]
        total = sum(holding.size for holding in sealed)
        live = sum(holding.live_bytes for holding in sealed)
        if total - live <= ratio * total:
            return None
        gain = {h.number: h.size - h.live_bytes for h in sealed if h.live}
        for holding in sealed:
            if holding.live == 0:
                blocker = self._blocker(holding)
                if blocker is not None:
                    gain[blocker] += holding.size
        worth = {
            number: gained / (1 + self._numbers[number].live_bytes)
            for number, gained in gain.items()
            # Headers and frames are never alive: what gains no more than these is left alone, or
            # it would be copied for ever.
            if gained > ratio / 2 * self._numbers[number].size
        }
        best = max(worth, key=lambda number: (worth[number], -number), default=None)
        return None if best is None else self._numbers[best]

    def _blocker(self, holding: Holding) -> int | None:
        """Give the oldest segment with something alive that a dead segment waits for."""
        seen = {holding.number}
        waiting = [holding]
        blockers: list[int] = []
        while waiting:
            for number in waiting.pop().needs:
                older = self._numbers.get(number)
                if older is None or number in seen:
                    continue
                seen.add(number)
                if older.live:
                    blockers.append(number)
                else:
                    waiting.append(older)
        return min(blockers, default=None)
