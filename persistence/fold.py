"""What the facts mean together: where every event is after them.

Facts in, register out: when a fact is appended, and again when the log is read at a start, so that
a restart cannot change what is known. Each fact can be taken back as long as it is the newest one:
`persistence.undo`.
"""

import struct
from collections.abc import Callable
from typing import Any

import attrs

from persistence.counters import Counters
from persistence.encode import clamped, home_size, payload_offset
from persistence.entry import Place, Row
from persistence.errors import Undecodable
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Imported,
    Leased,
    Lost,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.holdings import Holdings
from persistence.register import Register
from persistence.undo import Before, ImportMark, Removed, take_back

__all__ = ["Before", "Fold", "ImportMark"]

_row = tuple.__new__  # not Row(...), which takes twice as long: this is on every event's path

_RECEIPT_STAYS_OPEN = frozenset({ReturnCause.TIMED_OUT, ReturnCause.RELEASED})


class _ImpossibleError(Exception):
    """This fact cannot follow from the state."""


@attrs.define(eq=False)
class Fold:
    """The state after the newest fact.

    Attributes:
        register: where every event is.
        holdings: what each segment holds that is still needed.
        counters: totals over the log's life.
        boot: number of the newest process that had the log, 0 if none.
        next_number: least event number never given away.
        last_event_at: when the newest event was accepted; None if that is not known.
        imports: how far each import from another broker has come, by source.
        strict: whether every fact must follow from the state before it. When a log is read whose
            segments are not all there any more, a fact may speak of an event that is done with, or
            follow on facts that a later one made worthless. After a fact `Lost` it may follow on
            one that was lost.
    """

    register: Register = attrs.field(factory=Register)
    holdings: Holdings = attrs.field(factory=Holdings)
    counters: Counters = attrs.field(factory=Counters)
    boot: int = 0
    next_number: int = 1
    last_event_at: int | None = None
    imports: dict[str, ImportMark] = attrs.field(factory=dict)
    strict: bool = True

    def row_of(self, fact: Fact) -> Row | None:
        """Give the row of the event that a fact is about, None if it is new or of no event."""
        kind = type(fact)
        if kind is Enqueued and not fact.copied:  # type: ignore[union-attr]
            return None
        if kind is Opened or kind is Imported:
            return None
        return self.register.get(fact.number)

    def apply(self, fact: Fact, row: Row | None, position: int, size: int) -> Before:
        """Take in the next fact.

        Args:
            fact: what happened.
            row: what `row_of` gave for it.
            position: log position of the fact.
            size: its length in bytes.

        Returns:
            What it replaced, for `take_back`.

        Raises:
            Undecodable: it cannot follow from the state.
        """
        try:
            before = _APPLY[type(fact)](self, fact, row, position, size)
        except struct.error:  # a count greater than any in the log, which has it as less
            before = _APPLY[type(fact)](self, clamped(fact), row, position, size)
        except (ValueError, _ImpossibleError):
            number = getattr(fact, "number", 0)
            detail = f"a fact {type(fact).__name__} of event {number} cannot follow what is before"
            raise Undecodable(position, detail) from None
        self.counters.advance(fact)
        return before

    def look(self, number: int) -> Row | None:
        """Give the row of an event, as `persistence.decode` asks for it.

        Facts of release 0.1.0 lack what the row has; where the event may be missing, they are about
        nothing, and what they say is of no account.
        """
        row = self.register.get(number)
        return _BLANK if row is None and not self.strict else row

    def take_back(self, fact: Fact, before: Before, position: int, size: int) -> None:
        """Undo the newest fact; see `persistence.undo`."""
        take_back(self, fact, before, position, size)

    def home_of(self, number: int, row: Row) -> tuple[int, int]:
        """Give log position and length of the fact that brought an event."""
        topic_size = self.register.topics.size(row.topic)
        foreign_id = self.register.foreign.id_of(number) if row.named else None
        foreign_size = 0 if foreign_id is None else len(foreign_id.encode())
        at = row.payload_at - payload_offset(topic_size)
        return at, home_size(row.payload_size, topic_size, foreign_size)

    def enter(self, number: int, row: Row) -> None:
        """Note that an event's home and its newest fact are alive."""
        self.holdings.enter(*self.home_of(number, row))
        if row.state_size:
            self.holdings.enter(row.last_fact, row.state_size)

    def leave(self, number: int, row: Row) -> None:
        """Note that they are alive no more."""
        self.holdings.leave(*self.home_of(number, row))
        if row.state_size:
            self.holdings.leave(row.last_fact, row.state_size)


# Each of these is on the path of every event.


def _move(fold: Fold, number: int, old: Row, new: Row) -> None:
    fold.register.replace(number, new)  # first: it may refuse
    if old.state_size:
        fold.holdings.leave(old.last_fact, old.state_size)
    fold.holdings.enter(new.last_fact, new.state_size)


def _expect(fold: Fold, row: Row | None, copied: bool, *places: int) -> bool:
    """Tell whether there is an event to apply a fact to."""
    if fold.strict and (row is None or (row.place not in places and not copied)):
        raise _ImpossibleError
    return row is not None


def _opened(fold: Fold, fact: Opened, _row: Row | None, _position: int, _size: int) -> Before:
    if fact.boot <= fold.boot:
        raise _ImpossibleError
    before = fold.boot
    fold.boot = fact.boot
    return before


def _imported(fold: Fold, fact: Imported, _row: Row | None, position: int, size: int) -> Before:
    before = fold.imports.get(fact.source)
    if before is not None:
        fold.holdings.leave(before.position, before.size)
    fold.holdings.enter(position, size)
    fold.imports[fact.source] = ImportMark(fact.offset, position, size)
    return before


def _enqueued(fold: Fold, fact: Enqueued, row: Row | None, position: int, size: int) -> Before:
    if row is None and fact.copied and fold.strict:
        raise _ImpossibleError
    register, number = fold.register, fact.number
    topics = register.topics
    topic_id = topics.enter(fact.topic)
    new = _row(
        Row,
        (
            position + payload_offset(topics.size(topic_id)),
            position,
            fact.timestamp,
            fact.due,
            fact.payload_size,
            topic_id,
            0,
            0,
            0,
            0,
            _WAITING,
            0,
            0,
            1 if fact.foreign_id else 0,
        ),
    )
    if row is not None:
        topics.leave(topic_id)  # the row that is replaced holds the same one
        _move_home(fold, number, row, new)
        return row
    try:
        register.insert(number, new)
    except ValueError:
        topics.leave(topic_id)
        raise
    fold.holdings.enter(position, size)
    if not fact.copied:
        fold.last_event_at = fact.timestamp
    if number >= fold.next_number:
        fold.next_number = number + 1
    if not fact.foreign_id:
        return None
    before = register.foreign.number_of(fact.foreign_id)
    register.foreign.add(number, fact.foreign_id)
    return before


def _move_home(fold: Fold, number: int, old: Row, new: Row) -> None:
    """Let an event have its payload in a copy, with nothing known about its deliveries yet."""
    for same in ("timestamp", "payload_size", "topic", "named"):
        if getattr(old, same) != getattr(new, same):
            raise _ImpossibleError
    fold.leave(number, old)
    fold.holdings.need(new.last_fact, fold.home_of(number, old)[0])
    fold.register.replace(number, new)
    fold.enter(number, new)


def _leased(
    fold: Fold, fact: Leased | Extended, row: Row | None, position: int, size: int
) -> Before:
    place = Place.WAITING if type(fact) is Leased else Place.LEASED
    if _expect(fold, row, fact.copied, place) and row is not None:
        boot, delivery = fact.stamp
        new = (
            row.payload_at,
            position,
            row.timestamp,
            fact.due,
            row.payload_size,
            row.topic,
            size,
            fact.retries,
            boot,
            delivery,
            _LEASED,
            1,
            int(fact.kind),
            row.named,
        )
        _move(fold, fact.number, row, _row(Row, new))
    return row


def _returned(fold: Fold, fact: Returned, row: Row | None, position: int, size: int) -> Before:
    # A fresh event may return too: so an import says how often it was tried elsewhere.
    if _expect(fold, row, fact.copied, _LEASED, _WAITING) and row is not None:
        boot, delivery = fact.stamp
        new = (
            row.payload_at,
            position,
            row.timestamp,
            fact.due,
            row.payload_size,
            row.topic,
            size,
            fact.retries,
            boot,
            delivery,
            _WAITING,
            1 if fact.cause in _RECEIPT_STAYS_OPEN else 0,
            0,
            row.named,
        )
        _move(fold, fact.number, row, _row(Row, new))
    return row


def _dead(fold: Fold, fact: Dead, row: Row | None, position: int, size: int) -> Before:
    if _expect(fold, row, fact.copied, _LEASED, _WAITING) and row is not None:
        boot, delivery = fact.stamp
        new = (
            row.payload_at,
            position,
            row.timestamp,
            fact.time,
            row.payload_size,
            row.topic,
            size,
            fact.retries,
            boot,
            delivery,
            _DEAD,
            0,
            0,
            row.named,
        )
        _move(fold, fact.number, row, _row(Row, new))
    return row


def _reprocessed(
    fold: Fold, fact: Reprocessed, row: Row | None, position: int, size: int
) -> Before:
    if _expect(fold, row, fact.copied, _DEAD) and row is not None:
        boot, delivery = fact.stamp
        new = row._replace(
            last_fact=position,
            due=fact.due,
            state_size=size,
            retries=0,
            boot=boot,
            delivery=delivery,
            place=_WAITING,
            receipt_open=0,
            kind=0,
        )
        _move(fold, fact.number, row, new)
    return row


def _gone(
    fold: Fold, fact: Settled | Discarded, row: Row | None, position: int, _size: int
) -> Before:
    places = (_LEASED, _WAITING) if type(fact) is Settled else (_DEAD,)
    if not _expect(fold, row, False, *places) or row is None:
        return None
    register = fold.register
    fold.leave(fact.number, row)
    fold.holdings.need(position, fold.home_of(fact.number, row)[0])
    foreign_id, found = "", False
    if row.named:
        foreign_id = register.foreign.id_of(fact.number) or ""
        found = register.foreign.number_of(foreign_id) == fact.number
    topic = register.topics.name(row.topic)
    register.remove(fact.number)
    return Removed(row, topic, foreign_id, found)


def _lost(fold: Fold, _fact: Lost, _row: Row | None, _position: int, _size: int) -> Before:
    fold.strict = False
    return None


_BLANK = Row(0, 0, 0, 0, 0, 0)
_WAITING, _LEASED, _DEAD = int(Place.WAITING), int(Place.LEASED), int(Place.DEAD)

_APPLY: dict[type, Callable[[Fold, Any, Row | None, int, int], Before]] = {
    Opened: _opened,
    Imported: _imported,
    Enqueued: _enqueued,
    Leased: _leased,
    Extended: _leased,
    Settled: _gone,
    Returned: _returned,
    Dead: _dead,
    Reprocessed: _reprocessed,
    Discarded: _gone,
    Lost: _lost,
}
