"""Crashes at every operation and failures of every one: what was promised is kept, always."""

import copy
import errno
from collections.abc import Callable
from functools import partial

import attrs
import pytest

from persistence.errors import StorageError, SyncFailed, WriteFailed
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.scan import scan
from tests.persistence.logs import LOG, commit, open_log, state_after, told, write
from tests.persistence.samples import NOW, enqueued, files_of, history, seeded

SEEDS = range(20)
SIZES = [700, 1 << 20]
"""Of segments: the history makes several of them, or one."""

STATES = [state_after(history()[:count]) for count in range(len(history()) + 1)]


@attrs.define
class Life:
    """What one process did before its end: how many batches it wrote, how many it was promised."""

    written: int = 0
    synced: int = 0
    closed: bool = False


def live(disk: MemoryDisk, *, size: int) -> Life:
    """Open a log, append the history with a sync after every second batch, and close."""
    life = Life()
    try:
        log = open_log(disk, segment_max_bytes=size)
        for number, batch in enumerate(history(), 1):
            write(log, *batch)
            life.written = number
            if number % 2 == 0:
                log.sync()
                life.synced = number
        log.close()
        life.synced = life.written
        life.closed = True
    except StorageError:
        pass
    return life


def operations_of(work: Callable[[MemoryDisk], object]) -> int:
    disk = MemoryDisk()
    work(disk)
    return disk.faults.operations


def recovered_batches(disk: MemoryDisk, *, otherwise: int | None = None) -> int:
    """How many batches of the history an opening finds, or `otherwise` where it fails."""
    try:
        return STATES.index(told(open_log(disk).fold))
    except StorageError:
        if otherwise is None:
            raise
        return otherwise


def numbers(log: EventLog) -> list[int]:
    return [number for number, _ in log.register.rows()]


def test_the_states_of_the_history_can_be_told_apart() -> None:
    assert all(STATES.index(state) == at for at, state in enumerate(STATES))


@pytest.mark.parametrize("size", SIZES)
def test_after_a_power_cut_at_any_operation_what_was_synced_is_there(size: int) -> None:
    work = partial(live, size=size)
    for cut in range(1, operations_of(work) + 2):
        disk = MemoryDisk()
        disk.faults.cut_power(cut)
        life = work(disk)
        for seed in SEEDS:
            found = recovered_batches(disk.crash(seeded(seed)))
            # The batch being written when the power went may be there whole.
            assert life.synced <= found <= life.written + 1, (cut, seed)


@pytest.mark.parametrize("size", SIZES)
def test_after_a_kill_at_any_operation_what_was_written_is_there(size: int) -> None:
    work = partial(live, size=size)
    for cut in range(1, operations_of(work) + 2):
        disk = MemoryDisk()
        disk.faults.cut_power(cut)
        life = work(disk)
        log = open_log(disk.kill())
        assert life.written <= STATES.index(told(log.fold)) <= life.written + 1, cut
        assert log.repairs == []


def test_a_crash_while_recovering_from_a_crash_loses_nothing_more() -> None:
    work = partial(live, size=SIZES[1])
    total = operations_of(work)
    tails = 0
    for seed in range(40):
        disk = MemoryDisk()
        disk.faults.cut_power(total - seed % 10)
        life = work(disk)
        crashed = disk.crash(seeded(seed))
        tail = torn_tail(crashed)
        tails += bool(tail)
        for cut in range(1, 30):
            again = crashed.crash(seeded(0))  # nothing is dirty, so this is a copy
            again.faults.cut_power(cut)
            promised = recovered_batches(again, otherwise=life.synced)
            last = again.crash(seeded(cut))
            assert recovered_batches(last) >= promised >= life.synced, (seed, cut)
            # What was cut off is kept for people, however often the cutting was interrupted.
            assert not tail or tail in copies(last), (seed, cut)
    assert tails > 5


@pytest.mark.parametrize("size", SIZES)
def test_a_power_cut_while_recovering_from_a_kill_is_never_taken_for_damage(size: int) -> None:
    work = partial(live, size=size)
    total = operations_of(work)
    for first in range(1, total + 1, 1 + total // 40):
        disk = MemoryDisk()
        disk.faults.cut_power(first)
        life = work(disk)
        killed = files_and_dirt(disk)
        for second in range(1, 24, 2):
            again = killed()
            again.faults.cut_power(second)
            promised = recovered_batches(again, otherwise=life.synced)
            for seed in range(4):
                last = again.crash(seeded(seed))
                assert recovered_batches(last) >= promised >= life.synced, (first, second, seed)


def files_and_dirt(disk: MemoryDisk) -> Callable[[], MemoryDisk]:
    """Kill the process, and give a maker of machines that are as it left them."""
    left = disk.kill()
    return lambda: copy.deepcopy(left)


def torn_tail(disk: MemoryDisk) -> bytes:
    data = files_of(disk).get(LOG, b"")
    if not data:
        return b""
    found = scan(data)
    list(found)
    return data[found.verdict.valid :]


def copies(disk: MemoryDisk) -> list[bytes]:
    return [data for name, data in files_of(disk).items() if ".torn-" in name]


def test_an_opened_log_has_its_names_on_disk() -> None:
    disk = MemoryDisk()
    open_log(disk)
    for seed in SEEDS:
        assert set(files_of(disk.crash(seeded(seed)))) == {LOG, "events.manifest"}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["write", "sync", "change"])
def test_what_an_opened_log_says_is_on_disk_whatever_failed_before(kind: str, size: int) -> None:
    for nth in range(1, 80):
        disk = MemoryDisk()
        plan = getattr(disk.faults, f"fail_{kind}")
        plan(nth)
        life = live(disk, size=size)
        killed = disk.kill()
        promised = told(open_log(killed).fold)
        assert STATES.index(promised) >= life.written
        for seed in SEEDS:
            found = told(open_log(killed.crash(seeded(seed))).fold)
            assert found == promised, (nth, seed)
        if life.closed:
            return
    pytest.fail("the last planned fault was never reached")


def test_a_failed_sync_is_final() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, enqueued(1))
    disk.faults.fail_sync()
    log.append([])
    with pytest.raises(SyncFailed, match=r"syncing memory/events\.log failed"):
        log.sync()
    attempts = (
        log.sync,
        log.write,
        lambda: log.append([]),
        lambda: log.read([]),
        lambda: log.drop([]),
    )
    syncs = disk.faults.syncs
    for attempt in attempts:
        with pytest.raises(SyncFailed):
            attempt()
    log.close()
    assert disk.faults.syncs == syncs


def test_a_sync_that_fails_in_a_roll_is_final() -> None:
    for nth in range(1, 9):
        disk = MemoryDisk()
        log = open_log(disk, segment_max_bytes=300)
        commit(log, enqueued(1))
        log.append([enqueued(2)])
        disk.faults.fail_sync(nth)
        try:
            log.write()
        except SyncFailed:
            with pytest.raises(SyncFailed):
                log.write()
        except WriteFailed:  # of what was written aside: nothing has happened yet
            log.write()
        else:
            assert nth > 4
            return
        assert numbers(open_log(disk.kill())) in ([1], [1, 2])
    pytest.fail("the last planned fault was never reached")


def test_what_is_read_back_after_a_failed_sync_is_written_again_before_it_is_believed() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, enqueued(1))
    disk.faults.fail_sync()
    with pytest.raises(SyncFailed):
        log.sync()
    # The next process sees the event, since the page cache has it, and may hand it out.
    killed = disk.kill()
    assert numbers(open_log(killed)) == [1]
    for seed in SEEDS:
        assert numbers(open_log(killed.crash(seeded(seed)))) == [1]


@pytest.mark.parametrize("part", [0, 1, 47, 48, 60, 10_000])
def test_a_write_that_stops_half_way_leaves_nothing(part: int) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(1))
    before = files_of(disk)
    disk.faults.fail_write(error=errno.ENOSPC, written=part)
    with pytest.raises(WriteFailed, match="no space left on device") as caught:
        write(log, enqueued(2))
    assert caught.value.errno == errno.ENOSPC
    assert files_of(disk) == before
    log.abandon()
    commit(log, enqueued(3))
    again = open_log(disk.crash(seeded(part)))
    assert numbers(again) == [1, 3]
    assert again.repairs == []


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_refuses_what_does_not_fit_and_takes_what_does(full: int) -> None:
    disk = MemoryDisk()
    disk.faults.full = full
    log = open_log(disk)
    disk.capacity = sum(len(data) for data in files_of(disk).values()) + 200
    with pytest.raises(WriteFailed) as caught:
        write(log, enqueued(1, b"x" * 1000))
    assert (caught.value.errno, caught.value.full) == (full, True)
    log.abandon()
    commit(log, enqueued(2, b"x"))
    assert numbers(open_log(disk.crash(seeded(0)))) == [2]


def test_a_disk_too_full_for_another_segment_leaves_the_log_as_it_was() -> None:
    rolled = set()
    for room in range(0, 460, 23):
        disk = MemoryDisk()
        log = open_log(disk, segment_max_bytes=400)
        commit(log, enqueued(1))
        before = files_of(disk)
        disk.capacity = sum(map(len, before.values())) + room
        with pytest.raises(WriteFailed) as caught:
            write(log, enqueued(2, b"x" * 300))
        assert caught.value.full
        rolled.add(len(log.places.places))
        assert len(log.places.places) > 1 or files_of(disk) == before
        log.abandon()
        assert numbers(log) == [1]
        disk.capacity = None
        commit(log, enqueued(2, b"x" * 300))
        assert numbers(open_log(disk.crash(seeded(room)))) == [1, 2]
    assert rolled == {1, 2}


def test_a_half_written_batch_that_cannot_be_cut_off_ends_the_log() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(1))
    log.append([enqueued(2)])
    disk.faults.fail_write(written=50)
    disk.faults.cut_power(2)  # the write fails by itself, the cut after it by this
    with pytest.raises(WriteFailed):
        log.write()
    with pytest.raises(WriteFailed):
        log.append([])
    again = open_log(disk.kill())
    assert numbers(again) == [1]
    assert len(again.repairs) == 1


def test_a_batch_is_there_whole_or_not_at_all() -> None:
    facts = [enqueued(number, b"x" * 700) for number in range(1, 11)]
    seen = set()
    for seed in range(60):
        disk = MemoryDisk()
        log = open_log(disk)
        write(log, *facts)
        seen.add(len(open_log(disk.crash(seeded(seed))).register))
    assert seen == {0, 10}


def test_a_full_disk_does_not_keep_a_log_from_closing() -> None:
    for size in SIZES:
        disk = MemoryDisk()
        log = open_log(disk, segment_max_bytes=size)
        commit(log, enqueued(1, b"x" * (size % 1000 - 300)))
        disk.capacity = 0
        log.close()
        disk.capacity = None
        assert numbers(open_log(disk.another())) == [1]


def test_opening_on_a_full_disk_says_so_and_changes_nothing_for_good() -> None:
    disk = MemoryDisk(capacity=100)
    with pytest.raises(WriteFailed) as caught:
        open_log(disk)
    assert caught.value.errno == errno.ENOSPC
    roomy = disk.another()
    roomy.capacity = None
    assert EventLog.open(roomy, now=NOW).boot == 1
