"""Rows of neighbouring numbers, packed side by side in pages of their own. Pure state.

The pages come from the system and go back to it as soon as no row is left in them. Memory from the
process's own allocator would stay with the process when there are fragments in use between what is
free, and after a backlog of millions has been consumed there always are.
"""

import mmap
from bisect import bisect_left
from struct import Struct

ROW = Struct("<qqqqIIIIIIBBBB")
"""The fields of `persistence.entry.Row`, in their order."""

ROW_SIZE = ROW.size
PLACE_OFFSET = 56
"""Where in a row its place is, a byte."""

BLOCK_ROWS = 1024
"""How many rows a block has room for. It bounds the bytes that one operation moves."""

_NUMBER_SIZE = 8
_NUMBERS_AT = BLOCK_ROWS * ROW_SIZE
_BLOCK_SIZE = _NUMBERS_AT + BLOCK_ROWS * _NUMBER_SIZE


class Block:
    """Up to `BLOCK_ROWS` rows ascending by number, without gaps between them.

    They are at the indexes from `start` up to `stop`, wherever in the block that is, so that a
    block is used up from the front, or from the back, without moving anything.

    Attributes:
        memory: first room for the rows, then room for their numbers.
        numbers: a view on the second part; what is outside `start` to `stop` means nothing.
        start: index of the first row.
        stop: index behind the last row.
        dropped: how many rows were removed since the last `give_back`.
    """

    __slots__ = ("dropped", "memory", "numbers", "start", "stop")

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, _BLOCK_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.numbers = memoryview(self.memory)[_NUMBERS_AT:].cast("Q")
        self.start = 0
        self.stop = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def index_of(self, number: int) -> int:
        """Give the index of the first row with this number or a greater one, else `stop`."""
        return bisect_left(self.numbers, number, self.start, self.stop)

    def copy_numbers(self, start: int, stop: int) -> bytes:
        """Copy the numbers from index `start` up to `stop`."""
        return self.numbers[start:stop].tobytes()

    def copy_rows(self, start: int, stop: int) -> bytes:
        """Copy the rows from index `start` up to `stop`."""
        return self.memory[start * ROW_SIZE : stop * ROW_SIZE]

    def extend(self, numbers: bytes | memoryview, rows: bytes | memoryview) -> None:
        """Add rows behind the last one, where there must be room for them."""
        numbers_at = _NUMBERS_AT + self.stop * _NUMBER_SIZE
        rows_at = self.stop * ROW_SIZE
        self.memory[numbers_at : numbers_at + len(numbers)] = numbers
        self.memory[rows_at : rows_at + len(rows)] = rows
        self.stop += len(numbers) // _NUMBER_SIZE

    def drop(self, index: int) -> None:
        """Remove the row at an index; the rows on the shorter side of it move."""
        if index == self.start:
            self.start += 1
        elif index - self.start < self.stop - index - 1:
            self._move(self.start, index, self.start + 1)
            self.start += 1
        else:
            self._move(index + 1, self.stop, index)
            self.stop -= 1
        self.dropped += 1

    def insert(self, number: int, row: bytes) -> None:
        """Add a row in its place among the others; the block must not be full."""
        index = self.index_of(number)
        below = index - self.start < self.stop - index
        if self.stop == BLOCK_ROWS or (below and self.start):
            self._move(self.start, index, self.start - 1)
            self.start -= 1
            index -= 1
        else:
            self._move(index, self.stop, index + 1)
            self.stop += 1
        self.numbers[index] = number
        self.memory[index * ROW_SIZE : (index + 1) * ROW_SIZE] = row

    def move_to_front(self) -> None:
        """Move the rows so that all free room is behind them."""
        self._move(self.start, self.stop, 0)
        self.stop -= self.start
        self.start = 0

    def append_all(self, other: "Block") -> None:
        """Copy the rows of another block, whose numbers are greater, behind these."""
        if self.stop + len(other) > BLOCK_ROWS:
            self.move_to_front()
        numbers = other.copy_numbers(other.start, other.stop)
        self.extend(numbers, other.copy_rows(other.start, other.stop))

    def split(self) -> "Block":
        """Move the greater half of the rows to a new block."""
        upper = Block()
        middle = (self.start + self.stop) // 2
        upper.extend(self.copy_numbers(middle, self.stop), self.copy_rows(middle, self.stop))
        self.stop = middle
        self.give_back()
        return upper

    def give_back(self) -> None:
        """Give the system the pages that have no row in them; they come again when written."""
        start, stop = self.start, self.stop
        self.dropped = 0
        self._give_back(0, start * ROW_SIZE)
        self._give_back(stop * ROW_SIZE, _NUMBERS_AT + start * _NUMBER_SIZE)
        self._give_back(_NUMBERS_AT + stop * _NUMBER_SIZE, _BLOCK_SIZE)

    def _give_back(self, start: int, stop: int) -> None:
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        size = stop // mmap.PAGESIZE * mmap.PAGESIZE - first
        if size > 0:
            self.memory.madvise(mmap.MADV_DONTNEED, first, size)

    def _move(self, start: int, stop: int, to: int) -> None:
        """Move the rows from index `start` up to `stop` so that they begin at `to`."""
        rows = stop - start
        move = self.memory.move
        move(to * ROW_SIZE, start * ROW_SIZE, rows * ROW_SIZE)
        move(
            _NUMBERS_AT + to * _NUMBER_SIZE,
            _NUMBERS_AT + start * _NUMBER_SIZE,
            rows * _NUMBER_SIZE,
        )
