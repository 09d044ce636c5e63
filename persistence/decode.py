"""Bytes to facts. The layout is in the package's docstring.

Recovery reads every fact of the log here, so a fact is read in one go and judged afterwards: only
when something about it does not fit is its header looked at for the reason.
"""

import struct
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from persistence import layout, legacy
from persistence.entry import Stamp
from persistence.errors import NewerFormat, Undecodable
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    FactKind,
    Imported,
    Leased,
    Lost,
    Opened,
    Reprocessed,
    Returned,
    Settled,
)
from persistence.fields import consumer_kind, misfit, return_cause, text_at, topic_at
from persistence.legacy import Decode, Look

HEAD_SIZE = layout.HEAD.size
"""Bytes that `fact_size` needs."""


class Head(NamedTuple):
    """What every fact begins with.

    Attributes:
        position: log position of the fact.
        kind: a `FactKind`.
        flags: as in `persistence.layout`.
        size: of the whole fact in bytes.
        number: of the event, 0 if it is about none.
        previous: log position of the fact before it about the same event, or `NOT_WRITTEN`.
    """

    position: int
    kind: int
    flags: int
    size: int
    number: int
    previous: int


def decode(body: memoryview, position: int, look: Look) -> Iterator[tuple[int, int, int, Fact]]:
    """Read the facts of one batch: of each its log position, its size, `previous` and the fact.

    Payloads are left where they are. Whoever replays takes in one fact before asking for the
    next, so that `look` gives each event as it is before the fact.

    Args:
        body: the facts' bytes.
        position: log position of the first one.
        look: see `Look`; only facts of release 0.1.0 need it.

    Raises:
        NewerFormat: an unknown kind or flag.
        Undecodable: sizes that do not fit, values out of range, or an event that is not known.
    """
    at = 0
    end = len(body)
    decoders = _DECODE
    while at < end:
        try:
            fact, size, previous = decoders[body[at]](body, at, look)
        except (struct.error, ValueError) as error:
            raise _refusal(body, at, position, error) from error
        after = at + size
        if after > end:
            raise _refusal(body, at, position)
        yield position + at, size, previous, fact
        at = after


def decode_one(data: bytes | memoryview, position: int, look: Look) -> tuple[Fact, int]:
    """Read one fact, and `previous`.

    Args:
        data: begins with the fact, and may go on behind it.
        position: log position of the fact.
        look: see `Look`; only facts of release 0.1.0 need it.

    Raises:
        NewerFormat: an unknown kind or flag.
        Undecodable: see `decode`; or there is not the whole fact.
    """
    body = memoryview(data)
    if not body:
        raise _refusal(body, 0, position)
    try:
        fact, size, previous = _DECODE[body[0]](body, 0, look)
    except (struct.error, ValueError) as error:
        raise _refusal(body, 0, position, error) from error
    if size > len(body):
        raise _refusal(body, 0, position)
    return fact, previous


def heads(body: bytes | memoryview, position: int) -> Iterator[Head]:
    """Read what the facts of one batch begin with, several times as fast as `decode`.

    Args:
        body: the facts' bytes.
        position: log position of the first one.

    Raises:
        NewerFormat: an unknown kind or flag.
        Undecodable: sizes that cannot be.
    """
    at = 0
    end = len(body)
    unpack, smallest_of, new = _CODED_HEAD.unpack_from, _SMALLEST.get, tuple.__new__
    while at < end:
        try:
            code, size, number, previous = unpack(body, at)
        except struct.error as error:
            raise _refusal(memoryview(body), at, position, error) from error
        after = at + size
        if after > end or size < smallest_of(code, _ENDLESS):
            raise _refusal(memoryview(body), at, position)
        # Not Head(...): it takes as long as all the rest.
        yield new(Head, (position + at, code & 0xFF, code >> 8, size, number, previous))
        at = after


def fact_size(head: bytes | memoryview) -> int:
    """Tell the size of a fact in bytes from its first `HEAD_SIZE` bytes, taken at their word.

    Raises:
        ValueError: these are fewer.
    """
    if len(head) < HEAD_SIZE:
        raise ValueError(f"{len(head)} bytes are no fact's header")
    size: int = layout.HEAD.unpack_from(head)[2]
    return size


def payload_of(body: bytes | memoryview, at: int) -> memoryview:
    """Give the payload of the `Enqueued` fact at an offset of a body. Nothing is copied.

    Raises:
        ValueError: there is no such fact, or not its whole payload.
    """
    view = memoryview(body)
    if len(view) - at < layout.ENQUEUED.size or view[at] != FactKind.ENQUEUED:
        raise ValueError(f"no event was enqueued at offset {at}")
    *_, topic_size, payload_size = layout.ENQUEUED.unpack_from(view, at)
    start = at + layout.ENQUEUED.size + topic_size
    payload = view[start : start + payload_size]
    if len(payload) < payload_size:
        raise ValueError(f"the payload at offset {start} is cut short")
    return payload


def _refusal(
    body: memoryview, at: int, position: int, error: Exception | None = None
) -> Undecodable:
    """Say why there is no fact at an offset of a body that begins at a log position."""
    left = len(body) - at
    if left < HEAD_SIZE:
        return Undecodable(position + at, "a fact's header is cut short")
    kind, flags, size, _, _ = layout.HEAD.unpack_from(body, at)
    if kind not in _KINDS:
        return NewerFormat(position + at, f"unknown kind of fact {kind}")
    fixed, known_flags, _ = _KINDS[kind]
    if flags & ~known_flags:
        return NewerFormat(position + at, f"unknown flags {flags:#04x} in a fact")
    if not isinstance(error, ValueError) or not fixed.size <= size <= left:
        error = misfit(size)
    return Undecodable(position + at, str(error))


def _opened(body: memoryview, at: int, _look: Look) -> tuple[Opened, int, int]:
    _, flags, size, _, previous, boot, time = layout.OPENED.unpack_from(body, at)
    if flags or size != layout.OPENED.size:
        raise misfit(size)
    return Opened(boot, time), size, previous


def _enqueued(body: memoryview, at: int, _look: Look) -> tuple[Enqueued, int, int]:
    _, flags, size, number, previous, timestamp, due, topic_size, payload_size = _unpack_enqueued(
        body, at
    )
    start = at + _ENQUEUED_SIZE
    topic = topic_at(body, start, topic_size)
    rest = size - _ENQUEUED_SIZE - topic_size - payload_size
    if not flags and not rest:
        return Enqueued(number, timestamp, due, topic, None, payload_size), size, previous
    foreign_id = ""
    if flags & layout.FOREIGN:
        foreign_at = start + topic_size + payload_size + layout.FOREIGN_SIZE.size
        (foreign_size,) = layout.FOREIGN_SIZE.unpack_from(
            body, foreign_at - layout.FOREIGN_SIZE.size
        )
        rest -= layout.FOREIGN_SIZE.size + foreign_size
        foreign_id = text_at(body, foreign_at, foreign_size)
    if flags > _ENQUEUED_FLAGS or rest:
        raise misfit(size)
    copied = flags & layout.COPIED != 0
    fact = Enqueued(number, timestamp, due, topic, None, payload_size, foreign_id, copied)
    return fact, size, previous


def _held(body: memoryview, at: int, _look: Look) -> tuple[Leased | Extended, int, int]:
    (
        kind,
        flags,
        size,
        number,
        previous,
        due,
        retries,
        boot,
        delivery,
        deadline,
        length,
        holder,
        consumer_size,
    ) = layout.LEASED.unpack_from(body, at)
    if flags > layout.COPIED or size != layout.LEASED.size + consumer_size:
        raise misfit(size)
    fact = (Leased if kind == _LEASED else Extended)(
        number,
        due,
        retries,
        Stamp(boot, delivery),
        deadline,
        length,
        consumer_kind(holder),
        text_at(body, at + layout.LEASED.size, consumer_size),
        flags != 0,
    )
    return fact, size, previous


def _settled(body: memoryview, at: int, _look: Look) -> tuple[Settled, int, int]:
    _, flags, size, number, previous = layout.HEAD.unpack_from(body, at)
    if flags or size != HEAD_SIZE:
        raise misfit(size)
    return Settled(number), size, previous


def _returned(body: memoryview, at: int, _look: Look) -> tuple[Returned, int, int]:
    _, flags, size, number, previous, due, retries, boot, delivery, cause, error_size = (
        layout.RETURNED.unpack_from(body, at)
    )
    if flags > layout.COPIED or size != layout.RETURNED.size + error_size:
        raise misfit(size)
    error = text_at(body, at + layout.RETURNED.size, error_size)
    stamp = Stamp(boot, delivery)
    fact = Returned(number, due, retries, stamp, return_cause(cause), error, flags != 0)
    return fact, size, previous


def _dead(body: memoryview, at: int, _look: Look) -> tuple[Dead, int, int]:
    _, flags, size, number, previous, time, retries, boot, delivery, reason_size, error_size = (
        layout.DEAD.unpack_from(body, at)
    )
    if flags > layout.COPIED or size != layout.DEAD.size + reason_size + error_size:
        raise misfit(size)
    start = at + layout.DEAD.size
    reason = text_at(body, start, reason_size)
    error = text_at(body, start + reason_size, error_size)
    fact = Dead(number, time, retries, Stamp(boot, delivery), reason, error, flags != 0)
    return fact, size, previous


def _reprocessed(body: memoryview, at: int, _look: Look) -> tuple[Reprocessed, int, int]:
    _, flags, size, number, previous, due, boot, delivery = layout.REPROCESSED.unpack_from(body, at)
    if flags > layout.COPIED or size != layout.REPROCESSED.size:
        raise misfit(size)
    return Reprocessed(number, due, Stamp(boot, delivery), flags != 0), size, previous


def _discarded(body: memoryview, at: int, _look: Look) -> tuple[Discarded, int, int]:
    _, flags, size, number, previous = layout.HEAD.unpack_from(body, at)
    if flags or size != HEAD_SIZE:
        raise misfit(size)
    return Discarded(number), size, previous


def _imported(body: memoryview, at: int, _look: Look) -> tuple[Imported, int, int]:
    _, flags, size, _, previous, offset, source_size = layout.IMPORTED.unpack_from(body, at)
    if flags > layout.COPIED or size != layout.IMPORTED.size + source_size:
        raise misfit(size)
    source = text_at(body, at + layout.IMPORTED.size, source_size)
    return Imported(source, offset, flags != 0), size, previous


def _lost(body: memoryview, at: int, _look: Look) -> tuple[Lost, int, int]:
    _, flags, size, _, previous = layout.HEAD.unpack_from(body, at)
    if flags or size < HEAD_SIZE:
        raise misfit(size)
    return Lost(size), size, previous


def _unknown(_body: memoryview, _at: int, _look: Look) -> tuple[Fact, int, int]:
    raise ValueError("an unknown kind of fact")


_unpack_enqueued = layout.ENQUEUED.unpack_from
_ENQUEUED_SIZE = layout.ENQUEUED.size
_ENQUEUED_FLAGS = layout.COPIED | layout.FOREIGN
_LEASED = int(FactKind.LEASED)

_KINDS: dict[int, tuple[Struct, int, Decode]] = {
    int(FactKind.OPENED): (layout.OPENED, 0, _opened),
    int(FactKind.ENQUEUED): (layout.ENQUEUED, _ENQUEUED_FLAGS, _enqueued),
    int(FactKind.SETTLED): (layout.HEAD, 0, _settled),
    int(FactKind.DISCARDED): (layout.HEAD, 0, _discarded),
    int(FactKind.LEASED): (layout.LEASED, layout.COPIED, _held),
    int(FactKind.EXTENDED): (layout.LEASED, layout.COPIED, _held),
    int(FactKind.RETURNED): (layout.RETURNED, layout.COPIED, _returned),
    int(FactKind.DEAD): (layout.DEAD, layout.COPIED, _dead),
    int(FactKind.REPROCESSED): (layout.REPROCESSED, layout.COPIED, _reprocessed),
    int(FactKind.IMPORTED): (layout.IMPORTED, layout.COPIED, _imported),
    int(FactKind.LOST): (layout.HEAD, 0, _lost),
    **{kind: (fixed, 0, read) for kind, (fixed, read) in legacy.DECODE.items()},
}
"""For each kind its fixed part, the flags that it may have, and how to read it."""

_DECODE: list[Decode] = [_KINDS[kind][2] if kind in _KINDS else _unknown for kind in range(256)]
"""By kind."""

_CODED_HEAD = Struct("<HIQq")
"""`HEAD` with kind and flags as one number."""

_SMALLEST: dict[int, int] = {
    kind | flags << 8: fixed.size
    for kind, (fixed, known_flags, _) in _KINDS.items()
    for flags in range(256)
    if not flags & ~known_flags
}
"""For each kind with flags that it may have, the smallest size of a fact."""

_ENDLESS = 1 << 64
"""A size that no fact has."""
