"""The reaper sleeps until the earliest announced moment, and never longer than its interval."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from actors.inflight_port import Expire, InflightMessage, InflightPort
from actors.mailbox import Mailbox
from actors.queue_port import Promote, QueueMessage, QueuePort
from actors.reaper import open_reaper
from actors.reaper_port import ReaperMessage, ReaperPort
from tests.actors.samples import NOW, engine_clock, taken


@attrs.define(eq=False)
class House:
    """The reaper, and the mailboxes of those it wakes."""

    reaper: ReaperPort
    inflight: Mailbox[InflightMessage]
    queue: Mailbox[QueueMessage]

    async def tick(self) -> int:
        """Wait until the reaper wakes both; return when that was, milliseconds after the start."""
        for message in await self.inflight.drain():
            assert isinstance(message, Expire)
        taken(self.queue, Promote)
        assert self.queue.waiting == 0
        return round(trio.current_time() * 1000)


@asynccontextmanager
async def open_house(interval_ms: int = 1000) -> AsyncIterator[House]:
    box = Mailbox[ReaperMessage]("reaper", 100)
    inflight, queue = Mailbox[InflightMessage]("inflight", 100), Mailbox[QueueMessage]("queue", 100)
    async with open_reaper(
        box,
        inflight=InflightPort(inflight),
        queue=QueuePort(queue),
        interval_ms=interval_ms,
        clock=engine_clock(),
    ) as reaper:
        yield House(reaper, inflight, queue)


async def test_without_an_announcement_it_sleeps_for_its_interval() -> None:
    async with open_house() as house:
        assert [await house.tick() for _ in range(3)] == [1000, 2000, 3000]


async def test_it_wakes_at_the_announced_moment_to_the_millisecond() -> None:
    async with open_house() as house:
        for moment in (1, 334, 999, 1733):
            house.reaper.wake_at(NOW + moment)
            assert await house.tick() == moment


async def test_an_earlier_announcement_wakes_it_and_a_later_one_does_not() -> None:
    async with open_house() as house:
        house.reaper.wake_at(NOW + 600)
        await trio.sleep(0.1)
        house.reaper.wake_at(NOW + 300)
        house.reaper.wake_at(NOW + 800)
        assert await house.tick() == 300
        # The others announce again what is still to come: that is their business.
        assert await house.tick() == 1300


async def test_a_moment_beyond_the_interval_does_not_make_it_sleep_longer() -> None:
    async with open_house() as house:
        house.reaper.wake_at(NOW + 5000)
        assert await house.tick() == 1000


async def test_a_moment_that_has_passed_wakes_it_at_once() -> None:
    async with open_house() as house:
        await trio.sleep(0.2)
        house.reaper.wake_at(NOW - 5)
        assert await house.tick() == 200


async def test_leaving_ends_its_sleep() -> None:
    async with open_house(interval_ms=3_600_000) as house:
        await trio.sleep(1)
    assert trio.current_time() == 1
    house.reaper.wake_at(NOW)
    assert house.reaper.mailbox_view().waiting == 0


async def test_it_goes_on_when_those_whom_it_wakes_have_stopped() -> None:
    async with open_house() as house:
        house.inflight.close()
        house.queue.close()
        await trio.sleep(10)
