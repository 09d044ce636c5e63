"""What the contract's tests know of an engine: a broker, its time, and ways to end its life."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
import trio

from actors.broker import (
    Acknowledgement,
    Broker,
    Consumer,
    ConsumerKind,
    DeadLetterView,
    Delivery,
    Extension,
    NewEvent,
    NoSuchDeadLetter,
    NoSuchLease,
)

T = TypeVar("T")

CLIENT = Consumer()
WORKER = Consumer(ConsumerKind.WORKER, "worker-1")

NOT_HELD = "unknown, stale or already settled"


@attrs.define(eq=False)
class Call(Generic[T]):
    """A call to the broker that goes on beside the test.

    Attributes:
        ended_at: engine-independent milliseconds at which it ended, or None.
        cancelled: whether `cancel` ended it before it had an answer.
    """

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended_at: int | None = None
    cancelled: bool = False
    _answers: list[T] = attrs.field(factory=list)

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def answer(self) -> T:
        """The answer; asking for one that has not come fails the test."""
        assert self._answers, "there is no answer yet"
        return self._answers[0]

    @property
    def answered(self) -> bool:
        return bool(self._answers)

    def cancel(self) -> None:
        self.scope.cancel()

    async def run(self, work: Callable[[], Awaitable[T]], now: Callable[[], int]) -> None:
        with self.scope:
            self._answers.append(await work())
        self.cancelled = not self._answers
        self.ended_at = now()


@attrs.frozen
class Places:
    """How many events are where, and how many there should be."""

    waiting: int = 0
    leased: int = 0
    dead: int = 0
    acknowledged: int = 0
    discarded: int = 0
    enqueued: int = 0


class Bench(ABC):
    """One engine under test. Durations and times are in milliseconds.

    An engine of another kind is tested by another subclass; the tests stay as they are.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    # What each engine does in its own way

    @property
    @abstractmethod
    def broker(self) -> Broker:
        """The broker that runs now."""

    @property
    @abstractmethod
    def crash(self) -> BaseException | None:
        """What ended the last broker from inside, if something did."""

    @abstractmethod
    def now(self) -> int:
        """Time as the test sees it; only moves forward."""

    @abstractmethod
    def step_wall_clock(self, by_ms: int) -> None:
        """Set the wall clock ahead, or back."""

    @abstractmethod
    async def advance(self, ms: int) -> None:
        """Let time pass, and everything happen that is due by then."""

    @abstractmethod
    async def idle(self) -> None:
        """Let everything happen that can happen without time passing."""

    @abstractmethod
    async def stop(self) -> None:
        """End the broker in good order."""

    @abstractmethod
    async def kill(self) -> None:
        """End the broker as SIGKILL does."""

    @abstractmethod
    async def cut_power(
        self, seed: int, during: Callable[[], Awaitable[T]] | None = None
    ) -> Call[T] | None:
        """End the broker and lose what was not forced to the disk, as the seed decides.

        Args:
            seed: decides what is lost, and how far `during` comes.
            during: a call that is under way when the power goes.

        Returns:
            That call; perhaps it was answered in time.
        """

    @abstractmethod
    async def start(self, **settings: Any) -> None:
        """Start a broker again on what the last one left; `settings` differ from the last."""

    @abstractmethod
    def break_storage(self) -> None:
        """Let the next attempt to force something to the disk fail."""

    # What all have

    @abstractmethod
    def fill_storage(self, room: int = 0) -> None:
        """Leave so many bytes of room for anything more."""

    @abstractmethod
    def make_room(self) -> None:
        """Give the storage all the room again."""

    async def restart(self, *, down_ms: int = 0, **settings: Any) -> None:
        """Stop in good order and start again."""
        await self.stop()
        await self.advance(down_ms)
        await self.start(**settings)

    async def kill_and_start(self, *, down_ms: int = 0, **settings: Any) -> None:
        """Kill and start again."""
        await self.kill()
        await self.advance(down_ms)
        await self.start(**settings)

    async def lose_power_and_start(
        self, seed: int, *, during: Callable[[], Awaitable[T]] | None = None
    ) -> Call[T] | None:
        """Cut the power and start again; see `cut_power`."""
        call = await self.cut_power(seed, during)
        await self.start()
        return call

    async def begin(self, work: Callable[[], Awaitable[T]]) -> Call[T]:
        """Start a call, and let it come as far as it can."""
        call = self.begin_soon(work)
        await self.idle()
        return call

    def begin_soon(self, work: Callable[[], Awaitable[T]]) -> Call[T]:
        """Start a call and look away."""
        call = Call[T]()
        self._nursery.start_soon(call.run, work, self.now)
        return call

    async def poll(
        self, *, timeout_ms: int = 30_000, topic: str | None = None, max_events: int = 10
    ) -> Call[Any]:
        """Start a long poll beside the test."""
        return await self.begin(
            lambda: self.broker.consume(topic=topic, max_events=max_events, timeout_ms=timeout_ms)
        )

    async def publish(self, *names: str, topic: str = "") -> list[str]:
        """Publish an event for each name, one after the other; return their ids."""
        ids = []
        for name in names:
            answer = await self.broker.enqueue([event(name, topic)])
            assert isinstance(answer, tuple), answer
            ids.append(answer[0].id)
        return ids

    async def take(
        self, count: int = 1, *, topic: str | None = None, consumer: Consumer = CLIENT
    ) -> list[Delivery]:
        """Take events that are ready."""
        answer = await self.broker.consume(topic=topic, max_events=count, consumer=consumer)
        assert isinstance(answer, tuple), answer
        return list(answer)

    async def take_one(self, *, topic: str | None = None, consumer: Consumer = CLIENT) -> Delivery:
        """Take the one event that has to be ready."""
        (delivery,) = await self.take(topic=topic, consumer=consumer)
        return delivery

    async def acknowledge(self, *receipts: str) -> list[str | None]:
        """Acknowledge; return for each receipt why not, or None."""
        answer = await self.broker.acknowledge(receipts)
        assert isinstance(answer, tuple), answer
        assert [x.receipt for x in answer] == list(receipts)
        assert all(isinstance(x, Acknowledgement) for x in answer)
        return [x.reason for x in answer]

    async def nack(
        self, receipt: str, *, requeue: bool = True, delay_ms: int | None = None, error: str = ""
    ) -> bool:
        """Reject; return whether the receipt held."""
        answer = await self.broker.nack([receipt], requeue=requeue, delay_ms=delay_ms, error=error)
        assert answer in ((receipt,), (NoSuchLease(receipt),)), answer
        return answer == (receipt,)

    async def extend(self, receipt: str, ms: int | None = None) -> int | None:
        """Extend; return the deadline on the wall, or None if the receipt did not hold."""
        answer = await self.broker.extend([receipt], visibility_timeout_ms=ms)
        assert isinstance(answer, tuple), answer
        (extension,) = answer
        assert extension.receipt == receipt
        return extension.deadline if isinstance(extension, Extension) else None

    async def letters(self, **page: Any) -> list[DeadLetterView]:
        """List dead letters."""
        answer = await self.broker.dead_letters(**page)
        assert hasattr(answer, "entries"), answer
        return list(answer.entries)

    async def reprocess(self, receipt: str) -> str | None:
        """Reprocess; return the event's id, or None if there was no such dead letter."""
        answer = await self.broker.reprocess([receipt])
        assert isinstance(answer, tuple), answer
        return None if isinstance(answer[0], NoSuchDeadLetter) else answer[0]

    async def discard(self, receipt: str) -> str | None:
        """Discard; return the event's id, or None if there was no such dead letter."""
        answer = await self.broker.discard([receipt])
        assert isinstance(answer, tuple), answer
        return None if isinstance(answer[0], NoSuchDeadLetter) else answer[0]

    async def die(self, name: str, *, topic: str = "", error: str = "") -> str:
        """Publish an event and make it a dead letter; return its receipt."""
        await self.publish(name, topic=topic)
        delivery = await self.take_one(topic=topic)
        assert await self.nack(delivery.receipt, requeue=False, error=error)
        return delivery.receipt

    async def places(self) -> Places:
        """Count; an event that is nowhere or in two places fails the test."""
        status, metrics = await self.broker.status(), await self.broker.metrics()
        counters = metrics.counters
        places = Places(
            waiting=status.queue_size,
            leased=status.leases,
            dead=status.dead_letters,
            acknowledged=counters.acknowledged,
            discarded=counters.discarded,
            enqueued=counters.enqueued,
        )
        here = places.waiting + places.leased + places.dead
        assert here + places.acknowledged + places.discarded == places.enqueued, places
        return places


OpenBench: TypeAlias = Callable[..., AbstractAsyncContextManager[Bench]]
"""Opens an engine with these `BrokerSettings`."""


def event(name: str, topic: str = "") -> NewEvent:
    """Make an event that says its name."""
    return NewEvent(b'{"name":"%s"}' % name.encode(), topic)


def names(deliveries: list[Delivery] | tuple[Delivery, ...] | list[DeadLetterView]) -> list[str]:
    """Say which events these are."""
    return [x.payload.removeprefix(b'{"name":"').removesuffix(b'"}').decode() for x in deliveries]


async def turns(count: int) -> None:
    """Let every task that can run do so this many times."""
    for _ in range(count):
        await trio.lowlevel.checkpoint()
