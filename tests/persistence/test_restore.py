"""Putting a copy in place: all of it or nothing, and nothing handed out since counts again."""

import pytest

from persistence import restore as restoring
from persistence.backup import backup
from persistence.entry import Place, Stamp
from persistence.errors import LogDamaged, StorageError
from persistence.facts import Leased
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.restore import NotWhole, TooManyRestores, restore
from persistence.transfer import NoLog
from tests.persistence.busy import (
    Broker,
    back_up,
    busy,
    nothing_comes,
    put_back,
    restored,
    view,
)
from tests.persistence.samples import NOW, files_of, seeded


def test_damage_of_a_copy_is_told_and_nothing_is_restored() -> None:
    disk, _ = busy()
    copy, _ = back_up(disk.another())
    for name, data in files_of(copy).items():
        for at in (0, 8, 45, 90, len(data) // 2, len(data) - 1):
            bad = copy.crash(seeded(0))
            bad.open(name).write(at, bytes([data[at] ^ 0x10]))
            target = MemoryDisk()
            with pytest.raises(StorageError) as caught:
                restore(bad.another(), target, now=NOW)
            assert f"memory/{name}" in str(caught.value)
            assert target.names() == []


def test_a_copy_that_lost_bytes_or_files_is_not_whole() -> None:
    disk, _ = busy()
    copy, _ = back_up(disk.another())
    for name, data in files_of(copy).items():
        gone = copy.crash(seeded(0))
        gone.remove(name)
        with pytest.raises(StorageError):
            put_back(gone)
        for size in (len(data) - 1, len(data) - 48, len(data) // 2, 0):
            short = copy.crash(seeded(0))
            short.open(name).truncate(size)
            with pytest.raises(StorageError):
                put_back(short)


def test_an_unfinished_copy_is_neither_restored_nor_opened() -> None:
    disk, _ = busy()
    whole = MemoryDisk()
    backup(disk.another(), whole, pause=nothing_comes)
    total = whole.faults.operations
    assert total > 20
    for cut in range(1, total + 1):
        target = MemoryDisk()
        target.faults.cut_power(cut)
        with pytest.raises((StorageError, OSError)):
            backup(disk.another(), target, pause=nothing_comes)
        for left in (target.kill(), *(target.crash(seeded(seed)) for seed in range(3))):
            names = left.names()
            if "events.manifest" in names:  # all but the last sync was done
                assert len(view(restored(left))) > 0
                continue
            with pytest.raises((NotWhole, NoLog)):
                put_back(left)
            if any(name.endswith(".log") for name in names):
                with pytest.raises(LogDamaged):
                    EventLog.open(left.another(), now=NOW)


def test_a_finished_copy_outlives_a_power_cut() -> None:
    disk, broker = busy()
    broker.mark()
    copy, _ = back_up(disk.another())
    target, _ = put_back(copy)
    for seed in range(10):
        assert view(restored(copy.crash(seeded(seed)))) == view(broker.log)
        again = EventLog.open(target.crash(seeded(seed)), now=NOW)
        assert view(again) == view(broker.log)


def test_a_restore_that_is_cut_off_leaves_nothing_that_could_take_an_old_receipt() -> None:
    disk, broker = busy()
    copy, _ = back_up(disk.another())
    whole = MemoryDisk()
    boot = restore(copy.another(), whole, now=NOW).boot
    assert boot >= broker.log.boot + 2**16
    logs = 0
    for cut in range(1, whole.faults.operations + 1):
        target = MemoryDisk()
        target.faults.cut_power(cut)
        with pytest.raises((StorageError, OSError)):
            restore(copy.another(), target, now=NOW)
        for left in (target.kill(), *(target.crash(seeded(seed)) for seed in range(3))):
            try:
                log = EventLog.open(left, now=NOW)
            except LogDamaged:
                continue
            if log.key == broker.log.key:
                logs += 1
                assert log.boot > broker.log.boot + 2**16
            else:
                assert view(log) == {}  # there was nothing yet
    assert logs > 0


def test_what_the_original_handed_out_since_never_names_a_delivery_of_the_restored() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk)
    broker.publish(1)
    broker.mark()
    copy, _ = back_up(disk.another())
    broker.lease()  # the receipt of this delivery is out
    (taken,) = (known.stamp for known in view(broker.log).values())
    log = restored(copy)
    ((number, row),) = log.register.rows()
    assert row.place == Place.WAITING
    log.append([Leased(number, row.due, 0, Stamp(log.boot, row.delivery + 1), NOW + 9, 9)])
    (new,) = (known.stamp for known in view(log).values())
    assert new.delivery == taken.delivery
    assert new.boot > taken.boot + 2**16


def test_each_restore_takes_a_boot_number_of_its_own() -> None:
    disk, broker = busy()
    copy, _ = back_up(disk.another())
    asked: list[int] = []

    def random_below(limit: int) -> int:
        asked.append(limit)
        return limit - 1

    target, report = put_back(copy, random_below)
    assert report.boot == broker.log.boot + 2**16 + asked[0] - 1
    assert EventLog.open(target.another(), now=NOW).boot == report.boot + 1
    boots = {restore(copy.another(), MemoryDisk(), now=NOW).boot for _ in range(4)}
    assert len(boots) == 4


def test_a_copy_of_a_copy_can_be_restored_until_boot_numbers_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restoring, "_BOOTS_RANGE", 2**30)
    disk = MemoryDisk()
    broker = Broker.on(disk)
    broker.publish(2)
    expected = view(broker.log)
    copy, _ = back_up(disk.another())
    for _ in range(3):
        target, _ = put_back(copy, lambda limit: limit - 1)
        log = EventLog.open(target, now=NOW)
        assert view(log) == expected
        log.close()
        copy, _ = back_up(target.another())
    with pytest.raises(TooManyRestores):
        put_back(copy, lambda limit: limit - 1)


def test_what_was_restored_is_counted() -> None:
    disk = MemoryDisk()
    broker = Broker.on(disk)
    broker.publish(4)
    broker.lease()
    broker.bury()
    broker.lease()
    copy, made = back_up(disk.another())
    _, report = put_back(copy)
    assert (report.waiting, report.leased, report.dead) == (2, 1, 1)
    assert (report.size, report.segments, report.left_out) == (made.size, made.segments, 0)


def test_a_plain_copy_of_a_data_directory_is_restored_up_to_its_last_whole_batch() -> None:
    disk, broker = busy()
    expected = view(broker.log)
    broker.log.close()
    file = disk.open("events.log")
    file.write(file.size(), b"half a batch")
    target, report = put_back(disk)
    assert report.left_out == len(b"half a batch")
    assert view(EventLog.open(target.another(), now=NOW)) == expected
