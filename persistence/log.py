"""The log: one totally ordered sequence of batches of facts, on one disk.

A caller prepares a batch (on the event loop; no I/O), writes it, and syncs (both in a worker
thread). Batches are written in the order in which they were prepared. Only after `sync` has
returned is a fact safe from a power cut; after `write` it is safe from the end of the process.

Threads: `prepare` and `abandon` belong to one thread. `write`, `sync`, `read` and `close` may run
in another one, one at a time; `prepare` may run meanwhile, `abandon` may not run while a `write`
does.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from persistence.batch import Batch
from persistence.counters import Counters
from persistence.disk import Disk, File
from persistence.encode import encode, previous_positions
from persistence.entry import NOT_WRITTEN, Event
from persistence.errors import (
    LogDamaged,
    ReadFailed,
    StorageError,
    SyncFailed,
    Undecodable,
    WriteFailed,
)
from persistence.facts import Enqueued, Fact, Opened
from persistence.opening import open_segment
from persistence.payloads import read_payloads
from persistence.replay import Recovered
from persistence.segment import FRAME_HEADER_SIZE, SegmentHeader, encode_frame


class EventLog:
    """An open log. Made by `open`; holds the data directory's lock until `close`.

    Attributes:
        key: 16 random bytes, the same for the life of the log.
        boot: number of this process among those that had the log.
        counters: totals over the log's life, prepared batches included.
        recovered: what the log held when it was opened. The caller may set it free.
        repairs: what was done to it then, in sentences for the operator.
    """

    def __init__(
        self, disk: Disk, file: File, header: SegmentHeader, recovered: Recovered, end: int
    ) -> None:
        """Use `open` instead. Everything before `end` is on disk."""
        self.key = header.key
        self.boot = recovered.boot
        self.counters: Counters = recovered.counters
        self.recovered = recovered
        self.repairs: list[str] = []
        self._disk = disk
        self._file = file
        self._base = header.base
        self._salt = header.salt
        self._synced = end
        self._noted = 0  # the highest synced position that a written header names
        self._end = end
        self._next = end
        self._unwritten: deque[Batch] = deque()
        self._failure: StorageError | None = None
        self._closed = False

    @classmethod
    def open(
        cls, disk: Disk, *, now: int, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> "EventLog":
        """Take the directory, recover its log or begin one, and note durably that it was opened.

        A torn tail is copied aside and cut off; that is told in `repairs`.

        Args:
            disk: not locked yet. It is closed if opening fails.
            now: wall time in milliseconds.
            random_bytes: gives the key of a new log.

        Raises:
            DataDirectoryLocked: somebody has it.
            DataDirectoryUnusable: it cannot be used.
            LogDamaged: bytes that were on disk have changed, or are gone. Nothing was changed.
            FormatTooNew: a later version wrote it. Nothing was changed.
            ReadFailed: the disk could not be read.
            WriteFailed: the disk is full or broken.
            SyncFailed: the disk is broken.
        """
        disk.lock()
        try:
            opened = open_segment(disk, now=now, random_bytes=random_bytes)
            log = cls(disk, opened.file, opened.header, opened.recovered, opened.end)
            try:
                log.repairs = opened.repairs
                log.boot += 1
                log.recovered = attrs.evolve(opened.recovered, counters=Counters())
                log.recovered.counters.reset(log.counters.values())
                log.write(log.prepare([Opened(log.boot, now)], now=now))
                log.sync()
            except BaseException:
                opened.file.close()
                raise
        except BaseException:
            disk.close()
            raise
        return log

    @property
    def synced(self) -> int:
        """Everything before this log position is on disk."""
        return self._synced

    @property
    def end(self) -> int:
        """Log position after the last written batch."""
        return self._end

    def prepare(self, facts: Sequence[Fact], *, now: int = 0) -> Batch:
        """Encode facts and give them their place in the log. Does no I/O.

        Counters are advanced and `Event.last_fact`, for a new event also `payload_position`, are
        set: if the batch is not written after all, `abandon` takes that back.

        Args:
            facts: in the order in which they happened; new events with their payload. They and
                the list belong to the log until the batch is written.
            now: wall time in milliseconds, for people who read the log; 0 if it does not matter.

        Raises:
            StorageError: the log has failed, and accepts nothing more.
        """
        self._refuse_after_failure()
        position = self._next
        before = self.counters.values()
        parts: list[bytes] = []
        end = encode(facts, position + FRAME_HEADER_SIZE, parts)
        advance = self.counters.advance
        for fact in facts:
            advance(fact)
        batch = Batch(position, end, facts, now, parts, before)
        self._next = end
        self._unwritten.append(batch)
        return batch

    def abandon(self) -> list[Batch]:
        """Take back every batch that was prepared and not written, as if it had never been.

        Call it after `write` failed and before the next `prepare`. Batches prepared behind the one
        that failed go with it, since their places in the log have moved.

        Returns:
            What was taken back, in order.
        """
        abandoned = list(self._unwritten)
        self._unwritten.clear()
        for batch in reversed(abandoned):
            previous = previous_positions(b"".join(batch.parts))
            for fact, position in zip(reversed(batch.facts), reversed(previous), strict=True):
                if isinstance(fact, Opened):
                    continue
                fact.event.last_fact = position
                if isinstance(fact, Enqueued):
                    fact.event.payload_position = NOT_WRITTEN
            self.counters.reset(batch.counters_before)
        self._next = self._end
        return abandoned

    def write(self, batch: Batch) -> None:
        """Append a batch. It outlives the process from now on, though not a power cut.

        Args:
            batch: the oldest one that is not written yet.

        Raises:
            WriteFailed: nothing of it is in the log. The log goes on after `abandon`, unless even
                the half that was written could not be cut off again: then it has failed.
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        if batch.position != self._end or not self._unwritten or self._unwritten[0] is not batch:
            raise WriteFailed(self._where, self._end - self._base, "a batch before it failed")
        offset = batch.position - self._base
        frame = encode_frame(
            batch.parts,
            position=batch.position,
            count=len(batch.facts),
            synced=self._synced,
            time=batch.time,
            salt=self._salt,
        )
        try:
            self._file.write(offset, frame)
        except OSError as error:
            failure = WriteFailed(self._where, offset, error)
            try:
                self._file.truncate(offset)
            except OSError:
                self._failure = failure
            raise failure from error
        self._end = batch.end
        self._noted = self._synced
        self._unwritten.popleft()

    def sync(self) -> None:
        """Force everything written to the disk.

        Raises:
            SyncFailed: which facts since the last sync are on disk is unknown. The log has failed
                for good: it is not tried again, see `SyncFailed`.
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        end = self._end
        if end == self._synced:
            return
        try:
            self._file.sync()
        except OSError as error:
            self._failure = SyncFailed(self._where, error)
            raise self._failure from error
        self._synced = end

    def read(self, events: Sequence[Event]) -> list[bytes]:
        """Read the payloads of written events, neighbours in one go.

        Args:
            events: with `payload_position` set; in any order.

        Returns:
            Their payloads in the same order.

        Raises:
            ReadFailed: the disk could not be read.
            LogDamaged: the file is shorter than it was.
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        try:
            return read_payloads(self._file, self._base, events)
        except OSError as error:
            raise ReadFailed(self._where, error) from error
        except Undecodable as error:
            offset = error.position - self._base
            raise LogDamaged(self._where, offset, error.detail) from error

    def mark(self) -> bool:
        """Note in the log what is synced, if the log does not say so yet. Not synced itself.

        A batch's header names what was synced before it, so nothing vouches for the newest batch
        until another one follows: damage to it looks like a write that was cut short. The mark is
        an empty batch that vouches for it.

        Returns:
            False if the disk had no room for it; the log is whole without.

        Raises:
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        if self._noted == self._synced or self._unwritten:
            return True
        try:
            self.write(self.prepare([]))
        except WriteFailed:
            self.abandon()
            return False
        return True

    def close(self) -> None:
        """Sync, leave a mark that says so, and let go of the directory. Idempotent.

        The mark is an empty batch whose header names everything before it as on disk: damage done
        to the file afterwards is known for damage.

        Raises:
            SyncFailed: the last facts may not be on disk. The directory is released all the same.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._failure is None:
                self.sync()
                self._leave_mark()
        finally:
            self._failure = self._failure or StorageError(f"{self._where} is closed")
            self._file.close()
            self._disk.close()

    def _leave_mark(self) -> None:
        self.abandon()  # nobody will write these any more
        if self.mark():
            self.sync()

    @property
    def _where(self) -> str:
        return f"{self._disk.path}/{self._file.name}"

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # or it would grow with each refusal
