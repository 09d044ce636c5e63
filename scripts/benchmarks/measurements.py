"""One measurement of storage in this process: `python -m ... NAME DIRECTORY key=value...`."""

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio

from actors.broker import Delivery, NewEvent, StorageView
from actors.embedded import EmbeddedBroker
from actors.engine import open_broker
from actors.settings import BrokerSettings
from persistence.entry import NEVER_DELIVERED, Stamp
from persistence.facts import Dead, Enqueued, Fact, ReturnCause, Returned
from persistence.log import EventLog
from persistence.posix_disk import PosixDisk, sync_descriptor

PAYLOAD = b'{"n":"' + b"x" * 192 + b'"}'
BATCH = 1000
CONSUMERS = 4
_EVER = 10**9


def rss() -> int:
    """Return the memory in use by this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def sync_rate(directory: Path) -> dict[str, float]:
    """Tell how often 4 KiB can be appended and forced to the disk."""
    directory.mkdir(parents=True)
    file = os.open(directory / "file", os.O_RDWR | os.O_CREAT)
    took: list[float] = []
    for number in range(200):
        began = time.perf_counter()
        os.pwrite(file, bytes(4096), number * 4096)
        sync_descriptor(file)
        took.append(time.perf_counter() - began)
    os.close(file)
    return {"per_second": 1 / statistics.median(took)}


def settings(directory: Path, **more: int) -> BrokerSettings:
    """Return the engine's settings with the default sizes and no bound on the queue."""
    return BrokerSettings(data_dir=directory, queue_max_size=_EVER, **more)  # type: ignore[arg-type]


def pass_through(directory: Path, events: int, alive: int) -> dict[str, float]:
    """Publish, consume and acknowledge events in the engine, but for some; tell what is left."""

    async def main() -> dict[str, float]:
        every = max(1, events // max(1, alive))
        kept = 0
        async with open_broker(settings(directory, visibility_timeout_ms=_EVER)) as broker:
            began = time.perf_counter()
            for _ in range(0, events, BATCH):
                await broker.enqueue([NewEvent(PAYLOAD)] * BATCH)
                receipts = [d.receipt for d in await take(broker, BATCH)]
                done = [r for i, r in enumerate(receipts) if i % every or kept >= alive]
                kept += len(receipts) - len(done)
                await broker.acknowledge(done)
            took = time.perf_counter() - began
            left = await settled(broker)
            return {
                "per_second": events / took,
                "segments": left.segments,
                "bytes": left.size,
                "live": left.live,
                "written": left.written,
            }

    return trio.run(main)


async def settled(broker: EmbeddedBroker) -> StorageView:
    """Wait until the compactor has nothing to do; return what is left."""
    before = None
    while True:
        storage = (await broker.status()).storage
        if storage is None or storage == before:
            return storage or StorageView(0, 0, 0, 0, 0)
        before = storage
        await trio.sleep(2.5)


async def take(broker: EmbeddedBroker, count: int) -> list[Delivery]:
    """Consume so many events."""
    found: list[Delivery] = []
    while len(found) < count:
        answer = await broker.consume(max_events=100, timeout_ms=1000)
        if not isinstance(answer, tuple):
            raise TypeError(answer)
        found += answer
    return found


def fill(directory: Path, events: int, place: str, topics: int) -> dict[str, float]:
    """Write a backlog straight into a log."""
    log = EventLog.open(PosixDisk(directory), now=wall())
    now = wall()
    for start in range(1, events + 1, BATCH):
        numbers = range(start, min(start + BATCH, events + 1))
        came = [Enqueued(n, now, now, f"topic-{n % topics}", PAYLOAD) for n in numbers]
        log.append(came, now=now)
        if place != "ready":
            log.append([_fate(place, number, now) for number in numbers], now=now)
        log.write()
    log.close()
    return {}


def _fate(place: str, number: int, now: int) -> Fact:
    """Return what became of an event after it was accepted."""
    if place == "dead":
        return Dead(number, now, 0, NEVER_DELIVERED, "rejected")
    due = now + 3_600_000 + number % 1_000_000
    return Returned(number, due, 1, Stamp(1, 1), ReturnCause.REJECTED)


def wall() -> int:
    """Return wall time, milliseconds."""
    return time.time_ns() // 1_000_000


def open_engine(directory: Path) -> dict[str, float]:
    """Open the engine; tell how long it took and what it holds.

    Like a broker whose backlog came while it ran: what there was before, modules and all, is frozen
    as `event-broker serve` does it, and only what holds the events is there to be collected.
    """

    async def main() -> dict[str, float]:
        gc.collect()
        gc.freeze()
        began = time.perf_counter()
        async with open_broker(settings(directory)):
            took = time.perf_counter() - began
            used = rss()
            pauses: list[float] = []
            for _ in range(5):
                began = time.perf_counter()
                gc.collect()
                pauses.append(time.perf_counter() - began)
            pause = statistics.median(pauses)
            result = {"open_s": took, "rss": used, "gc_ms": pause * 1000}
            # As a crash would: without the snapshot of a clean stop.
            print(json.dumps(result), flush=True)
            os._exit(0)

    return trio.run(main)


def take_snapshot(directory: Path) -> dict[str, float]:
    """Take a snapshot in a running engine; tell what that costs the others."""

    async def main() -> dict[str, float]:
        async with open_broker(settings(directory, snapshot_after_bytes=1)):
            gc.freeze()
            before = rss()
            stalls: list[float] = []
            most = before
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    nonlocal most
                    while True:
                        began = time.perf_counter()
                        await trio.sleep(0.001)
                        stalls.append(time.perf_counter() - began - 0.001)
                        most = max(most, rss())

                nursery.start_soon(watch)
                taking, taken = (directory / f"events.snapshot{end}" for end in (".new", ""))
                while not taking.exists() and not taken.exists():  # noqa: ASYNC110 -- a file
                    await trio.sleep(0.001)
                began = time.perf_counter()
                while not taken.exists():  # noqa: ASYNC110 -- a file
                    await trio.sleep(0.001)
                took = time.perf_counter() - began
                nursery.cancel_scope.cancel()
            result = {
                "seconds": took,
                "extra": most - before,
                "stall_ms": max(stalls) * 1000,
            }
            print(json.dumps(result), flush=True)
            os._exit(0)

    return trio.run(main)


def consume_cold(directory: Path, events: int) -> dict[str, float]:
    """Consume and acknowledge events whose payloads are on the disk alone, by four consumers."""

    async def main() -> dict[str, float]:
        async with open_broker(settings(directory, payload_cache_bytes=0)) as broker:

            async def consume(count: int) -> None:
                for _ in range(0, count, BATCH):
                    batch = await take(broker, BATCH)
                    await broker.acknowledge([d.receipt for d in batch])

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(CONSUMERS):
                    nursery.start_soon(consume, events // CONSUMERS)
            took = time.perf_counter() - began
            print(json.dumps({"per_second": events / took}), flush=True)
            os._exit(0)

    return trio.run(main)


MEASUREMENTS: dict[str, Callable[..., dict[str, float]]] = {
    f.__name__: f for f in (sync_rate, pass_through, fill, open_engine, take_snapshot, consume_cold)
}


def main(name: str, directory: str, *options: str) -> None:
    """Run one of them and print its figures as JSON."""
    values: dict[str, int | str] = {}
    for option in options:
        key, _, value = option.partition("=")
        values[key] = int(value) if value.isdigit() else value
    print(json.dumps(MEASUREMENTS[name](Path(directory), **values)))


if __name__ == "__main__":
    main(*sys.argv[1:])
