"""A real disk that is full for a while: new events are refused, and all else goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.process.bad_disks import fill, mount, needs_root
from tests.process.conftest import MakeBroker
from tests.process.process import acknowledge, consume, publish, status, until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place))
    yield place
    subprocess.run(["/bin/umount", place], check=True)


async def fill_up(client: httpx.AsyncClient, disk: Path) -> tuple[Path, httpx.Response]:
    """Fill the disk; return the file that did it, and how an event was refused then."""
    ballast = fill(disk)
    while True:
        answer = await client.post("/api/events", json={"filling": "x" * 5000})
        if answer.status_code != httpx.codes.ACCEPTED:
            return ballast, answer


@needs_root
async def test_a_full_disk_refuses_new_events_and_goes_on_when_there_is_room(
    make_broker: MakeBroker, small_disk: Path
) -> None:
    broker = make_broker(DATA_DIR=small_disk / "data", RESERVED_BYTES=1_048_576)
    await broker.start()
    async with broker.client() as client:
        ids = await publish(client, *(f"{number}" for number in range(40)))
        ballast, refusal = await fill_up(client, small_disk)
        assert refusal.status_code == httpx.codes.INSUFFICIENT_STORAGE
        assert refusal.headers["content-type"] == "application/problem+json"
        assert int(refusal.headers["retry-after"]) >= 1
        assert refusal.json()["code"] == "STORAGE_FULL"
        assert str(small_disk) not in refusal.text

        # What is there goes on, for longer than the room on the last page lasts.
        events = await consume(client, 20)
        assert [event["id"] for event in events] == ids[:20]
        receipts = [event["receiptId"] for event in events]
        for receipt in receipts[:10]:
            for _ in range(10):
                answer = await client.post(f"/api/events/{receipt}/extend")
                assert answer.status_code == httpx.codes.OK, answer.text
            path = f"/api/events/{receipt}/nack"
            answer = await client.post(path, params={"requeue": "false"})
            assert answer.status_code == httpx.codes.OK, answer.text
        assert await acknowledge(client, *receipts[10:]) == receipts[10:]
        assert (await client.get("/api/health")).status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert (await client.get("/readyz")).status_code == httpx.codes.OK
        assert (await client.get("/livez")).status_code == httpx.codes.OK

        ballast.unlink()

        async def has_room() -> bool:
            return (await client.get("/api/health")).status_code == httpx.codes.OK

        await until(has_room, "room")
        await publish(client, "again")
        before = await status(client)
    assert "Traceback" not in broker.log()
    await broker.kill()
    await broker.start()
    async with broker.client() as client:
        now = await status(client)
        assert now["queue"]["size"] == before["queue"]["size"]
        assert now["dlq"]["count"] == 10
    await broker.kill()


@needs_root
async def test_consumers_make_room_by_themselves(make_broker: MakeBroker, small_disk: Path) -> None:
    broker = make_broker(
        DATA_DIR=small_disk / "data",
        RESERVED_BYTES=1_048_576,
        SEGMENT_MAX_BYTES=262_144,
        QUEUE_MAX_SIZE=10_000,
    )
    await broker.start()
    async with broker.client() as client:
        for _ in range(3):
            while True:
                answer = await client.post("/api/events", json={"filling": "x" * 100_000})
                if answer.status_code != httpx.codes.ACCEPTED:
                    break
            assert answer.status_code == httpx.codes.INSUFFICIENT_STORAGE
            while events := await consume(client, 50):
                receipts = [event["receiptId"] for event in events]
                assert await acknowledge(client, *receipts) == receipts

            async def has_room() -> bool:
                return (await client.get("/api/health")).status_code == httpx.codes.OK

            await until(has_room, "room")
    assert "Traceback" not in broker.log()
    await broker.kill()
