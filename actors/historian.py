"""The historian: tells from the log what happened to one event."""

from functools import partial

import structlog
import trio

from actors.blocking import Blocking
from actors.broker import (
    ConsumerKind,
    Explanation,
    Happening,
    NoSuchEvent,
    OutcomeUnknown,
    Trouble,
    Unavailable,
)
from actors.clock import Clock
from actors.naming import Naming
from actors.receipts import Receipts
from actors.wal_port import Committed, WalWriter
from persistence.entry import NEVER_DELIVERED, Place, Row, Stamp
from persistence.errors import StorageError
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Leased,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.history import History, Recorded, history_of, search
from persistence.log import EventLog
from persistence.reading import LogReader
from persistence.segment_files import SegmentGone

_ATTEMPTS_MAX = 5
_ASKING_MAX = 64
"""Explanations that may be asked for at a time; they are given one by one."""

_UNREADABLE = "What the log says about the event could not be read; the broker's log says why."

_CAUSES = {
    ReturnCause.REJECTED: "rejected",
    ReturnCause.TIMED_OUT: "timed_out",
    ReturnCause.RELEASED: "released",
    ReturnCause.WORKER_LOST: "worker_lost",
}

_log = structlog.get_logger(__name__)


class _Barrier:
    """Waits until all that was submitted to the log is written."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self.failure: str | None = None

    def put(self, message: Committed) -> bool:
        self.failure = message.failure
        self._event.set()
        return True

    async def wait(self) -> str | None:
        await self._event.wait()
        return self.failure


class Historian:
    """Explains events; reads the log in a thread of its own, for one request at a time.

    Cancellation: what is being read is read to its end, and forgotten.
    """

    def __init__(
        self,
        log: EventLog,
        wal: WalWriter,
        *,
        blocking: Blocking,
        clock: Clock,
        naming: Naming,
        receipts: Receipts,
    ) -> None:
        self._log = log
        self._wal = wal
        self._blocking = blocking
        self._clock = clock
        self._naming = naming
        self._receipts = receipts
        self._turn = trio.CapacityLimiter(1)

    async def explain(self, event_id: str) -> Explanation | NoSuchEvent | Trouble:
        """See `Broker.explain`."""
        number = self._naming.number_of(event_id)
        if number is None:
            return NoSuchEvent(event_id)
        if self._turn.statistics().tasks_waiting >= _ASKING_MAX:
            return Unavailable("BUSY", f"{_ASKING_MAX} explanations are asked for already.")
        async with self._turn:
            reader = LogReader(self._log)
            self._log.pin()
            try:
                return await self._explain(event_id, number, reader)
            except StorageError as error:
                # Where files lie is the operator's business, not the client's.
                _log.error("an event could not be explained", id=event_id, reason=str(error))
                return Unavailable("STORAGE_FAILED", _UNREADABLE)
            finally:
                self._log.unpin()
                reader.close()

    async def _explain(
        self, event_id: str, number: int, reader: LogReader
    ) -> Explanation | NoSuchEvent | Trouble:
        for _ in range(_ATTEMPTS_MAX):
            row = self._log.register.get(number)
            home = self._log.fold.home_of(number, row)[0] if row is not None else 0
            barrier = _Barrier()
            self._wal.append([], to=barrier)
            failure = await barrier.wait()
            if failure is not None:
                return OutcomeUnknown(failure)
            if self._wal.full is not None and self._log.register.get(number) != row:
                continue  # on a full disk what was not written yet moves
            try:
                history = await self._history(number, row, home, reader)
            except SegmentGone:
                continue
            if history is None:
                return NoSuchEvent(event_id)
            if row is None and not isinstance(history.records[-1].fact, Settled | Discarded):
                continue  # it was accepted a moment ago
            return self._explanation(event_id, number, row, history)
        return Unavailable("BUSY", "The event moves too fast to be explained; try again.")

    async def _history(
        self, number: int, row: Row | None, home: int, reader: LogReader
    ) -> History | None:
        if row is None:
            return await self._blocking(partial(search, reader, number))
        return await self._blocking(partial(history_of, reader, row, home))

    def _explanation(
        self, event_id: str, number: int, row: Row | None, history: History
    ) -> Explanation:
        first = history.records[0].fact
        if not isinstance(first, Enqueued):
            raise TypeError("a history begins with the event")
        newest = history.records[-1].fact
        happenings = tuple(self._happening(number, record) for record in history.records)
        place = self._place(row, newest)
        return Explanation(
            id=event_id,
            place=place,
            topic=first.topic,
            timestamp=first.timestamp,
            retries=row.retries if row is not None else _retries(history),
            payload_size=first.payload_size,
            due=row.due if row is not None and place == "delayed" else None,
            deadline=newest.deadline if isinstance(newest, Leased | Extended) else None,
            timeline=happenings,
            folded=not history.whole,
        )

    def _place(self, row: Row | None, newest: Fact) -> str:
        if row is None:
            return "acknowledged" if isinstance(newest, Settled) else "discarded"
        if row.place == Place.LEASED:
            return "leased"
        if row.place == Place.DEAD:
            return "dead"
        return "delayed" if row.due > self._clock.wall() else "ready"

    def _happening(self, number: int, record: Recorded) -> Happening:
        fact, at, position = record.fact, record.time, record.position
        match fact:
            case Enqueued():
                what = "copied" if fact.copied else "accepted"
                return Happening(what, at if fact.copied else fact.timestamp, position)
            case Leased() | Extended():
                return Happening(
                    "delivered" if isinstance(fact, Leased) else "extended",
                    fact.deadline - fact.length,
                    position,
                    consumer=_consumer(fact),
                    receipt=self._receipt(number, fact.stamp),
                    deadline=fact.deadline,
                )
            case Returned():
                return Happening(
                    _CAUSES[fact.cause],
                    _unless_copied(fact, at),
                    position,
                    receipt=self._receipt(number, fact.stamp),
                    retries=fact.retries,
                    due=fact.due,
                    error=fact.error,
                )
            case Dead():
                return Happening(
                    "dead",
                    fact.time,
                    position,
                    receipt=self._receipt(number, fact.stamp),
                    retries=fact.retries,
                    reason=fact.reason,
                    error=fact.error,
                )
            case Reprocessed():
                at = _unless_copied(fact, at)
                return Happening("reprocessed", at, position, retries=0, due=fact.due)
            case Settled():
                return Happening("acknowledged", at, position)
            case _:
                return Happening("discarded", at, position)

    def _receipt(self, number: int, stamp: Stamp) -> str:
        """Give enough of a receipt to be recognised, and too little to be used."""
        if stamp == NEVER_DELIVERED:
            return ""
        receipt = self._receipts.write(number, stamp)
        return f"...{receipt[-6:]}"


def _consumer(fact: Leased | Extended) -> str:
    if fact.kind is ConsumerKind.WORKER:
        return f"worker {fact.consumer}" if fact.consumer else "worker"
    return fact.consumer


def _retries(history: History) -> int:
    """Tell how often an event that is done with had failed."""
    for record in reversed(history.records):
        if isinstance(record.fact, Returned | Leased | Extended | Dead):
            return record.fact.retries
    return 0


def _unless_copied(fact: Returned | Reprocessed, at: int | None) -> int | None:
    """Tell when a fact was written, unless what is there is a later copy of it."""
    return None if fact.copied else at
