"""Facts that follow from each other, told to a fold as a log would tell them."""

from itertools import chain
from typing import Any

import attrs
import hypothesis.strategies as st

from persistence.encode import encode
from persistence.entry import NOT_WRITTEN, ConsumerKind, Place, Row, Stamp
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Imported,
    Leased,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.fold import Before, Fold
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE
from tests.persistence.logs import everything

State = Leased | Extended | Returned | Dead | Reprocessed


def copied(fact: Fact) -> Fact:
    """The same fact, copied."""
    assert isinstance(fact, Enqueued | State)
    return attrs.evolve(fact, copied=True)


# What may happen: to an event in a place, with a number that decides the rest.
ACTIONS: dict[str, tuple[Place, ...]] = {
    "lease": (Place.WAITING,),
    "extend": (Place.LEASED,),
    "return": (Place.LEASED, Place.WAITING),
    "settle": (Place.LEASED, Place.WAITING),
    "die": (Place.LEASED, Place.WAITING),
    "reprocess": (Place.DEAD,),
    "discard": (Place.DEAD,),
    "copy": tuple(Place),
    "copy newest": tuple(Place),
}
_happening = st.tuples(
    st.sampled_from(["come", "come", "open", "import", "roll", *ACTIONS]), st.integers(0, 10_000)
)
# Left alone, hypothesis makes lists of five.
happenings = st.tuples(*[st.lists(_happening, max_size=20)] * 4).map(
    lambda lists: list(chain.from_iterable(lists))
)


@attrs.define
class Told:
    """A fact that was told, and all that was known before it."""

    fact: Fact | None
    before: Before
    position: int
    size: int
    known: dict[str, Any]
    newest: dict[int, State]
    counters: tuple[int, ...]
    last_event_at: int | None


@attrs.define
class Teller:
    """A fold, and the facts that it was told; no fact at all stands for a new segment."""

    fold: Fold = attrs.field(factory=Fold)
    end: int = 0
    told: list[Told] = attrs.field(factory=list)
    homes: dict[int, Enqueued] = attrs.field(factory=dict)
    newest: dict[int, State] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.roll()

    def tell(self, fact: Fact) -> Row | None:
        """Take in a fact in a batch of its own; give the row of its event after it."""
        fold = self.fold
        note = self._note(fact)
        row = fold.row_of(fact)
        position = self.end + FRAME_HEADER_SIZE
        size = encode(fact, NOT_WRITTEN if row is None else row.last_fact, [])
        fold.holdings.grow(position + size)
        try:
            note.before = fold.apply(fact, row, position, size)
        except Exception:
            fold.holdings.grow(self.end)
            raise
        note.position, note.size = position, size
        self.end = position + size
        self.told.append(note)
        if isinstance(fact, Enqueued) and not fact.copied:
            self.homes[fact.number] = fact
        elif isinstance(fact, State):
            self.newest[fact.number] = fact
        return fold.register.get(fact.number)

    def roll(self) -> None:
        """Begin another segment."""
        holdings = self.fold.holdings
        self.told.append(self._note(None))
        holdings.begin(len(holdings), self.end)
        self.end += HEADER_SIZE
        holdings.grow(self.end)

    def take_back(self) -> dict[str, Any]:
        """Undo what was told last; give what was known before it."""
        fold, last = self.fold, self.told.pop()
        self.newest = last.newest
        if last.fact is None:
            fold.holdings.take_back()
            self.end -= HEADER_SIZE
            return last.known
        fold.take_back(last.fact, last.before, last.position, last.size)
        fold.counters.reset(last.counters)
        fold.last_event_at = last.last_event_at
        self.end = last.position - FRAME_HEADER_SIZE
        fold.holdings.grow(self.end)
        return last.known

    def happen(self, what: str, pick: int) -> None:
        """Let something happen, if it can."""
        if what == "roll":
            self.roll()
        elif what == "open":
            self.tell(Opened(self.fold.boot + 1 + pick % 2, pick))
        elif what == "import":
            self.tell(Imported("st"[pick % 2], pick))
        elif what == "come":
            self.tell(self._newcomer(pick))
        else:
            self._act(what, pick)

    def _newcomer(self, pick: int) -> Enqueued:
        number = self.fold.next_number + pick % 2
        topic = ["", "a", "b", "ünï"][pick % 4]
        # Ids from elsewhere ought to be unique, but need not be.
        foreign_id = ["", "", "x", "yü"][pick // 4 % 4]
        return Enqueued(number, pick, pick + 5, topic, b"x" * (pick % 90), foreign_id=foreign_id)

    def _act(self, what: str, pick: int) -> None:
        rows = [(n, row) for n, row in self.fold.register.rows() if row.place in ACTIONS[what]]
        if not rows:
            return
        number, row = rows[pick % len(rows)]
        if what.startswith("copy"):
            self._copy(number, row, home=what == "copy")
        else:
            self.tell(fact_about(what, number, row, pick))

    def _copy(self, number: int, row: Row, *, home: bool) -> None:
        if home:
            self.tell(attrs.evolve(self.homes[number], copied=True))
        if row.state_size:
            self.tell(attrs.evolve(self.newest[number], copied=True))

    def _note(self, fact: Fact | None) -> Told:
        fold = self.fold
        counters = fold.counters.values()
        return Told(
            fact, None, 0, 0, self.known(), self.newest.copy(), counters, fold.last_event_at
        )

    def known(self) -> dict[str, Any]:
        """All that the fold knows, to the last position and topic id."""
        known = everything(self.fold) if len(self.fold.holdings) else {}
        known.pop("next_number", None)  # numbers are not given away again
        return {
            **known,
            "raw": list(self.fold.register.rows()),
            "topics": self.fold.register.topics.capture(),
        }


def fact_about(what: str, number: int, row: Row, pick: int) -> Fact:
    """What an action says of an event."""
    due, retries, stamp = row.due, row.retries, row.stamp
    match what:
        case "lease":
            stamp = Stamp(row.boot + pick % 2, row.delivery + 1)
            return Leased(number, due, retries, stamp, pick, 9, ConsumerKind(pick % 2), "me")
        case "extend":
            return Extended(number, due, retries, stamp, pick, 9, ConsumerKind(row.kind), "me")
        case "return":
            cause = ReturnCause(1 + pick % 4)
            return Returned(number, pick, retries + pick % 2, stamp, cause, "nö" * (pick % 3))
        case "settle":
            return Settled(number)
        case "die":
            return Dead(number, pick, retries, stamp, "rejected", "why")
        case "reprocess":
            return Reprocessed(number, pick, stamp)
        case _:
            return Discarded(number)
