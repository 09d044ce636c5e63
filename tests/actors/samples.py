"""What the tests of this room share: events, entries, letters, and a clock that starts at NOW."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from trio.testing import MockClock

from actors.backoff import Backoff
from actors.blocking import inline
from actors.clock import Clock
from actors.embedded import EmbeddedBroker
from actors.engine import open_broker
from actors.mailbox import Mailbox
from actors.settings import BrokerSettings
from persistence.entry import NEVER_DELIVERED, DeadLetter, Entry, Event, Lease, Stamp
from persistence.memory_disk import MemoryDisk

NOW = 1_700_000_000_000
KEY = bytes(range(16))

T = TypeVar("T")


def event(
    number: int, topic: str = "", payload: bytes | None = b"{}", *, timestamp: int = NOW
) -> Event:
    return Event(number, timestamp, topic, payload, len(payload or b""))


def entry(
    number: int,
    due: int = NOW,
    topic: str = "",
    *,
    payload: bytes | None = b"{}",
    retries: int = 0,
    stamp: Stamp = NEVER_DELIVERED,
    receipt_open: bool = False,
    timestamp: int = NOW,
) -> Entry:
    published = event(number, topic, payload, timestamp=timestamp)
    return Entry(published, due, retries, stamp, receipt_open)


def lease(number: int, deadline: int, *, delivery: int = 1, topic: str = "") -> Lease:
    held = entry(number, topic=topic, stamp=Stamp(1, delivery), receipt_open=True)
    return Lease(held, deadline, 10_000)


def letter(
    number: int, topic: str = "", payload: bytes = b"{}", *, delivery: int = 1
) -> DeadLetter:
    dead = entry(number, topic=topic, payload=payload, stamp=Stamp(1, delivery), retries=5)
    return DeadLetter(dead, NOW, "max_retries_exceeded", f"error {number}")


def numbers(entries: Any) -> list[int]:
    return [item.event.number for item in entries]


def wall() -> int:
    """A wall clock that goes with virtual time."""
    return NOW + math.floor(trio.current_time() * 1000 + 1e-3)


def engine_clock() -> Clock:
    return Clock(wall)


async def idle() -> None:
    """Wait until every task waits for something."""
    await trio.testing.wait_all_tasks_blocked()


def virtual_clock() -> MockClock:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    return clock


def jump(milliseconds: int) -> None:
    """Let time pass at once, as if nothing got a turn meanwhile."""
    virtual_clock().jump(milliseconds / 1000)


def taken(mailbox: Mailbox[Any], kind: type[T]) -> T:
    """Take the next message, which must be of that kind."""
    message = mailbox.take()
    assert isinstance(message, kind), message
    return message


def all_taken(mailbox: Mailbox[Any]) -> list[Any]:
    messages = []
    while (message := mailbox.take()) is not None:
        messages.append(message)
    return messages


@asynccontextmanager
async def whole_broker(
    disk: MemoryDisk | None = None, **settings: Any
) -> AsyncIterator[EmbeddedBroker]:
    """A real broker on a disk in memory, in virtual time."""
    chosen = BrokerSettings(
        **{"visibility_timeout_ms": 10_000, "backoff": Backoff(1000, 30_000, 2.0), **settings}
    )
    async with open_broker(chosen, disk=disk or MemoryDisk(), wall=wall, blocking=inline) as broker:
        yield broker
