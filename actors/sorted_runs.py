"""A priority queue of packed pairs, for many millions of them. Pure."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from actors.pairs import Pair, Pairs

RUN_PAIRS = 2048
"""A run takes so many pairs: few enough to insert in the middle, enough to need few runs."""

_REST_PAIRS = RUN_PAIRS // 16
_POOR = 4
_GONE_MIN = 64
_OPEN = -1

_Head = tuple[int, int, int]
"""The first pair of a run, and the run's serial number."""


class SortedRuns:
    """Pairs that come in any order and go in ascending order.

    One run is open: a pair that comes is inserted where it belongs. A run that is full is sealed,
    and a heap over the heads of all sealed runs finds the first pair. Pairs that come in order,
    as most do, are appended and taken from the front without anything being moved.
    """

    __slots__ = ("_open", "_sealed")

    def __init__(self) -> None:
        self._open = Pairs()
        self._sealed: _SealedRuns | None = None

    def __len__(self) -> int:
        run = self._open
        length = len(run.firsts) - run.head
        return length if self._sealed is None else length + self._sealed.size

    def push(self, first: int, second: int) -> None:
        """Put a pair in."""
        run = self._open
        firsts = run.firsts
        if not firsts or first > firsts[-1] or (first == firsts[-1] and second > run.seconds[-1]):
            firsts.append(first)
            run.seconds.append(second)
        else:
            run.insert(first, second)
        if len(firsts) >= RUN_PAIRS:
            self._seal()

    def peek(self) -> Pair:
        """Return the least pair; IndexError if there is none."""
        run, sealed = self._open, self._sealed
        if sealed is None or (len(run.firsts) > run.head and run.peek() < sealed.first):
            return run.peek()
        return sealed.first[:2]

    def pop(self) -> Pair:
        """Take the least pair; IndexError if there is none."""
        run, sealed = self._open, self._sealed
        if sealed is None or (len(run.firsts) > run.head and run.peek() < sealed.first):
            return run.pop()
        pair = sealed.pop(run)
        if not sealed.size or len(run.firsts) >= RUN_PAIRS:
            self._settle(sealed)
        return pair

    def sweep(self, keep: Callable[[int, int], bool], at_most: int) -> None:
        """Drop pairs that are not worth keeping, in steps that go round and round.

        Args:
            keep: tells whether a pair stays.
            at_most: how many pairs to look at.
        """
        sealed = self._sealed
        if sealed is None:
            self._open.sweep(keep, at_most)
            return
        sealed.sweep(keep, at_most, self._open)
        self._settle(sealed)

    def _settle(self, sealed: "_SealedRuns") -> None:
        """Put right what taking and sweeping leave: no sealed runs, or too long an open one."""
        if not sealed.size:
            self._sealed = None
        if len(self._open.firsts) >= RUN_PAIRS:
            self._seal()

    def _seal(self) -> None:
        if self._sealed is None:
            self._sealed = _SealedRuns(self._open)
        else:
            self._sealed.add(self._open)
        self._open = Pairs()


class _SealedRuns:
    """Runs that take no more pairs. There is at least one pair, or this is thrown away.

    The run with the least head stands beside the heap of heads, so that as long as it goes on
    having the least head, which is always where runs came in order, the heap is only looked at.

    Attributes:
        first: the least head; always right. Those in the heap may be too early or of a run that
            is gone, since sweeping does not look for them; they are put right when they come up.
        size: pairs in all runs.
    """

    __slots__ = (
        "_gone",
        "_heads",
        "_run",
        "_runs",
        "_serial",
        "_size_then",
        "_to_sweep",
        "first",
        "size",
    )

    def __init__(self, run: Pairs) -> None:
        self._runs: dict[int, Pairs] = {0: run}
        self._serial = 0
        self._heads: list[_Head] = []
        self._gone = 0
        self._run = run
        self._to_sweep: list[int] = []
        self.first: _Head = (*run.peek(), 0)
        self.size = self._size_then = len(run)

    def add(self, run: Pairs) -> None:
        """Add a run that has pairs."""
        self._serial += 1
        self._runs[self._serial] = run
        self.size += len(run)
        self._size_then += len(run)
        heappush(self._heads, self.first)
        self._lead((*run.peek(), self._serial))

    def pop(self, rest: Pairs) -> Pair:
        """Take the least pair.

        Args:
            rest: takes what is left of a run that is hardly worth keeping.
        """
        run = self._run
        pair = run.pop()
        self.size -= 1
        head = run.head
        left = len(run.firsts) - head
        # A head of 0 means that the run has just freed what was taken: it is half as long.
        if not left or (not head and self._is_rest(left) and self._may_move(left)):
            self._drop(self.first[2], rest)
            return pair
        following = (run.firsts[head], run.seconds[head], self.first[2])
        if self._heads and self._heads[0] < following:
            self._lead(following)
        else:
            self.first = following
        return pair

    def sweep(self, keep: Callable[[int, int], bool], at_most: int, open_run: Pairs) -> None:
        """Drop pairs of one run, or of the open one in its turn; see `SortedRuns.sweep`."""
        if not self._to_sweep:
            self._to_sweep = [*self._runs, _OPEN]
        serial = self._to_sweep[-1]
        if serial == _OPEN:
            done = open_run.sweep(keep, at_most)
        elif serial in self._runs:
            done = self._sweep_run(serial, keep, at_most, open_run)
        else:
            done = True
        if done:
            self._to_sweep.pop()

    def _sweep_run(
        self, serial: int, keep: Callable[[int, int], bool], at_most: int, rest: Pairs
    ) -> bool:
        run = self._runs[serial]
        before = len(run)
        done = run.sweep(keep, at_most)
        left = len(run)
        self.size -= before - left
        if done:
            if self._is_rest(left):
                self._drop(serial, rest)
            elif serial == self.first[2]:
                self._lead((*run.peek(), serial))
        return done

    def _is_rest(self, left: int) -> bool:
        """Tell whether a run with that many pairs is to go, since runs are on average so poor."""
        poor = len(self._runs) * RUN_PAIRS > _POOR * (self.size - left)
        return not left or (left <= _REST_PAIRS and poor)

    def _may_move(self, left: int) -> bool:
        """Tell whether enough was taken since something moved: many runs may run low at once."""
        return self._size_then - self.size >= left

    def _drop(self, serial: int, rest: Pairs) -> None:
        """Let a run go; what is left in it moves to `rest`."""
        run = self._runs.pop(serial)
        self.size -= len(run)
        while len(run):
            rest.insert(*run.pop())
        self._size_then = self.size
        if serial != self.first[2]:
            self._gone += 1
            if self._gone > len(self._runs) + _GONE_MIN:
                self._heads = [head for head in self._heads if head[2] in self._runs]
                heapify(self._heads)
                self._gone = 0
        elif self.size:
            while (serial := heappop(self._heads)[2]) not in self._runs:
                self._gone -= 1
            self._lead((*self._runs[serial].peek(), serial))

    def _lead(self, head: _Head) -> None:
        """Find the least of this head, which is right, and those in the heap."""
        heads = self._heads
        while heads and heads[0] < head:
            serial = heads[0][2]
            run = self._runs.get(serial)
            if run is None:
                heappop(heads)
                self._gone -= 1
                continue
            right = (run.firsts[run.head], run.seconds[run.head], serial)
            if right == heads[0]:
                heapreplace(heads, head)
                head = right
                break
            heapreplace(heads, right)
        self.first, self._run = head, self._runs[head[2]]
