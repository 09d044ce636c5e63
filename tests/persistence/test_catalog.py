"""Looking through a directory: what is the log's, and each kind of damage by its name and place."""

import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from persistence.catalog import Catalog, Problem
from persistence.errors import FormatTooNew, LogDamaged, ReadFailed
from persistence.memory_disk import MemoryDisk, MemoryFile
from persistence.names import ACTIVE_NAME, MANIFEST_NAME, RESERVE_NAME, SNAPSHOT_NAME, sealed_name
from persistence.segment import HEADER_SIZE
from persistence.survey import survey
from tests.persistence.directories import (
    SIZES,
    a_log,
    header,
    manifest_of,
    old_header,
    old_manifest,
    segment,
)
from tests.persistence.samples import KEY, disk_with, files_of

Files: TypeAlias = dict[str, bytes]
ZERO, ONE, TWO = sealed_name(0), sealed_name(1), sealed_name(2)
ENDS = (236, 1372, 1518, 1704)
OTHER_KEY = b"another log's  k"

RESTORE = "restore the file from a backup; nothing was changed"
RESTORE_ALL = "restore the whole directory from one backup; nothing was changed"
MOVE_AWAY = "move away the one that is not the log's; nothing was changed"
OR_BEGIN = (
    "restore it from a backup, or move all its files away to begin a new log; nothing was changed"
)


def look(files: Mapping[str, bytes]) -> Catalog:
    """Survey a directory, and see that this changed nothing."""
    disk = disk_with(files)
    disk.look()
    found = survey(disk)
    disk.close()
    assert files_of(disk) == files
    return found


def numbers(catalog: Catalog) -> list[int]:
    return [one.number for one in catalog.segments]


def problem(
    name: str, offset: int, detail: str, advice: str = RESTORE, *, newer: bool = False
) -> Problem:
    return Problem(f"memory/{name}", offset, detail, newer, advice)


# A directory without damage


def test_a_whole_directory_is_told_in_order() -> None:
    found = look(a_log())
    assert found.problems == ()
    assert found.leftovers == found.foreign == found.torn_copies == ()
    assert [(one.number, one.base, one.name, one.size) for one in found.segments] == [
        (0, 0, ZERO, SIZES[0]),
        (1, ENDS[0], ONE, SIZES[1]),
        (2, ENDS[1], TWO, SIZES[2]),
        (3, ENDS[2], ACTIVE_NAME, SIZES[3]),
    ]
    assert [one.end for one in found.segments] == list(ENDS)
    assert [one.sealed for one in found.segments] == [True, True, True, False]
    assert found.segments[2].header == header(2, ENDS[1])
    assert found.active is found.segments[3]
    assert (found.key, found.next_segment, found.end) == (KEY, 4, ENDS[3])
    assert found.manifest == found.listing() == manifest_of()


def test_a_new_directory_is_an_empty_catalog() -> None:
    found = look({"notes.txt": b"mine"})
    assert found == Catalog(b"", None, 0, (), (), (), ("notes.txt",), ())
    assert found.active is None
    assert found.end == 0


@pytest.mark.parametrize("deleted", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_segments_that_were_deleted_leave_gaps(deleted: set[int]) -> None:
    found = look(a_log(deleted=deleted))
    assert found.problems == ()
    assert numbers(found) == [number for number in range(4) if number not in deleted]
    assert found.next_segment == 4
    assert found.listing() == found.manifest


@pytest.mark.parametrize("manifest", [None, old_manifest()])
def test_a_log_of_release_0_1_0_is_taken_over(manifest: bytes | None) -> None:
    files = {ACTIVE_NAME: old_header() + b"batches"}
    if manifest is not None:
        files[MANIFEST_NAME] = manifest
    found = look(files)
    assert found.problems == ()
    assert found.active is not None
    assert (found.active.number, found.active.header.size, found.active.size) == (0, 128, 135)
    assert found.next_segment == 1
    assert found.listing() == manifest_of([135])


def test_a_log_whose_process_ended_before_its_first_manifest_is_whole() -> None:
    found = look({ACTIVE_NAME: segment(0, 0, HEADER_SIZE)})
    assert found.problems == ()
    assert (numbers(found), found.manifest, found.key) == ([0], None, KEY)


def test_a_lost_manifest_can_be_told_from_segments_that_are_all_there() -> None:
    files = a_log()
    del files[MANIFEST_NAME]
    found = look(files)
    assert found.problems == ()
    assert found.manifest is None
    assert found.listing() == manifest_of()


def test_each_file_is_the_log_s_own_a_leftover_or_foreign() -> None:
    worthless = {
        "events.log.new",
        "events.manifest.new",
        "events.reserve.new",
        "events-0000000002.log.new",
        "events.log.torn-9.new",
        "events-0000000001.log.torn-9.2.new",
    }
    foreign = {
        "events.log.bak",
        "events-1.log",
        "events-00000000001.log",
        "events-000000000x.log",
        "events.log.new.new",
        "other.new",
        "x.torn-9",
        ".new",
    }
    torn = {"events.log.torn-9", "events.log.torn-9.2", "events-0000000001.log.torn-0"}
    own = {RESERVE_NAME, SNAPSHOT_NAME}
    more = dict.fromkeys({*worthless, *foreign, *torn, *own}, b"x")
    found = look({**a_log(), **more})
    assert found.problems == ()
    assert set(found.leftovers) == worthless
    assert set(found.foreign) == foreign
    assert set(found.torn_copies) == torn


def test_numbers_that_were_used_are_not_used_again() -> None:
    manifest = attrs.evolve(manifest_of(), next_segment=9)
    found = look({**a_log(), MANIFEST_NAME: manifest.encode()})
    assert found.next_segment == 9
    assert found.listing() == manifest


# What a crash leaves


def test_a_deletion_that_was_cut_short_leaves_a_leftover() -> None:
    found = look({**a_log(), MANIFEST_NAME: a_log(deleted={0, 2})[MANIFEST_NAME]})
    assert found.problems == ()
    assert numbers(found) == [1, 3]
    assert found.leftovers == (ZERO, TWO)


def sealed_but_not_listed() -> Files:
    files = a_log()
    files[sealed_name(3)] = files.pop(ACTIVE_NAME)
    return files


def test_a_roll_that_was_cut_short_before_the_new_segment_leaves_no_active_one() -> None:
    found = look({**sealed_but_not_listed(), "events.log.new": header(4, ENDS[3]).encode()})
    assert found.problems == ()
    assert numbers(found) == [0, 1, 2, 3]
    assert found.active is None
    assert (found.end, found.next_segment) == (ENDS[3], 4)
    assert found.leftovers == ("events.log.new",)
    assert found.listing().begin(header(4, ENDS[3])) == manifest_of([*SIZES, HEADER_SIZE])


def test_a_roll_that_was_cut_short_before_the_manifest_leaves_an_empty_segment() -> None:
    found = look({**sealed_but_not_listed(), ACTIVE_NAME: segment(4, ENDS[3], HEADER_SIZE)})
    assert found.problems == ()
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert found.active is found.segments[4]
    assert found.next_segment == 5
    assert found.listing() == manifest_of([*SIZES, HEADER_SIZE])


def test_a_roll_of_a_log_of_release_0_1_0_may_be_cut_short_too() -> None:
    files = {sealed_name(0): old_header() + b"batches", MANIFEST_NAME: old_manifest()}
    assert look(files).problems == ()
    found = look({**files, ACTIVE_NAME: segment(1, 135, HEADER_SIZE)})
    assert found.problems == ()
    assert numbers(found) == [0, 1]


# Damage

Damage: TypeAlias = Callable[[Files], object]


def replace(name: str, data: bytes) -> Damage:
    return lambda files: files.update({name: data})


def remove(*names: str) -> Damage:
    return lambda files: [files.pop(name) for name in names]


def rename(old: str, new: str) -> Damage:
    return lambda files: files.update({new: files.pop(old)})


def copy(old: str, new: str) -> Damage:
    return lambda files: files.update({new: files[old]})


def change(name: str, at: int, data: bytes) -> Damage:
    return lambda files: files.update(
        {name: files[name][:at] + data + files[name][at + len(data) :]}
    )


def cut(name: str, size: int) -> Damage:
    return lambda files: files.update({name: files[name][:size]})


def lengthen(name: str, size: int) -> Damage:
    return lambda files: files.update({name: files[name] + bytes(size)})


def both(first: Damage, second: Damage) -> Damage:
    return lambda files: (first(files), second(files))


def no_manifest_and(damage: Damage) -> Damage:
    return both(remove(MANIFEST_NAME), damage)


def missing(name: str, number: int) -> Problem:
    detail = f"the file is missing although events.manifest says that there is a segment {number}"
    return problem(name, 0, detail, OR_BEGIN)


def untold(lack: str) -> Problem:
    detail = f"the file is missing, and {lack}: what belongs to the log cannot be told"
    return problem(MANIFEST_NAME, 0, detail, OR_BEGIN)


def lost(name: str) -> Problem:
    detail = f"the file is missing although {name} says that there was a log"
    return problem(ACTIVE_NAME, 0, detail, OR_BEGIN)


BROKEN = "the checksum of the segment's header is wrong"
ALL_SEALED = attrs.evolve(
    manifest_of([*SIZES, 0]), next_segment=4, segments=manifest_of([*SIZES, 0]).segments[:4]
)

DAMAGE: dict[str, tuple[Damage, list[Problem]]] = {
    "a sealed segment is missing": (remove(ONE), [missing(ONE, 1)]),
    "the active segment is missing": (remove(ACTIVE_NAME), [missing(ACTIVE_NAME, 3)]),
    "two segments are missing": (remove(ZERO, TWO), [missing(ZERO, 0), missing(TWO, 2)]),
    "all but the manifest is missing": (
        remove(ZERO, ONE, TWO, ACTIVE_NAME),
        [missing(ZERO, 0), missing(ONE, 1), missing(TWO, 2), missing(ACTIVE_NAME, 3)],
    ),
    "a segment that was being sealed is missing, and its name has a new owner": (
        replace(ACTIVE_NAME, segment(4, ENDS[3], HEADER_SIZE)),
        [missing(sealed_name(3), 3)],
    ),
    "a sealed segment is empty": (replace(ONE, b""), [problem(ONE, 0, "the file is empty")]),
    "the active segment is empty": (
        replace(ACTIVE_NAME, b""),
        [problem(ACTIVE_NAME, 0, "the file is empty")],
    ),
    "a header is cut short": (
        cut(ONE, 135),
        [problem(ONE, 135, "the segment's header is cut short")],
    ),
    "a header has changed": (change(TWO, 60, b"\xff"), [problem(TWO, 0, BROKEN)]),
    "a segment is no segment": (
        replace(ONE, b"PK\x03\x04 something else"),
        [problem(ONE, 0, "this is not a log segment")],
    ),
    "a segment is of a newer format": (
        change(TWO, 8, struct.pack("<H", 9)),
        [problem(TWO, 8, "format version 9", newer=True)],
    ),
    "a sealed segment is of another log": (
        replace(ONE, segment(1, ENDS[0], SIZES[1], OTHER_KEY)),
        [problem(ONE, 40, "it belongs to another log than events.manifest", MOVE_AWAY)],
    ),
    "the active segment is of another log": (
        replace(ACTIVE_NAME, segment(3, ENDS[2], SIZES[3], OTHER_KEY)),
        [problem(ACTIVE_NAME, 40, "it belongs to another log than events.manifest", MOVE_AWAY)],
    ),
    "the active segment is another log's first": (
        replace(ACTIVE_NAME, segment(0, 0, 500, OTHER_KEY)),
        [problem(ACTIVE_NAME, 40, "it belongs to another log than events.manifest", MOVE_AWAY)],
    ),
    "a segment of another log lies about": (
        replace(sealed_name(9), segment(9, 9999, 500, OTHER_KEY)),
        [problem(sealed_name(9), 40, "it belongs to another log than events.manifest", MOVE_AWAY)],
    ),
    "a segment was renamed to a number that was never used": (
        rename(ONE, sealed_name(9)),
        [
            problem(
                sealed_name(9),
                16,
                "it is segment 1 under the name of another",
                f"name it {ONE} again; nothing was changed",
            )
        ],
    ),
    "a segment lies in the place of another": (
        rename(ONE, TWO),
        [
            problem(
                TWO,
                16,
                "it is segment 1 under the name of another",
                f"name it {ONE} again; nothing was changed",
            )
        ],
    ),
    "a copy of a segment bears the number of another": (
        copy(ONE, sealed_name(9)),
        [problem(sealed_name(9), 16, "it is segment 1 under the name of another", MOVE_AWAY)],
    ),
    "a sealed segment lies in the place of the active one": (
        rename(TWO, ACTIVE_NAME),
        [
            problem(
                ACTIVE_NAME,
                16,
                "it is segment 2 under the name of another",
                f"name it {TWO} again; nothing was changed",
            )
        ],
    ),
    "a segment is there twice": (
        copy(ACTIVE_NAME, sealed_name(3)),
        [problem(sealed_name(3), 16, "segment 3 is in events.log as well", MOVE_AWAY)],
    ),
    "a sealed segment is cut short": (
        cut(ONE, SIZES[1] - 7),
        [problem(ONE, SIZES[1] - 7, "it is cut short: 7 bytes are missing")],
    ),
    "the last sealed segment is cut short to its header": (
        cut(TWO, HEADER_SIZE),
        [problem(TWO, HEADER_SIZE, "it is cut short: 10 bytes are missing")],
    ),
    "a sealed segment has grown": (
        lengthen(ONE, 9),
        [problem(ONE, SIZES[1], "9 bytes too many")],
    ),
    "a segment is in the place of one with its number": (
        replace(ONE, segment(1, 1000, SIZES[1])),
        [problem(ONE, 24, "it begins at log position 1000, and events.manifest says 236")],
    ),
    "the active segment is an older one": (
        both(
            replace(ACTIVE_NAME, segment(2, ENDS[1], 500)),
            both(remove(TWO), replace(MANIFEST_NAME, a_log(deleted={2})[MANIFEST_NAME])),
        ),
        [
            problem(
                ACTIVE_NAME,
                16,
                "events.manifest says that segment 2 has been deleted",
                RESTORE_ALL,
            )
        ],
    ),
    "the manifest is older than a segment with facts": (
        replace(MANIFEST_NAME, manifest_of(SIZES[:3]).encode()),
        [problem(ACTIVE_NAME, 16, "segment 3 is newer than events.manifest", RESTORE_ALL)],
    ),
    "the manifest is older than several segments": (
        replace(MANIFEST_NAME, manifest_of(SIZES[:2]).encode()),
        [
            problem(TWO, 16, "segment 2 is newer than events.manifest", RESTORE_ALL),
            problem(ACTIVE_NAME, 16, "segment 3 is newer than events.manifest", RESTORE_ALL),
        ],
    ),
    "a new segment is not the next one": (
        both(
            rename(ACTIVE_NAME, sealed_name(3)),
            replace(ACTIVE_NAME, segment(5, ENDS[3], HEADER_SIZE)),
        ),
        [problem(ACTIVE_NAME, 16, "segment 5 is newer than events.manifest", RESTORE_ALL)],
    ),
    "a new segment bears a sealed one's name": (
        replace(sealed_name(4), segment(4, ENDS[3], HEADER_SIZE)),
        [problem(sealed_name(4), 16, "segment 4 is newer than events.manifest", RESTORE_ALL)],
    ),
    "a segment that was just sealed is shorter than the next one knows": (
        both(
            both(rename(ACTIVE_NAME, sealed_name(3)), cut(sealed_name(3), 140)),
            replace(ACTIVE_NAME, segment(4, ENDS[3], HEADER_SIZE)),
        ),
        [problem(sealed_name(3), 140, f"it is cut short: {SIZES[3] - 140} bytes are missing")],
    ),
    "a segment with a neighbour deleted reaches into the next one": (
        both(
            replace(MANIFEST_NAME, a_log(deleted={1})[MANIFEST_NAME]),
            lengthen(ZERO, 5),
        ),
        [problem(ZERO, SIZES[0], "5 bytes too many")],
    ),
    "a new segment begins before the one before it": (
        both(
            rename(ACTIVE_NAME, sealed_name(3)),
            replace(ACTIVE_NAME, segment(4, 10, HEADER_SIZE)),
        ),
        [
            problem(
                ACTIVE_NAME,
                24,
                f"it begins at log position 10, and segment 3 ends at {ENDS[3]}",
            )
        ],
    ),
    "a new segment begins behind a gap": (
        both(
            both(
                rename(ACTIVE_NAME, sealed_name(3)),
                replace(ACTIVE_NAME, segment(4, ENDS[3] + 10, HEADER_SIZE)),
            ),
            replace(MANIFEST_NAME, ALL_SEALED.encode()),
        ),
        [
            problem(
                ACTIVE_NAME,
                24,
                f"it begins at log position {ENDS[3] + 10}, and segment 3 ends at {ENDS[3]}",
            )
        ],
    ),
    "the manifest is missing and a segment begins where the one before it does": (
        no_manifest_and(replace(ONE, segment(1, 0, SIZES[1]))),
        [problem(ONE, 24, "it begins at log position 0, and segment 0 ends at 236")],
    ),
    "the manifest is empty": (
        replace(MANIFEST_NAME, b""),
        [problem(MANIFEST_NAME, 0, "this is not a manifest")],
    ),
    "the manifest has changed": (
        change(MANIFEST_NAME, 30, b"!"),
        [problem(MANIFEST_NAME, 0, "the checksum is wrong")],
    ),
    "the manifest is of a newer format": (
        change(MANIFEST_NAME, 22, b"3"),
        [problem(MANIFEST_NAME, 22, "manifest version 3", newer=True)],
    ),
    "the manifest and the first segment are missing": (
        no_manifest_and(remove(ZERO)),
        [untold("segment 0 is not there either")],
    ),
    "the manifest and a segment are missing": (
        no_manifest_and(remove(TWO)),
        [untold("segment 2 is not there either")],
    ),
    "the manifest and the active segment are missing": (
        no_manifest_and(remove(ACTIVE_NAME)),
        [untold("the newest segment is not in events.log")],
    ),
    "the manifest and the true first segment are missing": (
        no_manifest_and(replace(ZERO, segment(0, 5, SIZES[0] - 5))),
        [untold("segment 0 begins at log position 5")],
    ),
    "the manifest is missing and a segment is cut short": (
        no_manifest_and(cut(ONE, 500)),
        [problem(ONE, 500, f"it is cut short: {SIZES[1] - 500} bytes are missing")],
    ),
    "the manifest is missing and a segment has changed": (
        no_manifest_and(change(ONE, 60, b"\xff")),
        [problem(ONE, 0, BROKEN)],
    ),
    "the manifest is missing and a segment is there twice": (
        no_manifest_and(copy(ACTIVE_NAME, sealed_name(3))),
        [problem(ACTIVE_NAME, 16, f"segment 3 is in {sealed_name(3)} as well", MOVE_AWAY)],
    ),
    "the manifest is missing and a segment is of another log": (
        no_manifest_and(replace(ONE, segment(1, ENDS[0], SIZES[1], OTHER_KEY))),
        [problem(ONE, 40, "it belongs to another log than events.log", MOVE_AWAY)],
    ),
    "nothing but a torn copy is there": (
        both(
            remove(ZERO, ONE, TWO, ACTIVE_NAME, MANIFEST_NAME),
            replace("events.log.torn-128", b"x"),
        ),
        [lost("events.log.torn-128")],
    ),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told(damage: Damage, expected: list[Problem]) -> None:
    files = a_log()
    damage(files)
    found = look(files)
    assert list(found.problems) == expected
    blamed = {one.file for one in found.problems}
    assert not blamed & {f"memory/{one.name}" for one in found.segments}


def test_a_problem_is_the_error_that_opening_ends_in() -> None:
    damaged = problem(ONE, 7, "it is gone", MOVE_AWAY).error()
    assert isinstance(damaged, LogDamaged)
    assert (damaged.file, damaged.offset) == (f"memory/{ONE}", 7)
    assert f"memory/{ONE} is damaged at offset 7 (it is gone): {MOVE_AWAY}" in str(damaged)
    newer = problem(ONE, 8, "format version 9", newer=True).error()
    assert isinstance(newer, FormatTooNew)
    assert "written by a newer version (format version 9 at offset 8)" in str(newer)


@st.composite
def accidents(draw: st.DrawFn) -> tuple[str, Damage]:
    """Something that happens to one sealed segment, and a name for it."""
    name = draw(st.sampled_from([ZERO, ONE, TWO]))
    size = len(a_log()[name])
    free = f"events-{draw(st.integers(4, 99)):010d}.log"
    other = draw(st.sampled_from([one for one in (ZERO, ONE, TWO, ACTIVE_NAME) if one != name]))
    return draw(
        st.sampled_from(
            [
                ("remove", remove(name)),
                ("cut", cut(name, draw(st.integers(0, size - 1)))),
                ("lengthen", lengthen(name, draw(st.integers(1, 2000)))),
                ("rename", rename(name, free)),
                ("rename over", rename(name, other)),
                ("copy", copy(name, free)),
                ("copy over", copy(other, name)),
                ("change", change(name, draw(st.integers(0, HEADER_SIZE - 1)), b"\x9e")),
            ]
        )
    )


@given(
    accidents(),
    st.sets(st.sampled_from([0, 1, 2]), max_size=2),
    st.booleans(),
)
def test_no_accident_to_a_sealed_segment_goes_unnoticed(
    accident: tuple[str, Damage], deleted: set[int], unlisted: bool
) -> None:
    files = a_log(deleted=deleted)
    before = dict(files)
    try:
        accident[1](files)
    except KeyError:
        return  # it has been deleted
    if unlisted:
        del files[MANIFEST_NAME]
        # Without a manifest nothing tells that there was a newer segment in this place.
        assume(files[ACTIVE_NAME] == before[ACTIVE_NAME])
    gone = {sealed_name(number) for number in deleted}
    if files.keys() - before.keys() <= gone and all(
        files.get(name) == before[name] for name in before
    ):
        return  # a copy where a deleted segment was
    assert look(files).problems


def test_a_disk_that_cannot_be_read_is_told() -> None:
    class Unreadable(MemoryDisk):
        def names(self) -> list[str]:
            raise OSError(5, "Input/output error")

    with pytest.raises(ReadFailed, match="reading memory/ failed"):
        survey(Unreadable())


# A directory in which another process works


class Busy(MemoryDisk):
    """A directory in which something happens after each step of who looks at it."""

    def __init__(self, files: Files, happenings: list[Damage]) -> None:
        super().__init__(machine=disk_with(files)._machine)
        self.happenings = happenings

    def names(self) -> list[str]:
        found = super().names()
        self.go_on()
        return found

    def open_to_read(self, name: str) -> MemoryFile:
        file = super().open_to_read(name)
        self.go_on()
        return file

    def go_on(self) -> None:
        if not self.happenings:
            return
        disk = self.another()
        before = files_of(disk)
        after = dict(before)
        self.happenings.pop(0)(after)
        for name in before.keys() - {name for name in after if after[name] == before.get(name)}:
            disk.remove(name)
        for name in after.keys() - set(disk.names()):
            disk.create(name).write(0, after[name])


def nothing(_files: Files) -> None:
    pass


WORK: list[Damage] = [
    both(
        rename(ACTIVE_NAME, sealed_name(3)), replace(ACTIVE_NAME, segment(4, ENDS[3], HEADER_SIZE))
    ),
    replace(MANIFEST_NAME, manifest_of([*SIZES, 0]).encode()),
    replace(ACTIVE_NAME, segment(4, ENDS[3], 500)),
    replace(MANIFEST_NAME, manifest_of([*SIZES, 0], deleted={1}).encode()),
    remove(ONE),
]
"""What a broker does when it rolls, writes and deletes."""


@pytest.mark.parametrize("apart", [1, 2, 3, 5])
@pytest.mark.parametrize("pause", range(14))
def test_a_running_broker_s_directory_is_told_as_it_was_at_one_moment(
    pause: int, apart: int
) -> None:
    happenings: list[Damage] = [nothing] * pause
    for one in WORK:
        happenings += [one, *[nothing] * (apart - 1)]
    found = survey(Busy(a_log(), happenings))
    assert found.problems == ()
    assert numbers(found) in ([0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 2, 3, 4])


def test_a_directory_that_never_rests_is_given_up() -> None:
    manifests = (attrs.evolve(manifest_of(), next_segment=number) for number in range(4, 300))
    happenings = [replace(MANIFEST_NAME, manifest.encode()) for manifest in manifests]
    with pytest.raises(ReadFailed, match="kept changing"):
        survey(Busy(a_log(), happenings))
