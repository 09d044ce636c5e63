"""The disk in memory forgets what a real one may forget, and only that."""

import errno
from collections.abc import Callable

import pytest

from persistence.errors import DataDirectoryUnusable
from persistence.faults import PowerCut
from persistence.memory_disk import MemoryDisk
from persistence.memory_file import SECTOR
from tests.persistence.samples import disk_with, files_of, seeded

SEEDS = range(200)


def outcomes(disk: MemoryDisk) -> list[dict[str, bytes]]:
    return [files_of(disk.crash(seeded(seed))) for seed in SEEDS]


def test_what_was_synced_survives_a_power_cut() -> None:
    disk = disk_with({"a": b"safe"})
    assert all(found == {"a": b"safe"} for found in outcomes(disk))


def test_a_kill_loses_nothing() -> None:
    disk = MemoryDisk()
    disk.create("a").write(0, b"not synced")
    assert files_of(disk.kill()) == {"a": b"not synced"}


def test_sectors_that_were_not_synced_are_kept_dropped_or_torn_one_by_one() -> None:
    disk = disk_with({"a": b"o" * (3 * SECTOR)})
    disk.open("a").write(0, b"n" * (3 * SECTOR))
    found = [outcome["a"] for outcome in outcomes(disk)]
    assert all(len(data) == 3 * SECTOR for data in found)
    middles = [data[SECTOR : 2 * SECTOR] for data in found]
    assert b"o" * SECTOR in middles
    assert b"n" * SECTOR in middles
    assert any(0 < middle.count(b"n") < SECTOR for middle in middles)
    assert any(data.startswith(b"o") and data.endswith(b"n") for data in found)


def test_a_file_may_grow_without_its_bytes() -> None:
    disk = disk_with({"a": b""})
    disk.open("a").write(0, b"n" * 2000)
    found = [outcome["a"] for outcome in outcomes(disk)]
    assert bytes(2000) in found
    assert b"" in found
    assert b"n" * 2000 in found
    assert any(0 < len(data) < 2000 for data in found)


def test_a_cut_that_was_not_synced_may_be_undone() -> None:
    disk = disk_with({"a": b"0123456789"})
    disk.open("a").truncate(4)
    assert {outcome["a"] for outcome in outcomes(disk)} == {b"0123456789", b"0123"}


def test_bytes_cut_off_do_not_come_back_after_a_sync() -> None:
    disk = disk_with({"a": b"x" * 2000})
    file = disk.open("a")
    file.truncate(100)
    file.write(1500, b"y")
    file.sync()
    assert outcomes(disk)[0]["a"] == b"x" * 100 + bytes(1400) + b"y"


@pytest.mark.parametrize(
    ("change", "possible"),
    [
        (lambda disk: disk.create("c"), [{"a", "b"}, {"a", "b", "c"}]),
        (lambda disk: disk.remove("a"), [{"a", "b"}, {"b"}]),
        (lambda disk: disk.rename("a", "c"), [{"a", "b"}, {"b", "c"}]),
    ],
)
def test_names_change_for_good_only_with_a_sync_of_the_directory(
    change: Callable[[MemoryDisk], object], possible: list[set[str]]
) -> None:
    disk = disk_with({"a": b"1", "b": b"2"})
    change(disk)
    found = [set(outcome) for outcome in outcomes(disk)]
    assert all(names in found for names in possible)
    assert all(names in possible for names in found)
    disk = disk_with({"a": b"1", "b": b"2"})
    change(disk)
    disk.sync_directory()
    assert all(set(outcome) == possible[1] for outcome in outcomes(disk))


def test_a_replaced_file_is_the_old_or_the_new_one() -> None:
    disk = disk_with({"a": b"old"})
    file = disk.create("a.new")
    file.write(0, b"new")
    file.sync()
    disk.rename("a.new", "a")
    assert {outcome["a"] for outcome in outcomes(disk)} == {b"old", b"new"}


def test_a_failed_sync_forgets_what_was_dirty_and_the_next_one_writes_nothing() -> None:
    disk = disk_with({"a": b"old"})
    file = disk.open("a")
    file.write(0, b"new")
    disk.faults.fail_sync()
    with pytest.raises(OSError, match=r".") as caught:
        file.sync()
    assert caught.value.errno == errno.EIO
    assert file.read(0, 3) == b"new"
    file.sync()
    assert all(outcome["a"] == b"old" for outcome in outcomes(disk))


def test_writing_again_makes_up_for_a_failed_sync() -> None:
    disk = disk_with({"a": b"old"})
    file = disk.open("a")
    file.write(0, b"new and longer")
    disk.faults.fail_sync()
    with pytest.raises(OSError, match=r"."):
        file.sync()
    file.write(0, file.read(0, file.size()))
    file.sync()
    assert all(outcome["a"] == b"new and longer" for outcome in outcomes(disk))


def test_planned_faults_hit_the_write_that_was_meant() -> None:
    disk = MemoryDisk()
    file = disk.create("a")
    disk.faults.fail_write(2, error=errno.ENOSPC, written=3)
    file.write(0, b"first")
    with pytest.raises(OSError, match=r".") as caught:
        file.write(5, b"second")
    assert caught.value.errno == errno.ENOSPC
    file.write(8, b"!")
    assert file.read(0, 20) == b"firstsec!"


def test_a_full_disk_takes_what_fits_and_says_so() -> None:
    disk = MemoryDisk(capacity=10)
    disk.create("a").write(0, b"1234")
    file = disk.create("b")
    with pytest.raises(OSError, match=r".") as caught:
        file.write(0, b"abcdefghij")
    assert caught.value.errno == errno.ENOSPC
    assert file.read(0, 20) == b"abcdef"
    file.write(0, b"ABC")
    disk.remove("a")
    file.write(6, b"ghij")
    assert file.size() == 10


def test_what_is_cut_off_or_removed_makes_room_and_overwriting_takes_none() -> None:
    disk = MemoryDisk(capacity=100)
    file, other = disk.create("a"), disk.create("b")
    file.write(0, b"x" * 100)
    assert disk.free() == 0
    file.write(10, b"y" * 90)
    with pytest.raises(OSError, match="No space left"):
        other.write(0, b"z")
    file.truncate(60)
    assert disk.free() == 40
    other.write(0, b"z" * 40)
    with pytest.raises(OSError, match="No space left"):
        file.write(50, b"y" * 11)
    assert file.read(50, 100) == b"y" * 10
    disk.remove("b")
    assert disk.free() == 40
    disk.capacity = 10
    assert disk.free() == 0
    file.write(0, b"y" * 60)


def test_a_quota_is_told_from_a_full_disk() -> None:
    disk = MemoryDisk(capacity=10)
    disk.faults.full = errno.EDQUOT
    with pytest.raises(OSError, match=r".") as caught:
        disk.create("a").write(0, bytes(11))
    assert caught.value.errno == errno.EDQUOT


def test_a_change_of_names_that_fails_changes_nothing() -> None:
    disk = disk_with({"a": b"1"})
    changes: list[Callable[[], object]] = [
        lambda: disk.create("b"),
        lambda: disk.rename("a", "b"),
        lambda: disk.remove("a"),
    ]
    for change in changes:
        disk.faults.fail_change(error=errno.ENOSPC)
        with pytest.raises(OSError, match="No space left"):
            change()
        assert files_of(disk) == {"a": b"1"}
    disk.faults.fail_change(2)
    disk.create("b")
    with pytest.raises(OSError, match="Input/output"):
        disk.remove("b")
    assert outcomes(disk)[0]["a"] == b"1"


@pytest.mark.parametrize("end", ["kill", "crash", "cut_power"])
def test_a_handle_from_before_refuses_for_ever(end: str) -> None:
    disk = MemoryDisk()
    disk.lock()
    file = disk.create("a")
    if end == "kill":
        after = disk.kill()
    elif end == "crash":
        after = disk.crash(seeded(0))
    else:
        disk.faults.cut_power()
        after = disk
    operations: list[Callable[[], object]] = [
        file.size,
        file.sync,
        lambda: file.read(0, 1),
        lambda: file.write(0, b"x"),
        lambda: file.truncate(0),
        disk.names,
        disk.sync_directory,
        lambda: disk.create("b"),
        lambda: disk.open("a"),
        lambda: disk.open_to_read("a"),
        lambda: disk.rename("a", "b"),
        lambda: disk.remove("a"),
    ]
    for operation in operations:
        with pytest.raises(PowerCut):
            operation()
    for attach in (disk.lock, disk.look):
        with pytest.raises(DataDirectoryUnusable):
            attach()
    file.close()
    disk.close()
    if after is not disk:
        after.lock()


def test_one_seed_gives_one_outcome() -> None:
    disk = disk_with({"a": b"o" * 5000})
    disk.open("a").write(100, b"n" * 9000)
    disk.create("b").write(0, b"x" * 700)
    assert outcomes(disk) == outcomes(disk)
