"""The engine's time starts at the wall clock, follows trio's and never goes back."""

import trio

from actors.clock import Clock, Moment, system_wall
from tests.actors.samples import NOW, jump


class WallClock:
    """A wall clock that somebody sets."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> int:
        return self.time


async def test_time_starts_at_the_wall_and_goes_with_trio() -> None:
    clock = Clock(WallClock())
    assert clock.now() == NOW
    jump(1500)
    assert clock.now() == NOW + 1500


async def test_a_wall_clock_that_is_set_back_or_ahead_changes_nothing() -> None:
    wall = WallClock()
    clock = Clock(wall)
    seen = [clock.now()]
    for change in (-3_600_000, 7_200_000, -10_000_000):
        wall.time += change
        jump(10)
        seen.append(clock.now())
    assert seen == [NOW, NOW + 10, NOW + 20, NOW + 30]


async def test_a_moment_has_both_times_and_converts_from_one_to_the_other() -> None:
    wall = WallClock()
    clock = Clock(wall)
    wall.time -= 500
    jump(100)
    moment = clock.moment()
    assert moment == Moment(NOW + 100, NOW - 500)
    assert moment.to_wall(NOW + 1100) == NOW + 500
    assert moment.to_wall(moment.now) == moment.wall


async def test_who_sleeps_until_a_moment_wakes_at_it_and_not_before() -> None:
    clock = Clock(WallClock())
    for ahead in (1, 3, 7, 1000, 33_333, 10_000_001):
        due = clock.now() + ahead
        await trio.sleep_until(clock.to_trio(due))
        assert clock.now() == due


async def test_a_fraction_of_a_millisecond_is_not_rounded_up() -> None:
    clock = Clock(WallClock())
    jump(10)
    await trio.sleep(0.0009)
    assert clock.now() == NOW + 10


def test_the_systems_wall_clock_is_in_milliseconds_since_the_epoch() -> None:
    assert 1_700_000_000_000 < system_wall() < 10_000_000_000_000
