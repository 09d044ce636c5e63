"""The log: one totally ordered sequence of batches of facts, in segments on one disk.

A caller appends facts (on the event loop; no I/O): they get their place in the log and count in the
register at once. Later they are written and synced (both in a worker thread), in the same order.
Only after `sync` has returned is a fact safe from a power cut; after `write` it is safe from the
end of the process.

Threads: `append`, `abandon`, `spans` and `droppable` belong to one thread. `write`, `sync`, `read`,
`drop`, `refill`, `relieve` and `close` may run in another one, one at a time; `append` may run
meanwhile, `abandon` may not.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import groupby
from operator import attrgetter

import attrs

from persistence.batch import Batch
from persistence.disk import Disk, File
from persistence.errors import ReadFailed, StorageError, SyncFailed, WriteFailed
from persistence.facts import Fact, Opened
from persistence.log_reads import LogReads, places_in
from persistence.manifest import Manifest, write_manifest
from persistence.names import MANIFEST_NAME, RESERVE_NAME, sealed_name
from persistence.opening import Opening, open_directory
from persistence.progress import Progress, no_progress
from persistence.reserve import Reserve
from persistence.roll import seal_and_begin
from persistence.segment import SegmentHeader
from persistence.tail import Tail

_ROOM_LEAST = 1024 * 1024
"""A disk with less room than this counts as full still when it has been full, bytes."""


@attrs.frozen
class LogOptions:
    """How a log grows and shrinks.

    Attributes:
        segment_max_bytes: a segment is sealed rather than grow beyond this; a single larger batch
            gets one of its own.
        compaction_ratio: the share of the sealed segments' bytes, 0 to 1, that may be dead before
            the poorest are copied.
        reserved_bytes: space set aside for when the disk is full.
    """

    segment_max_bytes: int = 64 * 1024 * 1024
    compaction_ratio: float = 0.5
    reserved_bytes: int = 0


class EventLog(LogReads):
    """An open log. Made by `open`; holds the data directory's lock until `close`.

    Attributes:
        key: 16 random bytes, the same for the life of the log.
        repairs: what was done to the log when it was opened, in sentences for the operator.
        notes: what else the operator may want to know, in sentences.
        options: see `LogOptions`.
    """

    def __init__(self, disk: Disk, opening: Opening, options: LogOptions, reserve: Reserve) -> None:
        """Use `open` instead. Everything that `opening` has is on disk."""
        super().__init__(disk, opening.fold, opening.manifest)
        self.key = opening.header.key
        self.repairs = opening.repairs
        self.notes = opening.notes
        self.options = options
        self._file: File = opening.file
        self._manifest = opening.manifest
        self._reserve = reserve
        self._tail = Tail(self.fold, opening.header, opening.end, options.segment_max_bytes)
        self._synced = self._end = opening.end
        self._noted = 0  # the highest synced position that a written header names
        self._pins = 0
        self._closed = False

    @classmethod
    def open(
        cls,
        disk: Disk,
        *,
        now: int,
        options: LogOptions | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        progress: Progress = no_progress,
        boot_least: int = 0,
    ) -> "EventLog":
        """Take the directory, recover its log or begin one, and note durably that it was opened.

        A torn tail is copied aside and cut off; that is told in `repairs`.

        Args:
            disk: not locked yet. It is closed if opening fails.
            now: wall time in milliseconds.
            options: how the log grows.
            random_bytes: gives the key of a new log.
            progress: is told how far recovery has come.
            boot_least: the boot number is at least this.

        Raises:
            DataDirectoryLocked: somebody has it.
            DataDirectoryUnusable: it cannot be used.
            LogDamaged: bytes that were on disk have changed, or are gone. Nothing was changed.
            FormatTooNew: a later version wrote it. Nothing was changed.
            ReadFailed: the disk could not be read.
            WriteFailed: the disk is full or broken.
            SyncFailed: the disk is broken.
        """
        options = options or LogOptions()
        disk.lock()
        with ExitStack() as failing:
            failing.callback(disk.close)
            reserve = _reserve(disk, options.reserved_bytes)
            failing.callback(reserve.close)
            opening = open_directory(
                disk, now=now, random_bytes=random_bytes, progress=progress, reserve=reserve
            )
            log = cls(disk, opening, options, reserve)
            failing.callback(log._let_go)
            boot = max(log.fold.boot + 1, boot_least)
            log.append([Opened(boot, now)], now=now)
            log._write_with_reserve()
            log.sync()
            log.refill()
            failing.pop_all()
        return log

    def _write_with_reserve(self) -> None:
        """Write what is appended; a full disk must not stop a start while there is a reserve."""
        while True:
            try:
                self.write()
            except WriteFailed as error:
                if not error.full or not self.relieve():
                    raise
            else:
                return

    @property
    def boot(self) -> int:
        """Number of this process among those that had the log."""
        return self.fold.boot

    @property
    def synced(self) -> int:
        """Everything before this log position is on disk."""
        return self._synced

    @property
    def end(self) -> int:
        """Log position after the last written batch."""
        return self._end

    @property
    def next(self) -> int:
        """Log position after the last appended batch."""
        return self._tail.next

    @property
    def reserved(self) -> int:
        """How many bytes are set aside for when the disk is full."""
        return self._reserve.held

    # On the event loop

    def append(self, facts: Sequence[Fact], *, now: int = 0) -> Batch:
        """Give facts their place in the log and let them count. Does no I/O.

        Args:
            facts: in the order in which they happened; new events with their payload. They and
                the list belong to the log until the batch is written.
            now: wall time in milliseconds, for people who read the log; 0 if it does not matter.

        Raises:
            StorageError: the log has failed, and accepts nothing more.
        """
        self._refuse_after_failure()
        return self._tail.append(facts, now)

    def abandon(self) -> list[Batch]:
        """Take back every batch that was appended and not written, as if it had never been.

        Call it after `write` failed and before the next `append`. Batches appended behind the one
        that failed go with it, since their places in the log move. Their numbers are not used
        again.

        Returns:
            What was taken back, in order.
        """
        return self._tail.abandon()

    def mark(self) -> bool:
        """Append an empty batch if the log does not say yet what is synced; tell whether it did.

        A batch's header names what was synced before it, so nothing vouches for the newest batch
        until another one follows: damage to it looks like a write that was cut short. The mark is
        an empty batch that vouches for it.

        Raises:
            StorageError: the log has failed before.
        """
        if self._noted == self._synced or self._tail.unwritten:
            return False
        self.append([])
        return True

    def droppable(self) -> list[int]:
        """Tell the segments that nobody needs any more, once all that is appended is on disk."""
        return [] if self._pins else self.fold.holdings.droppable()

    def pin(self) -> None:
        """Keep all segments, until `unpin` is called as often."""
        self._pins += 1

    def unpin(self) -> None:
        """Let segments go again."""
        self._pins -= 1

    # In the worker thread

    def write(self) -> None:
        """Write what is appended. It outlives the process from now on, though not a power cut.

        Raises:
            WriteFailed: at `end` and behind it nothing is in the log. It goes on after `abandon`,
                or another `write` that may find more room, unless even the half that was written
                could not be cut off again: then it has failed.
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        waiting = list(self._tail.unwritten)
        for _, group in groupby(waiting, key=attrgetter("segment.number")):
            batches = list(group)
            if batches[0].segment is not self._tail.segment:
                self._roll(batches[0].segment)
            self._write_group(batches)

    def _write_group(self, batches: list[Batch]) -> None:
        offset = self._end - self._tail.segment.base
        synced = self._synced
        frames = [batch.frame(synced) for batch in batches]
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            self._file.write(offset, data)
        except OSError as error:
            failure = WriteFailed(self._where, offset, error)
            try:
                self._file.truncate(offset)
            except OSError:
                self._failure = failure
            raise failure from error
        self._end = batches[-1].end
        self._noted = synced
        self._tail.written(len(batches))

    def _roll(self, header: SegmentHeader) -> None:
        """Seal the active segment and begin the next one."""
        self._sync()
        sealed = self._tail.segment
        where = f"{self._disk.path}/{self._file.name}"
        try:
            rolled = seal_and_begin(self._disk, self._file, sealed, header, self._manifest)
        except SyncFailed as error:
            self._failure = error
            raise
        except OSError as error:
            raise WriteFailed(where, 0, error) from error
        self._list(rolled.manifest)
        self._file.close()
        self._file = rolled.file
        self._tail.began(header)
        # Last: whoever reads beside this must not look for the new segment's end in the old one.
        self._end = self._synced = header.base + header.size

    def _list(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._places = places_in(manifest)

    def sync(self) -> None:
        """Force everything written to the disk.

        Raises:
            SyncFailed: which facts since the last sync are on disk is unknown. The log has failed
                for good: it is not tried again, see `SyncFailed`.
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        self._sync()

    def _sync(self) -> None:
        end = self._end
        if end == self._synced:
            return
        try:
            self._file.sync()
        except OSError as error:
            self._failure = SyncFailed(self._where, error)
            raise self._failure from error
        self._synced = end

    def drop(self, numbers: Sequence[int]) -> None:
        """Delete segments that `droppable` named, after all that was appended by then is synced.

        Raises:
            WriteFailed: the disk is full or broken; they may be dropped later.
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        kept = tuple(s for s in self._manifest.segments if s.number not in set(numbers))
        manifest = attrs.evolve(self._manifest, segments=kept)
        try:
            write_manifest(self._disk, manifest)
            self._list(manifest)
            for number in numbers:
                self._files.forget(number)
            # Some may be gone already, if this failed half way before.
            for name in {sealed_name(number) for number in numbers} & set(self._disk.names()):
                self._disk.remove(name)
        except OSError as error:
            raise WriteFailed(f"{self._disk.path}/{MANIFEST_NAME}", 0, error) from error

    def relieve(self, size: int = 1024 * 1024) -> bool:
        """Free space that was set aside; return whether there was any.

        Raises:
            WriteFailed: the disk is broken.
        """
        try:
            return self._reserve.release(size) > 0
        except OSError as error:
            raise WriteFailed(f"{self._disk.path}/{RESERVE_NAME}", 0, error) from error

    def refill(self) -> bool:
        """Set space aside again; return whether all that should be is, and there is more.

        Raises:
            WriteFailed: the disk is broken.
        """
        try:
            free = self._disk.free()
            return self._reserve.fill() and (free is None or free >= _ROOM_LEAST)
        except OSError as error:
            raise WriteFailed(f"{self._disk.path}/{RESERVE_NAME}", 0, error) from error

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
                self.abandon()  # nobody will write these any more
                self._leave_mark()
        finally:
            self._failure = self._failure or StorageError(f"{self._where} is closed")
            self._let_go()

    def _let_go(self) -> None:
        self._files.close()
        self._reserve.close()
        self._file.close()
        self._disk.close()

    def _leave_mark(self) -> None:
        if self.mark():
            try:
                self.write()
            except WriteFailed:  # the log is whole without
                self.abandon()
            else:
                self.sync()

    @property
    def _where(self) -> str:
        return f"{self._disk.path}/{self._file.name}"


def _reserve(disk: Disk, size: int) -> Reserve:
    try:
        return Reserve(disk, size)
    except OSError as error:
        raise ReadFailed(f"{disk.path}/{RESERVE_NAME}", error) from error
