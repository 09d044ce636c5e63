"""Replaying facts gives the state of a plain model, and refuses what cannot have happened."""

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.entry import NEVER_DELIVERED, ConsumerKind, Event, Stamp
from persistence.errors import Undecodable
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Leased,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.memory_disk import MemoryDisk
from persistence.replay import Replay
from tests.persistence.samples import NOW, append, event, open_log, view


@attrs.define
class Told:
    """What the model knows of one event: everything that was ever said about it."""

    event: Event
    facts: list[Fact]

    @property
    def place(self) -> str:
        return {
            Enqueued: "waiting",
            Returned: "waiting",
            Reprocessed: "waiting",
            Leased: "leased",
            Extended: "leased",
            Dead: "dead",
            Settled: "gone",
            Discarded: "gone",
        }[type(self.facts[-1])]


MOVES: dict[str, list[str]] = {
    "waiting": ["lease", "settle"],
    "leased": ["extend", "settle", "return", "die"],
    "dead": ["reprocess", "discard"],
}


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Told], list[list[Fact]]]:
    """A history in which every fact may follow the ones before it."""
    small = st.integers(0, 20)
    told: list[Told] = []
    batches: list[list[Fact]] = []
    delivery = 0
    for size in draw(st.lists(st.integers(1, 4), max_size=15)):
        batch: list[Fact] = []
        for _ in range(size):
            open_ones = [one for one in told if one.place in MOVES]
            which = draw(st.integers(-1, len(open_ones) - 1)) if open_ones else -1
            fact: Fact
            if which < 0:
                new = event(len(told) + 1, topic=draw(st.sampled_from(["", "a", "b"])))
                fact = Enqueued(new, NOW + draw(small))
                told.append(Told(new, [fact]))
            else:
                one = open_ones[which]
                delivery += 1
                fact = _move(draw, one, delivery)
                one.facts.append(fact)
            batch.append(fact)
        batches.append(batch)
    return told, batches


def _move(draw: st.DrawFn, one: Told, delivery: int) -> Fact:
    small = st.integers(0, 20)
    text = st.text(max_size=5)
    what = draw(st.sampled_from(MOVES[one.place]))
    build: dict[str, Callable[[], Fact]] = {
        "lease": lambda: Leased(
            one.event,
            Stamp(1, delivery),
            NOW + draw(small),
            draw(small),
            draw(st.sampled_from(ConsumerKind)),
            draw(text),
        ),
        "settle": lambda: Settled(one.event),
        "extend": lambda: Extended(one.event, NOW + draw(small), draw(small)),
        "return": lambda: Returned(
            one.event, NOW + draw(small), draw(small), draw(st.sampled_from(ReturnCause))
        ),
        "die": lambda: Dead(one.event, NOW + draw(small), draw(small), draw(text), draw(text)),
        "reprocess": lambda: Reprocessed(one.event, NOW + draw(small)),
        "discard": lambda: Discarded(one.event),
    }
    return build[what]()


def modelled(told: list[Told], batches: list[list[Fact]]) -> tuple[object, ...]:
    """The state read off each event's own facts, newest first where the newest decides."""
    order = [id(fact) for batch in batches for fact in batch]
    waiting, leases, dead = [], [], []
    for one in told:
        number = one.event.number
        last = one.facts[-1]
        state = _delivery_state(one)
        match one.place:
            case "waiting":
                waiting.append((number, *state))
            case "leased":
                lease = next(fact for fact in reversed(one.facts) if isinstance(fact, Leased))
                assert isinstance(last, Leased | Extended)
                leases.append(
                    (number, last.deadline, last.length, lease.kind, lease.consumer, *state)
                )
            case "dead":
                assert isinstance(last, Dead)
                row = (number, last.time, last.reason, last.error, *state)
                dead.append((order.index(id(last)), row))
            case _:
                pass
    due = 4
    return (
        sorted(waiting, key=lambda row: (row[due], row[0])),
        sorted(leases),
        [row for _, row in sorted(dead)],
        len(told) + 1,
        _totals([fact for batch in batches for fact in batch]),
    )


def _delivery_state(one: Told) -> tuple[object, ...]:
    due, retries, stamp, receipt_open = 0, 0, NEVER_DELIVERED, False
    for fact in one.facts:
        match fact:
            case Enqueued():
                due = fact.due
            case Leased():
                stamp, receipt_open = fact.stamp, True
            case Returned():
                due, retries = fact.due, fact.retries
                receipt_open = fact.cause in (ReturnCause.TIMED_OUT, ReturnCause.RELEASED)
            case Dead():
                retries, receipt_open = fact.retries, False
            case Reprocessed():
                due, retries, receipt_open = fact.due, 0, False
            case _:
                pass
    size = one.event.payload_size
    return (one.event.timestamp, one.event.topic, size, due, retries, stamp, receipt_open)


def _totals(facts: list[Fact]) -> tuple[int, ...]:
    def count(kind: type) -> int:
        return sum(isinstance(fact, kind) for fact in facts)

    rejected = sum(
        isinstance(fact, Returned) and fact.cause != ReturnCause.RELEASED for fact in facts
    )
    return (
        count(Enqueued),
        count(Leased),
        count(Settled),
        rejected + count(Dead),
        count(Dead),
        count(Reprocessed),
        count(Discarded),
    )


@given(stories())
def test_a_log_that_was_killed_recovers_what_the_model_says(
    story: tuple[list[Told], list[list[Fact]]],
) -> None:
    told, batches = story
    disk = MemoryDisk()
    log = open_log(disk)
    for batch in batches:
        log.write(log.prepare(batch))
    counted = log.counters.values()
    again = open_log(disk.kill())
    assert view(again.recovered) == modelled(told, batches)
    assert counted == again.counters.values()
    waiting = [entry.event for entry in again.recovered.waiting]
    assert again.read(waiting) == [b'{"n":%d}' % one.number for one in waiting]


def in_place(place: str) -> tuple[Replay, Event]:
    """A state with event 1 in the given place."""
    one = event(1)
    ways: dict[str, list[Fact]] = {
        "nowhere": [],
        "waiting": [Enqueued(one, NOW)],
        "leased": [Enqueued(one, NOW), Leased(one, Stamp(1, 1), NOW, 1)],
        "dead": [Enqueued(one, NOW), Leased(one, Stamp(1, 1), NOW, 1), Dead(one, NOW, 0, "x")],
        "settled": [Enqueued(one, NOW), Settled(one)],
    }
    replay = Replay()
    for fact in ways[place]:
        replay.apply(0, fact)
    return replay, one


FACTS: dict[str, Callable[[Event], Fact]] = {
    "enqueued": lambda one: Enqueued(one, NOW),
    "leased": lambda one: Leased(one, Stamp(1, 2), NOW, 1),
    "extended": lambda one: Extended(one, NOW, 1),
    "settled": Settled,
    "returned": lambda one: Returned(one, NOW, 1, ReturnCause.REJECTED),
    "dead": lambda one: Dead(one, NOW, 1, "rejected"),
    "reprocessed": lambda one: Reprocessed(one, NOW),
    "discarded": Discarded,
}
ALLOWED = {
    "nowhere": {"enqueued"},
    "waiting": {"leased", "settled"},
    "leased": {"extended", "settled", "returned", "dead"},
    "dead": {"reprocessed", "discarded"},
    "settled": {"enqueued"},  # a number is never reused, but the log does not remember the gone
}


@pytest.mark.parametrize("place", sorted(ALLOWED))
@pytest.mark.parametrize("fact", sorted(FACTS))
def test_only_possible_facts_are_taken_in(place: str, fact: str) -> None:
    replay, one = in_place(place)
    if fact in ALLOWED[place]:
        replay.apply(77, FACTS[fact](one))
        return
    before = view(replay.recovered())
    with pytest.raises(Undecodable, match="of event 1 cannot follow") as caught:
        replay.apply(77, FACTS[fact](one))
    assert caught.value.position == 77
    assert view(replay.recovered()) == before


def test_boot_numbers_only_grow() -> None:
    replay = Replay()
    replay.apply(0, Opened(3, NOW))
    with pytest.raises(Undecodable):
        replay.apply(0, Opened(3, NOW))
    assert replay.recovered().boot == 3


def test_dead_letters_stand_in_the_order_of_their_last_death() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    first, second = event(1), event(2)
    append(log, Enqueued(first, NOW), Enqueued(second, NOW))
    for one, delivery in ((first, 1), (second, 2)):
        append(log, Leased(one, Stamp(1, delivery), NOW, 1), Dead(one, NOW, 0, "rejected"))
    append(log, Reprocessed(first, NOW), Leased(first, Stamp(1, 3), NOW, 1))
    append(log, Dead(first, NOW, 0, "rejected"))
    dead = open_log(disk.kill()).recovered.dead
    assert [letter.entry.event.number for letter in dead] == [2, 1]
