"""Crashes at every operation and failures of every one: what was promised is kept, always."""

import copy
import errno
from collections.abc import Callable

import attrs
import pytest

from persistence.errors import StorageError, SyncFailed, WriteFailed
from persistence.facts import Enqueued, Fact
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.scan import scan
from tests.persistence.samples import (
    NOW,
    View,
    append,
    event,
    files_of,
    history,
    open_log,
    seeded,
    state_after,
    view,
    write,
)

SEEDS = range(30)


@attrs.define
class Life:
    """What one process did before its end: how many batches it wrote, how many it was promised."""

    written: int = 0
    synced: int = 0
    closed: bool = False


def live(disk: MemoryDisk) -> Life:
    """Open a log, append the history with a sync after every second batch, and close."""
    life = Life()
    try:
        log = open_log(disk)
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


STATES: list[View] = [state_after(history()[:count]) for count in range(len(history()) + 1)]


def test_after_a_power_cut_at_any_operation_what_was_synced_is_there() -> None:
    for cut in range(1, operations_of(live) + 2):
        disk = MemoryDisk()
        disk.faults.cut_power(cut)
        life = live(disk)
        for seed in SEEDS:
            log = open_log(disk.crash(seeded(seed)))
            found = STATES.index(view(log.recovered))
            # The batch being written when the power went may be there whole.
            assert life.synced <= found <= life.written + 1, (cut, seed)


def test_after_a_kill_at_any_operation_what_was_written_is_there() -> None:
    for cut in range(1, operations_of(live) + 2):
        disk = MemoryDisk()
        disk.faults.cut_power(cut)
        life = live(disk)
        log = open_log(disk.kill())
        assert life.written <= STATES.index(view(log.recovered)) <= life.written + 1, cut
        assert log.repairs == []


def test_a_crash_while_recovering_from_a_crash_loses_nothing_more() -> None:
    total = operations_of(live)
    tails = 0
    for seed in range(40):
        disk = MemoryDisk()
        disk.faults.cut_power(total - seed % 10)
        life = live(disk)
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


def test_a_power_cut_while_recovering_from_a_kill_is_never_taken_for_damage() -> None:
    for first in range(1, operations_of(live) + 1):
        disk = MemoryDisk()
        disk.faults.cut_power(first)
        life = live(disk)
        killed = files_and_dirt(disk)
        for second in range(1, 20):
            again = killed()
            again.faults.cut_power(second)
            promised = recovered_batches(again, otherwise=life.synced)
            for seed in range(6):
                last = again.crash(seeded(seed))
                assert recovered_batches(last) >= promised >= life.synced, (first, second, seed)


def recovered_batches(disk: MemoryDisk, *, otherwise: int | None = None) -> int:
    """How many batches of the history an opening finds, or `otherwise` where it fails."""
    try:
        return STATES.index(view(open_log(disk).recovered))
    except StorageError:
        if otherwise is None:
            raise
        return otherwise


def files_and_dirt(disk: MemoryDisk) -> Callable[[], MemoryDisk]:
    """Kill the process, and give a maker of machines that are as it left them."""
    left = disk.kill()
    return lambda: copy.deepcopy(left)


def torn_tail(disk: MemoryDisk) -> bytes:
    data = files_of(disk).get("events.log", b"")
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
        assert set(files_of(disk.crash(seeded(seed)))) == {"events.log", "events.manifest"}


@pytest.mark.parametrize("kind", ["write", "sync"])
def test_what_an_opened_log_says_is_on_disk_whatever_failed_before(kind: str) -> None:
    for nth in range(1, 40):
        disk = MemoryDisk()
        plan = disk.faults.fail_write if kind == "write" else disk.faults.fail_sync
        plan(nth)
        life = live(disk)
        killed = disk.kill()
        promised = view(open_log(killed).recovered)
        assert STATES.index(promised) >= life.written
        for seed in SEEDS:
            found = view(open_log(killed.crash(seeded(seed))).recovered)
            assert found == promised, (nth, seed)
        if life.closed:
            return
    pytest.fail("the last planned fault was never reached")


def test_a_failed_sync_is_final() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, Enqueued(event(1), NOW))
    disk.faults.fail_sync()
    batch = log.prepare([])
    with pytest.raises(SyncFailed, match=r"syncing memory/events\.log failed"):
        log.sync()
    attempts: list[Callable[[], object]] = [
        log.sync,
        lambda: log.write(batch),
        lambda: log.prepare([]),
        lambda: log.read([]),
    ]
    syncs = disk.faults.syncs
    for attempt in attempts:
        with pytest.raises(SyncFailed):
            attempt()
    log.close()
    assert disk.faults.syncs == syncs


def test_what_is_read_back_after_a_failed_sync_is_written_again_before_it_is_believed() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, Enqueued(event(1), NOW))
    disk.faults.fail_sync()
    with pytest.raises(SyncFailed):
        log.sync()
    # The next process sees the event, since the page cache has it, and may hand it out.
    killed = disk.kill()
    assert len(open_log(killed).recovered.waiting) == 1
    for seed in SEEDS:
        assert len(open_log(killed.crash(seeded(seed))).recovered.waiting) == 1


@pytest.mark.parametrize("part", [0, 1, 47, 48, 60, 10_000])
def test_a_write_that_stops_half_way_leaves_nothing(part: int) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, Enqueued(event(1), NOW))
    before = files_of(disk)
    disk.faults.fail_write(error=errno.ENOSPC, written=part)
    with pytest.raises(WriteFailed, match="no space left on device") as caught:
        write(log, Enqueued(event(2), NOW))
    assert caught.value.errno == errno.ENOSPC
    assert files_of(disk) == before
    log.abandon()
    append(log, Enqueued(event(3), NOW))
    again = open_log(disk.crash(seeded(part)))
    assert [entry.event.number for entry in again.recovered.waiting] == [1, 3]
    assert again.repairs == []


def test_a_full_disk_refuses_what_does_not_fit_and_takes_what_does() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    disk.capacity = sum(len(data) for data in files_of(disk).values()) + 200
    with pytest.raises(WriteFailed) as caught:
        write(log, Enqueued(event(1, b"x" * 1000), NOW))
    assert caught.value.errno == errno.ENOSPC
    log.abandon()
    append(log, Enqueued(event(1, b"x"), NOW))
    assert len(open_log(disk.crash(seeded(0))).recovered.waiting) == 1


def test_a_half_written_batch_that_cannot_be_cut_off_ends_the_log() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, Enqueued(event(1), NOW))
    batch = log.prepare([Enqueued(event(2), NOW)])
    disk.faults.fail_write(written=50)
    disk.faults.cut_power(2)  # the write fails by itself, the cut after it by this
    with pytest.raises(WriteFailed):
        log.write(batch)
    with pytest.raises(WriteFailed):
        log.prepare([])
    again = open_log(disk.kill())
    assert len(again.recovered.waiting) == 1
    assert len(again.repairs) == 1


def test_a_batch_is_there_whole_or_not_at_all() -> None:
    facts: list[Fact] = [Enqueued(event(number, b"x" * 700), NOW) for number in range(1, 11)]
    seen = set()
    for seed in range(60):
        disk = MemoryDisk()
        log = open_log(disk)
        write(log, *facts)
        again = open_log(disk.crash(seeded(seed)))
        seen.add(len(again.recovered.waiting))
        for one in facts:
            assert isinstance(one, Enqueued)
            one.event.last_fact = -1
    assert seen == {0, 10}


def test_a_full_disk_does_not_keep_a_log_from_closing() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, Enqueued(event(1), NOW))
    disk.capacity = 0
    log.close()
    disk.capacity = None
    assert len(open_log(disk.another()).recovered.waiting) == 1


def test_opening_on_a_full_disk_says_so_and_changes_nothing_for_good() -> None:
    disk = MemoryDisk(capacity=100)
    with pytest.raises(WriteFailed) as caught:
        open_log(disk)
    assert caught.value.errno == errno.ENOSPC
    roomy = disk.another()
    roomy.capacity = None
    assert EventLog.open(roomy, now=NOW).boot == 1
