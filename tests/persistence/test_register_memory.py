"""The register is as small as its rows, whatever came and went."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from persistence.block import BLOCK_ROWS, ROW_SIZE
from persistence.register import Register
from tests.persistence.register_samples import add, check_structure


@pytest.mark.parametrize("part", [0.3, 0.5, 0.6, 0.8, 0.97])
def test_neighbours_that_fit_into_one_block_are_joined(part: float) -> None:
    register = Register()
    numbers = range(1, 20 * BLOCK_ROWS)
    add(register, numbers)
    for number in Random(1).sample(numbers, int(part * len(numbers))):
        register.remove(number)
    check_structure(register)
    lengths = [len(block) for block in register._blocks[:-1]]
    slack = 128  # a block is looked at only now and then
    assert all(sum(pair) > BLOCK_ROWS - slack for pair in pairwise(lengths))


def test_a_block_is_joined_to_the_one_before_it() -> None:
    register = Register()
    add(register, range(1, 3 * BLOCK_ROWS))
    for number in (*range(1, BLOCK_ROWS - 9), *range(2 * BLOCK_ROWS - 99, BLOCK_ROWS, -1)):
        register.remove(number)
    assert len(register._blocks) == 2


def resident() -> int:
    """How much memory this process has, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells its memory elsewhere")
@pytest.mark.parametrize("order", ["in order", "at random"])
def test_memory_follows_the_number_of_rows_down(order: str) -> None:
    numbers = list(range(1, 100_001))
    gone = [number for number in numbers if number % 1000]
    if order == "at random":
        Random(1).shuffle(gone)
    slack = 1_000_000
    before = resident()
    register = Register()
    add(register, numbers)
    assert len(numbers) * ROW_SIZE < resident() - before < len(numbers) * 75 + slack
    half = len(gone) // 2
    for number in gone[:half]:
        register.remove(number)
    assert resident() - before < len(register) * 90 + slack
    for number in gone[half:]:
        register.remove(number)
    assert len(register) == 100
    assert resident() - before < slack


@pytest.mark.parametrize("depth", [1, 9, BLOCK_ROWS, 1500])
def test_events_that_come_and_go_in_order_leave_nothing_behind(depth: int) -> None:
    register = Register()
    add(register, range(1, depth + 1))
    for number in range(1, 5 * BLOCK_ROWS):
        register.remove(number)
        add(register, [number + depth])
        if number % 100 == 0:
            check_structure(register)
    assert len(register._blocks) <= 2 + depth // BLOCK_ROWS
    assert next(register.rows())[0] == 5 * BLOCK_ROWS
