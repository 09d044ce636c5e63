"""The payload cache keeps to its bound, with what each payload costs beside its bytes."""

import hypothesis.strategies as st
from hypothesis import given

from actors.payload_cache import OVERHEAD, PayloadCache


def test_a_payload_is_kept_until_it_is_taken() -> None:
    cache = PayloadCache(1000)
    cache.keep(1, b"one")
    assert cache.take(1) == b"one"
    assert cache.take(1) is None
    assert cache.size == 0


def test_what_there_is_no_room_for_is_not_kept_and_smaller_ones_still_are() -> None:
    cache = PayloadCache(2 * OVERHEAD + 10)
    cache.keep(1, b"123456")
    cache.keep(2, b"12345")
    cache.keep(3, b"1234")
    assert [cache.take(number) for number in (1, 2, 3)] == [b"123456", None, b"1234"]


def test_a_cache_of_no_size_keeps_nothing_not_even_an_empty_payload() -> None:
    cache = PayloadCache(0)
    cache.keep(1, b"")
    assert cache.take(1) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20), st.binary(max_size=300)), max_size=60))
def test_its_size_is_that_of_what_it_has_and_never_above_the_bound(
    steps: list[tuple[bool, int, bytes]],
) -> None:
    cache, model = PayloadCache(1500), dict[int, bytes]()
    for keep, number, payload in steps:
        if keep and number not in model:
            before = cache.size
            cache.keep(number, payload)
            if cache.size > before:
                model[number] = payload
        elif not keep:
            assert cache.take(number) == model.pop(number, None)
        assert cache.size == sum(len(x) + OVERHEAD for x in model.values()) <= 1500
