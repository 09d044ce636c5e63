"""Crashes and failures at every operation while snapshots are taken: the log never suffers."""

import contextlib
import errno
from random import Random

import pytest

from persistence.disk import temporary
from persistence.errors import WriteFailed
from persistence.facts import Enqueued, Fact, Settled
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.names import SNAPSHOT_NAME
from persistence.snapshot_writer import SnapshotWriter
from tests.persistence.samples import NOW, disk_with, enqueued, files_of, history, seeded
from tests.persistence.snapshots import finish, recovered, take_snapshot, view

OPTIONS = LogOptions(segment_max_bytes=1500)
NEW = temporary(SNAPSHOT_NAME)


def opened(disk: MemoryDisk) -> EventLog:
    return EventLog.open(disk, now=NOW, options=OPTIONS)


def with_history() -> MemoryDisk:
    """A disk with a log, and a snapshot from the middle of it."""
    disk = MemoryDisk()
    log = opened(disk)
    facts = history()
    for number, batch in enumerate(facts):
        log.append(batch, now=NOW)
        if number == len(facts) // 2:
            take_snapshot(log)
    log.write()
    log.close()
    return disk


BEFORE = files_of(with_history())


def take_another(log: EventLog) -> SnapshotWriter:
    """Take a snapshot with traffic between its steps."""
    writer = SnapshotWriter(log, rows_max=1)
    number = log.fold.next_number
    try:
        while (piece := writer.step(NOW)) is not None:
            writer.write(piece)
            traffic: list[Fact] = [enqueued(number, topic=f"t-{number % 3}")]
            if piece.first:
                traffic.append(Settled(number - 1))
            log.append(traffic, now=NOW)
            log.write()
            number += 1
        finish(log, writer)
    except OSError:
        writer.give_up()
        raise
    return writer


def operations() -> int:
    disk = disk_with(BEFORE)
    log = opened(disk)
    before = disk.faults.operations
    take_another(log)
    return disk.faults.operations - before


def check(disk: MemoryDisk) -> None:
    """See that a crash left nothing that would be read in two ways, and that a start goes well."""
    files = files_of(disk)
    found = recovered(files, snapshots=True)
    assert view(found.fold) == view(recovered(files, snapshots=False).fold)
    again = disk_with(files)
    assert len(opened(again).register) == len(found.fold.register)
    assert NEW not in files_of(again)


@pytest.mark.parametrize("way", ["kill", "crash"])
def test_a_crash_at_any_operation_leaves_a_log_that_is_read_as_without_a_snapshot(way: str) -> None:
    used = set()
    for cut in range(1, operations() + 2):
        disk = disk_with(BEFORE)
        log = opened(disk)
        disk.faults.cut_power(cut)
        with contextlib.suppress(Exception):
            take_another(log)
        for seed in range(3):
            after = disk.kill() if way == "kill" else disk.crash(seeded(seed))
            check(after)
            files = files_of(after)
            used.add(recovered(files, snapshots=True).snapshot_problem or files[SNAPSHOT_NAME])
            if way == "kill":
                break
    # Both were found: the snapshot from before, and the new one; and nothing else.
    assert len(used) == 2
    assert BEFORE[SNAPSHOT_NAME] in used


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_write_that_fails_leaves_the_old_snapshot_and_no_rubbish(error: int) -> None:
    nth = failed = 0
    while True:
        nth += 1
        disk = disk_with(BEFORE)
        log = opened(disk)
        writes = disk.faults.writes
        disk.faults.fail_write(nth, error=error, written=7)
        try:
            take_another(log)
        except WriteFailed:
            continue  # it was the log's own
        except OSError:
            failed += 1
            files = files_of(disk)
            assert NEW not in files
            assert files[SNAPSHOT_NAME] == BEFORE[SNAPSHOT_NAME]
            log.write()
            check(disk.kill())
        if disk.faults.writes < writes + nth:
            break
    assert failed > 5


@pytest.mark.parametrize("what", ["sync", "change"])
@pytest.mark.parametrize("nth", [1, 2])
def test_what_cannot_be_synced_or_renamed_does_not_replace_the_old_one(what: str, nth: int) -> None:
    disk = disk_with(BEFORE)
    log = opened(disk)
    writer = SnapshotWriter(log)
    piece = writer.step(NOW)
    assert piece is not None
    if what == "change":
        disk.faults.fail_change(nth)
    with contextlib.suppress(OSError):
        writer.write(piece)
        trailer = writer.last_step(NOW)
        log.write()
        log.sync()
        if what == "sync":
            disk.faults.fail_sync(nth)
        writer.finish(trailer)
    writer.give_up()
    files = files_of(disk)
    assert NEW not in files
    # The second sync is that of the directory: the new one has its name already.
    assert (files[SNAPSHOT_NAME] == BEFORE[SNAPSHOT_NAME]) == ((what, nth) != ("sync", 2))
    for seed in range(10):
        check(disk.crash(seeded(seed)))


def test_a_full_disk_refuses_the_snapshot_and_has_room_again_for_the_log() -> None:
    disk = disk_with(BEFORE)
    log = opened(disk)
    log.append([Enqueued(n, NOW, NOW, "t", b"{}") for n in range(20, 120)], now=NOW)
    log.write()
    log.sync()
    used = sum(len(data) for data in files_of(disk).values())
    disk.capacity = used + 3000
    writer = SnapshotWriter(log)
    piece = writer.step(NOW)
    assert piece is not None
    with pytest.raises(OSError, match="No space"):
        writer.write(piece)
    writer.give_up()
    assert disk.free() == 3000
    log.append([enqueued(200, b"x" * 2000)], now=NOW)
    log.write()
    log.sync()
    check(disk.kill())


def test_what_an_earlier_process_left_of_a_snapshot_is_overwritten() -> None:
    disk = disk_with({**BEFORE, NEW: b"rubbish" * 1000})
    log = opened(disk)
    assert NEW not in disk.names()
    disk.create(NEW).write(0, b"more" * 1000)
    take_snapshot(log)
    assert len(files_of(disk)[SNAPSHOT_NAME]) < 4000
    check(disk.kill())


def test_a_crash_between_two_snapshots_loses_neither_log_nor_snapshot() -> None:
    random = Random(7)
    disk = disk_with(BEFORE)
    for life in range(12):
        log = opened(disk)
        number = log.fold.next_number
        log.append([enqueued(number), enqueued(number + 1)], now=NOW)
        if life % 3:
            take_another(log)
        log.append([enqueued(log.fold.next_number)], now=NOW)
        log.write()
        if life % 2:
            log.sync()
        disk = disk.crash(random)
        check(disk)
