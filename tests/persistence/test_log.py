"""The log in daily use: prepare, write, sync, read, close, open again."""

import errno

import pytest

from persistence.entry import NOT_WRITTEN, Stamp
from persistence.errors import StorageError, SyncFailed, WriteFailed
from persistence.facts import Enqueued, Fact, Leased, Settled
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.scan import scan
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE
from tests.persistence.samples import (
    KEY,
    NOW,
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


def numbers(log: EventLog) -> list[int]:
    return [entry.event.number for entry in log.recovered.waiting]


def test_a_new_log_is_empty_and_has_its_key() -> None:
    log = open_log(MemoryDisk())
    assert view(log.recovered) == state_after([])
    assert log.recovered.next_number == 1
    assert log.recovered.boot == 0
    assert (log.key, log.boot, log.repairs) == (KEY, 1, [])


def test_every_key_is_another_one() -> None:
    keys = {EventLog.open(MemoryDisk(), now=NOW).key for _ in range(3)}
    assert len(keys) == 3
    assert all(len(key) == 16 for key in keys)


def test_every_opening_has_a_greater_boot_number_and_the_same_key() -> None:
    disk = MemoryDisk()
    boots = []
    for _ in range(3):
        log = open_log(disk)
        boots.append((log.boot, log.recovered.boot, log.key))
        disk = disk.crash(seeded(1))
    assert boots == [(1, 0, KEY), (2, 1, KEY), (3, 2, KEY)]


@pytest.mark.parametrize("end", ["close", "kill", "crash"])
def test_the_whole_history_is_recovered(end: str) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    for batch in history():
        append(log, *batch)
    counted = log.counters.values()
    if end == "close":
        log.close()
        after = disk.another()
    else:
        after = disk.kill() if end == "kill" else disk.crash(seeded(3))
    again = open_log(after)
    assert view(again.recovered) == state_after(history())
    assert again.counters.values() == counted
    assert again.repairs == []


def test_payloads_stay_in_the_log_and_are_read_in_the_order_asked_for() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    events = [event(number, b"%d" % number * number * 300) for number in range(1, 30)]
    payloads = [one.payload for one in events]
    append(log, *[Enqueued(one, NOW) for one in events[:20]])
    append(log, *[Enqueued(one, NOW) for one in events[20:]])
    mixed = [7, 3, 28, 0, 19, 20, 3]
    assert log.read([events[index] for index in mixed]) == [payloads[index] for index in mixed]
    assert log.read([]) == []
    log.close()
    again = open_log(disk.another())
    recovered = [entry.event for entry in again.recovered.waiting]
    assert all(one.payload is None for one in recovered)
    assert again.read(recovered) == payloads


def test_neighbours_are_read_in_one_go() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    events = [event(number) for number in range(1, 101)]
    append(log, *[Enqueued(one, NOW) for one in events])
    before = disk.faults.operations
    log.read(events)
    assert disk.faults.operations == before + 1


def test_an_event_that_was_never_written_cannot_be_read() -> None:
    log = open_log(MemoryDisk())
    with pytest.raises(ValueError, match="event 1 is not in the log"):
        log.read([event(1)])


def test_positions_say_what_is_written_and_what_is_on_disk() -> None:
    log = open_log(MemoryDisk())
    start = log.end
    assert log.synced == start
    one = event(1)
    batch = log.prepare([Enqueued(one, NOW)], now=NOW)
    assert (batch.position, log.end) == (start, start)
    assert one.last_fact == start + FRAME_HEADER_SIZE
    log.write(batch)
    assert (log.end, log.synced) == (batch.end, start)
    assert batch.size == batch.end - start
    log.sync()
    assert log.synced == batch.end


def test_batches_may_be_prepared_ahead() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    batches = [log.prepare([Enqueued(event(number), NOW)]) for number in (1, 2, 3)]
    for batch in batches:
        log.write(batch)
    log.sync()
    assert numbers(open_log(disk.crash(seeded(0)))) == [1, 2, 3]


def test_batches_cannot_be_written_out_of_order() -> None:
    log = open_log(MemoryDisk())
    first, second = (log.prepare([Enqueued(event(number), NOW)]) for number in (1, 2))
    with pytest.raises(WriteFailed):
        log.write(second)
    log.write(first)
    with pytest.raises(WriteFailed):
        log.write(first)
    log.write(second)


def test_abandoned_batches_leave_no_trace() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    kept, lost = event(1), event(2)
    append(log, Enqueued(kept, NOW))
    before = (kept.last_fact, log.counters.values(), log.end)
    facts: list[list[Fact]] = [
        [Enqueued(lost, NOW), Leased(kept, Stamp(1, 1), NOW, 1)],
        [Settled(kept), Settled(lost)],
    ]
    batches = [log.prepare(batch) for batch in facts]
    disk.faults.fail_write(error=errno.ENOSPC, written=20)
    with pytest.raises(WriteFailed):
        log.write(batches[0])
    with pytest.raises(WriteFailed, match="a batch before it failed"):
        log.write(batches[1])
    assert log.abandon() == batches
    assert (kept.last_fact, log.counters.values(), log.end) == before
    assert (lost.last_fact, lost.payload_position) == (NOT_WRITTEN, NOT_WRITTEN)
    append(log, Settled(kept), Enqueued(lost, NOW))
    assert log.read([lost]) == [b'{"n":2}']
    again = open_log(disk.crash(seeded(0)))
    assert numbers(again) == [2]
    assert again.counters == log.counters


def test_closing_leaves_a_mark_that_vouches_for_everything_before_it() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, Enqueued(event(1), NOW))
    end = log.end
    log.close()
    log.close()
    found = scan(files_of(disk)["events.log"])
    *_, mark = list(found)
    assert (mark.header.count, mark.header.position, mark.header.synced) == (0, end, end)
    assert numbers(open_log(disk.crash(seeded(0)))) == [1]


def test_closing_forgets_what_was_only_prepared() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    log.prepare([Enqueued(event(1), NOW)])
    log.close()
    assert numbers(open_log(disk.another())) == []


def test_a_closed_log_refuses() -> None:
    log = open_log(MemoryDisk())
    batch = log.prepare([])
    log.close()
    for attempt in (lambda: log.prepare([]), lambda: log.write(batch), log.sync):
        with pytest.raises(StorageError, match="is closed"):
            attempt()
    with pytest.raises(StorageError, match="is closed"):
        log.read([])


def test_a_failed_sync_on_closing_is_told_and_the_directory_released() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, Enqueued(event(1), NOW))
    disk.faults.fail_sync()
    with pytest.raises(SyncFailed):
        log.close()
    open_log(disk.another())


def test_the_event_numbers_go_on_after_all_events_are_gone() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    one = event(41)
    append(log, Enqueued(one, NOW))
    append(log, Settled(one))
    recovered = open_log(disk.kill()).recovered
    assert recovered.waiting == []
    assert recovered.next_number == 42


def test_waiting_events_are_ordered_by_due_time_and_number() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    due = {1: 50, 2: 10, 3: 50, 4: 10}
    append(log, *[Enqueued(event(number), at) for number, at in reversed(due.items())])
    assert numbers(open_log(disk.kill())) == [2, 4, 1, 3]


def test_a_header_names_only_what_a_sync_has_returned_for() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, Enqueued(event(1), NOW))
    write(log, Enqueued(event(2), NOW))
    log.sync()
    write(log, Enqueued(event(3), NOW))
    frames = list(scan(files_of(disk)["events.log"]))
    positions = [frame.header.position for frame in frames]
    synced = [frame.header.synced for frame in frames]
    assert synced == [HEADER_SIZE, positions[1], positions[1], positions[3]]
