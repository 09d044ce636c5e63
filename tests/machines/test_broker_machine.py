"""The whole broker against a simple model: any sequence of calls, timeouts, kills and power cuts.

After every step each event is in exactly one place, with the right retries, in the right order.
`MACHINE_EXAMPLES` and `MACHINE_STEPS` make the search longer.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias

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
    OutcomeUnknown,
)
from actors.settings import BrokerSettings
from tests.broker.bench import Call
from tests.broker.embedded_bench import EmbeddedBench, open_embedded_bench
from tests.machines.model import Ledger, Place, Rules, Seen, World, expect, explain

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "250"))
STEPS = int(os.environ.get("MACHINE_STEPS", "40"))
WORLDS_MAX = 500
VISIBILITY_MS = 1000
BACKOFF_MS = (100, 200, 300)
SLACK_S = 1e-7
"""Keeps what is due at a moment from being a rounding error later than that."""

# Everything happens at multiples of ten milliseconds, except that polls end between them, so that
# an event and the end of a poll never fall together.
durations = st.sampled_from([10, 50, 100, 150, 300, 990, 1000, 1010, 2500, 20_000])
down_times = st.sampled_from([0, 0, 10, 500, 5000])
topics = st.sampled_from(["", "x"])
batches = st.lists(topics, min_size=1, max_size=3)
wanted = st.sampled_from([None, None, "", "x"])
workers = st.sampled_from([False, False, True])
counts = st.sampled_from([1, 2, 10])
seeds = st.integers(0, 2**16)
# Most of what is interesting happens to the receipts that hold, which are few and come first.
picks = st.one_of(st.integers(0, 2), st.integers(0, 2), st.integers(0, 30))


Step: TypeAlias = Callable[[World], Iterable[World]]
"""From a world to those that are possible after it."""


@attrs.frozen(kw_only=True)
class Op:
    """A call to the broker, and what the model makes of its outcome.

    Attributes:
        call: what to do.
        answered: the steps in which it took effect, given its answer.
        unanswered: the steps in which it may have, when its caller went away.
        learn: takes note of what callers were told.
    """

    call: Callable[[Broker], Awaitable[Any]]
    answered: Callable[[Any], list[Step]]
    unanswered: list[Step]
    learn: Callable[[Any], None] = lambda _: None

    def steps(self, call: Call[Any]) -> list[Step]:
        return self.answered(call.answer) if call.answered else self.unanswered


def surely(act: Callable[[World], object]) -> Step:
    """Make a step that happens."""

    def step(world: World) -> Iterable[World]:
        act(world)
        yield world

    return step


def perhaps(act: Callable[[World], object]) -> Step:
    """Make a step that happens or does not."""

    def step(world: World) -> Iterable[World]:
        yield world.copy()
        act(world)
        yield world

    return step


def simple(
    call: Callable[[Broker], Awaitable[Any]],
    act: Callable[[World], object],
    read: Callable[[Any], object],
) -> Op:
    """Make a call that takes effect in one step, with an answer that the model knows."""

    def compare(world: World, answer: Any) -> None:
        expected, got = act(world), read(answer)
        expect(got == expected, f"the answer {expected}, not {got}")

    return Op(
        call=call,
        answered=lambda answer: [surely(partial(compare, answer=answer))],
        unanswered=[perhaps(act)],
    )


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
        cache_bytes=st.sampled_from([10_000, 450, 0]),
        delivery_bytes=st.sampled_from([1000, 60]),
        segment_bytes=st.sampled_from([64 * 1024 * 1024, 4096]),
    )
    def open(
        self,
        random: object,
        queue_max_size: int,
        max_retries: int,
        cache_bytes: int,
        delivery_bytes: int,
        segment_bytes: int,
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
            segment_max_bytes=segment_bytes,
            reserved_bytes=64 * 1024,
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
        self.consumed = 0

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    # Publishing and consuming

    @rule(topics=batches)
    def publish(self, topics: list[str]) -> None:
        self._do(self._publish(topics))

    @rule(topics=st.lists(topics, max_size=2), topic=wanted, count=counts, worker=workers)
    def consume(self, topics: list[str], topic: str | None, count: int, worker: bool) -> None:
        # Most receipts come from here, so see to it that there is something to consume.
        if topics:
            self._do(self._publish(topics))
        self._do(self._consume(topic, count, worker=worker))

    @rule(
        topic=wanted,
        count=counts,
        worker=workers,
        timeout_ms=st.sampled_from([5, 105, 1005, 30_005]),
    )
    def park(self, topic: str | None, count: int, worker: bool, timeout_ms: int) -> None:
        op = self._consume(topic, count, worker=worker, timeout_ms=timeout_ms)
        call = self.portal.call(self._begin, op.call)
        if call.answered:
            self._conclude([(op, call)])
        else:
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
    @rule(
        pick=picks, others=st.lists(picks, max_size=2), again=st.sampled_from([True, True, False])
    )
    def resolve(self, pick: int, others: list[int], again: bool) -> None:
        letters = [letter[0] for letter in self.worlds[0].seen().letters]
        receipts = [letters[pick % len(letters)]] if letters else []
        receipts += [self._receipt(other) for other in others]
        self._do(self._resolve(receipts, reprocess=again))

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

    @rule(how=st.sampled_from(["stop", "kill", "power cut"]), seed=seeds, down_ms=down_times)
    def restart(self, how: str, seed: int, down_ms: int) -> None:
        states = [world.state for world in self.worlds]
        match how:
            case "stop":
                self.portal.call(self.bench.stop)
                for poll in self.parked:
                    assert poll.call.answer == ()
            case "kill":
                self.portal.call(self.bench.kill)
            case _:
                self.portal.call(self.bench.cut_power, seed)
                states = [state for world in self.worlds for state in world.on_disk]
        self._start(states, down_ms)

    @precondition(lambda self: not self.parked)
    @rule(seed=seeds, down_ms=down_times, data=st.data())
    def cut_power_during_a_call(self, seed: int, down_ms: int, data: st.DataObject) -> None:
        op = self._draw_op(data, promises=True)
        call = self.portal.call(self._cut_power, seed, op)
        before, worlds = self.worlds, self.worlds
        if call.answered and not isinstance(call.answer, OutcomeUnknown):
            op.learn(call.answer)
            steps = op.answered(call.answer)
        else:
            steps = op.unanswered
        for step in steps:
            worlds = explain(worlds, step)
        if steps is op.unanswered:
            worlds = [*before, *worlds]
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
        caller = self.published

        def learn(answer: Any) -> None:
            if isinstance(answer, tuple):
                for (payload, _), accepted in zip(events, answer, strict=True):
                    self.ledger.published(payload, accepted.id, accepted.timestamp)
                    assert accepted.timestamp == self.now

        def admit(world: World, *, accepted: bool) -> None:
            expect(world.admit(caller, len(events)) == accepted, f"acceptance to be {not accepted}")

        def publish(world: World) -> None:
            world.publish(caller, events)

        return Op(
            call=lambda broker: broker.enqueue([NewEvent(p, topic) for p, topic in events]),
            answered=lambda answer: [
                surely(partial(admit, accepted=isinstance(answer, tuple))),
                surely(publish),
            ],
            unanswered=[perhaps(lambda world: world.admit(caller, len(events))), surely(publish)],
            learn=learn,
        )

    def _consume(self, topic: str | None, count: int, *, worker: bool, timeout_ms: int = 0) -> Op:
        consumer = Consumer(ConsumerKind.WORKER if worker else ConsumerKind.CLIENT)
        self.consumed += 1
        caller = self.consumed

        def hand_out(world: World, answer: tuple[Delivery, ...]) -> None:
            world.hand_out(world.next_events(topic, count), answer, worker=worker)

        return Op(
            call=lambda broker: broker.consume(
                topic=topic, max_events=count, timeout_ms=timeout_ms, consumer=consumer
            ),
            answered=lambda answer: [surely(partial(hand_out, answer=answer))],
            unanswered=[
                perhaps(lambda world: world.hand_out_to_nobody(caller, topic, count)),
                surely(lambda world: world.take_back(caller)),
            ],
            learn=self._learn_deliveries,
        )

    def _acknowledge(self, receipts: list[str]) -> Op:
        def compare(world: World, answer: Any) -> None:
            just_settled = world.just_settled
            expected = world.acknowledge(receipts)
            got = [x.reason is None for x in answer]
            # Calls at the same time share one result.
            told = zip(expected, receipts, strict=True)
            shared = [settled or receipt in just_settled for settled, receipt in told]
            expect(got in (expected, shared), f"an acknowledgement to answer {expected}, not {got}")

        return Op(
            call=lambda broker: broker.acknowledge(receipts),
            answered=lambda answer: [surely(partial(compare, answer=answer))],
            unanswered=[perhaps(lambda world: world.acknowledge(receipts))],
        )

    def _nack(self, receipts: list[str], *, requeue: bool, delay_ms: int | None) -> Op:
        return simple(
            lambda broker: broker.nack(receipts, requeue=requeue, delay_ms=delay_ms),
            lambda world: world.nack(receipts, requeue=requeue, delay_ms=delay_ms),
            lambda answer: [not isinstance(x, NoSuchLease) for x in answer],
        )

    def _extend(self, receipt: str, length: int) -> Op:
        return simple(
            lambda broker: broker.extend([receipt], visibility_timeout_ms=length),
            lambda world: world.extend(receipt, length),
            lambda answer: answer[0].deadline if isinstance(answer[0], Extension) else None,
        )

    def _resolve(self, receipts: list[str], *, reprocess: bool) -> Op:
        return simple(
            lambda broker: broker.reprocess(receipts) if reprocess else broker.discard(receipts),
            lambda world: world.resolve(receipts, reprocess=reprocess),
            lambda answer: [not isinstance(x, NoSuchDeadLetter) for x in answer],
        )

    def _release(self, receipts: list[str]) -> Op:
        async def release(broker: Broker) -> None:
            broker.release(receipts)

        return simple(release, lambda world: world.release(receipts), lambda answer: answer)

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
            return self._consume(topic, count, worker=data.draw(workers, label="worker"))
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
        """Pick a receipt: those that hold come first, then those of dead letters, then the rest."""
        world = self.worlds[0]
        known = self.ledger.receipts_of
        here = {Place.LEASED: 0, Place.DEAD: 1, Place.WAITING: 2}
        current = {
            known.get((event.payload, event.delivery)): here.get(event.place, 3) for event in world
        }
        # Sorting is stable: among equals the newest comes first.
        newest_first = self.ledger.receipts[::-1]
        receipts = sorted(newest_first, key=lambda x: current.get(x, 3))
        return receipts[pick % len(receipts)]

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
        objections: list[AssertionError] = []
        found = _in_any_order(self.worlds, [op.steps(call) for op, call in calls], objections)
        if not found:
            raise objections[0]
        self.worlds = explain(found, surely(lambda _: None))
        if any(not call.answered for _, call in calls):
            # The lease that nobody got, and its end, are on disk together.
            self.portal.call(self._sync)
            for world in self.worlds:
                world.written(synced=True)
        self._observe()

    def _observe(self, *, in_order: bool = True) -> None:
        """See to which polls were answered, and compare all that the broker shows."""
        ended = [poll for poll in self.parked if poll.call.ended]
        for poll in ended:
            self._learn_deliveries(poll.call.answer)
        seen = self.portal.call(self._look)

        def compare(world: World) -> None:
            serve = self._serve_in_order if in_order else self._serve_in_some_order
            serve(world)
            world.check(seen)

        self.worlds = explain(self.worlds, surely(compare))
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


def _in_any_order(
    worlds: list[World], calls: list[list[Step]], objections: list[AssertionError]
) -> list[World]:
    """Return the worlds in which the calls' steps were taken in one order or another."""
    if not any(calls):
        return worlds
    found: list[World] = []
    for i, steps in enumerate(calls):
        if steps:
            try:
                after = explain(worlds, steps[0])
            except AssertionError as objection:
                objections.append(objection)
            else:
                left = [*calls[:i], steps[1:], *calls[i + 1 :]]
                found += _in_any_order(after, left, objections)
    return found


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
