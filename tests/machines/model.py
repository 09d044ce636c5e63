"""What a broker does, said as simply as possible: the model that the machine compares it with.

A `World` is one history that explains everything seen so far. What a power cut leaves, and in
which order calls took effect that were made at once, is not known, so there may be several worlds;
each observation rules some out. When none is left, the broker has done what no broker may do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto

import attrs

from actors.broker import Counters, DeadLetterView, Delivery, Status


class Contradiction(Exception):
    """This world cannot be the real one; the text says what it expected."""


class Place(Enum):
    """Where an event is: in exactly one of these."""

    WAITING = auto()
    LEASED = auto()
    DEAD = auto()
    ACKNOWLEDGED = auto()
    DISCARDED = auto()


@attrs.frozen
class Rules:
    """The settings that the model goes by, durations in milliseconds."""

    queue_max_size: int
    max_retries: int
    visibility_ms: int
    backoff_ms: tuple[int, ...]
    """Delay before each retry; the last one goes for all later ones."""
    delivery_bytes_max: int


@attrs.frozen
class Kept:
    """An event and where it stands.

    Attributes:
        number: its place in the order of acceptance.
        payload: unlike that of any other event.
        topic: the topic.
        place: where it is.
        due: its place in the order of delivery, before the number.
        retries: failed deliveries.
        delivery: which of its deliveries is the newest that the log knows; -1 for none.
        receipt_open: whether that one's receipt acknowledges although the lease is over.
        deadline: of its lease.
        length: of its lease.
        worker: whether a worker holds it.
        since: its place in the order of leasing, or of death.
        reason: why it is dead.
    """

    number: int
    payload: bytes
    topic: str
    due: int
    place: Place = Place.WAITING
    retries: int = 0
    delivery: float = -1
    receipt_open: bool = False
    deadline: int = 0
    length: int = 0
    worker: bool = False
    since: int = 0
    reason: str = ""

    @property
    def key(self) -> tuple[int, int]:
        return self.due, self.number


@attrs.define(eq=False)
class Ledger:
    """What callers were told: true in every world."""

    ids: dict[bytes, str] = attrs.field(factory=dict)
    timestamps: dict[bytes, int] = attrs.field(factory=dict)
    receipts: list[str] = attrs.field(factory=list)
    names: dict[str, tuple[bytes, int]] = attrs.field(factory=dict)
    """For each receipt the payload, and which delivery of it this was."""
    receipts_of: dict[tuple[bytes, float], str] = attrs.field(factory=dict)
    deliveries: dict[bytes, int] = attrs.field(factory=dict)

    def published(self, payload: bytes, event_id: str, timestamp: int) -> None:
        assert event_id not in self.ids.values(), "an id was given twice"
        self.ids[payload], self.timestamps[payload] = event_id, timestamp

    def delivered(self, delivery: Delivery) -> None:
        payload, receipt = delivery.payload, delivery.receipt
        assert receipt not in self.names, "a receipt was given twice"
        assert self.ids.setdefault(payload, delivery.id) == delivery.id
        assert self.timestamps.setdefault(payload, delivery.timestamp) == delivery.timestamp
        which = self.deliveries.get(payload, -1) + 1
        self.deliveries[payload] = which
        self.names[receipt] = payload, which
        self.receipts_of[payload, which] = receipt
        self.receipts.append(receipt)


@attrs.frozen
class Seen:
    """What a broker shows of itself.

    Dead letters are compared whatever their order: those of one millisecond may stand in another
    one after their facts were copied and the broker was started again. `in_order` tells whether
    the times of death ascend.
    """

    counters: Counters
    leases: dict[str, tuple[int, int]]
    topics: dict[str, tuple[int, int]]
    letters: tuple[tuple[str, str, str, int, str, bytes], ...]
    queue_size: int
    in_order: bool = True

    @classmethod
    def of(cls, status: Status, counters: Counters, letters: Iterable[DeadLetterView]) -> "Seen":
        letters = list(letters)
        times = [letter.timestamp for letter in letters]
        return cls(
            counters=counters,
            leases={x.id: (x.deadline, x.retries) for x in status.lease_list},
            topics={x.topic: (x.ready, x.delayed) for x in status.topics},
            letters=tuple(
                sorted((x.receipt, x.id, x.reason, x.retries, x.topic, x.payload) for x in letters)
            ),
            queue_size=status.queue_size,
            in_order=times == sorted(times),
        )


@attrs.frozen
class State:
    """Where every event is, and what has been counted."""

    events: tuple[Kept, ...] = ()
    counters: Counters = attrs.field(factory=Counters)
    turn: int = 0
    """Grows with each lease and each death."""


@attrs.define(eq=False)
class World:
    """One history that explains everything seen.

    Attributes:
        rules: the settings.
        ledger: what callers were told.
        now: milliseconds.
        state: where every event is.
        on_disk: the states of which a power cut may leave any one.
        just_settled: receipts that settled an event since somebody last looked.
        admitted: callers whose events are on their way to the disk, and how many they are.
        adrift: callers that have gone, and the numbers of events that were leased to them.
    """

    rules: Rules
    ledger: Ledger
    now: int
    state: State = State()
    on_disk: tuple[State, ...] = (State(),)
    just_settled: frozenset[str] = frozenset()
    admitted: frozenset[tuple[int, int]] = frozenset()
    adrift: frozenset[tuple[int, int]] = frozenset()

    def copy(self) -> "World":
        return attrs.evolve(self)

    # Reading

    def __iter__(self) -> Iterator[Kept]:
        return iter(self.state.events)

    def find(self, payload: bytes) -> Kept | None:
        return next((event for event in self if event.payload == payload), None)

    def waiting(self) -> list[Kept]:
        return [event for event in self if event.place is Place.WAITING]

    def next_events(self, topic: str | None, count: int) -> list[Kept]:
        """Say what a consumer would get now."""
        ready = sorted(
            (e for e in self.waiting() if e.due <= self.now and topic in {None, e.topic}),
            key=lambda e: e.key,
        )
        taken: list[Kept] = []
        size = 0
        for event in ready[:count]:
            size += len(event.payload)
            if taken and size > self.rules.delivery_bytes_max:
                break
            taken.append(event)
        return taken

    def next_moment(self) -> int | None:
        """Say when something happens by itself."""
        moments = [e.deadline for e in self if e.place is Place.LEASED]
        moments += [e.due for e in self.waiting() if e.due > self.now]
        return min(moments, default=None)

    def seen(self) -> Seen:
        ids, receipts = self.ledger.ids, self.ledger.receipts_of
        topics: dict[str, tuple[int, int]] = {}
        for event in self.waiting():
            ready, delayed = topics.get(event.topic, (0, 0))
            is_ready = event.due <= self.now
            topics[event.topic] = (ready + is_ready, delayed + (not is_ready))
        dead = [e for e in self if e.place is Place.DEAD]
        return Seen(
            counters=self.state.counters,
            leases={
                ids[e.payload]: (e.deadline, e.retries) for e in self if e.place is Place.LEASED
            },
            topics=topics,
            letters=tuple(sorted(
                (
                    receipts[e.payload, e.delivery], ids[e.payload], e.reason, e.retries, e.topic,
                    e.payload,
                )
                for e in dead
            )),
            queue_size=len(self.waiting()),
        )  # fmt: skip

    def check(self, seen: Seen) -> None:
        """Compare with what the broker shows; and every event is in exactly one place."""
        expected = self.seen()
        expect(seen == expected, f"to see {expected}, not {seen}")
        places = [event.place for event in self]
        total = seen.queue_size + len(seen.leases) + len(seen.letters)
        gone = places.count(Place.ACKNOWLEDGED) + places.count(Place.DISCARDED)
        expect(total + gone == seen.counters.enqueued, "every event to be in one place")

    # Changing

    def _put(self, *events: Kept, turn: int = 0, **counted: int) -> None:
        changed = {event.number: event for event in events}
        known = {event.number for event in self}
        counters = attrs.asdict(self.state.counters)
        for name, count in counted.items():
            counters[name] += count
        self.state = State(
            (
                *(changed.get(event.number, event) for event in self),
                *(event for event in events if event.number not in known),
            ),
            Counters(**counters),
            self.state.turn + turn,
        )

    def written(self, *, synced: bool = False) -> None:
        """Note that the state is in the log."""
        if synced:
            self.on_disk = (self.state,)
        elif self.state != self.on_disk[-1]:
            self.on_disk = (*self.on_disk, self.state)

    def admit(self, caller: int, count: int) -> bool:
        """Let a batch in on its way to the disk, unless the queue is full; say whether it is in."""
        on_the_way = sum(n for _, n in self.admitted)
        if len(self.waiting()) + on_the_way + count > self.rules.queue_max_size:
            return False
        self.admitted |= {(caller, count)}
        return True

    def publish(self, caller: int, events: Sequence[tuple[bytes, str]]) -> None:
        """Make a batch ready, if it was let in."""
        if (caller, len(events)) not in self.admitted:
            return
        self.admitted -= {(caller, len(events))}
        first = max((event.number for event in self), default=0) + 1
        self._put(
            *(
                Kept(first + i, payload, topic, self.now)
                for i, (payload, topic) in enumerate(events)
            ),
            enqueued=len(events),
        )
        self.written(synced=True)

    def hand_out(
        self, events: Sequence[Kept], deliveries: Sequence[Delivery], *, worker: bool
    ) -> None:
        """Lease these events, which were seen to be delivered so."""
        told = [(d.payload, d.topic, d.retries) for d in deliveries]
        expected = [(e.payload, e.topic, e.retries) for e in events]
        expect(told == expected, f"the delivery {expected}, not {told}")
        for event, delivery in zip(events, deliveries, strict=True):
            self._put(
                attrs.evolve(
                    event,
                    place=Place.LEASED,
                    delivery=self.ledger.names[delivery.receipt][1],
                    receipt_open=True,
                    deadline=self.now + self.rules.visibility_ms,
                    length=self.rules.visibility_ms,
                    worker=worker,
                    since=self.state.turn,
                ),
                turn=1,
                consumed=1,
            )
        self.written()

    def hand_out_to_nobody(self, caller: int, topic: str | None, count: int) -> None:
        """Lease events to a caller that has gone."""
        for event in self.next_events(topic, count):
            # Nobody knows the receipt that was made, but it makes those before it stale.
            which = self.ledger.deliveries.get(event.payload, -1) + 0.5
            self._put(
                attrs.evolve(event, place=Place.LEASED, delivery=which, receipt_open=True),
                turn=1,
                consumed=1,
            )
            self.adrift |= {(caller, event.number)}

    def take_back(self, caller: int) -> None:
        """Put back what a caller that has gone did not get."""
        for event in self:
            if (caller, event.number) in self.adrift:
                self._put(attrs.evolve(event, place=Place.WAITING))
                self.adrift -= {(caller, event.number)}
        self.written()

    def held(self, receipt: str) -> Kept | None:
        """Return the event that is leased under this very receipt."""
        payload, which = self.ledger.names[receipt]
        event = self.find(payload)
        if event is None or event.place is not Place.LEASED or event.delivery != which:
            return None
        return event

    def acknowledge(self, receipts: Sequence[str]) -> list[bool]:
        """Settle; say for each receipt whether it did."""
        settled: dict[str, bool] = {}
        for receipt in dict.fromkeys(receipts):
            payload, which = self.ledger.names[receipt]
            event = self.find(payload)
            settled[receipt] = event is not None and (
                event.place in {Place.LEASED, Place.WAITING}
                and (which > event.delivery or (which == event.delivery and event.receipt_open))
            )
            if event is not None and settled[receipt]:
                self._put(attrs.evolve(event, place=Place.ACKNOWLEDGED), acknowledged=1)
        self.just_settled |= {receipt for receipt in settled if settled[receipt]}
        if any(settled.values()):
            self.written(synced=True)
        return [settled[receipt] for receipt in receipts]

    def nack(self, receipts: Sequence[str], *, requeue: bool, delay_ms: int | None) -> list[bool]:
        held: list[bool] = []
        for receipt in receipts:
            event = self.held(receipt)
            held.append(event is not None)
            if event is None:
                continue
            if requeue:
                self._fail(event, "max_retries_exceeded", delay_ms)
            else:
                self._bury(event, "rejected")
        self.written(synced=True)
        return held

    def extend(self, receipt: str, length: int) -> int | None:
        event = self.held(receipt)
        if event is None:
            return None
        deadline = self.now + length
        self._put(attrs.evolve(event, deadline=deadline, length=length))
        self.written()
        return deadline

    def release(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            event = self.held(receipt)
            if event is not None:
                self._put(attrs.evolve(event, place=Place.WAITING))
        self.written()

    def resolve(self, receipts: Sequence[str], *, reprocess: bool) -> list[bool]:
        """Reprocess or discard dead letters."""
        found: list[bool] = []
        for receipt in receipts:
            payload, which = self.ledger.names[receipt]
            event = self.find(payload)
            found.append(
                event is not None and event.place is Place.DEAD and event.delivery == which
            )
            if event is None or not found[-1]:
                continue
            if reprocess:
                back = attrs.evolve(
                    event, place=Place.WAITING, due=self.now, retries=0, receipt_open=False
                )
                self._put(back, reprocessed=1)
            else:
                self._put(attrs.evolve(event, place=Place.DISCARDED), discarded=1)
        self.written(synced=True)
        return found

    def pass_time(self, now: int) -> bool:
        """Let time pass to a moment no later than `next_moment`.

        Returns:
            Whether leases ran out and delays ended in the same instant, so that nobody knows
            which of them a parked poll saw first.
        """
        due = any(self.now < event.due <= now for event in self.waiting())
        self.now = now
        return self._expire() and due

    def _expire(self) -> bool:
        over = [e for e in self if e.place is Place.LEASED and e.deadline <= self.now]
        for event in sorted(over, key=lambda e: (e.deadline, e.number)):
            self._fail(event, "visibility_timeout", 0, receipt_open=True)
        self.written()
        return bool(over)

    def _fail(
        self, event: Kept, reason: str, delay_ms: int | None, *, receipt_open: bool = False
    ) -> None:
        if event.retries >= self.rules.max_retries:
            self._bury(event, reason)
            return
        retries = event.retries + 1
        delays = self.rules.backoff_ms
        delay = delays[min(retries, len(delays)) - 1] if delay_ms is None else delay_ms
        self._put(
            attrs.evolve(
                event,
                place=Place.WAITING,
                retries=retries,
                due=self.now + delay,
                receipt_open=receipt_open,
            ),
            failed=1,
        )

    def _bury(self, event: Kept, reason: str) -> None:
        dead = attrs.evolve(
            event, place=Place.DEAD, reason=reason, receipt_open=False, since=self.state.turn
        )
        self._put(dead, turn=1, failed=1, dead=1)

    def boot(self, state: State, now: int) -> None:
        """Go on with a state that a process found in the log."""
        self.state, self.now = state, now
        self.written(synced=True)
        lost = [e for e in self if e.place is Place.LEASED and e.worker]
        for event in sorted(lost, key=lambda e: e.number):
            self._fail(event, "max_retries_exceeded", None)
        for event in self:
            if event.place is Place.LEASED:
                left = min(event.length, max(0, event.deadline - now))
                self._put(attrs.evolve(event, deadline=now + left))
        self.written()
        self._expire()


def expect(condition: bool, what: str) -> None:
    """Rule the world out unless the condition holds."""
    if not condition:
        raise Contradiction(f"expected {what}")


def explain(worlds: Iterable[World], step: Callable[[World], Iterable[World]]) -> list[World]:
    """Take a step in every world; return those that it does not contradict.

    Raises:
        AssertionError: there is none.
    """
    left: dict[object, World] = {}
    objections: list[str] = []
    for world in worlds:
        try:
            for after in step(world.copy()):
                key = after.state, after.admitted, after.adrift
                same = left.setdefault(key, after)
                if same is not after:
                    same.on_disk = (*dict.fromkeys((*same.on_disk[:-1], *after.on_disk)),)
        except Contradiction as contradiction:
            objections.append(str(contradiction))
    assert left, "\nor ".join(dict.fromkeys(objections))
    return list(left.values())
