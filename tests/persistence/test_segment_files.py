"""Any position of the log is read from the file in which it lies, whatever that is called now."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.errors import Undecodable
from persistence.memory_disk import MemoryDisk
from persistence.names import ACTIVE_NAME, sealed_name
from persistence.posix_disk import PosixDisk
from persistence.segment import HEADER_SIZE
from persistence.segment_files import (
    Place,
    SegmentFiles,
    SegmentGone,
    SegmentMap,
    Span,
    damage_in,
    header_of,
)
from tests.persistence.directories import a_log, header
from tests.persistence.samples import disk_with

SIZES = (1000, 20_000, 500, 3_000_000)
BASES = (0, 1000, 21_000, 21_500)


def content(number: int, size: int) -> bytes:
    """A segment's file in which any two places differ."""
    body = b"".join(b"%d/%07d " % (number, at) for at in range(size // 10))
    head = header(number, BASES[number]).encode()
    return head + body[: size - len(head)]


CONTENTS = [content(number, size) for number, size in enumerate(SIZES)]


def place(number: int, *, name: str | None = None) -> Place:
    active = number == len(SIZES) - 1
    usual = ACTIVE_NAME if active else sealed_name(number)
    end = None if active else BASES[number] + SIZES[number]
    return Place(number, BASES[number], name or usual, end)


def a_disk(*without: int) -> MemoryDisk:
    kept = [number for number in range(len(SIZES)) if number not in without]
    return disk_with({place(number).name: CONTENTS[number] for number in kept})


def a_map(*without: int) -> SegmentMap:
    return SegmentMap.of(place(number) for number in range(len(SIZES)) if number not in without)


def expected(span: Span) -> bytes:
    number = max(n for n, base in enumerate(BASES) if base <= span.position)
    at = span.position - BASES[number]
    return CONTENTS[number][at : at + span.size]


def operations(spans: list[Span]) -> int:
    """How often the disk is asked to read some spans, with all files open."""
    disk = a_disk()
    files = SegmentFiles(disk)
    for number in range(len(SIZES)):
        files.get(place(number))
    before = disk.faults.operations
    assert files.read(a_map(), spans) == [expected(span) for span in spans]
    return disk.faults.operations - before


# Where a position lies


def test_a_position_lies_in_the_segment_around_it() -> None:
    found = [a_map().at(position) for position in (0, 999, 1000, 21_499, 21_500, 99_000_000)]
    assert [one.number if one else None for one in found] == [0, 0, 1, 2, 3, 3]


def test_a_position_whose_segment_was_dropped_lies_nowhere() -> None:
    places = a_map(0, 2)
    assert [places.at(position) for position in (0, 999, 21_000, 21_499)] == [None] * 4
    assert [places.find(number) for number in (0, 1)] == [None, place(1)]


def test_where_an_end_is_not_known_a_segment_goes_on_to_the_next() -> None:
    places = SegmentMap.of([place(0)._replace(end=None), place(3)])
    assert places.at(1500) == place(0)._replace(end=None)


# Reading


in_segments = st.integers(0, len(SIZES) - 1).flatmap(
    lambda number: st.builds(
        lambda at, size: Span(BASES[number] + at, min(size, SIZES[number] - at)),
        st.integers(0, min(SIZES[number], 30_000) - 1),
        st.integers(0, 5000),
    )
)


@given(st.lists(in_segments, max_size=20))
def test_spans_are_read_in_the_order_asked_for(spans: list[Span]) -> None:
    assert SegmentFiles(a_disk()).read(a_map(), spans) == [expected(span) for span in spans]


@pytest.mark.parametrize(
    ("spans", "reads"),
    [
        ([], 0),
        ([Span(300, 10), Span(200, 10), Span(300, 10)], 1),
        ([Span(2000, 10), Span(2010 + 4096, 10)], 1),
        ([Span(2000, 10), Span(2010 + 4097, 10)], 2),  # too far apart
        ([Span(2000, 10), Span(900, 10)], 2),  # in two segments
        ([Span(30_000 + at, 1000) for at in range(0, 1_048_576, 1024)], 1),
        ([Span(30_000 + at, 1000) for at in range(0, 1_049_600, 1024)], 2),  # too much
        ([Span(30_000, 2_000_000)], 1),
        ([Span(30_000, 2_000_000), Span(40_000, 10)], 1),
    ],
)
def test_neighbours_are_read_in_one_go(spans: list[Span], reads: int) -> None:
    assert operations(spans) == reads


def test_neighbours_on_both_sides_of_a_gap_are_read_apart() -> None:
    spans = [Span(20_990, 10), Span(21_500, 10)]
    assert SegmentFiles(a_disk(2)).read(a_map(2), spans) == [expected(span) for span in spans]


def test_what_is_empty_may_be_nowhere() -> None:
    spans = [Span(0, 0), Span(21_400, 0), Span(1500, 7)]
    disk = a_disk(0, 2)
    assert SegmentFiles(disk).read(a_map(0, 2), spans) == [b"", b"", expected(spans[2])]


@pytest.mark.parametrize("position", [0, 999, 21_000])
def test_what_lies_in_a_dropped_segment_is_gone(position: int) -> None:
    files = SegmentFiles(a_disk(0, 2))
    near = Span(20_999, 1)
    for spans in ([Span(position, 5)], [near, Span(position, 5)]):
        with pytest.raises(SegmentGone):
            files.read(a_map(0, 2), spans)


def test_a_file_that_went_away_meanwhile_is_gone() -> None:
    files = SegmentFiles(a_disk(1))
    with pytest.raises(SegmentGone):
        files.read(a_map(), [Span(1500, 5)])


def test_a_file_that_is_shorter_than_it_was_is_told_with_the_position() -> None:
    disk = a_disk()
    disk.open(sealed_name(1)).truncate(700)
    files = SegmentFiles(disk)
    assert files.read(a_map(), [Span(1690, 10)]) == [expected(Span(1690, 10))]
    with pytest.raises(Undecodable) as caught:
        files.read(a_map(), [Span(1690, 20)])
    assert caught.value.position == 1700


# Which file


def test_a_segment_that_is_sealed_meanwhile_is_found_under_its_other_name() -> None:
    disk = a_disk(3)
    # The map was made when segment 2 was the active one; now a new one has that name.
    stale = SegmentMap.of([place(1), place(2, name=ACTIVE_NAME)._replace(end=None)])
    span = Span(21_200, 9)
    assert SegmentFiles(disk).read(stale, [span]) == [expected(span)]
    assert SegmentFiles(a_disk()).read(stale, [span]) == [expected(span)]


def test_a_name_that_belongs_to_another_segment_is_not_read() -> None:
    disk = a_disk(2)
    with pytest.raises(SegmentGone):
        SegmentFiles(disk).read(a_map(), [Span(21_200, 9)])
    stale = SegmentMap.of([place(2, name=ACTIVE_NAME)])
    with pytest.raises(SegmentGone):
        SegmentFiles(disk).read(stale, [Span(21_200, 9)])


def test_an_open_file_is_read_until_it_is_forgotten() -> None:
    disk = a_disk()
    files = SegmentFiles(disk)
    span = Span(1500, 5)
    files.read(a_map(), [span])
    disk.remove(sealed_name(1))
    assert files.read(a_map(), [span]) == [expected(span)]
    files.forget(1)
    files.forget(1)
    with pytest.raises(SegmentGone):
        files.read(a_map(), [span])


def test_a_damaged_header_is_told_with_its_position() -> None:
    disk = a_disk()
    disk.open(sealed_name(1)).write(30, b"?")
    with pytest.raises(Undecodable, match="checksum of the segment's header") as caught:
        SegmentFiles(disk).read(a_map(), [Span(1500, 5)])
    assert caught.value.position == 1000
    assert header_of(disk.open(sealed_name(2)), place(2)) == header(2, BASES[2])


def test_only_so_many_files_are_open_at_a_time(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    sizes = [HEADER_SIZE + 10] * 80
    for name, data in a_log(sizes).items():
        (tmp_path / name).write_bytes(data)
    disk = PosixDisk(tmp_path)
    disk.look()
    places = SegmentMap.of(
        Place(number, number * sizes[0], sealed_name(number), (number + 1) * sizes[0])
        for number in range(79)
    )
    files = SegmentFiles(disk)
    before = count()
    spans = [Span(one.base + HEADER_SIZE, 1) for one in places.places]
    for _ in range(2):
        assert files.read(places, spans) == [bytes([number + 1]) for number in range(79)]
    assert count() == before + 64
    files.close()
    assert count() == before
    disk.close()


# Where something makes no sense


@pytest.mark.parametrize(
    ("position", "file", "offset"),
    [
        (1700, f"memory/{sealed_name(1)}", 700),
        (21_510, f"memory/{ACTIVE_NAME}", 10),
        (500, "memory", 500),  # its segment has been dropped
    ],
)
def test_damage_is_named_by_file_and_offset(position: int, file: str, offset: int) -> None:
    damage = damage_in(MemoryDisk(), a_map(0), Undecodable(position, "nonsense"))
    assert (damage.file, damage.offset, damage.detail) == (file, offset, "nonsense")
