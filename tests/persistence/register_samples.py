"""What the tests of the register share: rows, and what must hold of its structure."""

from collections.abc import Iterable

from persistence.entry import Place, Row
from persistence.register import Register


def row(number: int, topic: int = 0, place: int = Place.WAITING, named: int = 0) -> Row:
    code = number % 10**9
    return Row(code * 7, code * 11, 1, -code, 3, topic, place=place, named=named)


def add(register: Register, numbers: Iterable[int], place: int = Place.WAITING) -> None:
    for number in numbers:
        register.insert(number, row(number, register.topics.enter("orders"), place))


def check_structure(register: Register) -> None:
    """The directory leads to every row, and no more blocks are kept than the rows are worth."""
    blocks, fences = register._blocks, register._fences
    assert len(fences) == len(blocks) + 1
    assert fences[0] == 0
    assert sorted(set(fences)) == fences
    for index, block in enumerate(blocks):
        numbers = list(block.numbers[block.start : block.stop])
        assert sorted(set(numbers)) == numbers
        assert all(fences[index] <= number < fences[index + 1] for number in numbers)
        assert numbers or index == len(blocks) - 1
    assert len(blocks) <= 3 + len(register) // 384
