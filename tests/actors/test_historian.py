"""The historian explains events that move, or are damaged, while somebody asks for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from actors.blocking import Blocking, inline
from actors.broker import Explanation, NoSuchEvent, OutcomeUnknown, Unavailable
from actors.historian import Historian
from actors.ids import EventIds
from actors.naming import Naming
from actors.receipts import Receipts
from actors.wal_writer import LogFailed
from persistence.entry import ConsumerKind, Stamp
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Leased,
    ReturnCause,
    Returned,
    Settled,
)
from tests.actors.samples import NOW, engine_clock, idle
from tests.actors.wal_house import House, Steps, leased, open_house

SMALL = 1024
FIRST = "events-0000000000.log"


@attrs.define(eq=False)
class Archive:
    """A historian, and the house whose log it reads."""

    house: House
    historian: Historian
    naming: Naming

    def name(self, number: int) -> str:
        return self.naming.new_id(number, NOW)

    async def explain(self, number: int) -> Explanation:
        answer = await self.historian.explain(self.name(number))
        assert isinstance(answer, Explanation), answer
        return answer

    async def story(self, number: int) -> list[str]:
        return [happening.what for happening in (await self.explain(number)).timeline]


@asynccontextmanager
async def open_archive(aside: Blocking = inline, **settings: Any) -> AsyncIterator[Archive]:
    async with open_house(**settings) as house:
        naming = Naming(EventIds(house.log.key), house.log.register)
        historian = Historian(
            house.log,
            house.wal,
            blocking=aside,
            clock=engine_clock(),
            naming=naming,
            receipts=Receipts(house.log.key),
        )
        yield Archive(house, historian, naming)


async def test_what_was_submitted_before_is_told_although_it_is_not_written_yet() -> None:
    async with open_archive() as archive:
        archive.house.publish(1)
        archive.house.lease(1)
        assert await archive.story(1) == ["accepted", "delivered"]


async def test_an_event_that_moves_while_it_is_read_is_told_as_it_was() -> None:
    aside = Steps()
    async with open_archive(aside) as archive:
        archive.house.publish(1)
        archive.house.lease(1)
        aside.hold()
        async with trio.open_nursery() as nursery:
            stories: list[list[str]] = []

            async def ask() -> None:
                stories.append(await archive.story(1))

            nursery.start_soon(ask)
            await idle()
            archive.house.submit(Settled(1))
            await aside.let_go()
        assert stories == [["accepted", "delivered"]]
        assert await archive.story(1) == ["accepted", "delivered", "acknowledged"]


async def test_an_event_whose_newest_fact_moves_on_a_full_disk_is_explained_all_the_same() -> None:
    steps = Steps()
    async with open_archive(blocking=steps, reserved_bytes=1 << 20) as archive:
        house = archive.house
        house.publish(1)
        await house.all_answers()
        steps.hold()
        house.publish(2, payload=b"x" * 500)
        house.lease(1)
        house.fill_disk()
        async with trio.open_nursery() as nursery:
            stories: list[list[str]] = []

            async def ask() -> None:
                stories.append(await archive.story(1))

            nursery.start_soon(ask)
            await idle()
            await steps.let_go()
        assert house.wal.register.get(2) is None
        assert stories == [["accepted", "delivered"]]


async def test_what_is_being_read_is_not_deleted_and_goes_afterwards() -> None:
    aside = Steps()
    async with open_archive(aside, segment_max_bytes=SMALL) as archive:
        house = archive.house
        house.publish(1, payload=b"x" * 700)
        house.publish(2, payload=b"x" * 500)
        await house.all_answers()
        aside.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(archive.story, 1)
            await idle()
            house.submit(leased(1), Settled(1))
            await house.all_answers()
            assert FIRST in house.segments()
            await aside.let_go()
        house.submit()
        await house.all_answers()
        assert FIRST not in house.segments()
        assert await archive.historian.explain(archive.name(1)) == NoSuchEvent(archive.name(1))


async def test_a_copy_and_what_is_left_behind_it_is_told_as_folded() -> None:
    async with open_archive(segment_max_bytes=SMALL) as archive:
        house = archive.house
        house.publish(1, payload=b"x" * 700)
        house.publish(2, payload=b"x" * 500)
        lease = leased(1)
        lease.copied = True
        house.submit(Enqueued(1, NOW, NOW, "t", b"x" * 700, copied=True), lease)
        await house.all_answers()
        assert FIRST not in house.segments()
        found = await archive.explain(1)
        assert found.folded
        assert [happening.what for happening in found.timeline] == ["copied", "delivered"]
        assert found.timestamp == NOW


@pytest.mark.parametrize("settled", [False, True])
async def test_an_event_that_was_returned_tells_its_retries_even_when_it_is_gone(
    settled: bool,
) -> None:
    async with open_archive() as archive:
        stamp = Stamp(1, 1)
        archive.house.publish(1)
        archive.house.submit(
            leased(1), Returned(1, NOW, 3, stamp, ReturnCause.TIMED_OUT), *[Settled(1)] * settled
        )
        found = await archive.explain(1)
        assert found.retries == 3
        assert found.place == ("acknowledged" if settled else "ready")


async def test_a_dead_letter_that_was_discarded_is_told_so() -> None:
    async with open_archive() as archive:
        archive.house.publish(1)
        dead = Dead(1, NOW, 2, Stamp(1, 1), "rejected", "no")
        archive.house.submit(leased(1), dead, Discarded(1))
        found = await archive.explain(1)
        assert (found.place, found.retries) == ("discarded", 2)


async def test_a_worker_is_told_by_name() -> None:
    async with open_archive() as archive:
        archive.house.publish(1, 2)
        for number, name in ((1, "worker-3"), (2, "")):
            archive.house.submit(
                Leased(number, NOW, 0, Stamp(1, 1), NOW, 9, ConsumerKind.WORKER, name)
            )
        consumers = [(await archive.explain(number)).timeline[1].consumer for number in (1, 2)]
        assert consumers == ["worker worker-3", "worker"]


async def test_too_many_questions_are_refused_and_the_others_answered() -> None:
    aside = Steps()
    async with open_archive(aside) as archive:
        archive.house.publish(1)
        await archive.house.all_answers()
        aside.hold()
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await archive.historian.explain(archive.name(1)))

        async with trio.open_nursery() as nursery:
            for _ in range(70):
                nursery.start_soon(ask)
                await idle()
            assert [type(answer) for answer in answers] == [Unavailable] * 5
            assert {answer.code for answer in answers if isinstance(answer, Unavailable)} == {
                "BUSY"
            }
            await aside.let_go()
        assert [type(answer) for answer in answers[5:]] == [Explanation] * 65


async def test_who_stops_asking_keeps_nobody_from_being_answered() -> None:
    aside = Steps()
    async with open_archive(aside, segment_max_bytes=SMALL) as archive:
        archive.house.publish(1, payload=b"x" * 700)
        archive.house.publish(2, payload=b"x" * 500)
        await archive.house.all_answers()
        aside.hold()
        with trio.move_on_after(1):
            await archive.explain(1)
        aside.let_go_soon()
        assert await archive.story(1) == ["accepted"]
        archive.house.submit(leased(1), Settled(1))
        await archive.house.all_answers()
        assert FIRST not in archive.house.segments()


async def test_damage_is_told_to_who_asks_and_ends_nothing() -> None:
    async with open_archive() as archive:
        house = archive.house
        house.publish(1)
        house.lease(1)
        await house.all_answers()
        row = house.wal.register.get(1)
        assert row is not None
        house.disk.open("events.log").write(row.last_fact, b"\xee")
        with capture_logs() as logs:
            answer = await archive.historian.explain(archive.name(1))
        assert isinstance(answer, Unavailable)
        assert answer.code == "STORAGE_FAILED"
        # Who reads the logs is told the file; who asked over the network is not.
        assert "offset" not in answer.detail
        (line,) = logs
        assert "damaged at offset" in line["reason"]
        assert house.wal.failure is None
        house.publish(2)
        assert await archive.story(2) == ["accepted"]


async def test_damage_is_told_too_when_the_event_has_to_be_searched_for() -> None:
    async with open_archive() as archive:
        house = archive.house
        house.publish(1)
        await house.all_answers()
        row = house.wal.register.get(1)
        assert row is not None
        house.disk.open("events.log").write(row.payload_at, b"\xee")
        house.submit(leased(1), Settled(1))
        answer = await archive.historian.explain(archive.name(1))
        assert isinstance(answer, Unavailable)
        assert answer.code == "STORAGE_FAILED"


async def test_a_failed_log_is_said_to_be_failed() -> None:
    with pytest.raises(LogFailed):
        async with open_archive() as archive:
            archive.house.disk.faults.fail_write()
            archive.house.publish(1)
            answer = await archive.historian.explain(archive.name(1))
            assert isinstance(answer, OutcomeUnknown)
            await trio.sleep_forever()
