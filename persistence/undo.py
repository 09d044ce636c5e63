"""Takes the newest fact back, as if it had never been.

What could not be written must not count: on a full disk the facts that are appended and not written
are taken back one by one, the newest first, and all but the new events are appended again.

Two things stay. The numbers of events that were taken back are not given away again, and `Lost`
remains told. Totals, and when the newest event was accepted, are the caller's to put back.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from persistence.entry import Row
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
    Returned,
    Settled,
)

if TYPE_CHECKING:
    from persistence.fold import Fold


class Removed(NamedTuple):
    """What has to be known to bring back an event that is done with.

    Attributes:
        row: where it was.
        topic: the name of its topic, whose id may be another's meanwhile.
        foreign_id: its id elsewhere, or "".
        found: whether this id led to it, and not to a later event of the same id or to none.
    """

    row: Row
    topic: str
    foreign_id: str
    found: bool


class ImportMark(NamedTuple):
    """How far an import has come, and where the log says so."""

    offset: int
    position: int
    size: int


Before: TypeAlias = Row | Removed | ImportMark | int | None
"""What a fact replaced: the row of its event; the boot number before; for a new event the number of
the one that its foreign id led to before. None if there was nothing."""


def take_back(fold: "Fold", fact: Fact, before: Before, position: int, size: int) -> None:
    """Undo the newest fact.

    Args:
        fold: the state after it.
        fact: what was taken in.
        before: what `Fold.apply` gave for it.
        position: log position of the fact.
        size: its length in bytes.
    """
    _TAKE_BACK[type(fact)](fold, fact, before, position, size)


def _moved(
    fold: "Fold",
    fact: Leased | Extended | Returned | Dead | Reprocessed,
    before: Before,
    position: int,
    size: int,
) -> None:
    if isinstance(before, Row):
        fold.holdings.leave(position, size)
        if before.state_size:
            fold.holdings.enter(before.last_fact, before.state_size)
        fold.register.replace(fact.number, before)


def _enqueued(fold: "Fold", fact: Enqueued, before: Before, position: int, _size: int) -> None:
    register, number = fold.register, fact.number
    row = register.get(number)
    if row is None:
        return
    fold.leave(number, row)
    if isinstance(before, Row):
        fold.holdings.need(position, fold.home_of(number, before)[0], -1)
        fold.enter(number, before)
        register.replace(number, before)
        return
    register.remove(number)
    if isinstance(before, int):
        register.foreign.add(before, fact.foreign_id)


def _gone(
    fold: "Fold", fact: Settled | Discarded, before: Before, position: int, _size: int
) -> None:
    if not isinstance(before, Removed):
        return
    register, number = fold.register, fact.number
    row = before.row._replace(topic=register.topics.enter(before.topic))
    register.insert(number, row)
    if before.foreign_id:
        register.foreign.add(number, before.foreign_id, found=before.found)
    fold.holdings.need(position, fold.home_of(number, row)[0], -1)
    fold.enter(number, row)


def _opened(fold: "Fold", _fact: Opened, before: Before, _position: int, _size: int) -> None:
    if isinstance(before, int):
        fold.boot = before


def _imported(fold: "Fold", fact: Imported, before: Before, position: int, size: int) -> None:
    fold.holdings.leave(position, size)
    del fold.imports[fact.source]
    if isinstance(before, ImportMark):
        fold.imports[fact.source] = before
        fold.holdings.enter(before.position, before.size)


def _lost(_fold: "Fold", _fact: Lost, _before: Before, _position: int, _size: int) -> None:
    # Taken back or not, the facts behind it may follow on what was lost.
    pass


_TAKE_BACK: dict[type, Callable[["Fold", Any, Before, int, int], None]] = {
    Opened: _opened,
    Imported: _imported,
    Enqueued: _enqueued,
    Leased: _moved,
    Extended: _moved,
    Settled: _gone,
    Returned: _moved,
    Dead: _moved,
    Reprocessed: _moved,
    Discarded: _gone,
    Lost: _lost,
}
