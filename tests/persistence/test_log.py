"""The log in daily use: append, write, sync, read, roll, drop, close, open again."""

import errno

import pytest

from persistence.entry import NOT_WRITTEN, Place, Stamp
from persistence.errors import (
    LogDamaged,
    ReadFailed,
    StorageError,
    SyncFailed,
    Undecodable,
    WriteFailed,
)
from persistence.facts import (
    COUNT_MAX,
    Dead,
    Discarded,
    Enqueued,
    Fact,
    Leased,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.names import sealed_name
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE, decode_header
from persistence.segment_files import Span
from tests.persistence.logs import (
    LOG,
    commit,
    everything,
    frames_in,
    let_go,
    open_log,
    payloads,
    state_after,
    told,
    write,
)
from tests.persistence.samples import (
    KEY,
    NOW,
    bytes_of,
    content,
    enqueued,
    files_of,
    history,
    seeded,
)

MIB = 1024 * 1024


def leased(number: int, boot: int = 1) -> Leased:
    return Leased(number, NOW, 0, Stamp(boot, 1), NOW + 9, 9, consumer="me")


def numbers(log: EventLog) -> list[int]:
    return [number for number, _ in log.register.rows()]


def fill(log: EventLog, segments: int) -> list[int]:
    """Let events come until so many segments are sealed; give their numbers."""
    first = log.fold.next_number
    while len(log.places.places) <= segments:
        commit(log, enqueued(log.fold.next_number, b"x" * 100))
    return list(range(first, log.fold.next_number))


# Opening


def test_a_new_log_is_empty_and_has_its_key() -> None:
    log = open_log(MemoryDisk())
    assert len(log.register) == 0
    assert log.fold.next_number == 1
    assert (log.key, log.boot, log.repairs, log.notes) == (KEY, 1, [], [])


def test_every_key_is_another_one() -> None:
    keys = {EventLog.open(MemoryDisk(), now=NOW).key for _ in range(3)}
    assert len(keys) == 3
    assert all(len(key) == 16 for key in keys)


def test_every_opening_has_a_greater_boot_number_and_the_same_key() -> None:
    disk = MemoryDisk()
    boots = []
    for _ in range(3):
        log = open_log(disk)
        boots.append((log.boot, log.key))
        disk = disk.crash(seeded(1))
    assert boots == [(1, KEY), (2, KEY), (3, KEY)]


def test_a_boot_number_can_be_asked_for_and_never_goes_back() -> None:
    disk = MemoryDisk()
    assert open_log(disk, boot_least=40).boot == 40
    assert open_log(disk.kill(), boot_least=7).boot == 41


@pytest.mark.parametrize("segment_max_bytes", [300, MIB])
@pytest.mark.parametrize("end", ["close", "kill", "crash"])
def test_the_whole_history_is_recovered(end: str, segment_max_bytes: int) -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=segment_max_bytes)
    for batch in history():
        commit(log, *batch)
    known = everything(log.fold)
    if end == "close":
        log.close()
        after = disk.another()
    else:
        after = disk.kill() if end == "kill" else disk.crash(seeded(3))
    again = open_log(after, segment_max_bytes=segment_max_bytes)
    assert told(again.fold) == told(log.fold) == state_after(history())
    found = everything(again.fold)
    for same in ("rows", "ids", "foreign", "counters", "next_number", "last_event_at", "imports"):
        assert found[same] == known[same]
    assert again.repairs == []


def test_the_event_numbers_go_on_after_all_events_are_gone() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(41))
    commit(log, Settled(41))
    again = open_log(disk.kill())
    assert numbers(again) == []
    assert again.fold.next_number == 42


# Appending and writing


def test_what_is_appended_counts_at_once() -> None:
    log = open_log(MemoryDisk())
    log.append([enqueued(1), enqueued(2)])
    log.append([leased(2)])
    assert [log.register.count(place) for place in Place] == [1, 1, 0]
    assert (log.fold.counters.enqueued, log.fold.counters.consumed) == (2, 1)


def test_positions_say_what_is_appended_written_and_on_disk() -> None:
    log = open_log(MemoryDisk())
    start = log.end
    assert log.synced == log.next == start
    batch = log.append([enqueued(1)])
    assert (batch.position, log.end, log.next) == (start, start, batch.end)
    row = log.register.get(1)
    assert row is not None
    assert row.last_fact == batch.body_position == start + FRAME_HEADER_SIZE
    assert batch.size == batch.end - start
    log.write()
    assert (log.end, log.synced) == (batch.end, start)
    log.sync()
    assert log.synced == batch.end


def test_batches_may_be_appended_ahead() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    for number in (1, 2, 3):
        log.append([enqueued(number)])
    writes = disk.faults.writes
    log.write()
    assert disk.faults.writes == writes + 1
    log.sync()
    assert numbers(open_log(disk.crash(seeded(0)))) == [1, 2, 3]


def test_a_header_names_only_what_a_sync_has_returned_for() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, enqueued(1))
    write(log, enqueued(2))
    log.sync()
    write(log, enqueued(3))
    headers = [frame.header for frame in frames_in(disk)]
    ends = [header.end for header in headers]
    assert [header.synced for header in headers] == [HEADER_SIZE, ends[0], ends[0], ends[2]]


def test_the_time_of_each_batch_is_kept_for_people() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    log.append([enqueued(1)], now=NOW + 5)
    log.append([enqueued(2)])
    log.write()
    assert [frame.header.time for frame in frames_in(disk)] == [NOW, NOW + 5, 0]


@pytest.mark.parametrize(
    ("fact", "error"),
    [
        (Enqueued(9, NOW, NOW, "x" * 70_000, b"{}"), ValueError),
        (Enqueued(9, NOW, NOW, "", None), ValueError),
        (Enqueued(2, NOW, NOW, "", b"{}"), Undecodable),
        (Settled(9), Undecodable),
        (Discarded(2), Undecodable),
    ],
)
def test_facts_that_cannot_be_leave_no_trace_of_their_batch(
    fact: Fact, error: type[Exception]
) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(1), enqueued(2))
    before = everything(log.fold)
    with pytest.raises(error):
        log.append([enqueued(3), leased(1), Settled(2), enqueued(2), Settled(3), fact])
    after = everything(log.fold)
    assert after.pop("next_number") == 4
    before.pop("next_number")
    assert after == before
    commit(log, enqueued(4), leased(2))
    assert told(open_log(disk.kill()).fold) == told(log.fold)


@pytest.mark.parametrize("count", [COUNT_MAX + 1, 2**70])
def test_counts_that_no_log_can_hold_are_the_same_before_and_after_a_restart(count: int) -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    stamp = Stamp(1, count)
    commit(log, *map(enqueued, range(1, 4)))
    commit(
        log,
        Leased(1, NOW, count, stamp, NOW, 9),
        Returned(2, NOW, count, stamp, ReturnCause.REJECTED),
        Dead(3, NOW, count, Stamp(count, 1), "r"),
    )
    row = log.register.get(1)
    assert row is not None
    assert (row.retries, row.delivery) == (COUNT_MAX, COUNT_MAX)
    assert told(open_log(disk.kill()).fold) == told(log.fold)


# Taking back what could not be written


def test_abandoned_batches_leave_no_trace() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(1, foreign_id="one"))
    before = everything(log.fold), log.end, log.next
    batches = [
        log.append([enqueued(2), leased(1)]),
        log.append([Settled(1), Settled(2)]),
    ]
    disk.faults.fail_write(error=errno.ENOSPC, written=20)
    with pytest.raises(WriteFailed):
        log.write()
    assert log.abandon() == batches
    after = everything(log.fold), log.end, log.next
    assert after[0].pop("next_number") == 3  # numbers are not given away again
    assert before[0].pop("next_number") == 2
    assert after == before
    commit(log, Settled(1), enqueued(3))
    assert payloads(log, [3]) == [b'{"n":3}']
    again = open_log(disk.crash(seeded(0)))
    assert numbers(again) == [3]
    assert again.fold.counters == log.fold.counters


def test_batches_that_were_to_begin_segments_are_taken_back_with_them() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=400)
    commit(log, enqueued(1))
    before = everything(log.fold)
    batches = [log.append([enqueued(number, b"x" * 150), leased(1, number)]) for number in (2,)]
    batches += [log.append([enqueued(number, b"x" * 150)]) for number in range(3, 8)]
    assert len({batch.segment.number for batch in batches}) > 2
    assert log.abandon() == batches
    after = everything(log.fold)
    assert after.pop("next_number") == 8
    before.pop("next_number")
    assert after == before
    commit(log, Settled(1), enqueued(9))
    assert told(open_log(disk.kill()).fold) == told(log.fold)


def test_a_write_that_fails_may_be_tried_again() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=400)
    for number in range(1, 6):
        log.append([enqueued(number, b"x" * 150)])
    for nth in range(1, 4):
        disk.faults.fail_write(nth, error=errno.ENOSPC, written=7)
        with pytest.raises(WriteFailed) as caught:
            log.write()
        assert caught.value.full
    log.write()
    log.sync()
    assert numbers(open_log(disk.crash(seeded(2)))) == [1, 2, 3, 4, 5]


# Reading


def test_payloads_stay_in_the_log_and_are_read_in_the_order_asked_for() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=20_000)
    contents = {number: b"%d" % number * number * 300 for number in range(1, 30)}
    for first in (1, 11, 21):
        commit(log, *(enqueued(n, contents[n]) for n in range(first, min(first + 10, 30))))
    assert len(log.places.places) > 1
    mixed = [8, 4, 29, 1, 20, 21, 4]
    assert payloads(log, mixed) == [contents[number] for number in mixed]
    assert log.read([]) == []
    log.close()
    again = open_log(disk.another())
    assert payloads(again, contents) == list(contents.values())


def test_neighbours_are_read_in_one_go() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, *map(enqueued, range(1, 101)))
    payloads(log, [1])
    before = disk.faults.operations
    payloads(log, range(1, 101))
    assert disk.faults.operations == before + 1


def test_an_event_that_is_not_there_has_nothing_to_read_wherever_the_log_begins() -> None:
    log = open_log(MemoryDisk(), segment_max_bytes=400)
    for number in fill(log, 2):
        commit(log, Settled(number))
    commit(log, enqueued(50))
    assert let_go(log)[0] == 0
    spans = log.spans([1, 50]) + log.newest_facts([1])
    assert log.read(spans) == [b"", b'{"n":50}', b""]


def test_the_newest_facts_are_read_back() -> None:
    log = open_log(MemoryDisk())
    facts: list[Fact] = [leased(1), Dead(3, NOW, 2, Stamp(1, 1), "rejected", "why")]
    commit(log, *map(enqueued, range(1, 4)))
    commit(log, *facts)
    found = log.read_facts([3, 1, 2])
    assert list(map(content, found)) == list(map(content, [facts[1], facts[0], enqueued(2)]))
    row = log.register.get(1)
    assert row is not None
    assert log.newest_fact(1, row) == Span(row.last_fact, len(bytes_of(facts[0])))


def test_a_file_that_became_shorter_is_named_with_the_offset() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=400)
    for number in fill(log, 2)[-2:]:
        [span] = log.spans([number])
        place = log.places.at(span.position)
        assert place is not None
        offset = span.position - place.base + 10
        disk.open(place.name).truncate(offset)
        with pytest.raises(LogDamaged) as caught:
            payloads(log, [number])
        assert (caught.value.file, caught.value.offset) == (f"memory/{place.name}", offset)


def test_bytes_that_are_no_fact_are_named_with_the_offset() -> None:
    log = open_log(MemoryDisk(), segment_max_bytes=400)
    fill(log, 1)
    with pytest.raises(LogDamaged) as caught:
        log.decode(b"\xee" * 50, log.places.places[1].base + 200)
    assert (caught.value.file, caught.value.offset) == (f"memory/{LOG}", 200)


def test_a_disk_that_cannot_be_read_is_told() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(1))
    disk.faults.cut_power()
    with pytest.raises(ReadFailed):
        payloads(log, [1])


# Segments


def test_a_segment_ends_rather_than_outgrow_its_size() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=1000)
    for number in range(1, 41):
        commit(log, enqueued(number, b"x" * 100))
    sizes = {name: len(data) for name, data in files_of(disk).items() if name.endswith(".log")}
    assert len(sizes) > 5
    assert all(700 < size <= 1000 for name, size in sizes.items() if name != LOG)
    assert payloads(log, range(1, 41)) == [b"x" * 100] * 40
    assert numbers(open_log(disk.crash(seeded(1)))) == list(range(1, 41))


def test_a_batch_larger_than_a_segment_has_one_of_its_own() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=300)
    commit(log, enqueued(1))
    commit(log, enqueued(2, b"x" * 5000))
    commit(log, enqueued(3))
    places = {number: log.places.at(log.spans([number])[0].position) for number in (1, 2, 3)}
    found = [place.number for place in places.values() if place is not None]
    assert found == [1, 2, 3]
    assert numbers(open_log(disk.kill())) == [1, 2, 3]


def test_each_segment_begins_with_what_was_known_before_it() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=500)
    known: dict[int, tuple[object, ...]] = {}
    for batch in history():
        before = log.fold.counters.values(), log.fold.next_number, log.fold.last_event_at
        number = log.append(batch).segment.number
        known.setdefault(number, before)
    log.write()
    files = files_of(disk)
    assert len(known) > 3
    for place in log.places.places[1:]:
        header = decode_header(files[place.name])
        assert (header.number, header.base, header.boot) == (place.number, place.base, 1)
        assert (header.counters, header.next_number, header.last_event_at) == known[place.number]


def test_a_dead_segment_can_be_dropped_unless_it_is_pinned() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=400)
    for number in fill(log, 3):
        commit(log, Settled(number))
    dead = log.droppable()
    assert dead == list(range(len(log.places.places) - 1))
    log.pin()
    log.pin()
    log.unpin()
    assert log.droppable() == []
    log.unpin()
    assert let_go(log) == dead
    assert disk.names() == [LOG, "events.manifest"]
    assert log.droppable() == []
    again = open_log(disk.crash(seeded(5)))
    assert numbers(again) == []
    assert again.fold.counters == log.fold.counters
    assert again.fold.next_number == log.fold.next_number


def test_dropping_goes_on_where_it_failed() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=400)
    for number in fill(log, 3):
        commit(log, Settled(number))
    dead = log.droppable()
    disk.faults.fail_change(4, error=errno.ENOSPC)  # after the manifest's two and the first removal
    with pytest.raises(WriteFailed) as caught:
        log.drop(dead)
    assert caught.value.full
    assert sealed_name(dead[-1]) in disk.names()
    log.drop(dead)
    assert disk.names() == [LOG, "events.manifest"]


# Marks


def test_a_mark_vouches_for_what_is_synced_once() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(1))
    assert log.mark()
    assert not log.mark()  # it waits to be written
    log.write()
    assert not log.mark()
    log.sync()
    *_, mark = frames_in(disk)
    assert (mark.header.count, mark.header.synced) == (0, mark.header.position)
    write(log, enqueued(2))
    log.append([enqueued(3)])
    assert not log.mark()  # what is appended will say it


def test_closing_leaves_a_mark_that_vouches_for_everything_before_it() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, enqueued(1))
    end = log.end
    log.close()
    log.close()
    *_, mark = frames_in(disk.another())
    assert (mark.header.count, mark.header.position, mark.header.synced) == (0, end, end)
    assert numbers(open_log(disk.crash(seeded(0)))) == [1]


def test_closing_forgets_what_was_only_appended() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    log.append([enqueued(1)])
    log.close()
    assert numbers(open_log(disk.another())) == []


def test_a_closed_log_refuses() -> None:
    log = open_log(MemoryDisk())
    log.append([])
    log.close()
    attempts = (
        lambda: log.append([]),
        log.write,
        log.sync,
        log.mark,
        lambda: log.read([]),
        lambda: log.drop([]),
    )
    for attempt in attempts:
        with pytest.raises(StorageError, match="is closed"):
            attempt()


def test_a_failed_sync_on_closing_is_told_and_the_directory_released() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, enqueued(1))
    disk.faults.fail_sync()
    with pytest.raises(SyncFailed):
        log.close()
    open_log(disk.another())


def test_a_failed_opening_releases_the_directory() -> None:
    for nth in range(1, 60):
        disk = MemoryDisk()
        disk.faults.fail_sync(nth)
        try:
            open_log(disk, reserved_bytes=1000).close()
        except StorageError:
            open_log(disk.another()).close()
        else:
            assert nth > 5
            return
    pytest.fail("the last planned fault was never reached")


# The reserve


def test_space_is_set_aside_released_and_set_aside_again() -> None:
    disk = MemoryDisk(capacity=3 * MIB)
    log = open_log(disk, reserved_bytes=MIB)
    assert log.reserved == MIB
    assert log.relieve(MIB // 2)
    assert log.reserved == MIB // 2
    assert log.relieve()
    assert not log.relieve()
    assert log.refill()
    assert log.reserved == MIB
    disk.capacity = 0
    assert log.relieve()
    assert not log.refill()


def test_a_log_opens_on_a_full_disk_with_what_was_set_aside() -> None:
    disk = MemoryDisk()
    log = open_log(disk, reserved_bytes=MIB)
    commit(log, enqueued(1))
    full = disk.kill()
    full.capacity = sum(len(data) for data in files_of(disk.another()).values())
    again = open_log(full, reserved_bytes=MIB)
    assert numbers(again) == [1]
    assert again.reserved < MIB


def test_what_was_never_delivered_has_no_fact_before_it() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    write(log, enqueued(1), leased(1), Settled(1))
    [_, frame] = frames_in(disk)
    first = log.end - len(frame.body)
    sizes = [len(bytes_of(fact)) for fact in (enqueued(1), leased(1))]
    previous = [NOT_WRITTEN, first, first + sizes[0]]
    facts: list[Fact] = [enqueued(1), leased(1), Settled(1)]
    expected = b"".join(bytes_of(f, p) for f, p in zip(facts, previous, strict=True))
    assert bytes(frame.body) == expected
