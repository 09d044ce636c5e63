"""Opens each engine that keeps the contract: a test runs with all of them, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest

from actors.backoff import Backoff
from actors.settings import BrokerSettings
from tests.broker.bench import Bench, OpenBench
from tests.broker.embedded_bench import open_embedded_bench
from tests.broker.virtual_time import in_virtual_time

ENGINES: dict[str, dict[str, Any]] = {
    "embedded": {},
    "embedded, all on disk": {"payload_cache_bytes": 0, "segment_max_bytes": 4096},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        is_ours = Path(__file__).parent in item.path.parents
        if is_ours and isinstance(item, pytest.Function) and iscoroutinefunction(item.obj):
            item.add_marker(pytest.mark.trio(run=in_virtual_time))


@pytest.fixture(params=ENGINES)
def open_bench(request: pytest.FixtureRequest) -> OpenBench:
    """Return a function that opens an engine; its arguments are settings."""

    @asynccontextmanager
    async def open_it(**settings: Any) -> AsyncIterator[Bench]:
        chosen: dict[str, Any] = {
            "visibility_timeout_ms": 10_000,
            "max_retries": 2,
            "backoff": Backoff(base_ms=1000, max_ms=30_000, multiplier=2.0),
            "reserved_bytes": 64 * 1024,
            **ENGINES[request.param],
            **settings,
        }
        async with open_embedded_bench(BrokerSettings(**chosen)) as bench:
            yield bench

    return open_it


@pytest.fixture
async def bench(open_bench: OpenBench) -> AsyncIterator[Bench]:
    """An engine with two retries, a backoff of 1 s, 2 s... and leases of 10 s."""
    async with open_bench() as bench:
        yield bench
