"""A ledger kept outside of a broker, by those who publish and consume until it is gone."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import attrs
import httpx
import trio

from tests.process.process import BrokerProcess, status

PUBLISHERS = 4
CONSUMERS = 4
EXTEND_A_LITTLE = "extend?visibilityTimeoutMs=50"
GIVEN_BACK = ("nack?delayMs=0", "nack?delayMs=50", EXTEND_A_LITTLE)


@attrs.define
class Ledger:
    """What producers and consumers know.

    Attributes:
        begun: events that were sent; those without a fate below got no answer.
        accepted: events whose acceptance was confirmed.
        refused: events that were refused.
        settled: events whose acknowledgement was confirmed.
        settling: events whose acknowledgement was sent and perhaps not answered.
        seen: how often each event was delivered.
        wrong: what may not happen.
    """

    begun: set[str] = attrs.field(factory=set)
    accepted: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)
    settled: set[str] = attrs.field(factory=set)
    settling: set[str] = attrs.field(factory=set)
    seen: dict[str, int] = attrs.field(factory=dict)
    wrong: list[str] = attrs.field(factory=list)

    def deliver(self, event: dict[str, Any]) -> str:
        name: str = event["payload"]["name"]
        self.seen[name] = self.seen.get(name, 0) + 1
        if name not in self.begun:
            self.wrong.append(f"{name} was never published")
        if name in self.refused:
            self.wrong.append(f"{name} was refused and is delivered")
        if name in self.settled:
            self.wrong.append(f"{name} is delivered after its acknowledgement was confirmed")
        return name


def produce(url: str, ledger: Ledger, random: Random, who: str, payload_max: int = 2000) -> None:
    """Publish until the broker is gone."""
    number = 0
    with speak_to(url) as client:
        while True:
            names = [f"{who}.{number + i}" for i in range(random.choice([1, 1, 1, 5]))]
            number += len(names)
            ledger.begun.update(names)
            bodies = [{"name": name, "": "x" * random.randrange(payload_max)} for name in names]
            try:
                if len(names) == 1:
                    answer = client.post("/api/events?topic=t", json=bodies[0])
                else:
                    answer = client.post("/api/events/batch?topic=t", json=bodies)
            except httpx.ConnectError:
                ledger.refused.update(names)
                return
            except httpx.TransportError:
                return  # nobody knows
            if answer.status_code == httpx.codes.ACCEPTED:
                ledger.accepted.update(names)
                continue
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            ledger.refused.update(names)
            if answer.json()["code"] != "QUEUE_FULL":
                return
            time.sleep(0.01)


def work(url: str, ledger: Ledger, random: Random, given_back: Sequence[str] = GIVEN_BACK) -> None:
    """Consume, and mostly acknowledge, until the broker is gone.

    Args:
        url: the broker's.
        ledger: to write into.
        random: decides what is not acknowledged.
        given_back: what is done to that instead.
    """
    with speak_to(url) as client, suppress(httpx.TransportError):
        while True:
            answer = client.get("/api/events/consume?maxEvents=5&timeoutMs=1000")
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return
            names = {e["receiptId"]: ledger.deliver(e) for e in answer.json()["events"]}
            keep = [receipt for receipt in names if random.random() < 0.9]
            for receipt in names.keys() - set(keep):
                client.post(f"/api/events/{receipt}/{random.choice(given_back)}")
            settle(client, ledger, {receipt: names[receipt] for receipt in keep})


def settle(client: httpx.Client, ledger: Ledger, names: dict[str, str]) -> None:
    """Acknowledge leases that have time left."""
    if not names:
        return
    ledger.settling.update(names.values())
    answer = client.post("/api/events/acknowledge", json={"receiptIds": list(names)})
    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.json()["failed"] == []
    ledger.settled.update(names[receipt] for receipt in answer.json()["acknowledged"])


def drain(url: str, ledger: Ledger) -> None:
    """Consume and acknowledge until nothing is left."""
    with speak_to(url) as client:
        while True:
            now = client.get("/api/status").json()
            if now["queue"]["size"] == now["inflight"]["count"] == 0:
                return
            answer = client.get("/api/events/consume?maxEvents=100&timeoutMs=500")
            names = {e["receiptId"]: ledger.deliver(e) for e in answer.json()["events"]}
            settle(client, ledger, names)


def seeded(random: Random) -> Random:
    """Return a generator for one thread alone."""
    return Random(random.random())


def speak_to(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=20)


@attrs.frozen
class Load:
    """What a broker is loaded with.

    Attributes:
        payload_max: size of the largest payload in bytes.
        given_back: what is done to events that are not acknowledged.
    """

    payload_max: int = 2000
    given_back: Sequence[str] = GIVEN_BACK


async def live_under_load(
    broker: BrokerProcess,
    ledger: Ledger,
    random: Random,
    who: str,
    end: Callable[[], Awaitable[None]],
    load: Load | None = None,
) -> None:
    """Start a broker, load it from all sides, and let `end` end it in the middle."""
    load = load or Load()
    await broker.start()
    async with trio.open_nursery() as nursery:
        for i in range(PUBLISHERS):
            mine = seeded(random)
            name = f"{who}.{i}"
            beside = partial(produce, broker.url, ledger, mine, name, load.payload_max)
            nursery.start_soon(trio.to_thread.run_sync, beside)
        for _ in range(CONSUMERS):
            beside = partial(work, broker.url, ledger, seeded(random), load.given_back)
            nursery.start_soon(trio.to_thread.run_sync, beside)
        await end()


async def check_at_the_end(broker: BrokerProcess, ledger: Ledger) -> None:
    """Start the broker once more, take all that is left, and compare it with the ledger."""
    await broker.start()
    await trio.to_thread.run_sync(drain, broker.url, ledger)
    async with broker.client() as client:
        counted = (await client.get("/api/metrics")).json()["events"]
        now = await status(client)
    assert await broker.stop() == 0

    assert ledger.wrong == []
    seen = ledger.seen.keys()
    assert ledger.accepted - seen == set(), "lost"
    assert seen & ledger.refused == set(), "made up"
    assert seen - ledger.settled <= ledger.settling
    assert counted["enqueued"] == counted["acknowledged"] == len(seen)
    assert (counted["dlq"], now["dlq"]["count"]) == (0, 0)
