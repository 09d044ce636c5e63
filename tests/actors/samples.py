"""What the tests of this room share: events with a past, and a clock that starts at NOW."""

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
from actors.leases import Lease
from actors.mailbox import Mailbox
from actors.settings import BrokerSettings
from actors.waiting import Waiting
from actors.wal_port import Append, Committed
from persistence.entry import NEVER_DELIVERED, ConsumerKind, Row, Stamp
from persistence.facts import Dead, Enqueued, Fact, Leased, ReturnCause, Returned
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.register import Register

NOW = 1_700_000_000_000
KEY = bytes(range(16))

T = TypeVar("T")


class Past:
    """A real log on a disk in memory, and facts that bring events to where a test wants them."""

    def __init__(self) -> None:
        self.log = EventLog.open(MemoryDisk(), now=NOW, random_bytes=lambda _: KEY)

    @property
    def register(self) -> Register:
        return self.log.register

    def append(self, *facts: Fact) -> None:
        self.log.append(facts, now=NOW)

    def row(self, number: int) -> Row:
        row = self.register.get(number)
        assert row is not None
        return row

    def topic(self, row: Row) -> str:
        return self.register.topics.name(row.topic)

    def numbers(self) -> list[int]:
        """Say which events are not done with."""
        return [number for number, _ in self.register.rows()]

    def event(
        self,
        number: int,
        topic: str = "",
        *,
        due: int = NOW,
        retries: int = 0,
        stamp: Stamp = NEVER_DELIVERED,
        receipt_open: bool = False,
        payload: bytes = b"{}",
        timestamp: int = NOW,
        foreign_id: str = "",
    ) -> Waiting:
        """Let an event wait; say what the queue would know of it."""
        born = due if stamp == NEVER_DELIVERED else timestamp
        self.append(Enqueued(number, timestamp, born, topic, payload, foreign_id=foreign_id))
        if stamp != NEVER_DELIVERED:
            cause = ReturnCause.TIMED_OUT if receipt_open else ReturnCause.REJECTED
            self.append(
                Leased(number, due, retries, stamp, NOW, 10_000),
                Returned(number, due, retries, stamp, cause),
            )
        return Waiting(number, due, topic)

    def lease(
        self,
        number: int,
        deadline: int = NOW + 10_000,
        topic: str = "",
        *,
        delivery: int = 1,
        retries: int = 0,
        kind: ConsumerKind = ConsumerKind.CLIENT,
        length: int = 10_000,
    ) -> Lease:
        """Let an event be leased under a stamp of boot 1; say what a restart makes of it."""
        self.event(number, topic)
        stamp = Stamp(1, delivery)
        self.append(Leased(number, NOW, retries, stamp, deadline, length, kind))
        return Lease(number, stamp, deadline, length, NOW, kind=kind)

    def die(
        self,
        *numbers: int,
        topic: str = "",
        payload: bytes = b"{}",
        delivery: int = 1,
        time: int = NOW,
    ) -> None:
        """Let events be dead letters."""
        stamp = Stamp(1, delivery)
        facts: list[Fact] = []
        for number in numbers:
            facts += (
                Enqueued(number, NOW, NOW, topic, payload),
                Leased(number, NOW, 5, stamp, NOW, 10_000),
                Dead(number, time, 5, stamp, "max_retries_exceeded", f"error {number}"),
            )
        self.append(*facts)


def committed(past: Past, append: Append) -> Committed:
    """Do with an append what the WAL writer does, and return what it answers."""
    log = past.log
    log.write()
    if append.sync:
        log.sync()
    found, count = log.read(append.spans), len(append.load)
    facts = [
        log.decode(data, span.position)
        for data, span in zip(found[count:], append.spans[count:], strict=True)
    ]
    return Committed(found[:count], facts, synced=append.sync)


def numbers(items: Any) -> list[int]:
    return [item.number for item in items]


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
