"""Runs tests in virtual time, the order in which trio runs tasks chosen by a seed."""

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio
from trio._core import _run
from trio.testing import MockClock

T = TypeVar("T")

SEED = int(os.environ.get("SCHEDULE_SEED", "0"))
"""Another one runs every test with its tasks in other orders."""


def in_virtual_time(test: Callable[[], Awaitable[T]], *, seed: int = SEED, **_: Any) -> T:
    """Run a test on a clock that jumps ahead when everybody waits."""
    # Private to trio, which offers no other way; `test_schedule` notices when it goes away.
    vars(_run)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    _run._r.seed(seed)
    return trio.run(test, clock=MockClock(autojump_threshold=0))
