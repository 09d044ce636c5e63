"""The engine's time, the wall's time, and the way from one to the other."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import trio


class Moment(NamedTuple):
    """One moment on both time lines, milliseconds: what pure code gets to know of time."""

    now: int
    wall: int

    def to_wall(self, at: int) -> int:
        """Convert a moment of the engine's time to wall time, as the wall clock stands now."""
        return at + self.wall - self.now


def system_wall() -> int:
    """Return the system's wall clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Clock:
    """A time line in milliseconds that starts at the wall clock and only moves forward.

    Everything in memory is due on this line, so that a wall clock that is set back or ahead while
    the broker runs changes nothing. What is stored or shown is wall time.

    Must be made inside a trio run; follows trio's clock, also a virtual one.
    """

    def __init__(self, wall: Callable[[], int] = system_wall) -> None:
        self.wall = wall
        self._start = wall()
        self._trio_start = trio.current_time()

    def now(self) -> int:
        """Return the engine's time in milliseconds."""
        # The thousandth keeps a sleeper that woke exactly on time from finding it is too early.
        return self._start + math.floor((trio.current_time() - self._trio_start) * 1000 + 1e-3)

    def moment(self) -> Moment:
        """Return this moment on both time lines."""
        return Moment(self.now(), self.wall())

    def to_trio(self, at: int) -> float:
        """Convert a moment of the engine's time to trio's clock, for deadlines."""
        return self._trio_start + (at - self._start) / 1000
