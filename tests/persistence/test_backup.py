"""Copies of a log at work: they are of one moment, known for broken if so, and safe to restore."""

import errno
from collections.abc import Callable

import pytest

from persistence.backup import backup
from persistence.errors import LogDamaged, ReadFailed, WriteFailed
from persistence.facts import Enqueued, Settled
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.restore import restore
from persistence.segment import decode_header
from persistence.transfer import NoLog, NoRoom, NotEmpty
from tests.persistence.busy import (
    SEGMENT_BYTES,
    Broker,
    Watched,
    back_up,
    busy,
    nothing_comes,
    put_back,
    restored,
    view,
)
from tests.persistence.samples import NOW, disk_with, files_of, seeded


def test_a_copy_says_what_the_original_said() -> None:
    disk, broker = busy()
    broker.mark()
    assert len(broker.log.places.places) > 3
    copy, report = back_up(disk.another())
    put, _ = put_back(copy)
    header = decode_header(files_of(put.another())["events.log"])
    log = EventLog.open(put.another(), now=NOW)
    assert view(log) == view(broker.log) != {}
    assert report.end == broker.log.end - 48  # the mark is not needed
    assert report.synced
    assert report.segments == len(broker.log.places.places)
    assert report.size == sum(
        len(data) for name, data in files_of(copy).items() if name.endswith(".log")
    )
    # The header of the new segment knows what the others tell, for when they are gone.
    assert header.next_number == log.fold.next_number
    assert header.counters == log.fold.counters.values()
    # Payloads too, and it goes on.
    numbers = list(view(log))
    expected = broker.log.read(broker.log.spans(numbers))
    assert log.read(log.spans(numbers)) == expected
    assert log.fold.next_number == broker.log.fold.next_number
    assert log.fold.counters == broker.log.fold.counters
    log.append([Enqueued(log.fold.next_number, NOW, NOW, "t", b"{}")])
    log.write()


def test_the_original_is_only_looked_at() -> None:
    disk, broker = busy()
    before = files_of(disk)
    operations = disk.faults.operations
    back_up(disk.another())
    assert disk.faults.operations == operations
    assert files_of(disk) == before
    broker.publish()


def test_a_broker_that_is_at_work_is_copied_as_it_was_at_one_moment() -> None:
    """Let it do a lot before any one operation of the backup."""
    first, broker = busy()
    broker.log.close()
    files = files_of(first)
    watched = Watched(disk_with(files), lambda _: None)
    back_up(watched)
    segments_gone = 0
    for moment in range(1, watched.count + 1):
        disk = disk_with(files)
        broker = Broker.on(disk)
        start = broker.log.end
        before = {place.number for place in broker.log.places.places}

        def happens(count: int, broker: Broker = broker, moment: int = moment) -> None:
            if count == moment:
                broker.live_a_little()

        copy, report = back_up(Watched(disk, happens), pause=broker.publish)
        segments_gone += len(before - {place.number for place in broker.log.places.places})
        assert report.synced
        assert report.end >= start
        assert view(restored(copy)) == broker.said_at(report.end), moment
    assert segments_gone > 20


def test_a_broker_that_never_rests_is_copied() -> None:
    disk, broker = busy()
    resting = False

    def happens(count: int) -> None:
        nonlocal resting
        if count % 30 == 0 and not resting:
            resting = True  # it uses the disk itself
            broker.publish(2)
            broker.settle(1)
            broker.compact()
            resting = False

    start = broker.log.end
    copy, report = back_up(Watched(disk, happens), pause=broker.publish)
    assert report.end >= start
    assert view(restored(copy)) == broker.said_at(report.end)


def test_under_load_one_commit_is_enough() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk)
    broker.publish(2)
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1
        broker.publish(1)

    start = broker.log.end
    _, report = back_up(disk.another(), pause)
    assert (report.end, report.synced, pauses) == (start, True, 1)


def test_a_segment_that_is_sealed_meanwhile_is_synced_to_its_end() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk)
    broker.publish(2)
    end, pauses = broker.log.end, 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1
        broker.publish(1, size=SEGMENT_BYTES)

    copy, report = back_up(disk.another(), pause)
    assert (report.end, report.synced, pauses) == (end, True, 1)
    assert view(restored(copy)) == broker.said_at(end)


def test_a_batch_that_is_being_written_is_waited_for() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk)
    broker.publish(2)
    broker.mark()
    half = broker.log.end + 100 - broker.log.places.places[-1].base
    broker.publish(1)
    file = disk.open("events.log")
    rest = file.read(half, file.size())
    file.truncate(half)

    def pause() -> None:
        file.write(half, rest)
        broker.publish(1)

    copy, _ = back_up(disk.another(), pause)
    assert list(view(restored(copy))) == [1, 2, 3]


def test_it_waits_until_what_was_there_is_known_to_be_synced() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk, syncs=False)
    broker.publish(3)
    copied_from = broker.log.fold.next_number
    events: list[Callable[[], None]] = [nothing_comes, broker.log.sync, broker.mark, broker.publish]
    copy, report = back_up(disk.another(), pause=lambda: events.pop(0)())  # noqa: PLW0108 - another one each time
    assert report.synced
    assert events == [broker.publish]
    assert max(view(restored(copy))) == copied_from - 1


def test_a_broker_that_does_not_sync_is_copied_as_it_is_written() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk, syncs=False)
    broker.publish(3)
    copy, report = back_up(disk.another())
    assert not report.synced
    assert report.end == broker.log.end
    assert view(restored(copy)) == view(broker.log)


def test_what_was_copied_forward_and_not_named_as_synced_yet_is_not_lost() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk)
    for _ in range(30):
        broker.publish(1)
    broker.write(*(Settled(number) for number in range(2, 25)))
    before = view(broker.log)
    broker.compact()
    assert broker.log.places.places[0].number > 0  # the home of event 1 is gone
    copy, report = back_up(disk.another())
    assert report.end == broker.log.end
    assert view(restored(copy)) == before


def test_a_stopped_broker_is_copied() -> None:
    disk, broker = busy()
    expected = view(broker.log)
    broker.log.close()
    copy, report = back_up(disk.another())
    assert report.synced
    assert view(restored(copy)) == expected


def test_a_crashed_broker_is_copied_as_a_start_would_find_it() -> None:
    for seed in range(30):
        disk, broker = busy()
        broker.syncs = False
        broker.publish(2)
        broker.publish(2)
        crashed = disk.crash(seeded(seed))
        copy, report = back_up(crashed.another())
        found = view(restored(copy))
        assert found == view(EventLog.open(crashed, now=NOW)) == broker.said_at(report.end)


def test_damage_of_the_original_is_told_and_nothing_is_left_behind() -> None:
    disk, broker = busy()
    broker.publish(2)
    broker.log.close()
    names = [name for name in disk.names() if name.endswith(".log")]
    assert len(names) > 3
    for name in names:
        again = disk.crash(seeded(0))
        file = again.open(name)
        at = file.size() - 60 if name == "events.log" else file.size() // 2
        file.write(at, bytes([file.read(at, 1)[0] ^ 1]))
        target = MemoryDisk()
        with pytest.raises(LogDamaged) as caught:
            backup(again.another(), target, pause=nothing_comes)
        assert caught.value.file == f"memory/{name}"
        assert caught.value.offset <= at
        assert files_of(target.another()) == {}


@pytest.mark.parametrize("what", [backup, restore])
def test_a_directory_with_something_in_it_is_left_alone(what: object) -> None:
    disk, _ = busy()
    copy, _ = back_up(disk.another())
    target = disk_with({"precious": b"x"})
    with pytest.raises(NotEmpty, match="memory is not empty, there is precious in it"):
        if what is backup:
            backup(disk.another(), target.another())
        else:
            restore(copy.another(), target.another(), now=NOW)
    assert files_of(target) == {"precious": b"x"}


def test_no_log_and_no_room_are_told_before_anything_is_written() -> None:
    disk, _ = busy()
    copy, _ = back_up(disk.another())
    with pytest.raises(NoLog, match="no log in memory: give the data directory"):
        back_up(MemoryDisk())
    with pytest.raises(NoLog, match="no log in memory: give a backup"):
        put_back(disk_with({"x": b""}))
    for work in (
        lambda small: backup(disk.another(), small),
        lambda small: restore(copy.another(), small, now=NOW),
    ):
        small = MemoryDisk(capacity=3000)
        with pytest.raises(NoRoom, match="memory has room for 3,000 bytes"):
            work(small)
        assert small.faults.writes == 0


def test_progress_comes_to_its_end() -> None:
    disk, _ = busy()
    told: dict[str, list[tuple[int, int]]] = {}

    def steps(what: str) -> Callable[[int, int], None]:
        calls = told.setdefault(what, [])
        return lambda done, total: calls.append((done, total))

    copy = MemoryDisk()
    backup(disk.another(), copy, steps=steps, pause=nothing_comes)
    restore(copy.another(), MemoryDisk(), now=NOW, steps=steps)
    assert list(told) == ["copying", "checking"]
    for calls in told.values():
        assert calls[0][0] == 0
        assert calls[-1][0] == calls[-1][1] > 0
        assert all(done <= total for done, total in calls)


def test_a_disk_that_fails_is_named() -> None:
    disk, _ = busy()
    full = MemoryDisk()
    full.faults.fail_write(3, error=errno.ENOSPC)
    with pytest.raises(WriteFailed, match=r"writing memory/events-.*no space left"):
        backup(disk.another(), full, pause=nothing_comes)
    broken = MemoryDisk()
    broken.faults.fail_sync(2)
    with pytest.raises(WriteFailed, match=r"writing memory/events-"):
        backup(disk.another(), broken, pause=nothing_comes)

    def gone(count: int) -> None:
        if count >= 9:
            raise OSError(errno.EIO, "input/output error")

    with pytest.raises(ReadFailed, match="input/output error"):
        back_up(Watched(disk, gone))
