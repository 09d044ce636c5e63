"""Handlers in a real process: what they do to their events, and what becomes of their killers."""

import signal
from pathlib import Path

import httpx

from tests.process.conftest import MakeBroker
from tests.process.process import (
    BrokerEnded,
    BrokerProcess,
    acknowledge,
    consume,
    publish,
    status,
    until,
)

EXIT_CODE = 9
HANDLERS = """
import os
from pathlib import Path

async def deadly(event):
    if event.payload["name"] == "poison":
        with Path("starts").open("a") as file:
            file.write(f"{event.retries}\\n")
        os._exit(9)

async def raising(event):
    raise ValueError(f"not today, {event.payload['name']}")
"""


async def test_an_event_that_kills_the_process_ends_as_a_dead_letter(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    broker = make_broker(WORKER_COUNT=1, MAX_RETRIES=2, BASE_BACKOFF_MS=1)
    await broker.start()
    async with broker.client() as client:
        (event_id,) = await publish(client, "poison")
        await publish(client, "good")
    assert await broker.stop() == 0

    broker.settings["EVENT_HANDLER"] = "handlers:deadly"
    deaths = 0
    while await _ends_by_itself(broker):
        deaths += 1
        assert deaths <= 3, "it is tried without end"
    assert deaths == 3
    assert (tmp_path / "starts").read_text().split() == ["0", "1", "2"]
    async with broker.client() as client:
        (entry,) = (await client.get("/api/dlq")).json()["entries"]
    assert entry["record"]["id"] == event_id
    assert (entry["reason"], entry["record"]["retries"]) == ("max_retries_exceeded", 2)
    assert "process ended" in entry["error"]
    assert await broker.stop() == 0


async def test_a_handler_that_raises_is_retried_and_its_error_is_kept(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    broker = make_broker(EVENT_HANDLER="handlers:raising", MAX_RETRIES=1, BASE_BACKOFF_MS=1)
    await broker.start()
    async with broker.client() as client:
        await publish(client, "a")

        async def buried() -> bool:
            return bool((await status(client))["dlq"]["count"] == 1)

        await until(buried, "the event to die")
        (entry,) = (await client.get("/api/dlq")).json()["entries"]
    assert entry["error"] == "ValueError: not today, a"
    assert (entry["reason"], entry["record"]["retries"]) == ("max_retries_exceeded", 1)
    assert await broker.stop() == 0


async def test_a_receipt_outlives_a_kill(make_broker: MakeBroker) -> None:
    broker = make_broker()
    await broker.start()
    async with broker.client() as client:
        await publish(client, "a", "b")
        a, b = await consume(client, 2)
    await broker.kill()
    await broker.start()
    async with broker.client() as client:
        held = await acknowledge(client, a["receiptId"], b["receiptId"])
        assert held == [a["receiptId"], b["receiptId"]]
        assert await consume(client, 10) == []
    broker.signal(signal.SIGINT)
    assert await broker.wait() == 0


async def _ends_by_itself(broker: BrokerProcess) -> bool:
    """Start the broker; say whether its handler ended it, or it came to rest."""
    try:
        await broker.start()
        async with broker.client() as client:

            async def at_rest() -> bool:
                now = await status(client)
                return bool(now["queue"]["size"] == now["inflight"]["count"] == 0)

            await until(at_rest, "the worker to do its work")
    except (BrokerEnded, httpx.TransportError):
        assert await broker.wait() == EXIT_CODE, broker.log()
        return True
    return False
