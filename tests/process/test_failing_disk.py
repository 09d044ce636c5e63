"""A disk that fails under a running process: it says so, ends, and has kept what it promised."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.process.bad_disks import fill, injected, mount, needs_root
from tests.process.conftest import MakeBroker
from tests.process.process import BrokerProcess, consume, publish, status

FAILED = 1
UNAVAILABLE = httpx.codes.SERVICE_UNAVAILABLE


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
        async with injected(broker, "fdatasync", "error=EIO"):
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
async def test_a_full_disk_without_reserved_space_ends_the_process_and_takes_nothing_back(
    make_broker: MakeBroker, small_disk: Path
) -> None:
    broker = make_broker(
        DATA_DIR=small_disk / "data", QUEUE_MAX_SIZE=10_000, RESERVED_BYTES=0, MAX_RETRIES=1000
    )
    await broker.start()
    promised: list[str] = []
    async with broker.client() as client:
        while True:
            answer = await client.post("/api/events", json={"filling": "x" * 50_000})
            if answer.status_code != httpx.codes.ACCEPTED:
                break
            promised.append(answer.json()["id"])
        assert answer.status_code == httpx.codes.INSUFFICIENT_STORAGE
        fill(small_disk)
        # Handing out and giving back has to be written down, and soon there is no room even there.
        while answer.status_code != UNAVAILABLE:
            answer = await client.get("/api/events/consume", params={"maxEvents": 1})
            if answer.status_code == httpx.codes.OK:
                (event,) = answer.json()["events"]
                path = f"/api/events/{event['receiptId']}/nack"
                answer = await client.post(path, params={"delayMs": 0})
        assert answer.json()["code"] in {"OUTCOME_UNKNOWN", "STORAGE_FAILED"}
        assert await broker.wait() == FAILED
    (line,) = the_lines(broker)
    assert "no space left on device" in line
    mount("-o", "remount,size=8m", str(small_disk))
    await broker.start()
    async with broker.client() as client:
        now = await status(client)
        assert now["queue"]["size"] + now["inflight"]["count"] == len(promised)
    await broker.kill()
