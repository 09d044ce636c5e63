"""A whole process's life in this one: signals, the order of a shutdown, and a log that fails."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from structlog.testing import capture_logs
from structlog.typing import EventDict

from web.serve import serve
from web.settings import Settings
from web.stopping import Stopping

HANDLER = """
import trio
started, go = trio.Event(), trio.Event()

async def wait(event):
    started.set()
    await go.wait()
"""


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A second signal gives signals their default effect: not for the rest of the tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Process:
    """A broker that serves in a task of the test."""

    def __init__(self, lines: list[EventDict], last_words: list[int]) -> None:
        self.lines = lines
        self.last_words = last_words
        self.exit_codes: list[int] = []

    async def run(self, settings: Settings) -> None:
        self.exit_codes.append(await serve(settings, self.last_words.append))

    def said(self) -> list[str]:
        return [line["event"] for line in self.lines]

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not holds():
                await trio.lowlevel.checkpoint()

    async def client(self) -> httpx.AsyncClient:
        await self.until(lambda: "listening" in self.said())
        (url,) = [line["url"] for line in self.lines if line["event"] == "listening"]
        return httpx.AsyncClient(base_url=url, timeout=10, trust_env=False)


@pytest.fixture
def process() -> Iterator[Process]:
    with capture_logs() as lines:
        yield Process(lines, [])


def send_signal(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


async def test_a_signal_stops_in_good_order_and_nothing_is_lost(
    process: Process, tmp_path: Path
) -> None:
    settings = Settings(port=0, data_dir=tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run, settings)
        async with await process.client() as client:
            answer = await client.post("/api/events", json={"n": 1})
            assert answer.status_code == 202
            send_signal(signal.SIGINT)
            await process.until(lambda: "stopped" in process.said())
    assert process.exit_codes == [0]
    assert process.said() == [
        "starting",
        "listening",
        "stopping",
        "taking no new work, waiting for handlers",
        "closing connections",
        "connections closed, closing the log",
        "stopped",
    ]
    assert process.last_words == []
    process.lines.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run, settings)
        async with await process.client() as client:
            answer = await client.get("/api/events/consume?timeoutMs=0")
            assert answer.json()["events"][0]["payload"] == {"n": 1}
        send_signal()
    assert process.exit_codes == [0, 0]


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A module whose handler runs until it is let go."""
    import importlib  # noqa: PLC0415
    import sys  # noqa: PLC0415

    (tmp_path / "patient.py").write_text(HANDLER)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("patient")
    del sys.modules["patient"]


async def test_settling_is_served_while_a_handler_ends(
    process: Process, tmp_path: Path, handler: Any
) -> None:
    settings = Settings(
        port=0, data_dir=tmp_path / "data", event_handler="patient:wait", worker_count=1
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run, settings)
        async with await process.client() as client:
            await client.post("/api/events", json={"n": 1})
            await handler.started.wait()
            await client.post("/api/events?topic=mine", json={"n": 2})
            taken = await client.get("/api/events/consume?timeoutMs=0")
            receipt = taken.json()["events"][0]["receiptId"]
            send_signal()
            await process.until(lambda: len(process.lines) == 4)
            assert (await client.get("/readyz")).status_code == 503
            for refused in (
                await client.post("/api/events", json={}),
                await client.get("/api/events/consume"),
            ):
                assert refused.status_code == 503
                assert refused.headers["retry-after"]
            assert (await client.post(f"/api/events/{receipt}/extend")).status_code == 200
            status = (await client.get("/api/status")).json()
            assert status["workers"] == {"active": 1, "total": 1}
            answer = await client.post("/api/events/acknowledge", json={"receiptIds": [receipt]})
            assert answer.json()["acknowledged"] == [receipt]
            assert "closing connections" not in process.said()
            handler.go.set()
    assert process.exit_codes == [0]
    assert not any("still run" in text for text in process.said())


async def test_handlers_are_waited_for_no_longer_than_allowed(
    process: Process, tmp_path: Path, handler: Any
) -> None:
    settings = Settings(
        port=0,
        data_dir=tmp_path / "data",
        event_handler="patient:wait",
        worker_count=1,
        shutdown_timeout_ms=10,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run, settings)
        async with await process.client() as client:
            await client.post("/api/events", json={"n": 1})
            await handler.started.wait()
            send_signal()
            await process.until(lambda: "stopped" in process.said())
    assert process.exit_codes == [0]
    assert any("still run" in text for text in process.said())


async def test_a_second_signal_ends_it_at_once(
    process: Process, tmp_path: Path, handler: Any
) -> None:
    settings = Settings(
        port=0, data_dir=tmp_path / "data", event_handler="patient:wait", worker_count=1
    )
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run, settings)
            async with await process.client() as client:
                await client.post("/api/events", json={"n": 1})
                await handler.started.wait()
                send_signal()
                await process.until(lambda: "stopping" in process.said())
                send_signal()
                await process.until(lambda: process.exit_codes != [])
    assert process.exit_codes == [128 + signal.SIGTERM]
    assert process.last_words == [128 + signal.SIGTERM]
    assert process.said()[-1] == "stopping at once"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_a_signal_before_anything_began_stops_too() -> None:
    stopping = Stopping(lambda _: None)
    async with trio.open_nursery() as nursery:
        with capture_logs():
            await nursery.start(stopping.watch)
            with stopping.everything:
                send_signal()
                await trio.sleep_forever()
        nursery.cancel_scope.cancel()
    assert stopping.everything.cancelled_caught
    assert stopping.exit_code == 0


async def test_an_error_at_the_start_leaves_nothing_behind(
    process: Process, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    run = partial(process.run, Settings(port=0, data_dir=tmp_path / "file"))
    with pytest.raises(ExceptionGroup):
        await run()
    assert process.said() == ["starting"]
