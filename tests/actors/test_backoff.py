"""The delay before each retry is exactly what the formula says, however far it is taken."""

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from actors.backoff import Backoff


def test_the_delays_of_the_default_settings() -> None:
    backoff = Backoff()
    delays = [backoff.delay_ms(retry) for retry in range(1, 9)]
    assert delays == [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]


def test_a_multiplier_of_one_gives_the_same_delay_each_time() -> None:
    backoff = Backoff(base_ms=250, max_ms=1000, multiplier=1.0)
    assert [backoff.delay_ms(retry) for retry in (1, 2, 100)] == [250, 250, 250]


def test_a_base_above_the_ceiling_is_cut_to_the_ceiling() -> None:
    assert Backoff(base_ms=5000, max_ms=100).delay_ms(1) == 100


def test_a_fraction_of_a_millisecond_is_dropped() -> None:
    assert Backoff(base_ms=1, max_ms=100, multiplier=1.5).delay_ms(2) == 1
    assert Backoff(base_ms=1, max_ms=100, multiplier=1.5).delay_ms(3) == 2


@given(
    st.integers(0, 3_600_000),
    st.integers(0, 86_400_000),
    st.sampled_from([1.0, 2.0, 3.0, 10.0, 1e300]),
    st.integers(1, 5000),
)
@example(0, 30_000, 2.0, 1100)
@example(1, 30_000, 2.0, 1100)
def test_the_delay_follows_the_formula_for_any_settings(
    base_ms: int, max_ms: int, multiplier: float, retry: int
) -> None:
    delay = Backoff(base_ms, max_ms, multiplier).delay_ms(retry)
    exact = int(min(Fraction(max_ms), base_ms * Fraction(multiplier) ** (retry - 1)))
    assert delay == exact
