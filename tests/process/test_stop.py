"""Stopping: in the order of the contract after the first signal, at once after the second."""

import signal
from pathlib import Path

import httpx
import pytest
import trio

from tests.process.conftest import MakeBroker
from tests.process.process import (
    BrokerProcess,
    acknowledge,
    consume,
    publish,
    status,
    until,
)

HANDLER = """
from pathlib import Path
import trio

async def slow(event):
    Path("started").touch()
    while not Path("finish").exists():
        await trio.sleep(0.005)
    Path("done").touch()
"""


@pytest.fixture
def slow(make_broker: MakeBroker, tmp_path: Path) -> BrokerProcess:
    """A broker with one worker whose handler ends when the file `finish` is there."""
    (tmp_path / "handlers.py").write_text(HANDLER)
    return make_broker(
        EVENT_HANDLER="handlers:slow",
        WORKER_COUNT=1,
        VISIBILITY_TIMEOUT_MS=600_000,
        BASE_BACKOFF_MS=10,
    )


async def started(broker: BrokerProcess) -> None:
    async def there() -> bool:
        return (broker.directory / "started").exists()

    await until(there, "the handler to start")


async def stopping(client: httpx.AsyncClient) -> None:
    async def not_ready() -> bool:
        return (await client.get("/readyz")).status_code == httpx.codes.SERVICE_UNAVAILABLE

    await until(not_ready, "the stop to begin")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_without_work_is_quick_and_clean(
    broker: BrokerProcess, number: signal.Signals
) -> None:
    await broker.start()
    broker.signal(number)
    assert await broker.wait() == 0


async def test_the_order_of_a_stop(slow: BrokerProcess) -> None:
    await slow.start()
    async with slow.client() as client, trio.open_nursery() as nursery:
        await publish(client, "for the worker")
        await started(slow)
        await publish(client, "a", "b", "c", "d")
        a, b, c, d = await consume(client, 4)
        polls: list[httpx.Response] = []

        async def poll() -> None:
            polls.append(await client.get("/api/events/consume", params={"timeoutMs": 30_000}))

        nursery.start_soon(poll)

        async def parked() -> bool:
            return bool((await status(client))["parkedPolls"] == 1)

        await until(parked, "the poll to be parked")
        slow.signal(signal.SIGTERM)
        await stopping(client)

        for refusal in (
            await client.post("/api/events", json={"name": "late"}),
            await client.post("/api/events/batch", json=[{"name": "late"}]),
            await client.get("/api/events/consume"),
        ):
            assert refusal.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert int(refusal.headers["retry-after"]) >= 1
        assert (await client.get("/api/health")).status_code == httpx.codes.OK
        assert (await client.get("/livez")).status_code == httpx.codes.OK

        assert await acknowledge(client, a["receiptId"]) == [a["receiptId"]]
        for call in (f"{b['receiptId']}/nack?delayMs=0", f"{c['receiptId']}/extend"):
            answer = await client.post(f"/api/events/{call}")
            assert answer.status_code == httpx.codes.OK, answer.text
        async with slow.client() as another:  # new connections are still accepted
            assert (await status(another))["workers"] == {"active": 1, "total": 1}

        async def answered() -> bool:
            return bool(polls)

        await until(answered, "the parked poll to be answered")
        assert (polls[0].status_code, polls[0].json()) == (200, {"events": [], "count": 0})
        assert slow.process.poll() is None
        (slow.directory / "finish").touch()
    assert await slow.wait() == 0
    assert (slow.directory / "done").exists()

    await slow.start(EVENT_HANDLER="")
    async with slow.client() as client:
        now = await status(client)
        assert now["queue"]["size"] == 1  # b
        assert now["inflight"]["count"] == 2  # c and d kept their leases
        assert now["committed"]["count"] == 2  # a and the worker's
        assert [e["payload"]["name"] for e in await consume(client, 10)] == ["b"]
        assert await acknowledge(client, d["receiptId"]) == [d["receiptId"]]


async def test_a_handler_that_does_not_end_is_given_up_and_its_event_comes_back(
    slow: BrokerProcess,
) -> None:
    await slow.start(SHUTDOWN_TIMEOUT_MS=50)
    async with slow.client() as client:
        await publish(client, "a")
        await started(slow)
    assert await slow.stop() == 0
    assert not (slow.directory / "done").exists()
    await slow.start(EVENT_HANDLER="")
    async with slow.client() as client:
        (a,) = await consume(client)
        assert (a["payload"]["name"], a["retries"]) == ("a", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once_with_nothing_lost(
    slow: BrokerProcess, number: signal.Signals
) -> None:
    await slow.start()
    async with slow.client() as client:
        await publish(client, "for the worker")
        await started(slow)
        await publish(client, "a", "b", "c")
        a, b = await consume(client, 2)
        assert await acknowledge(client, a["receiptId"]) == [a["receiptId"]]
        slow.signal(signal.SIGTERM)
        await stopping(client)
        slow.signal(number)
        assert await slow.wait() == 128 + number
    assert not (slow.directory / "done").exists()
    await slow.start(EVENT_HANDLER="")
    async with slow.client() as client:
        retries: dict[str, int] = {}
        while len(retries) < 2:
            for event in await consume(client, 10, timeout_ms=10_000):
                retries[event["payload"]["name"]] = event["retries"]
        # The worker's lease ended with the process, which counts as a failed delivery.
        assert retries == {"for the worker": 1, "c": 0}
        assert await acknowledge(client, b["receiptId"]) == [b["receiptId"]]
