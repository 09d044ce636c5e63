"""A disk that fails under a running process: it says so, ends, and has kept what it promised."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.process.conftest import MakeBroker
from tests.process.process import BrokerProcess, consume, publish

FAILED = 1
UNAVAILABLE = httpx.codes.SERVICE_UNAVAILABLE

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("strace") is None or shutil.which("mount") is None,
    reason="making a disk fail takes root, strace and mount",
)


@asynccontextmanager
async def failing_syncs(broker: BrokerProcess) -> AsyncIterator[None]:
    """Let every sync of the running broker end in an input/output error."""
    fault = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "-o", "/dev/null"]
    command = ["strace", "-f", "-p", str(broker.process.pid), *fault]
    async with trio.open_nursery() as nursery:
        strace: trio.Process = await nursery.start(
            partial(trio.run_process, command, stderr=subprocess.PIPE, check=False)
        )
        assert strace.stderr is not None
        async for said in strace.stderr:
            if b"attached" in said:
                break
        yield
        strace.terminate()


def mount(*arguments: str) -> None:
    subprocess.run(["/bin/mount", *arguments], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place))
    yield place
    subprocess.run(["/bin/umount", place], check=True)


def the_lines(broker: BrokerProcess) -> list[str]:
    assert "Traceback" not in broker.log()
    return [line for line in broker.log().splitlines() if '"critical"' in line]


@needs_root
async def test_a_sync_that_fails_is_told_and_ends_the_process(broker: BrokerProcess) -> None:
    await broker.start()
    async with broker.client() as client:
        (promised,) = await publish(client, "promised")
        async with failing_syncs(broker):
            answer = await client.post("/api/events", json={"name": "in doubt"})
            assert (answer.status_code, answer.json()["code"]) == (UNAVAILABLE, "OUTCOME_UNKNOWN")
            assert (await client.get("/readyz")).status_code == UNAVAILABLE
            assert (await client.get("/livez")).status_code == httpx.codes.OK
            answer = await client.post("/api/events", json={"name": "too late"})
            assert (answer.status_code, answer.json()["code"]) == (UNAVAILABLE, "STORAGE_FAILED")
            assert str(broker.directory) not in answer.text
            assert await broker.wait() == FAILED
    (line,) = the_lines(broker)
    assert "events.log failed (input/output error)" in line
    await broker.start()
    async with broker.client() as client:
        events = await consume(client, 10)
    assert events[0]["id"] == promised
    assert [event["payload"]["name"] for event in events[1:]] in ([], ["in doubt"])


@needs_root
async def test_a_full_disk_ends_the_process_and_takes_nothing_back(
    make_broker: MakeBroker, small_disk: Path
) -> None:
    broker = make_broker(DATA_DIR=small_disk / "data", QUEUE_MAX_SIZE=10_000)
    await broker.start()
    promised: list[str] = []
    async with broker.client() as client:
        while True:
            answer = await client.post("/api/events", json={"filling": "x" * 50_000})
            if answer.status_code != httpx.codes.ACCEPTED:
                break
            promised.append(answer.json()["id"])
        assert answer.status_code == UNAVAILABLE
        assert await broker.wait() == FAILED
    (line,) = the_lines(broker)
    assert "no space left on device" in line
    mount("-o", "remount,size=8m", str(small_disk))
    await broker.start()
    async with broker.client() as client:
        events = await consume(client, 100)
        assert [event["id"] for event in events] == promised
    await broker.kill()
