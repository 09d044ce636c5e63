"""A block gives back the pages that have no row in them, and no others."""

from collections.abc import Callable

import pytest

from persistence.block import BLOCK_ROWS, ROW_SIZE, Block


def full_block() -> Block:
    block = Block()
    for number in range(1, BLOCK_ROWS + 1):
        block.insert(number, content(number))
    return block


def content(number: int) -> bytes:
    return number.to_bytes(2, "little") * (ROW_SIZE // 2)


@pytest.mark.parametrize(
    "next_index",
    [
        lambda block: block.start,
        lambda block: block.stop - 1,
        lambda block: (block.start + block.stop) // 2,
        lambda block: block.start if len(block) % 3 else block.stop - 1,
    ],
)
def test_the_rows_that_stay_are_whole_whichever_go(next_index: Callable[[Block], int]) -> None:
    block = full_block()
    left = list(range(1, BLOCK_ROWS + 1))
    while left:
        index = next_index(block)
        del left[index - block.start]
        block.drop(index)
        block.give_back()
        assert block.copy_rows(block.start, block.stop) == b"".join(map(content, left))
        assert block.numbers[block.start : block.stop].tolist() == left


def test_rows_can_come_where_pages_were_given_back() -> None:
    block = full_block()
    for _ in range(BLOCK_ROWS - 2):
        block.drop(block.start + 1)
    block.give_back()
    for number in range(BLOCK_ROWS - 1, 1, -1):
        block.insert(number, content(number))
    assert len(block) == BLOCK_ROWS
    rows = b"".join(content(number) for number in range(1, BLOCK_ROWS + 1))
    assert block.copy_rows(block.start, block.stop) == rows


def test_a_split_gives_the_greater_half_away() -> None:
    block = full_block()
    upper = block.split()
    assert len(block) == len(upper) == BLOCK_ROWS // 2
    block.append_all(upper)
    assert block.numbers[:].tolist() == list(range(1, BLOCK_ROWS + 1))
