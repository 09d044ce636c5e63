"""Gives the facts of a log one by one, as values that JSON has.

The log may be in use, and it may be damaged: everything that is valid is given, and what is not is
told apart. Memory is bounded, whatever the size of the log.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from persistence.acquaintance import Acquaintance, Known
from persistence.catalog import Segment
from persistence.decode import Head, decode_one, heads, payload_of
from persistence.disk import Disk
from persistence.entry import Row
from persistence.errors import NewerFormat, NoLog, ReadFailed, Undecodable
from persistence.examining import open_segment
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
from persistence.salvage import Flaw, Hole, Salvage
from persistence.scan import Frame
from persistence.segment_files import Place, SegmentFiles, SegmentMap
from persistence.survey import survey
from persistence.verifying import Finding, What

KINDS: Mapping[str, frozenset[int]] = {
    "opened": frozenset({FactKind.OPENED}),
    "enqueued": frozenset({FactKind.ENQUEUED}),
    "leased": frozenset({FactKind.LEASED, FactKind.OLD_LEASED}),
    "extended": frozenset({FactKind.EXTENDED, FactKind.OLD_EXTENDED}),
    "settled": frozenset({FactKind.SETTLED}),
    "returned": frozenset({FactKind.RETURNED, FactKind.OLD_RETURNED}),
    "dead": frozenset({FactKind.DEAD, FactKind.OLD_DEAD}),
    "reprocessed": frozenset({FactKind.REPROCESSED, FactKind.OLD_REPROCESSED}),
    "discarded": frozenset({FactKind.DISCARDED}),
    "imported": frozenset({FactKind.IMPORTED}),
    "lost": frozenset({FactKind.LOST}),
}
"""What kinds of facts are called, and how they are written."""

_NAMES = {int(kind): name for name, kinds in KINDS.items() for kind in kinds}
_BLANK = Row(0, 0, 0, 0, 0, 0)
_STAMP = frozenset({"boot", "delivery"})
_UNSAID = {
    int(FactKind.OLD_LEASED): frozenset({"due", "retries"}),
    int(FactKind.OLD_EXTENDED): frozenset({"due", "retries", "holder", "consumer"}) | _STAMP,
    int(FactKind.OLD_RETURNED): _STAMP,
    int(FactKind.OLD_DEAD): _STAMP,
    int(FactKind.OLD_REPROCESSED): _STAMP,
}
"""What facts of release 0.1.0 do not say."""


@attrs.frozen
class Selection:
    """Which facts are wanted; all by default, and only those that fit everything that is given.

    Attributes:
        number: about this event.
        foreign_id: about the events that had this id elsewhere.
        topic: about events of this topic, as far as the log still says which those are.
        kinds: of these kinds, see `KINDS`; none means all.
        start: from this log position on.
        payloads: with the payloads of events.
    """

    number: int | None = None
    foreign_id: str | None = None
    topic: str | None = None
    kinds: frozenset[str] = frozenset()
    start: int = 0
    payloads: bool = True

    @property
    def codes(self) -> frozenset[int]:
        """The wanted kinds as they are written."""
        return frozenset(code for kind in self.kinds or KINDS for code in KINDS[kind])


@attrs.frozen
class Dumped:
    """One fact.

    Attributes:
        record: what it says. `payload`, if it is there, is the bytes that were published; the rest
            is what JSON has. `id` is that of another broker, or None.
        number: of the event, 0 for none.
        timestamp: when the event was accepted; None if the log does not say it any more.
    """

    record: dict[str, Any]
    number: int
    timestamp: int | None


class Dump:
    """One pass over the log in a directory: iterate over the facts, oldest first.

    Args:
        disk: locked, or only looked at.
        selection: what is wanted.

    Raises:
        NoLog: there is none.
        ReadFailed: the disk could not be read; perhaps under way.
    """

    def __init__(self, disk: Disk, selection: Selection | None = None) -> None:
        self._disk = disk
        self._selection = selection or Selection()
        self._catalog = survey(disk)
        if not self._catalog.segments and not self._catalog.problems:
            raise NoLog(disk.path)
        self.key = self._catalog.key
        self.skipped = [
            Finding(What.DAMAGE, problem.file, problem.offset, None, problem.detail)
            for problem in self._catalog.problems
        ]
        """What could not be given. Complete after the last fact."""
        self._files = SegmentFiles(disk)
        places = (Place(one.number, one.base, one.name) for one in self._catalog.segments)
        self._known = Acquaintance(SegmentMap.of(places), self._files)
        self._codes = self._selection.codes
        # Which event had an id elsewhere is told only where it comes.
        self._reach = 0 if self._selection.foreign_id is not None else self._selection.start
        # The events that had the wanted id elsewhere.
        self._numbers: set[int] = set()

    def __iter__(self) -> Iterator[Dumped]:
        try:
            for segment in self._catalog.segments:
                if not segment.sealed or segment.end > self._reach:
                    yield from self._segment(segment)
        finally:
            self._files.close()

    def _segment(self, segment: Segment) -> Iterator[Dumped]:
        where = f"{self._disk.path}/{segment.name}"
        try:
            file = open_segment(self._disk, segment)
            if file is None:
                return  # it was deleted meanwhile: nothing that it said is needed any more
            try:
                end = segment.end if segment.sealed else None
                for piece in Salvage(file, segment.header, end=end).pieces():
                    if isinstance(piece, Hole):
                        self._skip(piece, segment, where)
                    elif piece.header.end > self._reach:
                        yield from self._batch(piece, segment, where)
            finally:
                file.close()
        except OSError as error:
            raise ReadFailed(where, error) from error

    def _skip(self, hole: Hole, segment: Segment, where: str) -> None:
        if hole.flaw is not Flaw.TORN:
            offset = hole.position - segment.base
            what = What.NEWER if hole.flaw is Flaw.NEWER else What.DAMAGE
            self.skipped.append(Finding(what, where, offset, hole.size, hole.detail))

    def _batch(self, frame: Frame, segment: Segment, where: str) -> Iterator[Dumped]:
        try:
            for head in heads(frame.body, frame.body_position):
                if head.position >= self._reach and self._may_fit(head):
                    yield from self._fact(frame, head, segment)
        except (Undecodable, struct.error) as error:
            offset = frame.header.position - segment.base
            size = frame.header.end - frame.header.position
            what = What.NEWER if isinstance(error, NewerFormat) else What.DAMAGE
            self.skipped.append(Finding(what, where, offset, size, str(error)))

    def _may_fit(self, head: Head) -> bool:
        """Tell whether a fact has to be read: it is wanted, or tells of an event that is."""
        wanted = self._selection
        if wanted.number is not None and head.number != wanted.number:
            return False
        if head.kind == FactKind.ENQUEUED:
            return True
        if wanted.foreign_id is not None and head.number not in self._numbers:
            return False
        return head.kind in self._codes or head.kind in _ENDS

    def _fact(self, frame: Frame, head: Head, segment: Segment) -> Iterator[Dumped]:
        at = head.position - frame.body_position
        fact, previous = decode_one(frame.body[at:], head.position, _nobody)
        known = self._known_of(fact, previous)
        if isinstance(fact, Settled | Discarded):
            self._known.forget(fact.number)
            self._numbers.discard(fact.number)
        if head.position < self._selection.start or not self._fits(head, known):
            return
        identity = known or Known(0, "", "")
        record: dict[str, Any] = {
            "position": head.position,
            "file": segment.name,
            "offset": head.position - segment.base,
            "time": frame.header.time or None,
            "kind": _NAMES[head.kind],
        }
        if fact.number:
            record["id"] = identity.foreign_id or None
            record["number"] = fact.number
            record["topic"] = None if known is None else known.topic
        unsaid = _UNSAID.get(head.kind, frozenset())
        said = fields_of(fact)
        record.update((name, value) for name, value in said.items() if name not in unsaid)
        if isinstance(fact, Enqueued) and self._selection.payloads:
            del record["payload_size"]
            record["payload"] = bytes(payload_of(frame.body, at))
        yield Dumped(record, fact.number, None if known is None else known.timestamp)

    def _known_of(self, fact: Fact, previous: int) -> Known | None:
        if isinstance(fact, Enqueued):
            if self._selection.foreign_id not in {None, fact.foreign_id}:
                return None
            if self._selection.foreign_id is not None:
                self._numbers.add(fact.number)
            return self._known.meet(fact)
        return self._known.recall(fact.number, previous) if fact.number else None

    def _fits(self, head: Head, known: Known | None) -> bool:
        wanted = self._selection
        if head.kind not in self._codes:
            return False
        foreign_id = None if known is None else known.foreign_id
        if wanted.foreign_id not in {None, foreign_id}:
            return False
        return wanted.topic is None or (known is not None and known.topic == wanted.topic)


def fields_of(fact: Fact) -> dict[str, Any]:
    """Give what a fact of its kind says, without the payload, as values that JSON has."""
    said: dict[str, Any] = {"copied": True} if getattr(fact, "copied", False) else {}
    match fact:
        case Opened():
            said |= {"boot": fact.boot, "at": fact.time}
        case Enqueued():
            said |= {"timestamp": fact.timestamp, "due": fact.due}
            if fact.foreign_id:
                said["foreign_id"] = fact.foreign_id
            said["payload_size"] = fact.payload_size
        case Leased() | Extended():
            said |= {"due": fact.due, "retries": fact.retries, **fact.stamp._asdict()}
            said |= {"deadline": fact.deadline, "length": fact.length}
            said |= {"holder": fact.kind.name.lower(), "consumer": fact.consumer}
        case Returned():
            said |= {"due": fact.due, "retries": fact.retries, **fact.stamp._asdict()}
            said |= {"cause": fact.cause.name.lower(), "error": fact.error}
        case Dead():
            said |= {"at": fact.time, "retries": fact.retries, **fact.stamp._asdict()}
            said |= {"reason": fact.reason, "error": fact.error}
        case Reprocessed():
            said |= {"due": fact.due, **fact.stamp._asdict()}
        case Imported():
            said |= {"source": fact.source, "source_offset": fact.offset}
        case Lost():
            said |= {"size": fact.size}
        case _:
            pass
    return said


_ENDS = frozenset({int(FactKind.SETTLED), int(FactKind.DISCARDED)})


def _nobody(_number: int) -> Row:
    # Facts of release 0.1.0 take from it what they do not say, and that is not given.
    return _BLANK
