"""The contract of a disk, kept by the real one and by its twin in memory alike."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from persistence.disk import Disk, File, create_aside, create_whole, read_whole
from persistence.errors import DataDirectoryLocked
from persistence.memory_disk import MemoryDisk
from persistence.posix_disk import PosixDisk


@pytest.fixture(params=["posix", "memory"])
def views(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Disk]]:
    """Each call gives another process's view of one directory."""
    given: list[Disk] = []
    machine = MemoryDisk()

    def view() -> Disk:
        disk: Disk = PosixDisk(tmp_path / "data") if request.param == "posix" else machine.another()
        given.append(disk)
        return disk

    yield view
    for disk in given:
        disk.close()


@pytest.fixture
def disk(views: Callable[[], Disk]) -> Disk:
    found = views()
    found.lock()
    return found


def test_a_new_directory_is_empty_although_it_is_locked(disk: Disk) -> None:
    assert disk.names() == []


def test_what_is_written_is_read(disk: Disk) -> None:
    file = disk.create("a")
    file.write(0, b"hello")
    file.write(5, memoryview(b" world"))
    file.write(0, bytearray(b"H"))
    assert file.name == "a"
    assert file.size() == 11
    assert file.read(0, 11) == b"Hello world"
    assert file.read(6, 3) == b"wor"
    file.close()


def test_reading_beyond_the_end_gives_what_there_is(disk: Disk) -> None:
    file = disk.create("a")
    file.write(0, b"hello")
    assert file.read(3, 100) == b"lo"
    assert file.read(5, 1) == b""
    assert file.read(100, 1) == b""
    file.close()


def test_a_gap_reads_as_zeros(disk: Disk) -> None:
    file = disk.create("a")
    file.write(600, b"x")
    assert file.read(0, 601) == bytes(600) + b"x"
    file.close()


def test_a_file_can_be_cut_and_lengthened(disk: Disk) -> None:
    file = disk.create("a")
    file.write(0, b"hello")
    file.truncate(2)
    assert file.read(0, 10) == b"he"
    file.truncate(4)
    assert file.read(0, 10) == b"he\0\0"
    file.sync()
    file.close()


def test_files_are_listed_in_order(disk: Disk) -> None:
    for name in ("b", "c", "a"):
        disk.create(name).close()
    assert disk.names() == ["a", "b", "c"]


def test_a_name_is_created_once(disk: Disk) -> None:
    disk.create("a").close()
    with pytest.raises(FileExistsError):
        disk.create("a")
    with pytest.raises(FileExistsError):
        disk.create("lock")


def test_a_missing_file_is_not_opened_renamed_or_removed(disk: Disk) -> None:
    for open_it in (disk.open, disk.open_to_read):
        with pytest.raises(FileNotFoundError):
            open_it("a")
    with pytest.raises(FileNotFoundError):
        disk.rename("a", "b")
    with pytest.raises(FileNotFoundError):
        disk.remove("a")


def test_renaming_replaces(disk: Disk) -> None:
    for name in ("a", "b"):
        file = disk.create(name)
        file.write(0, name.encode())
        file.close()
    disk.rename("a", "b")
    assert disk.names() == ["b"]
    assert read_whole(disk, "b") == b"a"


def test_a_removed_file_stays_readable_for_who_has_it_open(disk: Disk) -> None:
    file = disk.create("a")
    file.write(0, b"still here")
    disk.remove("a")
    assert disk.names() == []
    assert file.read(0, 5) == b"still"
    file.close()


def test_a_closed_file_refuses(disk: Disk) -> None:
    file = disk.create("a")
    file.close()
    file.close()
    with pytest.raises(OSError, match=r".") as caught:
        file.write(0, b"x")
    assert caught.value.errno == errno.EBADF


def test_a_file_made_whole_leaves_no_temporary(disk: Disk) -> None:
    disk.create("a.new").close()  # from a process that ended on the way
    create_whole(disk, "a", [b"o", b"ne"])
    create_whole(disk, "a", [b"two"])
    assert disk.names() == ["a"]
    assert read_whole(disk, "a") == b"two"


def test_a_file_written_aside_has_not_got_its_name_yet(disk: Disk) -> None:
    create_whole(disk, "a", [b"old"])
    disk.create("a.new").close()
    file = create_aside(disk, "a", [b"n", b"ew"])
    assert disk.names() == ["a", "a.new"]
    assert read_whole(disk, "a") == b"old"
    assert (file.name, file.read(0, 9)) == ("a.new", b"new")
    file.write(3, b"er")
    disk.rename("a.new", "a")
    file.name = "a"
    assert read_whole(disk, "a") == b"newer"
    file.close()


def test_a_file_whose_pieces_fail_leaves_no_temporary(disk: Disk) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"o"
        raise RuntimeError("no more")

    create_whole(disk, "a", [b"old"])
    with pytest.raises(RuntimeError, match="no more"):
        create_whole(disk, "a", pieces())
    assert disk.names() == ["a"]
    assert read_whole(disk, "a") == b"old"


def refuses_to_change(file: File) -> None:
    attempts: list[Callable[[], None]] = [
        lambda: file.write(0, b"x"),
        lambda: file.truncate(0),
        lambda: file.truncate(100),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match=r"."):
            attempt()


def test_a_file_that_is_open_to_read_cannot_be_changed(disk: Disk) -> None:
    create_whole(disk, "a", [b"hello"])
    file = disk.open_to_read("a")
    refuses_to_change(file)
    assert (file.name, file.size(), file.read(1, 3)) == ("a", 5, b"ell")
    file.close()


def test_who_looks_sees_what_the_holder_of_the_lock_does_and_changes_nothing(
    views: Callable[[], Disk],
) -> None:
    holder, looker = views(), views()
    holder.lock()
    create_whole(holder, "a", [b"one"])
    looker.look()
    assert looker.names() == ["a"]
    file = looker.open_to_read("a")
    writer = holder.open("a")
    writer.write(3, b", two")
    writer.close()
    assert file.read(0, 100) == b"one, two"
    refuses_to_change(file)
    file.close()
    attempts: list[Callable[[], object]] = [
        lambda: looker.open("a"),
        lambda: looker.create("b"),
        lambda: looker.rename("a", "b"),
        lambda: looker.remove("a"),
        lambda: create_whole(looker, "a", [b"x"]),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match=r".") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS
    assert holder.names() == ["a"]


def test_who_looks_keeps_nobody_out_and_may_take_the_lock_later(
    views: Callable[[], Disk],
) -> None:
    holder, looker = views(), views()
    holder.lock()
    looker.look()
    looker.look()
    with pytest.raises(DataDirectoryLocked):
        looker.lock()
    looker.look()
    holder.close()
    looker.lock()
    looker.create("a").close()
    with pytest.raises(DataDirectoryLocked):
        holder.lock()
    looker.close()
    holder.lock()
    assert holder.names() == ["a"]


def test_a_file_is_read_by_several_threads_while_it_grows(disk: Disk) -> None:
    file = disk.create("a")
    file.write(0, bytes(range(256)) * 16)
    wrong: list[bytes] = []

    def read(offset: int) -> None:
        expected = bytes((offset + n) % 256 for n in range(100))
        for _ in range(300):
            data = file.read(offset, 100)
            if data != expected:
                wrong.append(data)

    threads = [Thread(target=read, args=(offset,)) for offset in (0, 77, 3000)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        file.write(file.size(), b"more" * 50)
    for thread in threads:
        thread.join()
    assert wrong == []
    assert file.size() == 4096 + 300 * 200
    file.close()


def test_only_one_can_hold_the_lock(views: Callable[[], Disk]) -> None:
    first, second = views(), views()
    first.lock()
    with pytest.raises(DataDirectoryLocked):
        second.lock()
    with pytest.raises(DataDirectoryLocked):
        first.lock()
    first.close()
    first.close()
    second.lock()
    with pytest.raises(DataDirectoryLocked):
        views().lock()


def test_who_did_not_get_the_lock_does_not_release_it(views: Callable[[], Disk]) -> None:
    first, second, third = views(), views(), views()
    first.lock()
    with pytest.raises(DataDirectoryLocked):
        second.lock()
    second.close()
    with pytest.raises(DataDirectoryLocked):
        third.lock()


def test_files_are_shared_between_processes(views: Callable[[], Disk]) -> None:
    first, second = views(), views()
    first.lock()
    file = first.create("a")
    file.write(0, b"x")
    file.close()
    first.close()
    second.lock()
    assert read_whole(second, "a") == b"x"
