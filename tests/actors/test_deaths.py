"""The order of death, of few and of very many."""

import hypothesis.strategies as st
from hypothesis import given

from actors.deaths import Deaths


@given(
    st.lists(st.integers(-(2**44), 2**44) | st.integers(0, 5), max_size=60),
    st.sampled_from([1, 2, 3, 18]),
)
def test_deaths_come_by_time_and_of_one_time_as_they_were_added(
    times: list[int], run_bits: int
) -> None:
    deaths = Deaths(run_bits)
    for number, time in enumerate(times, 100):
        deaths.add(time, number)
    assert len(deaths) == len(times)
    expected = sorted((time, number) for number, time in enumerate(times, 100))
    assert list(deaths.in_order()) == expected
