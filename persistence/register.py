"""What the log says about every event that is not done with, as small as it can be kept.

Rows are packed into blocks; a directory, two lists of some ten thousand entries for ten million
rows, leads to the block of a number. So there are few objects for the garbage collector to visit,
and no operation touches more than a block or two and the directory.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice, repeat
from math import inf
from operator import lt
from typing import NamedTuple

from persistence.block import BLOCK_ROWS, PLACE_OFFSET, ROW, ROW_SIZE, Block
from persistence.entry import Place, Row
from persistence.foreign import ForeignIds
from persistence.topics import Topics

_TIDY_STEP = 64
"""A block is tidied up after this many removals from it: about a page of rows. Events that come and
go one by one must not have to pay for it each time."""

_new = tuple.__new__


class Capture(NamedTuple):
    """Copied rows, ascending by number.

    Attributes:
        upper: the least number of a row that follows them; None if none does.
        numbers: their numbers, unsigned 64-bit integers in the byte order of this machine.
        rows: the rows, each as `persistence.block.ROW` packs it.
    """

    upper: int | None
    numbers: bytes
    rows: bytes


class Register:
    """The rows of all events, by number.

    Not for several threads, not even to read: the row that was found last is remembered, so that
    asking for it again, changing it and removing it cost no search.

    Attributes:
        topics: the topics of the events. Each row holds its topic once; it must have been entered
            for the row before `insert`, and `remove` leaves it.
        foreign: foreign ids of events whose row is `named`; added by the caller, removed with the
            row.
    """

    __slots__ = (
        "_at",
        "_block",
        "_blocks",
        "_counts",
        "_fences",
        "_found",
        "_high",
        "_low",
        "_memory",
        "_near",
        "_newest",
        "foreign",
        "topics",
    )

    def __init__(self) -> None:
        self.topics = Topics()
        self.foreign = ForeignIds()
        # Ascending. The numbers in a block are not below its own fence and below that of the next
        # block. The first fence is 0, and a last one, without a block, is infinite. There is always
        # a last block, and it alone may be empty.
        self._blocks = [Block()]
        self._fences = [0, inf]
        self._counts = [0] * len(Place)
        # No number greater than this has ever been inserted.
        self._newest = 0
        # The block searched last, and the fences around it. To be forgotten, by an empty range,
        # whenever the directory changes.
        self._near = self._blocks[0]
        self._low: float = 0
        self._high: float = 0
        # The number found last, None if that is unknown; its block, the memory of that and where
        # in it the row begins. To be forgotten whenever rows move in a block.
        self._found: int | None = None
        self._block = self._blocks[0]
        self._memory = self._block.memory
        self._at = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(self._counts)

    def count(self, place: int) -> int:
        """Tell how many events are in a place."""
        return self._counts[place]

    # On the path of each event, several times: written for speed.

    def get(self, number: int) -> Row | None:
        """Give the row of an event, None if there is none."""
        if number != self._found and not self._find(number):
            return None
        return _new(Row, ROW.unpack_from(self._memory, self._at))

    def insert(self, number: int, row: Row) -> None:
        """Add the row of an event. Cheapest if the number is greater than any before it.

        Raises:
            ValueError: there is one already, or the number is below 1 or above 64 bits.
            struct.error, IndexError: a field is out of its range. Nothing has changed either way.
        """
        if number <= self._newest:
            self._insert_between(number, row)
            return
        block = self._blocks[-1]
        if block.stop == BLOCK_ROWS:
            block = self._begin()
        stop = block.stop
        at = stop * ROW_SIZE
        # Nothing counts before `stop` is set, so a failure before that changes nothing.
        ROW.pack_into(block.memory, at, *row)
        block.numbers[stop] = number
        self._counts[row.place] += 1
        block.stop = stop + 1
        self._newest = number
        self._found = number
        self._block = block
        self._memory = block.memory
        self._at = at

    def replace(self, number: int, row: Row) -> None:
        """Change the row of an event; `topic` and `named` must stay.

        Raises:
            KeyError: there is none.
            struct.error, IndexError: a field is out of its range. Nothing has changed either way.
        """
        if number != self._found and not self._find(number):
            raise KeyError(number)
        packed = ROW.pack(*row)
        memory, at = self._memory, self._at
        place = memory[at + PLACE_OFFSET]
        if place != row.place:
            self._counts[row.place] += 1
            self._counts[place] -= 1
        memory[at : at + ROW_SIZE] = packed

    def remove(self, number: int) -> Row:
        """Remove the row of an event, with its hold on its topic and its foreign id.

        Raises:
            KeyError: there is none, or its topic is not held.
        """
        if number != self._found and not self._find(number):
            raise KeyError(number)
        row = _new(Row, ROW.unpack_from(self._memory, self._at))
        self.topics.leave(row.topic)
        if row.named:
            self.foreign.remove(number)
        self._counts[row.place] -= 1
        block = self._block
        block.drop(self._at // ROW_SIZE)
        self._found = None
        if block.start == block.stop or block.dropped >= _TIDY_STEP:
            self._tidy(block, number)
        return row

    def _find(self, number: int) -> bool:
        """Tell whether there is a row, and remember it."""
        if self._low <= number < self._high:
            block = self._near
        else:
            fences = self._fences
            position = bisect_right(fences, number)
            block = self._near = self._blocks[position - 1]
            self._low = fences[position - 1]
            self._high = fences[position]
        numbers, start, stop = block.numbers, block.start, block.stop
        if start == stop:
            return False
        # Where it is if no number is missing before it in the block, which is common.
        index = start + number - numbers[start]
        if not start <= index < stop or numbers[index] != number:
            index = bisect_left(numbers, number, start, stop)
            if index == stop or numbers[index] != number:
                return False
        self._found = number
        self._block = block
        self._memory = block.memory
        self._at = index * ROW_SIZE
        return True

    # In bulk

    def rows(self, start: int = 0) -> Iterator[tuple[int, Row]]:
        """Yield (number, row) of all events with numbers from `start` on, ascending.

        The register may change meanwhile; what is yielded then may be some hundreds of rows late.
        """
        for capture in self.captures(start, BLOCK_ROWS):
            rows = map(_new, repeat(Row), ROW.iter_unpack(capture.rows))
            yield from zip(memoryview(capture.numbers).cast("Q"), rows, strict=True)

    def captures(self, start: int = 0, rows_max: int = BLOCK_ROWS) -> Iterator[Capture]:
        """Yield copies of all rows with numbers from `start` on, piece by piece.

        The register may change meanwhile; each piece is copied when it is asked for.
        """
        upper: int | None = start
        while upper is not None:
            capture = self.capture(upper, rows_max)
            yield capture
            upper = capture.upper

    def capture(self, start: int, rows_max: int) -> Capture:
        """Copy the rows with numbers from `start` on, at most `rows_max`.

        Raises:
            ValueError: `rows_max` is below 1.
        """
        if rows_max < 1:
            raise ValueError(f"{rows_max} rows cannot be captured")
        numbers: list[bytes] = []
        rows: list[bytes] = []
        upper = None
        left = rows_max
        position = max(bisect_right(self._fences, start) - 1, 0)
        index = self._blocks[position].index_of(start)
        for block in islice(self._blocks, position, None):
            first = max(index, block.start)
            end = min(block.stop, first + left)
            numbers.append(block.copy_numbers(first, end))
            rows.append(block.copy_rows(first, end))
            left -= end - first
            if end < block.stop:
                upper = block.numbers[end]
                break
            index = 0
        return Capture(upper, b"".join(numbers), b"".join(rows))

    def absorb(self, capture: Capture) -> None:
        """Add copied rows, all with numbers beyond any that has been inserted.

        Their topics must be held for them already, and foreign ids are the caller's to add.

        Raises:
            ValueError: they are not beyond, not ascending, or not what `capture` gives; nothing
                has changed.
        """
        rows = memoryview(capture.rows)
        numbers = memoryview(capture.numbers)
        count = len(numbers) // 8
        if count * 8 != len(numbers) or count * ROW_SIZE != len(rows):
            raise ValueError("numbers and rows do not belong together")
        if not count:
            return
        listed = numbers.cast("Q").tolist()
        if listed[0] <= self._newest or not all(map(lt, listed, islice(listed, 1, None))):
            raise ValueError("the numbers are not ascending")
        places = capture.rows[PLACE_OFFSET::ROW_SIZE]
        found = [places.count(place) for place in Place]
        if sum(found) != count:
            raise ValueError("a row has an unknown place")
        first = 0
        while first < count:
            block = self._blocks[-1]
            if block.stop == BLOCK_ROWS:
                block = self._begin()
            end = min(first + BLOCK_ROWS - block.stop, count)
            block.extend(numbers[first * 8 : end * 8], rows[first * ROW_SIZE : end * ROW_SIZE])
            self._newest = listed[end - 1]
            first = end
        self._counts = [held + more for held, more in zip(self._counts, found, strict=True)]

    # The directory

    def _begin(self) -> Block:
        """Give a last block with room in it, when the present one is used up to its end."""
        block = self._blocks[-1]
        if len(block) <= BLOCK_ROWS // 2:
            block.move_to_front()
            self._found = None
            return block
        block = Block()
        self._blocks.append(block)
        self._fences.insert(-1, self._newest + 1)
        self._high = 0
        return block

    def _insert_between(self, number: int, row: Row) -> None:
        if number < 1:
            raise ValueError(f"no event can have the number {number}")
        if self._find(number):
            raise ValueError(f"event {number} is there already")
        packed = ROW.pack(*row)
        held = self._counts[row.place]
        self._found = None
        position = bisect_right(self._fences, number) - 1
        block = self._blocks[position]
        if len(block) == BLOCK_ROWS:
            upper = block.split()
            fence = upper.numbers[0]
            self._blocks.insert(position + 1, upper)
            self._fences.insert(position + 1, fence)
            self._high = 0
            if number > fence:
                block = upper
        block.insert(number, packed)
        self._counts[row.place] = held + 1

    def _tidy(self, block: Block, number: int) -> None:
        """Keep memory bounded after rows were removed from a block, the newest of this number.

        No two neighbours that fit into one block stay two, and pages without rows are given back.
        The last block stays alone: new rows come to it, and may go as fast as they come.
        """
        if block is self._blocks[-1]:
            if block.dropped >= _TIDY_STEP:
                block.give_back()
            return
        position = bisect_right(self._fences, number) - 1
        if block.start == block.stop:
            del self._blocks[position], self._fences[position]
            self._fences[0] = 0
            self._high = 0
        elif not (self._merge(position) or self._merge(position - 1)):
            block.give_back()

    def _merge(self, position: int) -> bool:
        """Join a block and the next one if they fit into one; tell whether they did."""
        if not 0 <= position < len(self._blocks) - 2:
            return False
        left, right = self._blocks[position], self._blocks[position + 1]
        if len(left) + len(right) > BLOCK_ROWS:
            return False
        left.append_all(right)
        left.give_back()
        del self._blocks[position + 1], self._fences[position + 1]
        self._high = 0
        return True
