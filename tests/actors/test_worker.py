"""A worker on a real broker in virtual time: what becomes of an event, however its handler ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from actors.broker import (
    Broker,
    DeadLetterView,
    Delivery,
    Extension,
    NewEvent,
    NoSuchLease,
    OutcomeUnknown,
    Trouble,
    Unavailable,
)
from actors.embedded import EmbeddedBroker
from actors.error_text import CHARACTERS_MAX
from actors.handler import Event, make_handler
from actors.worker import ConsumeError, Worker, WorkerTimes, describe
from actors.worker_pool import WorkerPool, open_workers
from tests.actors.samples import NOW, jump, whole_broker

Function = Callable[[Event], Awaitable[object]]


@asynccontextmanager
async def working(
    broker: Broker,
    function: Function,
    *,
    count: int = 1,
    visibility_timeout_ms: int = 10_000,
    handler_timeout_ms: int | None = None,
) -> AsyncIterator[WorkerPool]:
    async with open_workers(
        broker,
        make_handler(function),
        count=count,
        visibility_timeout_ms=visibility_timeout_ms,
        handler_timeout_ms=handler_timeout_ms,
    ) as pool:
        yield pool


async def publish(broker: EmbeddedBroker, *payloads: bytes) -> None:
    answer = await broker.enqueue([NewEvent(payload) for payload in payloads or (b"{}",)])
    assert isinstance(answer, tuple)


async def dead(broker: EmbeddedBroker) -> list[DeadLetterView]:
    page = await broker.dead_letters()
    return list(page.entries)  # type: ignore[union-attr]


@attrs.define(eq=False)
class Attempts:
    """A handler that notes when it ran and does as it is told: one deed for each attempt."""

    deeds: list[Function]
    began: list[float] = attrs.field(factory=list)
    ended: list[float] = attrs.field(factory=list)
    retries: list[int] = attrs.field(factory=list)

    async def __call__(self, event: Event) -> None:
        self.began.append(round(trio.current_time(), 3))
        self.retries.append(event.retries)
        deed = self.deeds[min(len(self.began), len(self.deeds)) - 1]
        try:
            await deed(event)
        finally:
            self.ended.append(round(trio.current_time(), 3))


async def succeed(_: Event) -> None:
    pass


async def fail(event: Event) -> None:
    raise ValueError(f"bad event {event.retries}")


async def overrun(_: Event) -> None:
    await trio.sleep_forever()


# How a handler ends


async def test_a_handler_that_returns_acknowledges_its_event() -> None:
    attempts = Attempts([succeed])
    async with whole_broker() as broker, working(broker, attempts):
        await publish(broker, b"{}", b"{}")
        await trio.sleep(60)
        status = await broker.status()
        assert (status.acknowledged, status.queue_size, status.leases) == (2, 0, 0)
    assert attempts.retries == [0, 0]


async def test_a_handler_gets_the_event() -> None:
    seen: list[Event] = []

    async def handler(event: Event) -> None:
        seen.append(event)

    async with whole_broker() as broker, working(broker, handler):
        accepted = await broker.enqueue([NewEvent(b'{"n":[1]}', "orders")])
        await trio.sleep(1)
    assert isinstance(accepted, tuple)
    (one,) = accepted
    assert seen == [Event(one.id, "orders", {"n": [1]}, NOW, 0)]


async def test_a_handler_that_raises_is_tried_again_after_each_backoff_and_then_no_more() -> None:
    attempts = Attempts([fail])
    async with whole_broker(max_retries=3) as broker, working(broker, attempts):
        await publish(broker)
        await trio.sleep(600)
        (letter,) = await dead(broker)
        assert (await broker.status()).queue_size == 0
    assert attempts.began == [0, 1, 3, 7]
    assert attempts.retries == [0, 1, 2, 3]
    assert (letter.reason, letter.error) == ("max_retries_exceeded", "ValueError: bad event 3")
    assert letter.retries == 3


async def test_a_payload_that_does_not_fit_is_a_failed_delivery() -> None:
    @attrs.frozen
    class Order:
        id: int

    calls: list[Order] = []

    async def handler(order: Any) -> None:
        calls.append(order)

    handler.__annotations__["order"] = Order
    async with whole_broker(max_retries=0) as broker, working(broker, handler):
        await publish(broker, b'{"id":"1"}', b'{"id":2}')
        await trio.sleep(1)
        (letter,) = await dead(broker)
        assert (await broker.status()).acknowledged == 1
    assert letter.error.startswith("PayloadMismatch: the payload does not fit Order: ")
    assert calls == [Order(2)]


async def test_an_exception_group_is_told_by_what_is_in_it() -> None:
    async def handler(_: Event) -> None:
        async def first() -> None:
            raise ValueError("one")

        async def second() -> None:
            raise KeyError("two")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            nursery.start_soon(second)

    async with whole_broker(max_retries=0) as broker, working(broker, handler):
        await publish(broker)
        await trio.sleep(1)
        (letter,) = await dead(broker)
    assert sorted(letter.error.split("; ")) == ["KeyError: 'two'", "ValueError: one"]


@pytest.mark.parametrize("in_a_nursery", [False, True])
async def test_a_handler_that_exits_fails_its_event_and_not_the_broker(in_a_nursery: bool) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def handler(_: Event) -> None:
        if not in_a_nursery:
            await leave()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)

    attempts = Attempts([handler, succeed])
    async with whole_broker(max_retries=0) as broker, working(broker, attempts):
        await publish(broker, b"{}", b"{}")
        await trio.sleep(60)
        (letter,) = await dead(broker)
        assert (await broker.status()).acknowledged == 1
    assert letter.error == "SystemExit: 3"


async def test_an_interrupt_from_the_keyboard_is_not_the_handlers_failure() -> None:
    async def handler(_: Event) -> None:
        raise KeyboardInterrupt

    async with whole_broker() as broker:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with working(broker, handler):
                await publish(broker)
                await trio.sleep(1)
        assert caught.group_contains(KeyboardInterrupt)
        deliveries = await broker.consume()
        assert [one.retries for one in deliveries] == [0]  # type: ignore[union-attr]


def test_errors_are_told_in_a_short_text() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("mute")

    assert describe(ValueError("x")) == "ValueError: x"
    assert describe(ValueError()) == "ValueError"
    assert describe(Mute()) == "Mute: (its text could not be read: RuntimeError)"
    assert describe(ValueError("x" * 5000)) == ("ValueError: " + "x" * 5000)[:CHARACTERS_MAX]
    nested = ExceptionGroup("g", [ExceptionGroup("h", [KeyError("a")]), OSError("b")])
    assert describe(nested) == "KeyError: 'a'; OSError: b"


# Time limits


async def test_a_handler_that_overruns_its_lease_is_cancelled_before_the_event_is_handed_out() -> (
    None
):
    attempts = Attempts([overrun])
    async with whole_broker(max_retries=2) as broker, working(broker, attempts, count=3):
        await publish(broker)
        await trio.sleep(100)
        (letter,) = await dead(broker)
    assert attempts.began == [0, 10, 20]
    assert attempts.ended == [9.75, 19.75, 29.75]
    assert attempts.retries == [0, 1, 2]
    assert letter.reason == "visibility_timeout"


async def test_cleaning_up_after_an_overrun_does_not_overlap_the_next_attempt() -> None:
    async def slow_to_end(_: Event) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.2)

    attempts = Attempts([slow_to_end])
    async with whole_broker(max_retries=3) as broker, working(broker, attempts, count=4):
        await publish(broker)
        await trio.sleep(100)
    assert len(attempts.began) == 4
    for ended, began in zip(attempts.ended[:-1], attempts.began[1:], strict=True):
        assert ended < began


async def test_the_margin_of_a_short_lease_is_a_share_of_it() -> None:
    attempts = Attempts([overrun])
    async with (
        whole_broker(max_retries=0, visibility_timeout_ms=1000) as broker,
        working(broker, attempts, visibility_timeout_ms=1000),
    ):
        await publish(broker)
        await trio.sleep(10)
    assert attempts.ended == [0.95]


async def test_an_overrun_whose_cleanup_fails_still_counts_as_a_failed_delivery() -> None:
    async def handler(_: Event) -> None:
        async def waits() -> None:
            await trio.sleep_forever()

        async def breaks() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("cleanup failed")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            nursery.start_soon(breaks)

    attempts = Attempts([handler])
    async with whole_broker(max_retries=1) as broker, working(broker, attempts):
        await publish(broker)
        await trio.sleep(100)
        (letter,) = await dead(broker)
    assert attempts.retries == [0, 1]
    assert letter.reason == "visibility_timeout"


async def test_a_handler_timeout_below_the_visibility_timeout_is_a_failure_of_its_own() -> None:
    attempts = Attempts([overrun])
    async with (
        whole_broker(max_retries=1) as broker,
        working(broker, attempts, handler_timeout_ms=3000),
    ):
        await publish(broker)
        await trio.sleep(100)
        (letter,) = await dead(broker)
    assert attempts.began == [0, 4]
    assert attempts.ended == [3, 7]
    assert letter.reason == "max_retries_exceeded"
    assert letter.error == "the handler ran longer than HANDLER_TIMEOUT_MS=3000"


async def test_a_handler_timeout_above_the_visibility_timeout_renews_the_lease() -> None:
    async def long(_: Event) -> None:
        await trio.sleep(95)

    attempts = Attempts([long])
    async with (
        whole_broker(max_retries=0) as broker,
        working(broker, attempts, count=3, handler_timeout_ms=100_000),
    ):
        await publish(broker)
        await trio.sleep(94)
        assert (await broker.status()).leases == 1
        await trio.sleep(1)
        status = await broker.status()
        assert (status.acknowledged, status.dead_letters) == (1, 0)
    assert attempts.began == [0]


async def test_renewing_ends_with_the_handler_timeout() -> None:
    attempts = Attempts([overrun])
    async with (
        whole_broker(max_retries=0) as broker,
        working(broker, attempts, handler_timeout_ms=42_000),
    ):
        await publish(broker)
        await trio.sleep(100)
        (letter,) = await dead(broker)
    assert attempts.ended == [42]
    assert letter.error == "the handler ran longer than HANDLER_TIMEOUT_MS=42000"


async def test_a_handler_that_blocks_everything_past_its_lease_is_acknowledged_too_late() -> None:
    async def block(_: Event) -> None:
        jump(15_000)

    attempts = Attempts([block, succeed])
    async with whole_broker(max_retries=3) as broker, working(broker, attempts):
        await publish(broker)
        await trio.sleep(60)
        status = await broker.status()
        # Nobody had a turn to take the event back before the acknowledgement.
        assert (status.acknowledged, status.dead_letters, status.queue_size) == (1, 0, 0)


# A worker alone, before brokers that do what real ones seldom do


class Idle:
    """A broker whose every answer a test can replace. Notes what it is told."""

    def __init__(self, *deliveries: Delivery) -> None:
        self.deliveries = list(deliveries)
        self.told: list[tuple[str, Any]] = []

    async def consume(self, **_: Any) -> tuple[Delivery, ...] | Trouble:
        if not self.deliveries:
            await trio.sleep_forever()
        return (self.deliveries.pop(0),)

    async def acknowledge(self, receipts: Sequence[str]) -> Trouble:
        self.told.append(("acknowledge", receipts))
        return Unavailable("BUSY", "busy")

    async def nack(self, receipts: Sequence[str], *, error: str) -> tuple[str, ...]:
        self.told.append(("nack", error))
        return tuple(receipts)

    async def extend(
        self, receipts: Sequence[str], *, visibility_timeout_ms: int
    ) -> tuple[Extension | NoSuchLease, ...] | Trouble:
        self.told.append(("extend", visibility_timeout_ms))
        return (NoSuchLease(receipts[0]),)

    def release(self, receipts: Sequence[str]) -> None:
        self.told.append(("release", receipts))


def delivery(expires_in: float) -> Delivery:
    return Delivery("r1", "id", "", NOW, 0, b"{}", trio.current_time() + expires_in)


async def run_for(
    seconds: float, broker: Any, function: Function, *, handler_timeout_ms: int | None = None
) -> None:
    times = WorkerTimes(10_000, handler_timeout_ms)
    worker = Worker("w", broker, make_handler(function), times)
    with trio.move_on_after(seconds):
        await worker.run()
    assert worker.delivery is None


async def test_a_lease_that_cannot_be_renewed_ends_the_handler_with_it() -> None:
    broker, attempts = Idle(delivery(10)), Attempts([overrun])
    await run_for(60, broker, attempts, handler_timeout_ms=50_000)
    assert attempts.ended == [9.75]
    # Nothing more is said: the lease runs out by itself.
    assert broker.told == [("extend", 10_000)]


@pytest.mark.parametrize("handler_timeout_ms", [None, 5000, 50_000])
async def test_an_event_whose_lease_ended_before_it_came_is_left_alone(
    handler_timeout_ms: int | None,
) -> None:
    broker, attempts = Idle(delivery(-3)), Attempts([overrun])
    await run_for(60, broker, attempts, handler_timeout_ms=handler_timeout_ms)
    assert attempts.ended == [0]
    assert broker.told in ([], [("extend", 10_000)])


async def test_an_acknowledgement_that_is_refused_is_tried_again_while_the_lease_lasts() -> None:
    broker, attempts = Idle(delivery(2.5), delivery(4)), Attempts([succeed])
    await run_for(60, broker, attempts)
    # After 0, 1, 2 and 3 seconds; then for the next event, whose lease ends at 4, after 3 and 4.
    assert [what for what, _ in broker.told] == ["acknowledge"] * 6
    assert attempts.began == [0, 3]


async def test_a_busy_broker_is_asked_again_later() -> None:
    asked: list[float] = []

    class Busy(Idle):
        async def consume(self, **_: Any) -> Trouble:
            asked.append(trio.current_time())
            return Unavailable("BUSY", "busy", retry_after_ms=2000)

    await run_for(5, Busy(), succeed)
    assert asked == [0, 2, 4]


async def test_a_broker_that_shuts_down_ends_the_worker() -> None:
    class Closing(Idle):
        async def consume(self, **_: Any) -> Trouble:
            return Unavailable("SHUTTING_DOWN", "closing")

    await run_for(60, Closing(), succeed)
    assert trio.current_time() == 0


async def test_an_unknown_outcome_crashes_the_worker_so_that_it_starts_anew() -> None:
    class Broken(Idle):
        async def consume(self, **_: Any) -> Trouble:
            return OutcomeUnknown("the disk broke")

    with pytest.raises(ExceptionGroup) as caught:
        await run_for(60, Broken(), succeed)
    assert caught.group_contains(ConsumeError, match="the disk broke")


async def test_an_error_that_cannot_be_encoded_is_kept_with_escapes() -> None:
    async def misread(_: Event) -> None:
        raise ValueError("no such file: \udcff")

    async with whole_broker(max_retries=0) as broker, working(broker, misread):
        await publish(broker)
        await trio.sleep(1)
        (letter,) = await dead(broker)
    assert letter.error == "ValueError: no such file: \\udcff"


@pytest.mark.parametrize("raised", [asyncio.CancelledError, BaseException])
async def test_whatever_a_handler_raises_is_its_failure(raised: type[BaseException]) -> None:
    async def raises(_: Event) -> None:
        raise raised

    async with whole_broker(max_retries=0) as broker, working(broker, raises):
        await publish(broker)
        await trio.sleep(1)
        (letter,) = await dead(broker)
    assert letter.error == raised.__name__
