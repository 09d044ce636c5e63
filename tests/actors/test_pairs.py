"""Lines of packed pairs, held against plain lists, and what they keep of what was taken."""

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.pairs import Pair, Pairs

HALVES = st.integers(0, 9)
PAIRS = st.lists(st.tuples(HALVES, HALVES), max_size=60)


def filled(pairs: list[Pair]) -> Pairs:
    line = Pairs()
    for pair in pairs:
        line.append(*pair)
    return line


def rest(line: Pairs) -> list[Pair]:
    return [line.pop() for _ in range(len(line))]


@given(PAIRS, st.integers(0, 60), PAIRS)
def test_pairs_go_in_the_order_in_which_they_came(
    pairs: list[Pair], count: int, more: list[Pair]
) -> None:
    line = filled(pairs)
    count = min(count, len(pairs))
    assert [line.pop() for _ in range(count)] == pairs[:count]
    for pair in more:
        line.append(*pair)
    assert len(line) == len(pairs) - count + len(more)
    if len(line):
        assert line.peek() == (pairs[count:] + more)[0]
    assert rest(line) == pairs[count:] + more


@given(PAIRS, st.integers(0, 60), PAIRS)
def test_an_inserted_pair_takes_its_place_among_those_that_are_left(
    pairs: list[Pair], count: int, more: list[Pair]
) -> None:
    line = filled(sorted(pairs))
    left = sorted(pairs)[count:]
    for _ in range(len(pairs) - len(left)):
        line.pop()
    for pair in more:
        line.insert(*pair)
    assert rest(line) == sorted(left + more)


@given(PAIRS, st.integers(1, 70), st.data())
@settings(max_examples=100)
def test_a_sweep_drops_what_is_not_kept_whatever_is_taken_and_put_in_between(
    pairs: list[Pair], at_most: int, data: st.DataObject
) -> None:
    line = filled(pairs)
    model = list(pairs)
    while not line.sweep(lambda first, _: first % 2 == 0, at_most):
        if data.draw(st.booleans()):
            assert line.pop() in pairs
        if data.draw(st.booleans()):
            line.append(2, 99)
            model.append((2, 99))
    kept = [pair for pair in model if pair[0] % 2 == 0]
    left = rest(line)
    assert [pair for pair in left if pair[0] % 2 == 0] == kept[len(kept) - len(left) :]
    assert left == kept[len(kept) - len(left) :]


def test_a_sweep_looks_at_no_more_pairs_than_it_was_told_to() -> None:
    line = filled([(number, number) for number in range(100)])
    seen: list[int] = []

    def keep(first: int, _: int) -> bool:
        seen.append(first)
        return first % 2 == 0

    assert not line.sweep(keep, 40)
    assert sorted(seen) == list(range(60, 100))
    assert not line.sweep(keep, 40)
    assert line.sweep(keep, 40)
    assert sorted(seen) == list(range(100))
    assert rest(line) == [(number, number) for number in range(0, 100, 2)]


def test_what_was_taken_is_freed() -> None:
    line = filled([(number, number) for number in range(1000)])
    for left in range(999, -1, -1):
        line.pop()
        assert len(line.firsts) == len(line.seconds) <= 2 * left + 8


def test_a_line_that_is_short_for_long_stays_small() -> None:
    line = Pairs()
    for number in range(10_000):
        line.append(number, number)
        if number >= 5:
            assert line.pop() == (number - 5, number - 5)
        assert len(line.firsts) <= 16


def test_the_halves_take_the_greatest_times_and_numbers() -> None:
    line = filled([(-(2**63), 0), (2**63 - 1, 2**64 - 1)])
    assert rest(line) == [(-(2**63), 0), (2**63 - 1, 2**64 - 1)]
