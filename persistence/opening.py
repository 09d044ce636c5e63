"""Finds the active segment, or creates it, judges it, replays it and makes its end trustworthy.

Nothing is changed before the verdict: a log that is refused is left exactly as it was found.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from persistence.counters import Counters
from persistence.decode import decode
from persistence.disk import Disk, File, create_whole
from persistence.errors import (
    FormatTooNew,
    LogDamaged,
    NewerFormat,
    ReadFailed,
    SyncFailed,
    Undecodable,
    WriteFailed,
)
from persistence.manifest import MANIFEST_NAME, Manifest, decode_manifest
from persistence.repair import cut_torn_tail, is_temporary, is_torn_copy, rewrite
from persistence.replay import Recovered, Replay
from persistence.scan import End, Scan, Verdict
from persistence.segment import HEADER_SIZE, KEY_SIZE, SegmentHeader, decode_header

ACTIVE_NAME = "events.log"
"""The segment that facts are appended to."""


@attrs.define(eq=False)
class OpenedSegment:
    """The active segment, ready to be appended to.

    Attributes:
        file: open, whole and synced.
        header: its header.
        recovered: the state after its last fact.
        end: log position after its last batch.
        repairs: what was done to it, in sentences for the operator.
    """

    file: File
    header: SegmentHeader
    recovered: Recovered
    end: int
    repairs: list[str]


def open_segment(disk: Disk, *, now: int, random_bytes: Callable[[int], bytes]) -> OpenedSegment:
    """Find or create the active segment on a locked disk, and recover it.

    Args:
        disk: locked.
        now: wall time in milliseconds.
        random_bytes: gives the key of a new log.

    Raises:
        StorageError: see `EventLog.open`.
    """
    with _reading(disk, ""):
        names = disk.names()
    if ACTIVE_NAME not in names:
        _refuse_if_lost(disk, names)
        with _writing(disk, ACTIVE_NAME):
            header = SegmentHeader(0, 0, now, random_bytes(KEY_SIZE))
            create_whole(disk, ACTIVE_NAME, [header.encode()])
    with _reading(disk, ACTIVE_NAME):
        file = disk.open(ACTIVE_NAME)
    try:
        return _recover(disk, file, names)
    except BaseException:
        file.close()
        raise


def _recover(disk: Disk, file: File, names: list[str]) -> OpenedSegment:
    with _judging(disk, ACTIVE_NAME, 0), _reading(disk, ACTIVE_NAME):
        header = decode_header(file.read(0, HEADER_SIZE))
    if header.number or header.base:
        raise FormatTooNew(f"{disk.path}/{ACTIVE_NAME}", 16, "a log of several segments")
    _check_manifest(disk, header, names)
    with _judging(disk, ACTIVE_NAME, header.base), _reading(disk, ACTIVE_NAME):
        recovered, verdict = replay_segment(file, header)
    if verdict.end is End.DAMAGED:
        offset = verdict.valid - header.base
        detail = f"{verdict.detail}, before log position {verdict.synced} that was on disk"
        raise LogDamaged(f"{disk.path}/{ACTIVE_NAME}", offset, detail)
    with _writing(disk, ACTIVE_NAME):
        repairs = _make_trustworthy(disk, file, header, verdict, names)
    try:
        file.sync()
    except OSError as error:
        raise SyncFailed(f"{disk.path}/{ACTIVE_NAME}", error) from error
    return OpenedSegment(file, header, recovered, verdict.valid, repairs)


def replay_segment(file: File, header: SegmentHeader) -> tuple[Recovered, Verdict]:
    """Read a segment from its beginning and take in its facts.

    Raises:
        Undecodable: valid batches make no sense. `NewerFormat` is one.
        OSError: the disk could not be read.
    """
    counters = Counters()
    counters.reset(header.counters)
    state = Replay(next_number=header.next_number, counters=counters, boot=header.boot)
    scan = Scan(file, header)
    with _no_collection():
        for frame in scan:
            count = 0
            for position, fact in decode(frame.body, frame.body_position, state.find):
                state.apply(position, fact)
                count += 1
            if count != frame.header.count:
                detail = f"a batch of {frame.header.count} facts has {count}"
                raise Undecodable(frame.header.position, detail)
        return state.recovered(), scan.verdict


def _make_trustworthy(
    disk: Disk, file: File, header: SegmentHeader, verdict: Verdict, names: list[str]
) -> list[str]:
    repairs: list[str] = []
    for name in names:
        if is_temporary(name, ACTIVE_NAME, MANIFEST_NAME) and name in disk.names():
            disk.remove(name)
    # The process before may have ended between renaming the segment and syncing its name.
    disk.sync_directory()
    if MANIFEST_NAME not in names:
        manifest = Manifest(header.key, ((header.number, ACTIVE_NAME),))
        create_whole(disk, MANIFEST_NAME, [manifest.encode()])
    end = verdict.valid - header.base
    if verdict.end is End.TORN:
        copy = cut_torn_tail(disk, file, end)
        repairs.append(
            f"cut {verdict.size} bytes off {disk.path}/{ACTIVE_NAME} at offset {end}"
            f" ({verdict.detail}): a write that was cut short; a copy is in {copy}"
        )
    rewrite(file, verdict.synced - header.base, end)
    return repairs


def _refuse_if_lost(disk: Disk, names: list[str]) -> None:
    """Refuse to begin a new log where there was one."""
    for name in names:
        if name == MANIFEST_NAME or (
            is_torn_copy(name, ACTIVE_NAME) and not is_temporary(name, ACTIVE_NAME, MANIFEST_NAME)
        ):
            raise LogDamaged(
                f"{disk.path}/{ACTIVE_NAME}",
                0,
                f"the file is missing although {name} says that there was a log",
                "restore it from a backup, or move all its files away to begin a new log;"
                " nothing was changed",
            )


def _check_manifest(disk: Disk, header: SegmentHeader, names: list[str]) -> None:
    if MANIFEST_NAME not in names:
        return
    where = f"{disk.path}/{MANIFEST_NAME}"
    with _judging(disk, MANIFEST_NAME, 0), _reading(disk, MANIFEST_NAME):
        file = disk.open(MANIFEST_NAME)
        try:
            manifest = decode_manifest(file.read(0, file.size()))
        finally:
            file.close()
    if manifest.key != header.key:
        raise LogDamaged(where, 0, f"it belongs to another log than {ACTIVE_NAME}")
    if manifest.segments != ((0, ACTIVE_NAME),):
        raise FormatTooNew(where, 0, "a log of several segments")


@contextmanager
def _judging(disk: Disk, name: str, base: int) -> Iterator[None]:
    """Turn what makes no sense into an error that names the file."""
    where = f"{disk.path}/{name}"
    try:
        yield
    except NewerFormat as error:
        raise FormatTooNew(where, error.position - base, error.detail) from error
    except Undecodable as error:
        raise LogDamaged(where, error.position - base, error.detail) from error


@contextmanager
def _reading(disk: Disk, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReadFailed(f"{disk.path}/{name}", error) from error


@contextmanager
def _writing(disk: Disk, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteFailed(f"{disk.path}/{name}", 0, error) from error


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from walking a growing heap in which nothing is garbage.

    With it, recovering a million events takes two thirds longer.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
