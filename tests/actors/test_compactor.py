"""The compactor keeps the log small, gets into nobody's way, and loses and doubles nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.blocking import Blocking, inline
from actors.broker import NewEvent
from actors.compactor import LOOK_EVERY_S, STEP_BYTES, open_compactor
from actors.wal_port import Committed
from persistence.entry import Place, Row, Stamp
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Leased,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from tests.actors.samples import NOW, whole_broker
from tests.actors.wal_house import NEVER, House, Steps, leased, open_house

SMALL = 2048
"""Size of a segment that some events fill."""

T = TypeVar("T")


@asynccontextmanager
async def open_compacting_house(
    *, aside: Blocking = inline, blocking: Blocking = inline, **settings: Any
) -> AsyncIterator[House]:
    async with (
        open_house(NEVER, blocking=blocking, **settings) as house,
        open_compactor(house.log, wal=house.wal, blocking=aside),
    ):
        yield house


def view(log: EventLog) -> dict[int, tuple[object, ...]]:
    """Tell of each event what compaction must not change."""
    rows = dict(log.register.rows())
    payloads = log.read(log.spans(rows))
    return {
        number: (
            row.timestamp,
            row.due,
            log.register.topics.name(row.topic),
            row.retries,
            row.stamp,
            row.place,
            row.receipt_open,
            bytes(payload),
        )
        for (number, row), payload in zip(rows.items(), payloads, strict=True)
    }


def restarted(disk: MemoryDisk) -> dict[int, tuple[object, ...]]:
    log = EventLog.open(disk, now=NOW)
    found = view(log)
    log.close()
    return found


def copied(log: EventLog) -> int:
    """Count the homes that are copies."""
    facts = log.read_facts([n for n, row in log.register.rows() if not row.state_size])
    return sum(1 for fact in facts if isinstance(fact, Enqueued) and fact.copied)


@attrs.define(eq=False)
class Traffic:
    """Lets things happen to events as the actors might, and keeps what they published."""

    house: House
    random: Random
    published: int = 0
    payloads: dict[int, bytes] = attrs.field(factory=dict)

    def happen(self, count: int = 1, *, new: float = 0.35) -> None:
        for _ in range(count):
            rows = list(self.house.wal.register.rows())
            if not rows or self.random.random() < new:
                self.publish()
            else:
                number, row = self.random.choice(rows)
                self.house.submit(self.next_fact(number, row), sync=self.random.random() < 0.2)

    def publish(self) -> None:
        self.published += 1
        payload = b"%d" % self.published * self.random.randint(1, 40)
        self.payloads[self.published] = payload
        self.house.publish(self.published, payload=payload)

    def next_fact(self, number: int, row: Row) -> Fact:
        if row.place == Place.WAITING:
            return Leased(number, row.due, row.retries, Stamp(1, row.delivery + 1), NOW + 50, 50)
        if row.place == Place.DEAD:
            facts: list[Fact] = [Discarded(number), Reprocessed(number, NOW, row.stamp)]
        else:
            facts = [
                Settled(number),
                Settled(number),
                Extended(number, row.due, row.retries, row.stamp, NOW + 99, 99),
                Returned(number, NOW + 7, row.retries + 1, row.stamp, ReturnCause.REJECTED, "no"),
                Dead(number, NOW, row.retries, row.stamp, "rejected", "because"),
            ]
        return self.random.choice(facts)


def check(house: House, traffic: Traffic) -> None:
    for number, (*_, payload) in view(house.log).items():
        assert payload == traffic.payloads[number]


@attrs.define(eq=False)
class Bell:
    """Wants an answer only to know that it came."""

    rung: trio.Event

    def put(self, _message: Committed) -> bool:
        self.rung.set()
        return True


# What it is there for


@pytest.mark.parametrize("seed", range(5))
async def test_the_disk_takes_no_more_than_twice_what_is_alive_and_two_segments(seed: int) -> None:
    async with open_compacting_house(segment_max_bytes=SMALL) as house:
        traffic = Traffic(house, Random(seed))
        for _ in range(20):
            traffic.happen(60)
            await trio.sleep(2 * LOOK_EVERY_S)
            await house.all_answers()
            live = sum(holding.live_bytes for holding in house.log.fold.holdings)
            used = sum(house.disk.open_to_read(name).size() for name in house.segments())
            assert used <= 2 * live + 2 * SMALL
        check(house, traffic)
        before = view(house.log)
    assert restarted(house.disk.another()) == before


async def test_a_log_that_is_mostly_alive_is_left_alone() -> None:
    async with open_compacting_house(segment_max_bytes=SMALL) as house:
        for number in range(1, 61):
            house.publish(number, payload=b"x" * 100)
        house.submit(leased(1), Settled(1))
        await house.all_answers()
        work = house.work()
        await trio.sleep(100)
        assert house.work()[0] <= work[0] + 1  # a mark
        assert copied(house.log) == 0


async def test_others_commit_between_its_steps() -> None:
    async with open_compacting_house(segment_max_bytes=1 << 20) as house:
        for first in range(1, 2001, 20):
            house.publish(*range(first, first + 20), payload=b"x" * 1000)
        await house.all_answers()
        for number in range(1, 2001):
            if number % 3:
                house.submit(leased(number), Settled(number))
            if number % 500 == 0:
                await house.all_answers()
        ahead: list[int] = []
        await trio.sleep(LOOK_EVERY_S)
        for delivery in range(1, 1000):
            if house.log.fold.holdings.find(0) is None:
                break
            # How much is to be written before this.
            ahead.append(house.log.next - house.log.end)
            answered = trio.Event()
            house.wal.append([leased(3, delivery)])
            back = Returned(3, NOW, 0, Stamp(1, delivery), ReturnCause.RELEASED)
            house.wal.append([back], to=Bell(answered))
            await answered.wait()
        else:
            pytest.fail("it never came to the end of the segment")
        assert max(ahead) < 2 * STEP_BYTES
        assert len(ahead) >= 8


# What happens while it copies


async def a_poor_segment(house: House, live: int = 3) -> None:
    """Let the first segment hold little that is alive: events 1 to `live`."""
    for number in range(1, 21):
        house.publish(number, payload=b"%d" % number * 30)
    await house.all_answers()
    for number in range(live + 1, 21):
        house.submit(leased(number), Settled(number))
    await house.all_answers()


def next_facts() -> list[list[Fact]]:
    stamp = Stamp(1, 1)
    lease = leased(1)
    return [
        [lease],
        [lease, Settled(1)],
        [lease, Extended(1, NOW, 0, stamp, NOW + 99, 99)],
        [lease, Returned(1, NOW + 5, 1, stamp, ReturnCause.REJECTED, "no")],
        [lease, Dead(1, NOW, 0, stamp, "rejected", "because")],
        [lease, Dead(1, NOW, 0, stamp, "rejected", "because"), Discarded(1)],
        [lease, Dead(1, NOW, 0, stamp, "rejected", "because"), Reprocessed(1, NOW, stamp)],
    ]


@pytest.mark.parametrize("facts", next_facts(), ids=lambda facts: type(facts[-1]).__name__)
@pytest.mark.parametrize("moment", range(4))
async def test_an_event_moves_while_its_segment_is_copied(facts: list[Fact], moment: int) -> None:
    aside = Steps()
    aside.hold()
    async with open_compacting_house(aside=aside, segment_max_bytes=SMALL) as house:
        await a_poor_segment(house)
        await trio.sleep(2 * LOOK_EVERY_S)
        for _ in range(moment):
            await aside.half_step()
        house.submit(*facts)
        expected = view_of_rows(house)
        await aside.let_go()
        await trio.sleep(5 * LOOK_EVERY_S)
        assert view_of_rows(house) == expected
        assert house.log.fold.holdings.find(0) is None
        for number in expected:
            house.submit(load=[number])
        payloads = [answer.payloads for answer in await house.all_answers() if answer.payloads]
        assert payloads == [[b"%d" % number * 30] for number in expected]
        before = view(house.log)
    assert restarted(house.disk.another()) == before


@pytest.mark.parametrize("moment", range(4))
async def test_a_segment_dies_while_it_is_copied(moment: int) -> None:
    aside = Steps()
    aside.hold()
    async with open_compacting_house(aside=aside, segment_max_bytes=SMALL) as house:
        await a_poor_segment(house)
        await trio.sleep(2 * LOOK_EVERY_S)
        for _ in range(moment):
            await aside.half_step()
        for number in (1, 2, 3):
            house.submit(leased(number), Settled(number))
        await house.all_answers()
        assert house.log.fold.holdings.find(0) is None
        await aside.let_go()
        await trio.sleep(5 * LOOK_EVERY_S)
        assert view(house.log) == {}
        # It still does its work.
        for number in range(101, 141):
            house.publish(number, payload=b"x" * 100)
        house.submit(*(fact for n in range(102, 141) for fact in (leased(n), Settled(n))))
        await trio.sleep(5 * LOOK_EVERY_S)
        assert copied(house.log) == 1


def view_of_rows(house: House) -> dict[int, tuple[object, ...]]:
    return {
        number: (row.due, row.retries, row.stamp, row.place, row.receipt_open)
        for number, row in house.wal.register.rows()
    }


@attrs.define(eq=False)
class Meddling:
    """Runs the compactor's work, and lets things happen before and after each piece of it.

    Attributes:
        left: how often something still happens; what happens makes new work.
    """

    random: Random
    left: int = 0
    traffic: Traffic | None = None

    async def __call__(self, work: Callable[[], T], /) -> T:
        await self._meddle()
        result = work()
        await self._meddle()
        return result

    async def _meddle(self) -> None:
        if self.traffic is not None and self.left:
            self.left -= 1
            self.traffic.happen(self.random.randint(0, 6), new=0.2)
        for _ in range(self.random.randint(0, 4)):
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_while_it_copies_nothing_is_lost_or_doubled(seed: int) -> None:
    random = Random(seed)
    aside = Meddling(random)
    with capture_logs() as logs:
        async with open_compacting_house(aside=aside, segment_max_bytes=SMALL) as house:
            aside.traffic = traffic = Traffic(house, random)
            for _ in range(25):
                aside.left = 30
                traffic.happen(random.randint(1, 40))
                await trio.sleep(random.choice([0, 0.5, LOOK_EVERY_S, 2 * LOOK_EVERY_S]))
                answers = await house.all_answers()
                assert all(answer.failure is None for answer in answers)
            aside.traffic = None
            await house.all_answers()
            check(house, traffic)
            before = view(house.log)
            assert house.log.fold.holdings.find(0) is None
    assert not [line for line in logs if line["log_level"] == "error"]
    assert restarted(house.disk.another()) == before


# The end


@pytest.mark.parametrize("steps", range(6))
async def test_it_ends_in_the_middle_of_copying(steps: int) -> None:
    aside = Steps()
    aside.hold()
    async with open_house(segment_max_bytes=SMALL) as house:
        async with open_compactor(house.log, wal=house.wal, blocking=aside):
            await a_poor_segment(house)
            await trio.sleep(LOOK_EVERY_S)
            for _ in range(steps):
                await aside.half_step()
            aside.let_go_soon()
        await house.all_answers()
        before = view(house.log)
    assert restarted(house.disk.another()) == before


async def test_it_ends_when_that_is_said_together_with_an_answer() -> None:
    for _ in range(20):
        steps = Steps()
        async with open_compacting_house(segment_max_bytes=SMALL, blocking=steps) as house:
            await a_poor_segment(house)
            steps.hold()
            house.publish(21)
            await trio.sleep(2 * LOOK_EVERY_S)
            answered = trio.Event()
            house.wal.append([], to=Bell(answered))
            steps.let_go_soon()
            await answered.wait()


# Damage


async def test_damage_ends_compaction_and_nothing_else() -> None:
    with capture_logs() as logs:
        async with open_compacting_house(segment_max_bytes=SMALL) as house:
            for number in range(1, 21):
                house.publish(number, payload=b"x" * 100)
            await house.all_answers()
            row = house.wal.register.get(2)
            assert row is not None
            file = house.disk.open("events-0000000000.log")
            file.write(row.payload_at, b"y")
            for number in range(4, 21):
                house.submit(leased(number), Settled(number))
            await house.all_answers()
            await trio.sleep(10 * LOOK_EVERY_S)
            assert "events-0000000000.log" in house.segments()
            assert house.wal.failure is None
            house.publish(21)
            assert (await house.answer()).failure is None
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert "events-0000000000.log is damaged" in line["reason"]


# A whole engine


@attrs.define
class Ledger:
    """What clients were told."""

    begun: set[bytes] = attrs.field(factory=set)
    accepted: set[bytes] = attrs.field(factory=set)
    settling: set[bytes] = attrs.field(factory=set)
    settled: set[bytes] = attrs.field(factory=set)


async def live(broker: Any, ledger: Ledger, random: Random, who: str) -> None:
    """Publish and consume until the power is cut."""
    for number in range(10_000):
        payload = f'{{"{who}":{number}}}'.encode() + b" " * random.randint(0, 150)
        ledger.begun.add(payload)
        if isinstance(await broker.enqueue([NewEvent(payload)]), tuple):
            ledger.accepted.add(payload)
        deliveries = await broker.consume(max_events=random.randint(1, 4))
        if not isinstance(deliveries, tuple):
            return
        for delivery in deliveries:
            assert delivery.payload not in ledger.settled
            if random.random() < 0.85:
                ledger.settling.add(delivery.payload)
                (answer,) = await broker.acknowledge([delivery.receipt]) or (None,)
                if getattr(answer, "reason", "") is None:
                    ledger.settled.add(delivery.payload)
            else:
                await broker.nack([delivery.receipt], delay_ms=random.randint(0, 3000))
        await trio.sleep(0.05)


@pytest.mark.parametrize("seed", range(12))
async def test_a_power_cut_at_any_moment_loses_and_doubles_nothing(seed: int) -> None:
    random, ledger, disk = Random(seed), Ledger(), MemoryDisk()
    chosen = {"segment_max_bytes": 4096, "compaction_ratio": 0.2, "max_retries": 1000}
    for life in range(3):
        try:
            async with whole_broker(disk, **chosen) as broker, trio.open_nursery() as nursery:
                disk.faults.cut_power(random.randint(50, 900))
                for who in "ab":
                    nursery.start_soon(live, broker, ledger, random, f"{life}{who}")
        except Exception:  # noqa: BLE001, S110 -- whatever the power cut makes of it
            pass
        disk = disk.crash(random)
    found: list[bytes] = []
    async with whole_broker(disk, **chosen) as broker:
        await trio.sleep(40)
        while deliveries := await broker.consume(max_events=50):
            assert isinstance(deliveries, tuple)
            found += [delivery.payload for delivery in deliveries]
            await broker.acknowledge([delivery.receipt for delivery in deliveries])
    assert "events-0000000000.log" not in disk.names()
    assert len(found) == len(set(found))
    assert ledger.accepted - ledger.settling <= set(found), "lost"
    assert set(found) <= ledger.begun, "made up"
    assert not set(found) & ledger.settled, "back again"
