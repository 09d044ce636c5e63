"""Importing, backing up and restoring as people do: beside a broker at work, and killed midway."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.persistence.old_files import json_lines, letter, record
from tests.process.conftest import MakeBroker
from tests.process.process import (
    COMMAND,
    START_S_MAX,
    BrokerProcess,
    Finished,
    acknowledge,
    consume,
    environment,
    publish,
    status,
    until,
)

OK, FAILED = 0, 1


async def run_command(directory: Path, *arguments: str) -> Finished:
    """Run a command to its end."""
    with trio.fail_after(START_S_MAX):
        result = await trio.run_process(
            [COMMAND, *arguments],
            env=environment(RESERVED_BYTES=0),
            cwd=directory,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    stderr = result.stderr.decode().splitlines()
    return Finished(result.returncode, stderr, result.stdout.decode())


async def all_events(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Take all that is ready."""
    taken: list[dict[str, Any]] = []
    while events := await consume(client, 100):
        taken += events
    return taken


# Backup and restore


class Load:
    """Publishes without a pause, and has nearly all of it consumed at once.

    Attributes:
        kept: ids that nobody consumes, in the order of their confirmation.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.kept: list[str] = []
        self._client = client
        self._running = True

    async def run(self) -> None:
        while self._running:
            self.kept += await publish(self._client, "kept " + "k" * 200, topic="kept")
            await self._client.post(
                "/api/events/batch", params={"topic": "work"}, json=[{"x": "x" * 500}] * 8
            )
            answer = await self._client.get(
                "/api/events/consume", params={"topic": "work", "maxEvents": 100, "timeoutMs": 0}
            )
            receipts = [event["receiptId"] for event in answer.json()["events"]]
            await acknowledge(self._client, *receipts)

    def stop(self) -> None:
        self._running = False


def has_compacted(broker: BrokerProcess) -> bool:
    """Tell whether segments have been deleted."""
    names = sorted(path.name for path in (broker.directory / "data").glob("events-*.log"))
    return len(names) > 1 and names[0] != "events-0000000000.log"


@pytest.mark.parametrize("fsync", ["always", "never"])
async def test_a_backup_of_a_broker_at_work_has_all_that_was_accepted_before(
    make_broker: MakeBroker, fsync: str
) -> None:
    broker = make_broker(SEGMENT_MAX_BYTES=16_384, RESERVED_BYTES=0, FSYNC=fsync)
    await broker.start()
    async with broker.client() as client, trio.open_nursery() as nursery:
        load = Load(client)
        nursery.start_soon(load.run)

        async def busy() -> bool:
            return has_compacted(broker) and len(load.kept) > 30

        await until(busy, "segments to come and go")
        before = list(load.kept)
        made = await run_command(broker.directory, "backup", "copy", "--json")
        after = len(load.kept)
        load.stop()
    assert made.code == OK, made
    assert json.loads(made.stdout)["segments"] > 1
    assert await broker.stop() == 0
    assert "Traceback" not in broker.log()

    put = await run_command(broker.directory, "restore", "copy", "--data-dir", "again", "--json")
    assert put.code == OK, put
    assert json.loads(put.stdout)["waiting"] >= len(before)
    restored = make_broker(DATA_DIR="again", RESERVED_BYTES=0)
    await restored.start()
    async with restored.client() as client:
        kept = [event["id"] for event in await all_events(client) if event["topic"] == "kept"]
        assert kept[: len(before)] == before
        assert len(kept) <= after + 1  # what was on its way then
        await publish(client, "it goes on")
    assert await restored.stop() == 0


async def test_receipts_from_after_the_backup_do_not_settle_what_was_restored(
    make_broker: MakeBroker,
) -> None:
    broker = make_broker(RESERVED_BYTES=0)
    await broker.start()
    async with broker.client() as client:
        first, second = await publish(client, "first", "second")
        (early,) = await consume(client)
        made = await run_command(broker.directory, "backup", "copy")
        assert made.code == OK, made
        (late,) = await consume(client)
        assert (early["id"], late["id"]) == (first, second)
    await broker.kill()
    # As after a loss of the disk.
    put = await run_command(broker.directory, "restore", "copy", "--data-dir", "again")
    assert put.code == OK, put
    restored = make_broker(DATA_DIR="again", RESERVED_BYTES=0)
    await restored.start()
    async with restored.client() as client:
        (again,) = await consume(client)
        assert again["id"] == second
        assert await acknowledge(client, late["receiptId"]) == []
        assert await acknowledge(client, again["receiptId"]) == [again["receiptId"]]
        # What was handed out before the backup is still held, by the same receipt.
        assert await acknowledge(client, early["receiptId"]) == [early["receiptId"]]


# Import

EVENTS = [
    record(f"event-{n}", payload={"n": n, "x": "x" * 700}, retries=n % 3) for n in range(6000)
]
COMMITTED = [f"event-{n}" for n in range(0, 6000, 10)]
DEAD = [letter(f"event-{n}", error="it broke") for n in range(5, 6000, 100)]
WAITING = [
    one
    for n, one in enumerate(EVENTS)
    if n % 10 and n % 100 != 5  # neither committed nor dead
]


def leave_old_files(directory: Path) -> None:
    old = directory / "old"
    old.mkdir()
    (old / "events.log").write_bytes(json_lines(EVENTS))
    (old / "dlq.log").write_bytes(json_lines(DEAD))
    (old / "committed.log").write_text("".join(f"{one}\n" for one in COMMITTED))


async def import_and_kill(directory: Path, size: int) -> int:
    """Kill an import when the log has so many bytes; return its exit code."""
    process = await trio.lowlevel.open_process(
        [COMMAND, "import", "old"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(RESERVED_BYTES=0, SEGMENT_MAX_BYTES=1_500_000),
        cwd=directory,
    )

    async def far_enough() -> bool:
        files = (directory / "data").glob("events*.log")
        found = sum(path.stat().st_size for path in files if path.exists())
        return found >= size or process.poll() is not None

    try:
        await until(far_enough, "the import to come so far")
    finally:
        if process.poll() is None:
            process.kill()
    return await process.wait()


async def test_an_import_that_is_killed_and_run_again_doubles_and_loses_nothing(
    broker: BrokerProcess,
) -> None:
    leave_old_files(broker.directory)
    codes = [await import_and_kill(broker.directory, size) for size in (1, 1_000_000, 2_000_000)]
    assert -signal.SIGKILL in codes
    last = await run_command(broker.directory, "import", "old", "--json")
    assert last.code == OK, last
    report = json.loads(last.stdout)
    assert report["skipped_total"] == 0
    events = report["events"]
    assert events["taken"] + events["earlier"] + events["committed"] + events["dead"] == len(EVENTS)

    await broker.start(RESERVED_BYTES=0, QUEUE_MAX_SIZE=10)
    async with broker.client() as client:
        found = await status(client)
        assert found["queue"]["size"] == len(WAITING)
        assert found["dlq"]["count"] == len(DEAD)
        known = await client.get(f"/api/events/{WAITING[7]['id']}")
        assert known.status_code == httpx.codes.OK
        assert known.json()["id"] == WAITING[7]["id"]
        taken = await all_events(client)
        assert [
            {"id": e["id"], "ts": e["timestamp"], "payload": e["payload"], "retries": e["retries"]}
            for e in taken
        ] == WAITING
        held = await acknowledge(client, taken[0]["receiptId"])
        assert held == [taken[0]["receiptId"]]
        answer = await client.get("/api/dlq", params={"limit": 1000})
        dead = answer.json()["entries"]
        assert [entry["record"]["id"] for entry in dead] == [one["record"]["id"] for one in DEAD]
        assert {(entry["reason"], entry["error"]) for entry in dead} == {
            ("max_retries_exceeded", "it broke")
        }
        receipt = dead[0]["receiptId"]
        answer = await client.post(f"/api/dlq/{receipt}/reprocess")
        assert answer.status_code == httpx.codes.OK
        assert answer.json()["eventId"] == DEAD[0]["record"]["id"]
        (again,) = await consume(client)
        assert (again["id"], again["retries"]) == (DEAD[0]["record"]["id"], 0)


async def test_an_import_beside_a_broker_that_runs_is_refused(broker: BrokerProcess) -> None:
    leave_old_files(broker.directory)
    await broker.start(RESERVED_BYTES=0)
    refused = await run_command(broker.directory, "import", "old")
    assert (refused.code, refused.stdout) == (FAILED, "")
    assert f"in use by process {broker.process.pid}" in refused.stderr[-1]
    async with broker.client() as client:
        assert (await status(client))["queue"]["size"] == 0
