"""Finds all that the log still says about one event.

Each fact names the position of the one before it about the same event, so the history of an event
that is there is read from its newest fact backwards. Of an event that is done with nothing is kept
in memory: its facts are looked for in the segments that are left.
"""

from collections.abc import Iterator

import attrs

from persistence.copying import Body
from persistence.decode import HEAD_SIZE, decode_one, fact_size, heads
from persistence.entry import NOT_WRITTEN, Row
from persistence.errors import Undecodable
from persistence.facts import Discarded, Enqueued, Fact, Settled
from persistence.reading import LogReader
from persistence.segment_files import SegmentGone, Span

_BLANK = Row(0, 0, 0, 0, 0, 0)
_FACTS_MAX = 1000
"""Facts of one event that are read at most; older ones are left out."""

_STEP_BYTES = 1024 * 1024


@attrs.frozen
class Recorded:
    """A fact, and where and when it was written.

    Attributes:
        fact: without payload.
        position: log position.
        time: wall time of its batch in milliseconds, None if unknown.
    """

    fact: Fact
    position: int
    time: int | None


@attrs.frozen
class History:
    """What the log still says about one event.

    Attributes:
        records: oldest first.
        whole: whether it begins with the event's acceptance and nothing is left out.
    """

    records: tuple[Recorded, ...]
    whole: bool


def history_of(reader: LogReader, row: Row, home: int) -> History:
    """Read the history of an event that is there.

    Args:
        reader: of the log.
        row: where the event stands; its newest fact is written.
        home: log position of the fact that brought it.

    Raises:
        LogDamaged: what is read makes no sense.
        ReadFailed: the disk could not be read.
        SegmentGone: the event has moved meanwhile; ask again.
    """
    records: list[Recorded] = []
    position, whole = row.last_fact, True
    while position != NOT_WRITTEN:
        try:
            record, previous = _record_at(reader, position)
        except SegmentGone:
            whole = False
            break
        records.append(record)
        if position == home:
            break
        position = previous
        if len(records) == _FACTS_MAX:
            whole = False
            break
    if not records or records[-1].position != home:
        records.append(_record_at(reader, home)[0])
    records.reverse()
    first = records[0].fact
    return History(tuple(records), whole and isinstance(first, Enqueued) and not first.copied)


def _record_at(reader: LogReader, position: int) -> tuple[Recorded, int]:
    (head,) = reader.read([Span(position, HEAD_SIZE)])
    try:
        (data,) = reader.read([Span(position, fact_size(head))])
        fact, previous = decode_one(data, position, lambda _: _BLANK)
    except Undecodable as error:
        raise reader.damage(error) from error
    return Recorded(fact, position, reader.written_at(position)), previous


def search(reader: LogReader, number: int) -> History | None:
    """Look for the facts of an event that is done with; None if its acceptance is not there.

    Takes as long as reading the whole log, at worst. Segments that are dropped meanwhile are
    passed over.

    Raises:
        LogDamaged: what is read makes no sense.
        ReadFailed: the disk could not be read.
    """
    records: list[Recorded] = []
    whole, position = True, NOT_WRITTEN
    for found, previous in _found(reader, number):
        if isinstance(found.fact, Enqueued):
            records.clear()  # what is before a copy is in the copy
            whole = not found.fact.copied
        elif previous != position or len(records) == _FACTS_MAX:
            whole = False  # what was between them went with its segment, or is left out
        position = found.position
        if len(records) == _FACTS_MAX:
            del records[1]
        records.append(found)
        if isinstance(found.fact, Settled | Discarded):
            break
    if not records or not isinstance(records[0].fact, Enqueued):
        return None
    return History(tuple(records), whole)


def _found(reader: LogReader, number: int) -> Iterator[tuple[Recorded, int]]:
    """Yield the facts about an event, each with the position of the one before, oldest first."""
    for segment in reader.numbers_from(number):
        offset = 0
        while True:
            try:
                bodies, offset = reader.batches(segment, offset, _STEP_BYTES)
            except SegmentGone:
                break
            if not bodies:
                break
            for body in bodies:
                yield from _in_body(reader, body, number)


def _in_body(reader: LogReader, body: Body, number: int) -> Iterator[tuple[Recorded, int]]:
    try:
        for head in heads(body.data, body.position):
            if head.number == number:
                fact, previous = decode_one(body.fact(head), head.position, lambda _: _BLANK)
                yield Recorded(fact, head.position, body.time or None), previous
    except Undecodable as error:
        raise reader.damage(error) from error
