"""The whole broker against a simple model: any sequence of calls, timeouts, kills and power cuts.

After every step each event is in exactly one place, with the right retries, in the right order.
`MACHINE_EXAMPLES` and `MACHINE_STEPS` make the search longer.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import permutations
from typing import Any

import attrs
import hypothesis.strategies as st
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from trio.testing import MockClock

from actors.backoff import Backoff
from actors.broker import (
    Broker,
    Consumer,
    ConsumerKind,
    DeadLetterPage,
    Delivery,
    Extension,
    NewEvent,
    NoSuchDeadLetter,
    NoSuchLease,
    Unavailable,
)
from actors.settings import BrokerSettings
from tests.broker.bench import Call
from tests.broker.embedded_bench import EmbeddedBench, open_embedded_bench
from tests.machines.model import Ledger, Rules, Seen, World, expect, explain

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "120"))
STEPS = int(os.environ.get("MACHINE_STEPS", "40"))
WORLDS_MAX = 500
VISIBILITY_MS = 1000
BACKOFF_MS = (100, 200, 300)
TOPICS = ("", "x", "y")
SLACK_S = 1e-7
"""Keeps what is due at a moment from being a rounding error later than that."""

# Everything happens at multiples of ten milliseconds, except that polls end between them, so that
# an event and the end of a poll never fall together.
durations = st.sampled_from([10, 50, 100, 150, 300, 990, 1000, 1010, 2500, 20_000])
down_times = st.sampled_from([0, 0, 10, 500, 5000])
batches = st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3)
wanted = st.sampled_from([None, *TOPICS])
counts = st.sampled_from([1, 2, 10])
seeds = st.integers(0, 2**16)
# Counts from the newest receipt on; most of what is interesting happens to the last few.
picks = st.one_of(st.integers(0, 3), st.integers(0, 30))

Worlds = Iterable[World]


@attrs.frozen(kw_only=True)
class Op:
    """A call to the broker, and what the model makes of its outcome.

    Attributes:
        call: what to do.
        check: steps from one world to those that the outcome allows.
        undone: steps to those that are possible when nobody learned the outcome.
        learn: takes note of what callers were told.
    """

    name: str
    call: Callable[[Broker], Awaitable[Any]]
    check: Callable[..., Worlds]
    undone: Callable[[World], Worlds]
    learn: Callable[[Any], None] = lambda _: None


@attrs.define(eq=False)
class Parked:
    """A long poll that waits beside the machine."""

    call: Call[Any]
    topic: str | None
    count: int
    ends_at: int
    worker: bool


class BrokerMachine(RuleBasedStateMachine):
    """Runs a broker in a thread of its own, where time passes only when a rule says so."""

    @initialize(
        random=st.random_module(),
        queue_max_size=st.sampled_from([8, 3]),
        max_retries=st.integers(0, 2),
        cache_bytes=st.sampled_from([1000, 40, 0]),
        delivery_bytes=st.sampled_from([1000, 60]),
    )
    def open(
        self,
        random: object,
        queue_max_size: int,
        max_retries: int,
        cache_bytes: int,
        delivery_bytes: int,
    ) -> None:
        del random  # seeds the order in which trio runs tasks
        self.clock = MockClock()
        self.stack = ExitStack()
        self.portal: BlockingPortal = self.stack.enter_context(
            start_blocking_portal("trio", backend_options={"clock": self.clock})
        )
        chosen = BrokerSettings(
            queue_max_size=queue_max_size,
            max_retries=max_retries,
            visibility_timeout_ms=VISIBILITY_MS,
            backoff=Backoff(base_ms=100, max_ms=300, multiplier=2.0),
            payload_cache_bytes=cache_bytes,
            delivery_bytes_max=delivery_bytes,
        )
        self.bench: EmbeddedBench = self.stack.enter_context(
            self.portal.wrap_async_context_manager(open_embedded_bench(chosen))
        )
        rules = Rules(queue_max_size, max_retries, VISIBILITY_MS, BACKOFF_MS, delivery_bytes)
        self.ledger = Ledger()
        self.now = self.portal.call(self._now)
        self.worlds = [World(rules, self.ledger, self.now)]
        self.parked: list[Parked] = []
        self.published = 0

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    # Publishing and consuming

    @rule(topics=batches)
    def publish(self, topics: list[str]) -> None:
        self._do(self._publish(topics))

    @rule(topic=wanted, count=counts, worker=st.booleans())
    def consume(self, topic: str | None, count: int, worker: bool) -> None:
        self._do(self._consume(topic, count, worker=worker))

    @rule(
        topic=wanted,
        count=counts,
        worker=st.booleans(),
        timeout_ms=st.sampled_from([5, 105, 1005, 30_005]),
    )
    def park(self, topic: str | None, count: int, worker: bool, timeout_ms: int) -> None:
        op = self._consume(topic, count, worker=worker, timeout_ms=timeout_ms)
        call = self.portal.call(self._begin, op.call)
        if call.answered:
            self._conclude([(op, call)])
        else:
            for world in self.worlds:
                expect(not world.next_events(topic, count), f"events for a poll of {topic}")
            self.parked.append(Parked(call, topic, count, self.now + timeout_ms, worker))

    @precondition(lambda self: self.parked)
    @rule(pick=picks)
    def cancel_poll(self, pick: int) -> None:
        poll = self.parked.pop(pick % len(self.parked))
        self.portal.call(self._cancel, poll.call)
        assert poll.call.cancelled
        self._observe()

    # Settling

    @precondition(lambda self: self.ledger.receipts)
    @rule(chosen=st.lists(picks, min_size=1, max_size=3))
    def acknowledge(self, chosen: list[int]) -> None:
        self._do(self._acknowledge([self._receipt(pick) for pick in chosen]))

    @precondition(lambda self: self.ledger.receipts)
    @rule(
        chosen=st.lists(picks, min_size=1, max_size=2),
        requeue=st.sampled_from([True, True, False]),
        delay_ms=st.one_of(st.none(), st.just(0), durations),
    )
    def nack(self, chosen: list[int], requeue: bool, delay_ms: int | None) -> None:
        receipts = [self._receipt(pick) for pick in chosen]
        self._do(self._nack(receipts, requeue=requeue, delay_ms=delay_ms))

    @precondition(lambda self: self.ledger.receipts)
    @rule(pick=picks, length=durations)
    def extend(self, pick: int, length: int) -> None:
        self._do(self._extend(self._receipt(pick), length))

    @precondition(lambda self: self.ledger.receipts)
    @rule(chosen=st.lists(picks, min_size=1, max_size=3))
    def release(self, chosen: list[int]) -> None:
        self._do(self._release([self._receipt(pick) for pick in chosen]))

    @precondition(lambda self: self.ledger.receipts)
    @rule(chosen=st.lists(picks, min_size=1, max_size=2), again=st.booleans())
    def resolve(self, chosen: list[int], again: bool) -> None:
        receipts = [self._receipt(pick) for pick in chosen]
        self._do(self._resolve(receipts, reprocess=again))

    @precondition(lambda self: any(w.seen().letters for w in self.worlds))
    @rule(pick=picks, again=st.booleans())
    def resolve_a_dead_letter(self, pick: int, again: bool) -> None:
        letters = [letter for world in self.worlds for letter in world.seen().letters]
        self._do(self._resolve([letters[pick % len(letters)][0]], reprocess=again))

    # Several calls in one instant, some of whose callers may go away

    @precondition(lambda self: not self.parked)
    @rule(data=st.data(), turns=st.lists(st.integers(0, 12), min_size=2, max_size=3))
    def rush(self, data: st.DataObject, turns: list[int]) -> None:
        ops = [self._draw_op(data) for _ in turns]
        gone = [data.draw(st.booleans(), label="caller goes away") for _ in ops]
        calls = self.portal.call(self._rush, ops, turns, gone)
        self._conclude(list(zip(ops, calls, strict=True)))

    # Time, and the end of a life

    @rule(ms=durations)
    def advance(self, ms: int) -> None:
        until = self.now + ms
        while self.now < until:
            self._pass_time(until)

    @rule(down_ms=down_times)
    def restart(self, down_ms: int) -> None:
        self.portal.call(self.bench.stop)
        for poll in self.parked:
            assert poll.call.answer == ()
        self._start([world.state for world in self.worlds], down_ms)

    @rule(down_ms=down_times)
    def kill(self, down_ms: int) -> None:
        self.portal.call(self.bench.kill)
        self._start([world.state for world in self.worlds], down_ms)

    @rule(seed=seeds, down_ms=down_times)
    def cut_power(self, seed: int, down_ms: int) -> None:
        self.portal.call(self.bench.cut_power, seed)
        self._start([state for world in self.worlds for state in world.on_disk], down_ms)

    @precondition(lambda self: not self.parked)
    @rule(seed=seeds, down_ms=down_times, data=st.data())
    def cut_power_during_a_call(self, seed: int, down_ms: int, data: st.DataObject) -> None:
        op = self._draw_op(data, promises=True)
        call = self.portal.call(self._cut_power, seed, op)
        before, worlds = self.worlds, []
        answer = call.answer if call.answered else None
        if isinstance(answer, tuple) or (isinstance(answer, Unavailable) and not _failed(answer)):
            op.learn(answer)
            worlds = explain(before, partial(op.check, answer=answer))
        else:
            worlds = [*before, *(after for world in before for after in op.undone(world.copy()))]
        self._start([state for world in worlds for state in world.on_disk], down_ms)

    @invariant()
    def the_mailboxes_are_empty_when_nothing_happens(self) -> None:
        if hasattr(self, "portal"):
            status = self.portal.call(self._status)
            assert all(box.waiting == 0 for box in status.mailboxes)
            assert status.parked_polls == len(self.parked)

    # The calls

    def _publish(self, topics: Sequence[str]) -> Op:
        events = []
        for topic in topics:
            self.published += 1
            events.append(
                (b'{"n":%d%s}' % (self.published, b" " * (self.published % 5 * 5)), topic)
            )

        def learn(answer: Any) -> None:
            if isinstance(answer, tuple):
                for (payload, _), accepted in zip(events, answer, strict=True):
                    self.ledger.published(payload, accepted.id, accepted.timestamp)
                    assert accepted.timestamp == self.now

        def check(world: World, answer: Any) -> Worlds:
            accepted = world.publish(events)
            expect(isinstance(answer, tuple) == accepted, f"accepted to be {accepted}")
            return [world]

        def undone(world: World) -> Worlds:
            yield world.copy()
            if world.publish(events):
                yield world

        return Op(
            name=f"publish {events}",
            call=lambda broker: broker.enqueue([NewEvent(p, topic) for p, topic in events]),
            check=check,
            undone=undone,
            learn=learn,
        )

    def _consume(self, topic: str | None, count: int, *, worker: bool, timeout_ms: int = 0) -> Op:
        consumer = Consumer(ConsumerKind.WORKER if worker else ConsumerKind.CLIENT)

        def check(world: World, answer: tuple[Delivery, ...]) -> Worlds:
            world.hand_out(world.next_events(topic, count), answer, worker=worker)
            return [world]

        def undone(world: World) -> Worlds:
            yield world.copy()
            world.hand_out_to_nobody(topic, count)
            yield world

        return Op(
            name=f"consume {count} of {topic}",
            call=lambda broker: broker.consume(
                topic=topic, max_events=count, timeout_ms=timeout_ms, consumer=consumer
            ),
            check=check,
            undone=undone,
            learn=self._learn_deliveries,
        )

    def _acknowledge(self, receipts: list[str]) -> Op:
        def check(world: World, answer: Any) -> Worlds:
            just_settled = world.just_settled
            expected = world.acknowledge(receipts)
            got = [x.reason is None for x in answer]
            # Calls at the same time share one result.
            shared = [
                x or receipt in just_settled for x, receipt in zip(expected, receipts, strict=True)
            ]
            expect(got in (expected, shared), f"acknowledging to answer {expected}, not {got}")
            return [world]

        def undone(world: World) -> Worlds:
            yield world.copy()
            world.acknowledge(receipts)
            yield world

        return Op(
            name=f"acknowledge {receipts}",
            call=lambda broker: broker.acknowledge(receipts),
            check=check,
            undone=undone,
        )

    def _nack(self, receipts: list[str], *, requeue: bool, delay_ms: int | None) -> Op:
        return self._settling(
            f"nack {receipts}",
            lambda broker: broker.nack(receipts, requeue=requeue, delay_ms=delay_ms),
            lambda world: world.nack(receipts, requeue=requeue, delay_ms=delay_ms),
            lambda answer: [not isinstance(x, NoSuchLease) for x in answer],
        )

    def _extend(self, receipt: str, length: int) -> Op:
        return self._settling(
            f"extend {receipt}",
            lambda broker: broker.extend([receipt], visibility_timeout_ms=length),
            lambda world: world.extend(receipt, length),
            lambda answer: answer[0].deadline if isinstance(answer[0], Extension) else None,
        )

    def _resolve(self, receipts: list[str], *, reprocess: bool) -> Op:
        return self._settling(
            f"resolve {receipts}",
            lambda broker: broker.reprocess(receipts) if reprocess else broker.discard(receipts),
            lambda world: world.resolve(receipts, reprocess=reprocess),
            lambda answer: [not isinstance(x, NoSuchDeadLetter) for x in answer],
        )

    def _release(self, receipts: list[str]) -> Op:
        async def release(broker: Broker) -> tuple[()]:
            broker.release(receipts)
            return ()

        return self._settling(
            f"release {receipts}",
            release,
            lambda world: world.release(receipts),
            lambda _: None,
        )

    def _settling(
        self,
        name: str,
        call: Callable[[Broker], Awaitable[Any]],
        act: Callable[[World], object],
        read: Callable[[Any], object],
    ) -> Op:
        def check(world: World, answer: Any) -> Worlds:
            expected, got = act(world), read(answer)
            expect(got == expected, f"{name} to answer {expected}, not {got}")
            return [world]

        def undone(world: World) -> Worlds:
            yield world.copy()
            act(world)
            yield world

        return Op(name=name, call=call, check=check, undone=undone)

    def _draw_op(self, data: st.DataObject, *, promises: bool = False) -> Op:
        """Draw a call; one whose answer promises something that outlives a power cut, if asked."""
        kinds = ["publish"]
        if not promises:
            kinds.append("consume")
        if self.ledger.receipts:
            kinds += ["acknowledge", "nack", "resolve"]
            if not promises:
                kinds += ["extend", "release"]
        kind = data.draw(st.sampled_from(kinds), label="call")
        if kind == "publish":
            return self._publish(data.draw(batches, label="topics"))
        if kind == "consume":
            topic, count = data.draw(wanted, label="topic"), data.draw(counts, label="count")
            return self._consume(topic, count, worker=data.draw(st.booleans(), label="worker"))
        receipts = [self._receipt(data.draw(picks, label="receipt"))]
        match kind:
            case "acknowledge":
                return self._acknowledge(receipts)
            case "nack":
                requeue = data.draw(st.booleans(), label="requeue")
                return self._nack(receipts, requeue=requeue, delay_ms=0)
            case "extend":
                return self._extend(receipts[0], data.draw(durations, label="length"))
            case "release":
                return self._release(receipts)
            case _:
                return self._resolve(receipts, reprocess=data.draw(st.booleans(), label="again"))

    def _receipt(self, pick: int) -> str:
        receipts = self.ledger.receipts
        return receipts[-1 - pick % len(receipts)]

    def _learn_deliveries(self, deliveries: Any) -> None:
        assert isinstance(deliveries, tuple), deliveries
        for delivery in deliveries:
            self.ledger.delivered(delivery)

    # Doing, and comparing

    def _do(self, op: Op) -> None:
        self._conclude([(op, self.portal.call(self._begin, op.call))])

    def _conclude(self, calls: list[tuple[Op, Call[Any]]]) -> None:
        """Compare with the model: the calls took effect one after the other, in some order."""
        for op, call in calls:
            if call.answered:
                op.learn(call.answer)
        for world in self.worlds:
            world.just_settled = frozenset()
        found: list[World] = []
        problems: list[AssertionError] = []
        for order in permutations(calls):
            try:
                found += self._explain_in_order(order)
            except AssertionError as problem:
                problems.append(problem)
        if not found:
            raise problems[0]
        self.worlds = explain(found, lambda world: [world])
        if any(not call.answered for _, call in calls):
            # The lease that nobody got, and its end, are on disk together.
            self.portal.call(self._sync)
            for world in self.worlds:
                world.written(synced=True)
        self._observe()

    def _explain_in_order(self, calls: Sequence[tuple[Op, Call[Any]]]) -> list[World]:
        worlds = self.worlds
        for op, call in calls:
            if call.answered:
                worlds = explain(worlds, partial(op.check, answer=call.answer))
            else:
                worlds = explain(worlds, op.undone)
        return worlds

    def _observe(self, *, in_order: bool = True) -> None:
        """See to which polls were answered, and compare all that the broker shows."""
        ended = [poll for poll in self.parked if poll.call.ended]
        for poll in ended:
            self._learn_deliveries(poll.call.answer)
        seen = self.portal.call(self._look)

        def step(world: World) -> Worlds:
            serve = self._serve_in_order if in_order else self._serve_in_some_order
            serve(world)
            world.check(seen)
            return [world]

        self.worlds = explain(self.worlds, step)
        self.parked = [poll for poll in self.parked if poll not in ended]
        assert len(self.worlds) < WORLDS_MAX

    def _serve_in_order(self, world: World) -> None:
        for poll in self.parked:
            expected = world.next_events(poll.topic, poll.count)
            if not poll.call.ended:
                expect(not expected, f"a parked poll to get {expected}")
                expect(world.now < poll.ends_at, "a poll to end on time")
            else:
                if not expected:
                    expect(world.now >= poll.ends_at, "a poll to wait until it is over")
                world.hand_out(expected, poll.call.answer, worker=poll.worker)

    def _serve_in_some_order(self, world: World) -> None:
        """Polls saw some of the events before others; each got what it could take."""
        for poll in self.parked:
            if poll.call.ended:
                expect(bool(poll.call.answer), "a poll to be answered with something")
                offered = {e.payload: e for e in world.waiting() if e.due <= world.now}
                events = [offered.get(delivery.payload) for delivery in poll.call.answer]
                fitting = [e for e in events if e and poll.topic in {None, e.topic}]
                expect(len(fitting) == len(events) <= poll.count, "events that wait")
                expect(fitting == sorted(fitting, key=lambda e: e.key), "events in order")
                world.hand_out(fitting, poll.call.answer, worker=poll.worker)
        for poll in self.parked:
            if not poll.call.ended:
                expect(not world.next_events(poll.topic, poll.count), "no poll to be left out")

    def _pass_time(self, until: int) -> None:
        """Let time pass to the next moment at which something happens, at most to `until`."""
        moments = [moment for world in self.worlds if (moment := world.next_moment())]
        moments += [poll.ends_at for poll in self.parked]
        self.now = self.portal.call(self._jump, min([until, *moments]) - self.now)
        mixed = [world.pass_time(self.now) for world in self.worlds]
        self._observe(in_order=not any(mixed))

    def _start(self, found: Iterable[Any], down_ms: int) -> None:
        """Start again: the process found one of these states in the log."""
        self.parked.clear()
        self.now = self.portal.call(self._sleep, down_ms)
        self.portal.call(self.bench.start)
        model = self.worlds[0]
        self.worlds = []
        for state in dict.fromkeys(found):
            world = model.copy()
            world.boot(state, self.now)
            self.worlds.append(world)
        self._observe()

    # In the broker's thread

    async def _now(self) -> int:
        return self.bench.now()

    async def _begin(self, call: Callable[[Broker], Awaitable[Any]]) -> Call[Any]:
        return await self.bench.begin(lambda: call(self.bench.broker))

    async def _rush(self, ops: list[Op], turns: list[int], gone: list[bool]) -> list[Call[Any]]:
        calls: list[Call[Any]] = []
        for op, wait in zip(ops, turns, strict=True):
            calls.append(self.bench.begin_soon(lambda op=op: op.call(self.bench.broker)))  # type: ignore[misc]
            for _ in range(wait):
                await trio.lowlevel.checkpoint()
        for call, goes in zip(calls, gone, strict=True):
            if goes:
                call.cancel()
        await self.bench.idle()
        return calls

    async def _cut_power(self, seed: int, op: Op) -> Call[Any]:
        call = await self.bench.cut_power(seed, lambda: op.call(self.bench.broker))
        assert call is not None
        return call

    async def _cancel(self, call: Call[Any]) -> None:
        call.cancel()
        await self.bench.idle()

    async def _sync(self) -> None:
        await self.bench.broker.nack([])

    async def _look(self) -> Seen:
        await self.bench.idle()
        broker = self.bench.broker
        status, metrics = await broker.status(), await broker.metrics()
        page = await broker.dead_letters(limit=1000)
        assert isinstance(page, DeadLetterPage)
        entries = list(page.entries)
        while len(entries) < page.total:  # a page ends at its bound of bytes
            page = await broker.dead_letters(limit=1000, offset=len(entries))
            assert isinstance(page, DeadLetterPage)
            entries += page.entries
        return Seen.of(status, metrics.counters, entries)

    async def _status(self) -> Any:
        return await self.bench.broker.status()

    async def _jump(self, ms: int) -> int:
        until = trio.current_time() + ms / 1000 + SLACK_S
        while (left := until - trio.current_time()) > 0:
            # Stop wherever anything in the engine wants to wake up.
            wake = trio.lowlevel.current_statistics().seconds_to_next_deadline
            self.clock.jump(min(left, max(wake, 0) + SLACK_S))
            await self.bench.idle()
        return self.bench.now()

    async def _sleep(self, ms: int) -> int:
        self.clock.jump(ms / 1000 + SLACK_S)
        await self.bench.idle()
        return self.bench.now()


def _failed(answer: Unavailable) -> bool:
    return answer.code == "STORAGE_FAILED"


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
