"""The reserve holds real space, all of it or what was there before, and gives it back in time."""

import errno
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.disk import Disk, read_whole
from persistence.memory_disk import MemoryDisk
from persistence.names import RESERVE_NAME
from persistence.posix_disk import PosixDisk
from persistence.reserve import Reserve
from tests.persistence.samples import disk_with, files_of, seeded

KIB = 1024
MIB = 1024 * KIB
SIZE = 5 * MIB // 2


def filled(disk: Disk, size: int = SIZE) -> Reserve:
    reserve = Reserve(disk, size)
    assert reserve.fill()
    return reserve


def size_of(disk: Disk) -> int:
    return len(read_whole(disk, RESERVE_NAME))


def test_a_reserve_is_filled_with_bytes_that_take_space() -> None:
    disk = MemoryDisk()
    reserve = Reserve(disk, SIZE)
    assert (reserve.held, reserve.whole) == (0, False)
    assert disk.names() == []
    assert reserve.fill()
    assert (reserve.held, reserve.whole) == (SIZE, True)
    data = read_whole(disk, RESERVE_NAME)
    assert len(data) == SIZE
    assert len(zlib.compress(data[:MIB])) > MIB
    writes = disk.faults.writes
    assert writes == 3  # steps of 1 MiB
    assert reserve.fill()
    assert disk.faults.writes == writes
    reserve.close()
    reserve.close()


def test_a_filled_reserve_survives_a_power_cut_or_is_made_anew() -> None:
    disk = MemoryDisk()
    filled(disk)
    for seed in range(5):
        again = disk.crash(seeded(seed))
        reserve = Reserve(again, SIZE)
        assert reserve.held in (0, SIZE)
        assert reserve.fill()
        assert size_of(again) == SIZE


@given(st.integers(1, SIZE + MIB), st.integers(1, 3 * MIB))
def test_what_is_given_back_is_what_is_wanted_rounded_up_or_all_there_is(
    wanted: int, size: int
) -> None:
    disk = MemoryDisk()
    reserve = filled(disk, size)
    given_back = reserve.release(wanted)
    assert given_back == min(size, -(-wanted // (256 * KIB)) * 256 * KIB)
    assert reserve.held == size_of(disk) == size - given_back
    assert reserve.whole == (given_back == 0)


def test_a_reserve_is_used_up_piece_by_piece_and_filled_again() -> None:
    disk = MemoryDisk(capacity=SIZE + 100)
    reserve = filled(disk)
    log = disk.create("log")
    log.write(0, bytes(100))
    pieces = []
    while given_back := reserve.release(MIB):
        pieces.append(given_back)
        log.write(log.size(), bytes(given_back))
        assert not reserve.fill()
        assert disk.free() == 0
    assert pieces == [MIB, MIB, MIB // 2]
    assert reserve.release(1) == 0
    log.truncate(0)
    assert reserve.fill()
    assert size_of(disk) == SIZE


def test_nothing_wanted_is_nothing_given() -> None:
    reserve = filled(MemoryDisk())
    assert reserve.release(0) == 0
    assert Reserve(MemoryDisk(), SIZE).release(1) == 0
    assert reserve.whole


def test_what_was_given_back_is_on_disk() -> None:
    disk = MemoryDisk()
    reserve = filled(disk)
    disk.sync_directory()
    reserve.release(MIB)
    assert all(size_of(disk.crash(seeded(seed))) == SIZE - MIB for seed in range(10))


def test_a_disk_without_room_is_not_filled_up_first() -> None:
    disk = MemoryDisk(capacity=SIZE - 1)
    reserve = Reserve(disk, SIZE)
    assert not reserve.fill()
    assert disk.names() == []
    assert (reserve.held, reserve.whole) == (0, False)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("held", [0, 700 * KIB])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_fill_that_finds_no_room_gives_back_what_it_took(error: int, held: int, nth: int) -> None:
    disk = MemoryDisk()
    reserve = filled(disk, held)
    reserve.size = SIZE
    if nth == 3:
        disk.faults.fail_sync(error=error)  # where space is allotted late, it is missed late
    else:
        disk.faults.fail_write(nth, error=error, written=5000)
    assert not reserve.fill()
    assert reserve.held == held == size_of(disk)
    assert reserve.fill()
    assert size_of(disk) == SIZE


def test_a_file_that_cannot_be_created_for_lack_of_room_is_no_error() -> None:
    disk = MemoryDisk()
    disk.faults.fail_change(error=errno.ENOSPC)
    reserve = Reserve(disk, SIZE)
    assert not reserve.fill()
    assert reserve.fill()


def test_another_error_is_told() -> None:
    disk = MemoryDisk()
    reserve = Reserve(disk, SIZE)
    disk.faults.fail_write(2)
    with pytest.raises(OSError, match="Input/output error"):
        reserve.fill()
    assert not reserve.whole


@pytest.mark.parametrize("left", [0, 1, MIB, MIB + 5, SIZE - 1, SIZE])
def test_what_an_earlier_process_left_is_taken_over(left: int) -> None:
    disk = MemoryDisk()
    if left:
        filled(disk, left)
    else:
        disk.create(RESERVE_NAME).close()
    before = read_whole(disk, RESERVE_NAME)
    again = disk.kill()
    reserve = Reserve(again, SIZE)
    assert (reserve.held, reserve.whole) == (left, left == SIZE)
    assert reserve.fill()
    assert read_whole(again, RESERVE_NAME)[:left] == before
    assert size_of(again) == SIZE


def test_a_reserve_changes_nothing_before_it_is_filled_or_used() -> None:
    disk = MemoryDisk()
    filled(disk)
    before = files_of(disk)
    for size in (0, MIB, SIZE, 2 * SIZE):
        reserve = Reserve(disk, size)
        assert (reserve.held, reserve.whole) == (SIZE, size <= SIZE)
        assert files_of(disk) == before


def test_what_is_beyond_the_size_is_given_back() -> None:
    disk = MemoryDisk()
    filled(disk)
    reserve = Reserve(disk.kill(), MIB)
    assert reserve.fill()
    assert (reserve.held, reserve.whole) == (MIB, True)
    assert size_of(disk.another()) == MIB


def test_a_length_without_bytes_is_not_believed() -> None:
    disk = MemoryDisk()
    filled(disk)
    data = files_of(disk)[RESERVE_NAME]
    hollow = {RESERVE_NAME: data[:MIB] + bytes(SIZE - MIB)}
    reserve = Reserve(disk_with(hollow), SIZE)
    assert (reserve.held, reserve.whole) == (MIB, False)
    assert reserve.release(256 * KIB) == 256 * KIB
    disk = disk_with(hollow)
    filled(disk).close()
    assert files_of(disk)[RESERVE_NAME] == data


def test_no_reserve_is_no_file() -> None:
    disk = MemoryDisk()
    filled(disk)
    reserve = filled(disk, 0)
    assert disk.names() == []
    assert (reserve.held, reserve.whole) == (0, True)
    assert reserve.release(100) == 0
    reserve.size = MIB
    assert reserve.fill()
    assert size_of(disk) == MIB
    filled(disk, 0).close()
    assert filled(disk, 0).release(1) == 0


def test_a_reserve_that_is_no_longer_wanted_still_helps_in_need() -> None:
    disk = MemoryDisk()
    filled(disk)
    reserve = Reserve(disk, 0)
    assert reserve.release(MIB) == MIB
    assert reserve.fill()
    assert disk.names() == []


def test_a_real_file_holds_blocks(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    disk.lock()
    reserve = filled(disk, MIB)
    assert (tmp_path / RESERVE_NAME).stat().st_blocks * 512 >= MIB
    assert reserve.release(1) == 256 * KIB
    assert (tmp_path / RESERVE_NAME).stat().st_size == 768 * KIB
    reserve.close()
    disk.close()
