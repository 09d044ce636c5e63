"""Says what of a segment is still alive, and makes the copies that let the segment go.

A copy of an event is its home fact and its newest fact, written again in one batch; what lies
between them is folded away. The copies are made from the register as it stands in the moment in
which they are appended, so that they are right whatever happens to the event before or after.
"""

from collections.abc import Sequence

import attrs

from persistence.decode import Head, decode_one, heads, payload_of
from persistence.entry import Row
from persistence.errors import Undecodable
from persistence.facts import (
    Dead,
    Enqueued,
    Extended,
    Fact,
    FactKind,
    Imported,
    Leased,
    Reprocessed,
    Returned,
)
from persistence.fold import Fold
from persistence.segment_files import Span


@attrs.frozen
class Body:
    """The facts of one batch, as they stand in the log.

    Attributes:
        position: log position of the first one.
        data: their bytes.
        time: when they were written, wall time in milliseconds; 0 if that is not known.
    """

    position: int
    data: bytes
    time: int = 0

    @property
    def end(self) -> int:
        """Log position behind the last one."""
        return self.position + len(self.data)

    def fact(self, head: Head) -> bytes:
        """Give the bytes of one of them."""
        at = head.position - self.position
        return self.data[at : at + head.size]


@attrs.define(eq=False)
class Wanted:
    """One event of which something has to be copied.

    Attributes:
        number: the event.
        home: the bytes of its home fact, None if that lies elsewhere and stays there.
        newest: the newest fact, if it is another than the home.
        state: its bytes; None as long as they have to be read from somewhere else.
    """

    number: int
    home: bytes | None
    newest: Span | None
    state: bytes | None = None


@attrs.define(eq=False)
class Selection:
    """What of some batches has to be copied.

    Attributes:
        events: in the order in which they were found.
        imports: facts about imports.
    """

    events: list[Wanted] = attrs.field(factory=list)
    imports: list[Imported] = attrs.field(factory=list)

    def missing(self) -> list[Span]:
        """Tell what has to be read before copies can be made."""
        return [w.newest for w in self.events if w.newest is not None and w.state is None]

    def bring(self, found: Sequence[bytes]) -> None:
        """Take what `missing` asked for, in its order."""
        waiting = [w for w in self.events if w.newest is not None and w.state is None]
        for wanted, data in zip(waiting, found, strict=True):
            wanted.state = data


def select(fold: Fold, bodies: Sequence[Body]) -> Selection:
    """Find what is alive in some batches.

    Raises:
        Undecodable: they make no sense.
    """
    selection = Selection()
    here: dict[int, Wanted] = {}
    get = fold.register.get
    for body in bodies:
        for head in heads(body.data, body.position):
            if head.kind == FactKind.IMPORTED:
                _select_import(fold, selection, body.fact(head), head.position)
                continue
            row = get(head.number) if head.kind in _KINDS else None
            if row is None:
                continue
            data = body.fact(head)
            if (
                head.kind == FactKind.ENQUEUED
                and fold.home_of(head.number, row)[0] == head.position
            ):
                newest = Span(row.last_fact, row.state_size) if row.state_size else None
                here[head.number] = Wanted(head.number, data, newest)
                selection.events.append(here[head.number])
            elif row.last_fact == head.position:
                wanted = here.get(head.number)
                if wanted is None:
                    wanted = Wanted(head.number, None, Span(head.position, head.size))
                    selection.events.append(wanted)
                wanted.state = data
    return selection


def copies(fold: Fold, selection: Selection) -> list[Fact]:
    """Make the copies; append them before anything else is appended.

    What has changed since it was selected is left out: an event that is done with needs no copy,
    and of another a newer fact lies elsewhere. If its home is still to be copied, it has to be
    selected again.

    Raises:
        Undecodable: what was read makes no sense, or something that is missing was not brought.
    """
    facts: list[Fact] = []
    for wanted in selection.events:
        row = fold.register.get(wanted.number)
        if row is None or not _unchanged(row, wanted):
            continue
        if wanted.home is not None:
            facts.append(_home_copy(fold, row, wanted))
        if wanted.newest is not None:
            facts.append(_state_copy(fold, wanted, wanted.newest.position))
    for mark in selection.imports:
        now = fold.imports.get(mark.source)
        if now is not None and now.offset == mark.offset:
            facts.append(mark)
    return facts


def changed(fold: Fold, selection: Selection) -> bool:
    """Tell whether some event moved on between `select` and now, its home still where it was."""
    for wanted in selection.events:
        row = fold.register.get(wanted.number)
        if row is not None and wanted.home is not None and not _unchanged(row, wanted):
            return True
    return False


def _unchanged(row: Row, wanted: Wanted) -> bool:
    if wanted.newest is None:
        return row.state_size == 0
    return row.last_fact == wanted.newest.position


def _home_copy(fold: Fold, row: Row, wanted: Wanted) -> Enqueued:
    data = wanted.home or b""
    home, _ = decode_one(data, fold.home_of(wanted.number, row)[0], fold.register.get)
    if not isinstance(home, Enqueued):
        raise Undecodable(row.payload_at, "an event's payload is not where it was")
    home.payload = bytes(payload_of(memoryview(data), 0))
    home.copied = True
    return home


def _state_copy(fold: Fold, wanted: Wanted, position: int) -> Fact:
    # Without the bytes this must fail: the event's home alone would forget its deliveries.
    state, _ = decode_one(wanted.state or b"", position, fold.register.get)
    if state.number != wanted.number or not isinstance(state, _State):
        raise Undecodable(position, f"the newest fact about event {wanted.number} is not there")
    state.copied = True
    return state


def _select_import(fold: Fold, selection: Selection, data: bytes, position: int) -> None:
    fact, _ = decode_one(data, position, fold.register.get)
    if isinstance(fact, Imported):
        mark = fold.imports.get(fact.source)
        if mark is not None and mark.position == position:
            fact.copied = True
            selection.imports.append(fact)


_State = Leased | Extended | Returned | Dead | Reprocessed

_KINDS = frozenset(
    int(kind)
    for kind in FactKind
    if kind not in {FactKind.OPENED, FactKind.SETTLED, FactKind.DISCARDED, FactKind.IMPORTED}
)
