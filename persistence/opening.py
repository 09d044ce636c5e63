"""Takes a data directory: looks through it, recovers its log and makes its end trustworthy.

Nothing is changed before the verdict: a log that is refused is left exactly as it was found.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs

from persistence.catalog import Catalog
from persistence.disk import FULL, Disk, File, create_whole
from persistence.errors import ReadFailed, SyncFailed, WriteFailed
from persistence.fold import Fold
from persistence.manifest import Manifest, write_manifest
from persistence.names import ACTIVE_NAME, SNAPSHOT_NAME
from persistence.progress import Progress
from persistence.recovery import Recovered, Recovery
from persistence.repair import cut_torn_tail, remove_leftovers, rewrite
from persistence.reserve import Reserve
from persistence.scan import End
from persistence.segment import KEY_SIZE, SegmentHeader
from persistence.survey import survey

T = TypeVar("T")

_RELIEF = 1024 * 1024
"""How much reserved space is given up at a time when a start finds no room, bytes."""


@attrs.define(eq=False)
class Opening:
    """A log, ready to be appended to.

    Attributes:
        file: the active segment: open, whole and synced.
        header: its header.
        manifest: as it is on disk.
        fold: the state after the last fact.
        end: log position after the last batch.
        repairs: what was done to it, in sentences for the operator.
        notes: what else the operator may want to know, in sentences.
    """

    file: File
    header: SegmentHeader
    manifest: Manifest
    fold: Fold
    end: int
    repairs: list[str]
    notes: list[str]


def open_directory(
    disk: Disk,
    *,
    now: int,
    random_bytes: Callable[[int], bytes],
    progress: Progress,
    reserve: Reserve,
) -> Opening:
    """Recover or begin the log on a locked disk.

    Args:
        disk: locked.
        now: wall time in milliseconds.
        random_bytes: gives the key of a new log.
        progress: is told how far it has come.
        reserve: space to use if the disk is full.

    Raises:
        StorageError: see `EventLog.open`.
    """
    catalog = survey(disk)
    if catalog.problems:
        raise catalog.problems[0].error()
    recovered = Recovery(disk, catalog, progress, snapshots=True).run()
    taking = _Taking(disk, catalog, reserve)
    key = catalog.key or random_bytes(KEY_SIZE)
    return taking.run(recovered, key, now)


class _Taking:
    """What is done to a log that is going to be used."""

    def __init__(self, disk: Disk, catalog: Catalog, reserve: Reserve) -> None:
        self._disk = disk
        self._catalog = catalog
        self._reserve = reserve
        self._repairs: list[str] = []
        self._notes: list[str] = []

    def run(self, recovered: Recovered, key: bytes, now: int) -> Opening:
        if recovered.snapshot_problem:
            self._notes.append(
                f"the whole log was read, since {self._disk.path}/{SNAPSHOT_NAME} is of no use:"
                f" {recovered.snapshot_problem}; it was removed"
            )
        self._changing(lambda: self._remove_leftovers(recovered))
        fold = recovered.fold
        active = self._catalog.active
        if active is None:
            header = self._header(key, fold, now)
            self._changing(lambda: create_whole(self._disk, ACTIVE_NAME, [header.encode()]))
            fold.holdings.begin(header.number, header.base)
            end = header.base + header.size
            fold.holdings.grow(end)
        else:
            header, end = active.header, active.end
        file = self._open()
        try:
            if recovered.verdict is not None:
                end = recovered.verdict.valid
                self._changing(lambda: self._make_trustworthy(file, header, recovered))
            self._sync(file)
            manifest = self._list(header)
            return Opening(file, header, manifest, fold, end, self._repairs, self._notes)
        except BaseException:
            file.close()
            raise

    def _header(self, key: bytes, fold: Fold, now: int) -> SegmentHeader:
        """Give the header of a new active segment behind all others."""
        return SegmentHeader(
            number=self._catalog.next_segment,
            base=self._catalog.end,
            created=now,
            key=key,
            boot=fold.boot,
            next_number=fold.next_number,
            counters=fold.counters.values(),
            last_event_at=fold.last_event_at,
        )

    def _remove_leftovers(self, recovered: Recovered) -> None:
        there = set(self._disk.names())
        worthless = [SNAPSHOT_NAME] if recovered.snapshot_problem else []
        names = (*self._catalog.leftovers, *worthless)
        remove_leftovers(self._disk, [name for name in names if name in there])

    def _make_trustworthy(self, file: File, header: SegmentHeader, recovered: Recovered) -> None:
        verdict = recovered.verdict
        if verdict is None:
            return
        end = verdict.valid - header.base
        if verdict.end is End.TORN and file.size() > end:
            copy = cut_torn_tail(self._disk, file, end)
            self._repairs.append(
                f"cut {verdict.size} bytes off {self._disk.path}/{file.name} at offset {end}"
                f" ({verdict.detail}): a write that was cut short; a copy is in {copy}"
            )
        rewrite(file, verdict.synced - header.base, end)

    def _list(self, header: SegmentHeader) -> Manifest:
        """Write the manifest that should stand, if it does not."""
        manifest = self._catalog.listing()
        if self._catalog.active is None:
            manifest = attrs.evolve(manifest, key=header.key).begin(header)
        if manifest != self._catalog.manifest:
            self._changing(lambda: write_manifest(self._disk, manifest))
        return manifest

    def _open(self) -> File:
        try:
            return self._disk.open(ACTIVE_NAME)
        except OSError as error:
            raise ReadFailed(f"{self._disk.path}/{ACTIVE_NAME}", error) from error

    def _sync(self, file: File) -> None:
        try:
            file.sync()
        except OSError as error:
            raise SyncFailed(f"{self._disk.path}/{ACTIVE_NAME}", error) from error

    def _changing(self, change: Callable[[], T]) -> T:
        """Do something that can be done again, with reserved space if there is no other."""
        while True:
            try:
                return change()
            except OSError as error:
                if error.errno not in FULL or not self._reserve.release(_RELIEF):
                    raise WriteFailed(self._disk.path, 0, error) from error
