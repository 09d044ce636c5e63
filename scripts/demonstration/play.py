"""The demonstration itself: publishers, consumers that fail, and the crash in the middle."""

from collections.abc import Iterator, Sequence

import attrs
import msgspec
import trio

from scripts.demonstration.client import Client, Event, NoAnswer, Numbers
from scripts.demonstration.fate import Fate, decide, seconds_to_the_blow
from scripts.demonstration.ledger import Ledger
from scripts.demonstration.payloads import Webhook, numbered
from scripts.demonstration.process import BrokerProcess

__all__ = ["Play", "Times"]

EVENTS_PER_POLL = 10
POLL_MS = 500
WATCH_SECONDS = 0.2
STALL_SECONDS_MAX = 60.0
"""Without any progress for so long, the play is over and whatever is missing counts as lost."""


class _Numbered(msgspec.Struct):
    delivery: int


@attrs.define
class Times:
    """When things happened, in seconds of trio's clock."""

    begun: float = 0.0
    published: float = 0.0
    killed: float = 0.0
    ready_again: float = 0.0
    settled: float = 0.0


@attrs.define
class Play:
    """Everything that the actors of the demonstration share.

    Attributes:
        broker: the process; it is running.
        webhooks: taken round and round.
        events: how many to publish.
        publishers: how many publish at a time.
        consumers: how many consume at a time.
        seed: decides who fails.
    """

    broker: BrokerProcess
    webhooks: Sequence[Webhook]
    events: int
    publishers: int
    consumers: int
    seed: int
    ledger: Ledger = attrs.field(factory=Ledger)
    times: Times = attrs.field(factory=Times)
    _clients: list[Client] = attrs.field(factory=list)
    _publishers_left: int = 0
    _half_way: trio.Event = attrs.field(factory=trio.Event)
    _last_progress: float = 0.0

    def connect(self) -> Client:
        """Return a client of its own for each task: one that all share would be the bottleneck."""
        client = Client(self.broker.url)
        self._clients.append(client)
        return client

    @property
    def refusals(self) -> int:
        """How often a request was refused for now and repeated."""
        return sum(client.refusals for client in self._clients)

    async def run(self) -> bool:
        """Play it through.

        Returns:
            Whether everything was settled; False if it stalled.
        """
        self.times.begun = self._last_progress = trio.current_time()
        numbers = iter(range(self.events))
        async with trio.open_nursery() as nursery:
            self._publishers_left = self.publishers
            for _ in range(self.publishers):
                nursery.start_soon(self._publish, numbers)
            for _ in range(self.consumers):
                nursery.start_soon(self._consume)
            nursery.start_soon(self._crash)
            finished = await self._watch()
            self.times.settled = self._last_progress
            nursery.cancel_scope.cancel()
        return finished

    async def _publish(self, numbers: Iterator[int]) -> None:
        async with self.connect() as client:
            for number in numbers:
                await self._publish_one(client, number)
        self._publishers_left -= 1
        if not self._publishers_left:
            self.times.published = trio.current_time()

    async def _publish_one(self, client: Client, number: int) -> None:
        webhook = self.webhooks[number % len(self.webhooks)]
        payload = numbered(webhook, number)
        self.ledger.sending(number, webhook.name, payload)
        while True:
            answer = await client.publish(webhook.name, payload)
            if isinstance(answer, str):
                break
            if answer is NoAnswer.REPLY_LOST:
                self.ledger.reply_lost(number)
        self.ledger.accepted(number, answer)
        self._progress()
        if self.ledger.published >= self.events // 2:
            self._half_way.set()

    async def _consume(self) -> None:
        async with self.connect() as client:
            while True:
                await self._work(client, await client.consume(EVENTS_PER_POLL, POLL_MS))

    async def _work(self, client: Client, events: Sequence[Event]) -> None:
        done: list[Event] = []
        for event in events:
            self.ledger.delivered(event.id, event.topic, bytes(event.payload), event.retries)
            self._progress()
            match self._fate(event):
                case Fate.ACKNOWLEDGE:
                    done.append(event)
                case Fate.FAIL:
                    await client.nack(event.receipt_id, requeue=True)
                case Fate.REJECT:
                    await client.nack(event.receipt_id, requeue=False)
                case Fate.FORGET:
                    pass
        if done:
            await self._acknowledge(client, done)

    async def _acknowledge(self, client: Client, events: Sequence[Event]) -> None:
        confirmed, reply_lost = await client.acknowledge([e.receipt_id for e in events])
        for event in events:
            if event.receipt_id in confirmed:
                self.ledger.acknowledged(event.id, event.retries)
            elif reply_lost:
                self.ledger.perhaps_acknowledged(event.id)
        self._progress()

    def _fate(self, event: Event) -> Fate:
        try:
            number = msgspec.json.decode(event.payload, type=_Numbered).delivery
        except msgspec.DecodeError:
            return Fate.ACKNOWLEDGE  # not what was sent: the ledger has it already
        return decide(self.seed, number, event.retries)

    async def _crash(self) -> None:
        """Kill the broker half way and start it again on the same data."""
        await self._half_way.wait()
        await trio.sleep(seconds_to_the_blow(self.seed))
        self.times.killed = trio.current_time()
        await self.broker.kill()
        await self.broker.start()
        self.times.ready_again = trio.current_time()

    async def _watch(self) -> bool:
        """Return when nothing is left to do, or when nothing happens any more."""
        async with self.connect() as client:
            while trio.current_time() - self._last_progress < STALL_SECONDS_MAX:
                await trio.sleep(WATCH_SECONDS)
                if self._publishers_left or not self.times.ready_again:
                    continue
                # An event between two places is in neither number; the second look sees it.
                if self._drained(await client.numbers()):
                    await trio.sleep(WATCH_SECONDS)
                    if self._drained(await client.numbers()):
                        return True
        return False

    def _drained(self, numbers: Numbers) -> bool:
        return numbers.waiting == 0 and numbers.leased == 0

    def _progress(self) -> None:
        self._last_progress = trio.current_time()
