"""Every async test of this room runs in virtual time: it jumps ahead when nobody can go on."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.abc import Clock, Instrument
from trio.testing import MockClock

HERE = Path(__file__).parent
VIRTUAL_DAY_S = 24 * 60 * 60


def run_in_virtual_time(
    test: Callable[[], Awaitable[Any]],
    *,
    clock: Clock | None = None,
    instruments: Sequence[Instrument] = (),
) -> Any:
    async def bounded() -> Any:
        # When nobody can go on for ever, time jumps here: a test that hangs fails instead.
        with trio.fail_after(VIRTUAL_DAY_S):
            return await test()

    clock = clock or MockClock(autojump_threshold=0)
    return trio.run(bounded, clock=clock, instruments=instruments)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        test = item.obj if isinstance(item, pytest.Function) else None
        if item.path.parent == HERE and inspect.iscoroutinefunction(test):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)
