"""Takes in new events many at a time, when a log is read.

Most of a large backlog is events that came and were never touched. Read one fact at a time like any
other, ten million of them take twice as long.
"""

import struct

from persistence import layout
from persistence.entry import Row
from persistence.facts import FactKind
from persistence.fold import Fold

_ENQUEUED = int(FactKind.ENQUEUED)
_row = tuple.__new__  # see persistence.fold


def take_in_fresh(fold: Fold, body: memoryview, position: int, at: int) -> tuple[int, int]:
    """Take in the new events that follow each other in a batch, as `Fold.apply` would.

    It stops, having changed nothing, before the first fact that is anything else or that does not
    look right: that is for `persistence.decode` and `Fold.apply` to judge.

    Args:
        fold: the state so far.
        body: the batch's facts.
        position: log position of the first one.
        at: offset of the fact to begin with.

    Returns:
        How many there were, and the offset behind them.
    """
    topics, insert = fold.register.topics, fold.register.insert
    unpack, fixed = layout.ENQUEUED.unpack_from, layout.ENQUEUED.size
    count, end, timestamp = 0, len(body), fold.last_event_at
    start, next_number = at, fold.next_number
    names: dict[bytes, str] = {}
    while at < end and body[at] == _ENQUEUED:
        try:
            _, flags, size, number, _, stamp, due, topic_size, payload_size = unpack(body, at)
        except struct.error:
            break
        payload_at = at + fixed + topic_size
        # A number below the next may be there already, and one that is must be refused.
        if flags or number < next_number or not payload_at + payload_size == at + size <= end:
            break
        raw = bytes(body[at + fixed : payload_at])
        name = names.get(raw)
        if name is None:
            try:
                name = names[raw] = raw.decode()
            except UnicodeDecodeError:
                break
        row = (
            position + payload_at,
            position + at,
            stamp,
            due,
            payload_size,
            topics.enter(name),
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        insert(number, _row(Row, row))
        next_number = number + 1
        timestamp = stamp
        count += 1
        at += size
    if count:
        fold.next_number = next_number
        fold.last_event_at = timestamp
        fold.counters.enqueued += count
        active = fold.holdings.active
        active.live += count
        active.live_bytes += at - start
    return count, at
