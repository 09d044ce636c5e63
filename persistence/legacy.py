"""Facts that only release 0.1.0 wrote, as facts of today.

They did not carry the whole delivery state. What they lack is what the log said about the event
until then, so the event's row is looked up before the fact is applied. They are never written.
"""

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

from persistence.entry import Row, Stamp
from persistence.facts import (
    COUNT_MAX,
    Dead,
    Extended,
    Fact,
    FactKind,
    Leased,
    Reprocessed,
    Returned,
)
from persistence.fields import consumer_kind, misfit, return_cause, text_at

Look: TypeAlias = Callable[[int], Row | None]
"""Gives the row of an event's number as it is before the fact, None if there is no such event."""

Decode: TypeAlias = Callable[[memoryview, int, Look], tuple[Fact, int, int]]
"""Reads the fact at an offset of a body; gives it, its size and its previous position.

Raises ValueError or struct.error if it makes no sense. The size may go beyond the body's end.
"""

LEASED = Struct("<BBIQqQQqqBI")
EXTENDED = Struct("<BBIQqqq")
RETURNED = Struct("<BBIQqqIBI")
DEAD = Struct("<BBIQqqIHI")
REPROCESSED = Struct("<BBIQqq")


def _row(look: Look, number: int) -> Row:
    row = look(number)
    if row is None:
        raise ValueError(f"a fact about event {number}, which is not there")
    return row


def _leased(body: memoryview, at: int, look: Look) -> tuple[Leased, int, int]:
    (_, flags, size, number, previous, boot, delivery, deadline, length, kind, consumer_size) = (
        LEASED.unpack_from(body, at)
    )
    if flags or size != LEASED.size + consumer_size:
        raise misfit(size)
    if boot > COUNT_MAX or delivery > COUNT_MAX:
        raise ValueError(f"a stamp {boot}/{delivery}, greater than any can be")
    row = _row(look, number)
    fact = Leased(
        number,
        row.due,
        row.retries,
        Stamp(boot, delivery),
        deadline,
        length,
        consumer_kind(kind),
        text_at(body, at + LEASED.size, consumer_size),
    )
    return fact, size, previous


def _extended(body: memoryview, at: int, look: Look) -> tuple[Extended, int, int]:
    _, flags, size, number, previous, deadline, length = EXTENDED.unpack_from(body, at)
    if flags or size != EXTENDED.size:
        raise misfit(size)
    row = _row(look, number)
    kind = consumer_kind(row.kind)
    fact = Extended(number, row.due, row.retries, row.stamp, deadline, length, kind)
    return fact, size, previous


def _returned(body: memoryview, at: int, look: Look) -> tuple[Returned, int, int]:
    _, flags, size, number, previous, due, retries, cause, error_size = RETURNED.unpack_from(
        body, at
    )
    if flags or size != RETURNED.size + error_size:
        raise misfit(size)
    error = text_at(body, at + RETURNED.size, error_size)
    stamp = _row(look, number).stamp
    return Returned(number, due, retries, stamp, return_cause(cause), error), size, previous


def _dead(body: memoryview, at: int, look: Look) -> tuple[Dead, int, int]:
    _, flags, size, number, previous, time, retries, reason_size, error_size = DEAD.unpack_from(
        body, at
    )
    if flags or size != DEAD.size + reason_size + error_size:
        raise misfit(size)
    start = at + DEAD.size
    reason = text_at(body, start, reason_size)
    error = text_at(body, start + reason_size, error_size)
    return Dead(number, time, retries, _row(look, number).stamp, reason, error), size, previous


def _reprocessed(body: memoryview, at: int, look: Look) -> tuple[Reprocessed, int, int]:
    _, flags, size, number, previous, due = REPROCESSED.unpack_from(body, at)
    if flags or size != REPROCESSED.size:
        raise misfit(size)
    return Reprocessed(number, due, _row(look, number).stamp), size, previous


DECODE: dict[int, tuple[Struct, Decode]] = {
    int(FactKind.OLD_LEASED): (LEASED, _leased),
    int(FactKind.OLD_EXTENDED): (EXTENDED, _extended),
    int(FactKind.OLD_RETURNED): (RETURNED, _returned),
    int(FactKind.OLD_DEAD): (DEAD, _dead),
    int(FactKind.OLD_REPROCESSED): (REPROCESSED, _reprocessed),
}
"""For each kind its fixed part, and how to read it."""
