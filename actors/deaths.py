"""Brings dead letters into the order of their death, many millions of them. Pure."""

from array import array
from collections.abc import Iterator
from heapq import merge

_INDEX_BITS = 40
_INDEX_MASK = (1 << _INDEX_BITS) - 1


class Deaths:
    """When which event died, packed: 24 bytes each at the most.

    One run after the other is sorted, as numbers and not as objects that compare; then all runs
    are merged.

    Args:
        run_bits: how many bits it takes to count the deaths in a run.
    """

    def __init__(self, run_bits: int = 18) -> None:
        self._run_bits = run_bits
        self._times = array("q")
        self._numbers = array("Q")

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, time: int, number: int) -> None:
        """Add the death of an event."""
        self._times.append(time)
        self._numbers.append(number)

    def in_order(self) -> Iterator[tuple[int, int]]:
        """Yield (time, number) by time; of one time in the order in which they were added."""
        if not self._numbers:
            return
        first = min(self._times)
        runs = [
            self._sorted_run(start, first) for start in range(0, len(self), 1 << self._run_bits)
        ]
        numbers = self._numbers
        for key in merge(*runs):
            yield first + (key >> _INDEX_BITS), numbers[key & _INDEX_MASK]

    def _sorted_run(self, start: int, first: int) -> Iterator[int]:
        """Sort a part now; yield its keys, of time and index, when they are asked for."""
        bits = self._run_bits
        mask = (1 << bits) - 1
        times = self._times[start : start + mask + 1]
        keys = array("Q", sorted((time - first) << bits | i for i, time in enumerate(times)))
        return ((key >> bits) << _INDEX_BITS | (start + (key & mask)) for key in keys)
