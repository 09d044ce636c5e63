"""Starts brokers as people do, in a directory of their own, and leaves none behind."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.process.process import BrokerProcess

MakeBroker: TypeAlias = Callable[..., BrokerProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.process)


@pytest.fixture
async def make_broker(tmp_path: Path) -> AsyncIterator[MakeBroker]:
    """Return a function that prepares a broker; its arguments are environment variables."""
    made: list[BrokerProcess] = []

    def make(**settings: Any) -> BrokerProcess:
        made.append(BrokerProcess(tmp_path, settings))
        return made[-1]

    yield make
    for broker in made:
        await broker.clean_up()


@pytest.fixture
def broker(make_broker: MakeBroker) -> BrokerProcess:
    """A broker as it comes, not started yet."""
    return make_broker()
