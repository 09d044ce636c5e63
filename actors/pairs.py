"""Pairs of whole numbers, packed: 16 bytes each and no object for any of them. Pure."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable

Pair = tuple[int, int]

_TAKEN_MIN = 8


class Pairs:
    """A line of pairs that is taken from its front.

    Attributes:
        firsts: the first halves, each of 63 bits and a sign.
        seconds: the second halves, each of 64 bits without a sign.
        head: index of the front. What stands before it is taken; it is freed when it makes up
            half of the line, so that taking costs the same however long the line is.
    """

    __slots__ = ("_swept_from", "firsts", "head", "seconds")

    def __init__(self) -> None:
        self.firsts = array("q")
        self.seconds = array("Q")
        self.head = 0
        self._swept_from = -1

    def __len__(self) -> int:
        return len(self.firsts) - self.head

    def peek(self) -> Pair:
        """Return the pair at the front; IndexError if there is none."""
        return self.firsts[self.head], self.seconds[self.head]

    def append(self, first: int, second: int) -> None:
        """Put a pair at the end."""
        self.firsts.append(first)
        self.seconds.append(second)

    def insert(self, first: int, second: int) -> None:
        """Put a pair into its place in a line that is sorted.

        Moves the pairs behind it: for lines of a few thousand that is less than a microsecond.
        """
        firsts, seconds = self.firsts, self.seconds
        at = bisect_right(firsts, first, self.head)
        if at > self.head and firsts[at - 1] == first:
            at = bisect_right(seconds, second, bisect_left(firsts, first, self.head, at), at)
        firsts.insert(at, first)
        seconds.insert(at, second)

    def pop(self) -> Pair:
        """Take the pair at the front; IndexError if there is none."""
        head = self.head
        pair = self.firsts[head], self.seconds[head]
        self.head = head = head + 1
        if head >= _TAKEN_MIN and head * 2 >= len(self.firsts):
            self._free()
        return pair

    def sweep(self, keep: Callable[[int, int], bool], at_most: int) -> bool:
        """Drop pairs that are not worth keeping, in steps, from the end to the front.

        Between two steps anything may happen to the line. A pair that it moved over the place
        where the sweep stands may then be looked at twice, or not before the next sweep.

        Args:
            keep: tells whether a pair stays.
            at_most: how many pairs to look at.

        Returns:
            Whether the sweep has come to the front; the next step begins a new one.
        """
        end = len(self.firsts) if self._swept_from < 0 else min(self._swept_from, len(self.firsts))
        start = max(self.head, end - at_most)
        pairs = zip(self.firsts[start:end], self.seconds[start:end], strict=True)
        kept = [pair for pair in pairs if keep(*pair)]
        if start + len(kept) < end:
            self.firsts[start:end] = array("q", [first for first, _ in kept])
            self.seconds[start:end] = array("Q", [second for _, second in kept])
        done = start == self.head
        self._swept_from = -1 if done else start
        return done

    def _free(self) -> None:
        del self.firsts[: self.head]
        del self.seconds[: self.head]
        self._swept_from = max(-1, self._swept_from - self.head)
        self.head = 0
