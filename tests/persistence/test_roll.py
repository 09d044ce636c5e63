"""A roll that is cut short at any operation, or refused at any: no segment is ever lost by it."""

import contextlib
import copy
import errno
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from persistence.disk import Disk, File, read_whole
from persistence.errors import ReadFailed, SyncFailed
from persistence.faults import PowerCut
from persistence.manifest import Manifest, write_manifest
from persistence.memory_disk import MemoryDisk
from persistence.names import ACTIVE_NAME, MANIFEST_NAME, sealed_name
from persistence.posix_disk import PosixDisk
from persistence.repair import remove_leftovers
from persistence.roll import begin, seal_and_begin
from persistence.segment import SegmentHeader, decode_header
from persistence.survey import survey
from tests.persistence.directories import a_log, header, manifest_of
from tests.persistence.samples import KEY, disk_with, files_of, seeded

SEEDS = range(24)
SIZES = (300, 400)
"""The log before the roll: a sealed segment, and the active one without what is not synced yet."""
TAIL = b"written and not synced" * 40
SEALED_SIZE = SIZES[1] + len(TAIL)
NEW = header(2, sum(SIZES) + len(TAIL))
SEALED = (a_log(SIZES)[sealed_name(0)], a_log(SIZES)[ACTIVE_NAME] + TAIL)


def a_disk() -> MemoryDisk:
    """A log that is about to roll: its newest bytes are written and not synced."""
    disk = disk_with(a_log(SIZES))
    file = disk.open(ACTIVE_NAME)
    file.write(SIZES[1], TAIL)
    file.close()
    return disk


def roll(disk: Disk) -> None:
    active = disk.open(ACTIVE_NAME)
    sealed = decode_header(active.read(0, 200))
    seal_and_begin(disk, active, sealed, NEW, manifest_of(SIZES))


def recover(disk: Disk) -> None:
    """Do what opening does about names; any step may be the last one of its process."""
    found = survey(disk)
    assert found.problems == ()
    remove_leftovers(disk, found.leftovers)
    if found.active is None:
        begin(disk, SegmentHeader(found.next_segment, found.end, 5, found.key), found.listing())
    elif found.listing() != found.manifest:
        write_manifest(disk, found.listing())


def contents(disk: Disk) -> list[bytes]:
    """What the log's segments hold, in order."""
    found = survey(disk)
    assert found.problems == ()
    return [read_whole(disk, one.name) for one in found.segments]


def check(disk: Disk) -> None:
    """See that the log is whole, and was either not rolled or rolled."""
    found = contents(disk)
    assert found[0] == SEALED[0]
    if len(found) == 2:
        # Nothing was promised about the tail, unless the segment is sealed.
        assert found[1].startswith(a_log(SIZES)[ACTIVE_NAME])
        assert found[1] == SEALED[1] or survey(disk).active is not None
    else:
        assert found[1] == SEALED[1]
        assert len(found) == 3
        assert len(found[2]) == NEW.size


def operations_of(work: Callable[[MemoryDisk], object]) -> int:
    disk = a_disk()
    before = disk.faults.operations
    work(disk)
    return disk.faults.operations - before


def test_a_roll_seals_the_active_segment_and_begins_the_next() -> None:
    disk = a_disk()
    active = disk.open(ACTIVE_NAME)
    sealed = decode_header(active.read(0, 200))
    rolled = seal_and_begin(disk, active, sealed, NEW, manifest_of(SIZES))
    assert active.name == sealed_name(1)
    assert active.read(SIZES[1], 7) == b"written"
    assert rolled.file.name == ACTIVE_NAME
    assert contents(disk) == [*SEALED, NEW.encode()]
    rolled.file.write(NEW.size, b"a batch")
    assert read_whole(disk, ACTIVE_NAME) == NEW.encode() + b"a batch"
    for seed in SEEDS:
        crashed = disk.crash(seeded(seed))
        assert contents(crashed)[:2] == [*SEALED]
        found = survey(crashed)
        assert found.manifest == found.listing() == rolled.manifest
        assert found.leftovers == ()


def test_a_log_rolls_in_a_real_directory(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    disk.lock()
    first = begin(disk, header(0, 0), Manifest(KEY, 0, ()))
    first.file.write(first.file.size(), TAIL)
    new = header(1, first.file.size())
    rolled = seal_and_begin(disk, first.file, header(0, 0), new, first.manifest)
    assert contents(disk) == [header(0, 0).encode() + TAIL, new.encode()]
    assert survey(disk).listing() == survey(disk).manifest == rolled.manifest
    assert disk.names() == [sealed_name(0), ACTIVE_NAME, MANIFEST_NAME]
    for file in (first.file, rolled.file, disk):
        file.close()


def test_a_power_cut_at_any_operation_of_a_roll_loses_nothing() -> None:
    for cut in range(1, operations_of(roll) + 1):
        disk = a_disk()
        disk.faults.cut_power(cut)
        with pytest.raises((PowerCut, SyncFailed)):
            roll(disk)
        for seed in SEEDS:
            check(disk.crash(seeded(seed)))
        check(disk.kill())


@pytest.mark.parametrize("end", ["power cut", "kill"])
def test_a_power_cut_at_any_operation_of_the_recovery_loses_nothing(end: str) -> None:
    for cut in range(1, operations_of(roll) + 1):
        first = a_disk()
        first.faults.cut_power(cut)
        with pytest.raises((PowerCut, SyncFailed)):
            roll(first)
        for seed in range(4):
            left = first.kill() if end == "kill" else first.crash(seeded(seed))
            again = 0
            while not recovers(disk := copy.deepcopy(left), again := again + 1):
                for last in range(6):
                    check(disk.crash(seeded(last)))
            # It did all that it had to do: the next one finds nothing to do.
            found = survey(disk.crash(seeded(again)))
            assert found.active is not None
            assert found.manifest == found.listing()


def recovers(disk: MemoryDisk, cut: int) -> bool:
    """Recover with a power cut at an operation; tell whether that came too late to matter."""
    disk.faults.cut_power(cut)
    try:
        recover(disk)
    except (PowerCut, ReadFailed):
        return False
    return True


def test_a_roll_that_finds_no_room_changes_nothing() -> None:
    room = sum(len(data) for data in files_of(a_disk()).values())
    manifest_size = len(manifest_of([*SIZES, 0]).encode())
    for more in range(0, NEW.size + manifest_size, 10):
        disk = a_disk()
        before = files_of(disk)
        disk.capacity = room + more
        with pytest.raises(OSError, match="No space left"):
            roll(disk)
        assert files_of(disk) == before
        disk.capacity = None
        roll(disk)
        assert contents(disk) == [*SEALED, NEW.encode()]


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])  # two files are created, three renamed
def test_a_roll_whose_names_are_refused_changes_nothing(nth: int) -> None:
    disk = a_disk()
    before = files_of(disk)
    active = disk.open(ACTIVE_NAME)
    sealed = decode_header(active.read(0, 200))
    disk.faults.fail_change(nth, error=errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        seal_and_begin(disk, active, sealed, NEW, manifest_of(SIZES))
    assert files_of(disk) == before
    assert active.name == ACTIVE_NAME
    active.write(SEALED_SIZE, b"it goes on")
    for seed in SEEDS:
        check(disk.crash(seeded(seed)))


def test_a_roll_whose_undoing_is_refused_has_failed_and_lost_nothing() -> None:
    disk = a_disk()
    disk.faults.fail_change(4)
    disk.faults.fail_change(5)
    with pytest.raises(SyncFailed):
        roll(disk)
    check(disk.kill())


@pytest.mark.parametrize("nth", [1, 4, 5, 6])  # of the active segment, and of the directory
def test_a_sync_that_fails_in_a_roll_is_final(nth: int) -> None:
    disk = a_disk()
    disk.faults.fail_sync(nth)
    with pytest.raises(SyncFailed, match=r"syncing memory/events\.log failed"):
        roll(disk)
    killed = disk.kill()
    check(killed)
    for seed in SEEDS:
        check(killed.crash(seeded(seed)))


@pytest.mark.parametrize("nth", [2, 3])
def test_a_sync_that_fails_of_a_file_that_is_not_the_log_s_yet_changes_nothing(nth: int) -> None:
    disk = a_disk()
    before = files_of(disk)
    disk.faults.fail_sync(nth)
    with pytest.raises(OSError, match="Input/output error"):
        roll(disk)
    assert files_of(disk) == before


def delete(disk: Disk) -> None:
    write_manifest(disk, manifest_of(SIZES, deleted={0}))
    disk.remove(sealed_name(0))


@pytest.mark.parametrize("end", ["power cut", "kill"])
def test_a_deletion_is_done_or_not_wherever_it_and_its_recovery_are_cut_off(end: str) -> None:
    for cut in range(1, operations_of(delete) + 2):
        first = a_disk()
        first.faults.cut_power(cut)
        with contextlib.suppress(PowerCut):
            delete(first)
        for seed in range(4):
            left = first.kill() if end == "kill" else first.crash(seeded(seed))
            again = 0
            while not recovers(disk := copy.deepcopy(left), again := again + 1):
                for last in range(6):
                    assert len(contents(disk.crash(seeded(last)))) in (1, 2)
            disk = disk.kill()  # a power cut was still planned
            names = {one.name for one in survey(disk).segments}
            assert set(disk.names()) == {MANIFEST_NAME, *names}


@attrs.define
class Life:
    """A log that rolls and deletes, and what it was promised."""

    disk: MemoryDisk
    manifest: Manifest = attrs.field(factory=lambda: Manifest(KEY, 0, ()))
    file: File | None = None
    kept: dict[int, bytes] = attrs.field(factory=dict)
    deleting: int = -1

    def begin(self) -> None:
        first = header(0, 0)
        begun = begin(self.disk, first, Manifest(b"", 0, ()))
        self.file, self.manifest = begun.file, begun.manifest
        self.kept[0] = first.encode()

    def fill(self) -> None:
        assert self.file is not None
        number = self.manifest.segments[-1].number
        data = bytes([number + 1]) * (100 * number + 600)
        self.file.write(self.file.size(), data)
        self.file.sync()
        self.kept[number] += data

    def roll(self) -> None:
        assert self.file is not None
        number = self.manifest.segments[-1].number
        sealed = decode_header(self.kept[number])
        new = header(number + 1, sealed.base + len(self.kept[number]))
        rolled = seal_and_begin(self.disk, self.file, sealed, new, self.manifest)
        self.file, self.manifest = rolled.file, rolled.manifest
        self.kept[new.number] = new.encode()

    def delete(self, number: int) -> None:
        self.deleting = number
        gone = self.manifest.segments[number]
        kept = tuple(one for one in self.manifest.segments if one is not gone)
        self.manifest = attrs.evolve(self.manifest, segments=kept)
        write_manifest(self.disk, self.manifest)
        self.disk.remove(gone.name)
        del self.kept[gone.number]
        self.deleting = -1

    def live(self) -> None:
        self.begin()
        self.fill()
        for deleted in (None, None, 1, 0, 1):
            self.roll()
            if deleted is not None:
                self.delete(deleted)
            self.fill()


def test_a_life_of_rolls_and_deletions_keeps_what_was_synced_wherever_it_is_cut_off() -> None:
    whole = Life(MemoryDisk())
    whole.live()
    assert sorted(whole.kept) == [2, 4, 5]
    for cut in range(1, whole.disk.faults.operations + 1):
        life = Life(MemoryDisk())
        life.disk.faults.cut_power(cut)
        with pytest.raises((PowerCut, SyncFailed)):
            life.live()
        deleting = list(life.kept)[life.deleting] if life.deleting >= 0 else None
        for seed in range(8):
            disk = life.disk.crash(seeded(seed))
            recover(disk)
            found = {one.number: read_whole(disk, one.name) for one in survey(disk).segments}
            assert found.keys() >= life.kept.keys() - {deleting}, (cut, seed)
            for number, data in life.kept.items():
                # Bytes behind what was synced may be there; a segment that is deleted is whole.
                assert found.get(number, data).startswith(data), (cut, seed, number)
            # Not one name is left of what was deleted, or never came to be.
            assert set(disk.names()) == {MANIFEST_NAME, *(s.name for s in survey(disk).segments)}


def test_headers_that_do_not_follow_each_other_are_refused_before_anything_is_done() -> None:
    disk = a_disk()
    before = files_of(disk)
    active = disk.open(ACTIVE_NAME)
    sealed = decode_header(active.read(0, 200))
    for new, manifest in (
        (header(2, NEW.base - 1), manifest_of(SIZES)),
        (header(1, NEW.base), manifest_of(SIZES)),
        (NEW, manifest_of(SIZES[:1])),
        (NEW, Manifest(KEY, 0, ())),
    ):
        with pytest.raises(ValueError, match="cannot follow"):
            seal_and_begin(disk, active, sealed, new, manifest)
    assert files_of(disk) == before


def test_a_segment_is_begun_only_where_there_is_none() -> None:
    disk = MemoryDisk()
    for new, manifest in (
        (header(1, 0), Manifest(KEY, 0, ())),
        (header(0, 5), Manifest(KEY, 0, ())),
        (NEW, manifest_of(SIZES)),
        (header(2, sum(SIZES)), manifest_of(SIZES)),
    ):
        with pytest.raises(ValueError, match="cannot follow"):
            begin(disk, new, manifest)
    assert files_of(disk) == {}


def test_a_file_that_has_the_sealed_name_is_not_replaced() -> None:
    disk = disk_with({**files_of(a_disk()), sealed_name(1): b"somebody's"})
    before = files_of(disk)
    with pytest.raises(FileExistsError):
        roll(disk)
    assert files_of(disk) == before
