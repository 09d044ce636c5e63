"""Snapshots that are of no use, damaged, stale or of another log: that is told, and costs time."""

from contextlib import suppress
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.errors import LogDamaged
from persistence.facts import Settled
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.names import SNAPSHOT_NAME
from persistence.segment import FRAME_HEADER_SIZE
from persistence.snapshot_layout import (
    HEADER_SIZE,
    SECTION_SIZE,
    SnapshotUnusable,
    decode_header,
    decode_piece,
    decode_trailer,
)
from persistence.snapshot_writer import SnapshotWriter, newest_snapshot
from tests.persistence.samples import NOW, disk_with, enqueued, files_of
from tests.persistence.snapshots import (
    LOG,
    SMALL,
    House,
    finish,
    house_with_history,
    recovered,
    take_snapshot,
    view,
)

FILES = house_with_history().files()
SNAPSHOT = FILES[SNAPSHOT_NAME]
WHOLE = view(recovered(FILES, snapshots=False).fold)


def problem_with(files: dict[str, bytes]) -> str:
    """Why a snapshot is not used; the log is read all the same."""
    found = recovered(files, snapshots=True)
    if found.snapshot_problem:
        assert view(found.fold) == view(recovered(files, snapshots=False).fold)
    return found.snapshot_problem


def test_without_a_snapshot_there_is_nothing_to_say() -> None:
    files = {name: data for name, data in FILES.items() if name != SNAPSHOT_NAME}
    assert problem_with(files) == ""


def test_a_flipped_bit_in_any_byte_is_noticed() -> None:
    for offset in range(len(SNAPSHOT)):
        data = bytearray(SNAPSHOT)
        data[offset] ^= 1 << offset % 8
        found = recovered({**FILES, SNAPSHOT_NAME: bytes(data)}, snapshots=True)
        assert found.snapshot_problem, offset
        assert view(found.fold) == WHOLE


@given(
    st.integers(0, len(SNAPSHOT)),
    st.integers(0, len(SNAPSHOT)),
    st.binary(max_size=40) | st.sampled_from([b"", SNAPSHOT[128:300], bytes(8), b"\xff" * 8]),
)
def test_nothing_that_is_done_to_its_bytes_changes_the_result(
    start: int, end: int, bytes_between: bytes
) -> None:
    data = SNAPSHOT[:start] + bytes_between + SNAPSHOT[end:]
    found = recovered({**FILES, SNAPSHOT_NAME: data}, snapshots=True)
    assert (found.snapshot_problem == "") == (data == SNAPSHOT)
    assert view(found.fold) == WHOLE


@given(st.binary(max_size=200))
def test_sections_of_any_bytes_are_refused_or_read(data: bytes) -> None:
    for decode in (decode_header, decode_piece, decode_trailer):
        with suppress(SnapshotUnusable):
            decode(data)


def test_a_snapshot_cut_off_anywhere_is_refused() -> None:
    for size in range(len(SNAPSHOT)):
        assert problem_with({**FILES, SNAPSHOT_NAME: SNAPSHOT[:size]})
    assert "behind its end" in problem_with({**FILES, SNAPSHOT_NAME: SNAPSHOT + b"x"})


def changed_header(**fields: Any) -> dict[str, bytes]:
    """The snapshot with another header that is right in itself."""
    header = attrs.evolve(decode_header(SNAPSHOT), **fields)
    return {**FILES, SNAPSHOT_NAME: header.encode() + SNAPSHOT[HEADER_SIZE:]}


def test_a_snapshot_that_is_not_of_this_log_is_refused() -> None:
    other = House()
    other.append(enqueued(1))
    take_snapshot(other.log)
    theirs = other.files()[SNAPSHOT_NAME]
    assert problem_with({**FILES, SNAPSHOT_NAME: theirs}) == "it belongs to another log"
    key = decode_header(SNAPSHOT).key
    assert decode_header(theirs).key != key


def test_a_snapshot_of_another_history_of_this_log_is_refused() -> None:
    house = House()
    house.append(enqueued(1))
    before = house.files()
    house.append(enqueued(2))
    take_snapshot(house.log)
    snapshot = house.files()[SNAPSHOT_NAME]
    # From a backup, the log goes another way.
    disk = disk_with(before)
    log = EventLog.open(disk, now=NOW)
    assert problem_with({**files_of(disk), SNAPSHOT_NAME: snapshot}) == (
        "the log does not go so far"
    )
    for number in range(2, 20):
        log.append([enqueued(number, b"[]" * number)], now=NOW)
    log.write()
    log.close()
    found = {**files_of(disk), SNAPSHOT_NAME: snapshot}
    assert problem_with(found) == "the log has another history"


def test_a_later_format_is_not_used() -> None:
    data = bytearray(SNAPSHOT)
    data[8] = 2
    assert problem_with({**FILES, SNAPSHOT_NAME: bytes(data)}) == "a newer version wrote it"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"pieces": 1}, "it does not have all of its pieces"),
        ({"rows": 3}, "it does not have all of its rows"),
        ({"trailer_at": 1 << 60}, "it is cut short"),
        ({"end": 1 << 60}, "the log does not go so far"),
        ({"mark": bytes(48)}, "the log has another history"),
        ({"created": 7}, "the checksum of the section at offset"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(fields: dict[str, Any], problem: str) -> None:
    assert problem_with(changed_header()) == ""
    assert problem_with(changed_header(**fields)).startswith(problem)


def test_pieces_in_another_order_are_refused() -> None:
    first = SNAPSHOT[HEADER_SIZE:]
    size = SECTION_SIZE + int.from_bytes(first[8:16], "little")
    second = first[size:]
    other = SECTION_SIZE + int.from_bytes(second[8:16], "little")
    swapped = SNAPSHOT[:HEADER_SIZE] + second[:other] + first[:size] + second[other:]
    assert len(swapped) == len(SNAPSHOT)
    assert "no section" in problem_with({**FILES, SNAPSHOT_NAME: swapped})


def test_a_snapshot_is_not_used_without_the_segments_that_it_was_written_in() -> None:
    house = House(SMALL)
    house.append(*(enqueued(number) for number in (1, 2, 3)))
    house.roll()
    house.append(enqueued(4))
    writer = SnapshotWriter(house.log, rows_max=2)
    piece = writer.step(NOW)
    assert piece is not None
    writer.write(piece)
    house.append(Settled(4))
    house.roll()
    house.append(enqueued(5))
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
    finish(house.log, writer)
    house.fold()
    house.roll()
    house.drop()
    problem = problem_with(house.files())
    assert problem == "a segment that it needs has been deleted"


def test_a_snapshot_that_speaks_of_little_but_the_past_is_not_used() -> None:
    house = House(SMALL)
    house.append(*(enqueued(number) for number in range(1, 7)))
    house.roll()
    house.append(enqueued(7))
    take_snapshot(house.log)
    house.append(*map(Settled, range(1, 7)))
    house.roll()
    assert house.drop()[0] == 0
    assert problem_with(house.files()) == "most of what it speaks of has been deleted"


def test_damage_behind_a_snapshot_is_told_like_any_other() -> None:
    house = house_with_history()
    house.append(enqueued(8))
    position = house.log.next
    house.append(enqueued(9))
    house.commit()
    house.log.close()
    files = files_of(house.disk)
    data = bytearray(files[LOG])
    data[position + 60] ^= 1
    for snapshots in (False, True):
        with pytest.raises(LogDamaged) as caught:
            recovered({**files, LOG: bytes(data)}, snapshots=snapshots)
        assert caught.value.offset == position


def test_a_log_torn_before_its_snapshot_is_read_as_without() -> None:
    start, end = decode_header(SNAPSHOT).start, decode_header(SNAPSHOT).end
    assert start < end - FRAME_HEADER_SIZE
    for offset in range(start, end):
        data = bytearray(FILES[LOG])
        data[offset] ^= 1
        files = {**FILES, LOG: bytes(data)}
        assert problem_with(files), offset


def test_a_torn_tail_behind_a_snapshot_is_cut_off_and_the_snapshot_used() -> None:
    torn = disk_with({**FILES, LOG: FILES[LOG] + b"torn"})
    log = EventLog.open(torn, now=NOW)
    assert log.repairs[0].startswith("cut 4 bytes")
    assert SNAPSHOT_NAME in torn.names()


# At a start


def test_a_start_removes_a_snapshot_that_is_of_no_use_and_keeps_one_that_is() -> None:
    key = decode_header(SNAPSHOT).key
    disk = disk_with(FILES)
    EventLog.open(disk, now=NOW).close()
    assert newest_snapshot(disk, key) == decode_header(SNAPSHOT).end
    disk = disk_with({**FILES, SNAPSHOT_NAME: SNAPSHOT[:-1]})
    log = EventLog.open(disk, now=NOW)
    assert SNAPSHOT_NAME not in disk.names()
    assert newest_snapshot(disk, key) is None
    assert log.repairs == []
    log.close()


def test_a_disk_that_cannot_read_the_snapshot_reads_the_log() -> None:
    class Failing(MemoryDisk):
        def open_to_read(self, name: str) -> Any:
            if name == SNAPSHOT_NAME:
                raise PermissionError(13, "permission denied")
            return super().open_to_read(name)

    disk = Failing(machine=disk_with(FILES)._machine)
    log = EventLog.open(disk, now=NOW)
    assert len(log.register) == len(WHOLE["rows"])


def test_progress_is_told_up_to_the_end_and_never_goes_back() -> None:
    told: list[tuple[int, int]] = []
    recovered(FILES, snapshots=True, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    assert all(one[0] <= other[0] for one, other in pairwise(told))
    assert len({total for _, total in told}) == 1
