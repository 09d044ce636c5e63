"""Opening a log that something happened to: what is dropped, what is refused, what is told."""

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.errors import FormatTooNew, LogDamaged, StorageError
from persistence.facts import Discarded, Enqueued, Fact, Settled
from persistence.log import EventLog
from persistence.manifest import Manifest
from persistence.memory_disk import MemoryDisk
from persistence.scan import End, scan
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE, SegmentHeader, encode_frame
from tests.persistence.samples import (
    KEY,
    NOW,
    append,
    disk_with,
    event,
    files_of,
    history,
    open_log,
    seeded,
    state_after,
    view,
    write,
)

LOG = "events.log"
MANIFEST = "events.manifest"


def written(*, synced: bool) -> tuple[dict[str, bytes], list[int]]:
    """The files of a log with the sample history, and the offset of each batch and of the end."""
    disk = MemoryDisk()
    log = open_log(disk)
    for batch in history():
        write(log, *batch)
        if synced:
            log.sync()
    files = files_of(disk.kill())
    starts = [frame.header.position for frame in scan(files[LOG])]
    return files, [*starts, len(files[LOG])]


def expected(batches: int) -> tuple[object, ...]:
    """The state after that many batches; the first one only says that the log was opened."""
    return state_after(history()[: max(0, batches - 1)])


def opening_fails(disk: MemoryDisk, error: type[StorageError]) -> StorageError:
    """Open a log that must be refused, and see that nothing was changed and the lock released."""
    before = files_of(disk)
    with pytest.raises(error) as caught:
        open_log(disk)
    assert files_of(disk) == before
    again = disk.another()
    again.lock()
    again.close()
    return caught.value


def test_a_log_cut_off_at_any_byte_recovers_the_whole_batches_before() -> None:
    files, starts = written(synced=True)
    for size in range(HEADER_SIZE, len(files[LOG]) + 1):
        disk = disk_with({**files, LOG: files[LOG][:size]})
        log = open_log(disk)
        whole = sum(1 for end in starts[1:] if end <= size)
        assert view(log.recovered) == expected(whole), size
        torn = size - starts[whole]
        assert len(log.repairs) == (1 if torn else 0)
        if torn:
            copy = f"events.log.torn-{starts[whole]}"
            assert files_of(disk)[copy] == files[LOG][starts[whole] : size]
            assert (
                f"cut {torn} bytes off memory/events.log at offset {starts[whole]}"
                in (log.repairs[0])
            )
            assert copy in log.repairs[0]


@pytest.mark.parametrize("size", range(0, HEADER_SIZE, 9))
def test_a_log_cut_off_inside_its_header_is_refused(size: int) -> None:
    files, _ = written(synced=True)
    error = opening_fails(disk_with({**files, LOG: files[LOG][:size]}), LogDamaged)
    assert f"memory/events.log is damaged at offset {size}" in str(error)


def test_a_flipped_bit_is_refused_before_a_synced_position_and_dropped_after_it() -> None:
    files, starts = written(synced=True)
    last = starts[-2]  # what the newest header names as synced; behind it nobody vouches
    for offset in range(len(files[LOG])):
        data = bytearray(files[LOG])
        data[offset] ^= 1 << offset % 8
        disk = disk_with({**files, LOG: bytes(data)})
        whole = sum(1 for end in starts[1:] if end <= offset)
        if offset < HEADER_SIZE:
            opening_fails(disk, StorageError)
        elif offset < last:
            error = opening_fails(disk, LogDamaged)
            assert isinstance(error, LogDamaged)
            assert (error.file, error.offset) == ("memory/events.log", starts[whole])
        else:
            log = open_log(disk)
            assert view(log.recovered) == expected(len(starts) - 2)
            assert len(log.repairs) == 1


def test_no_flipped_bit_ever_changes_a_fact() -> None:
    files, starts = written(synced=True)
    whole = [bytes(frame.body) for frame in scan(files[LOG])]
    for bit in range(HEADER_SIZE * 8, len(files[LOG]) * 8):
        data = bytearray(files[LOG])
        data[bit // 8] ^= 1 << bit % 8
        found = scan(data)
        bodies = [bytes(frame.body) for frame in found]
        assert bodies == whole[: len(bodies)]
        assert len(bodies) < len(whole)
        refused = bit // 8 < starts[-2]
        assert found.verdict.end is (End.DAMAGED if refused else End.TORN)


def test_a_closed_log_vouches_for_all_of_its_facts() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    append(log, Enqueued(event(1), NOW))
    end = log.end
    log.close()
    files = files_of(disk)
    for offset in range(HEADER_SIZE, end):
        data = bytearray(files[LOG])
        data[offset] ^= 0x10
        opening_fails(disk_with({**files, LOG: bytes(data)}), LogDamaged)


def test_without_syncs_damage_drops_all_that_follows() -> None:
    files, starts = written(synced=False)
    data = bytearray(files[LOG])
    data[starts[4] + 60] ^= 1
    log = open_log(disk_with({**files, LOG: bytes(data)}))
    assert view(log.recovered) == expected(4)
    assert log.repairs[0].startswith(f"cut {len(data) - starts[4]} bytes")


@given(st.integers(0, 2000), st.integers(0, 12))
def test_a_tail_of_zeros_is_cut_off(zeros: int, batches: int) -> None:
    files, starts = written(synced=True)
    kept = min(batches, len(starts) - 1)
    data = files[LOG][: starts[kept]] + bytes(zeros)
    log = open_log(disk_with({**files, LOG: data}))
    assert view(log.recovered) == expected(kept)
    assert len(log.repairs) == (1 if zeros else 0)
    assert not zeros or "nothing but zeros" in log.repairs[0]


def test_copies_of_torn_tails_never_replace_each_other() -> None:
    files, starts = written(synced=True)
    for tail in (b"one", b"two", b"three"):
        disk = disk_with({**files, LOG: files[LOG] + tail})
        open_log(disk)
        files = {**files_of(disk), LOG: files[LOG]}
    torn = f"events.log.torn-{starts[-1]}"
    assert files[torn] == b"one"
    assert files[f"{torn}.2"] == b"two"
    assert files[f"{torn}.3"] == b"three"


def test_a_log_goes_on_after_its_torn_tail_was_cut() -> None:
    files, _ = written(synced=True)
    disk = disk_with({**files, LOG: files[LOG] + b"torn"})
    log = open_log(disk)
    append(log, Enqueued(event(100), NOW))
    again = open_log(disk.crash(seeded(1)))
    assert again.repairs == []
    assert again.recovered.next_number == 101


def test_a_hostile_payload_cannot_plant_a_batch() -> None:
    stranger = SegmentHeader(0, 0, NOW, b"0123456789abcdef")
    disk = MemoryDisk()
    log = open_log(disk)
    at = log.end + FRAME_HEADER_SIZE + 44
    forged = encode_frame([], position=at, count=0, synced=at, time=NOW, salt=stranger.salt)
    write(log, Enqueued(event(1, bytes(forged), topic=""), NOW))
    files = files_of(disk.kill())
    assert files[LOG].find(forged) == at
    data = bytearray(files[LOG])
    data[at - 44] ^= 1
    again = open_log(disk_with({**files, LOG: bytes(data)}))
    assert again.recovered.waiting == []


def test_bytes_that_pass_their_checksum_and_make_no_sense_are_refused() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    stranger = event(9)
    at = log.end
    append(log, Settled(stranger))
    error = opening_fails(disk.kill(), LogDamaged)
    assert isinstance(error, LogDamaged)
    assert error.offset == at + FRAME_HEADER_SIZE
    assert "a fact about event 9, which is not there" in str(error)


def test_a_fact_that_cannot_follow_is_refused() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    one = event(1)
    append(log, Enqueued(one, NOW), Discarded(one))
    error = opening_fails(disk.kill(), LogDamaged)
    assert "Discarded of event 1 cannot follow" in str(error)


def test_a_wrong_number_of_facts_is_refused() -> None:
    files, starts = written(synced=True)
    salt = SegmentHeader(0, 0, NOW, KEY).salt
    frame = encode_frame([], position=starts[-1], count=2, synced=128, time=NOW, salt=salt)
    disk = disk_with({**files, LOG: files[LOG] + bytes(frame)})
    assert "a batch of 2 facts has 0" in str(opening_fails(disk, LogDamaged))


def test_a_segment_of_a_future_version_is_refused() -> None:
    files, _ = written(synced=True)
    data = bytearray(files[LOG])
    struct.pack_into("<H", data, 8, 2)
    error = opening_fails(disk_with({**files, LOG: bytes(data)}), FormatTooNew)
    assert "memory/events.log was written by a newer version (format version 2" in str(error)


def test_a_fact_of_a_future_kind_is_refused() -> None:
    files, starts = written(synced=True)
    salt = SegmentHeader(0, 0, NOW, KEY).salt
    fact = struct.pack("<BBIQq", 200, 0, 22, 1, -1)
    frame = encode_frame([fact], position=starts[-1], count=1, synced=128, time=NOW, salt=salt)
    disk = disk_with({**files, LOG: files[LOG] + bytes(frame)})
    assert "unknown kind of fact 200" in str(opening_fails(disk, FormatTooNew))


def test_a_lost_log_is_not_taken_for_a_new_start() -> None:
    files, _ = written(synced=True)
    error = opening_fails(disk_with({MANIFEST: files[MANIFEST]}), LogDamaged)
    assert "the file is missing although events.manifest says that there was a log" in str(error)
    opening_fails(disk_with({"events.log.torn-128": b"x"}), LogDamaged)


def test_a_log_of_another_directory_is_refused() -> None:
    files, _ = written(synced=True)
    other = Manifest(bytes(16), ((0, LOG),)).encode()
    error = opening_fails(disk_with({**files, MANIFEST: other}), LogDamaged)
    assert "belongs to another log" in str(error)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"\n", b"", LogDamaged),
        (b"event-broker manifest 1\n", b"", LogDamaged),
        (b"segment 0", b"segment 1", LogDamaged),
        (b"manifest 1", b"manifest 2", FormatTooNew),
    ],
)
def test_a_changed_manifest_is_refused(old: bytes, new: bytes, error: type[StorageError]) -> None:
    files, _ = written(synced=True)
    changed = files[MANIFEST].replace(old, new)
    opening_fails(disk_with({**files, MANIFEST: changed}), error)


def test_a_manifest_of_several_segments_is_of_a_newer_format() -> None:
    files, _ = written(synced=True)
    several = Manifest(KEY, ((0, "events-0.log"), (1, LOG))).encode()
    opening_fails(disk_with({**files, MANIFEST: several}), FormatTooNew)


def test_a_missing_manifest_is_written_again() -> None:
    files, _ = written(synced=True)
    disk = disk_with({LOG: files[LOG]})
    log = open_log(disk)
    assert view(log.recovered) == expected(len(history()) + 1)
    assert files_of(disk)[MANIFEST] == files[MANIFEST]


def test_own_temporaries_are_removed_and_foreign_files_left_alone() -> None:
    files, _ = written(synced=True)
    foreign = {"notes.txt": b"mine", "events.log.bak": b"too", "other.new": b"and this"}
    stale = {"events.log.new": b"x", "events.manifest.new": b"y", "events.log.torn-9.new": b"z"}
    disk = disk_with({**files, **foreign, **stale})
    open_log(disk)
    assert set(files_of(disk)) == {LOG, MANIFEST, *foreign}
    fresh = disk_with({**foreign, **stale})
    open_log(fresh)
    assert set(files_of(fresh)) == {LOG, MANIFEST, *foreign}


def test_a_million_zero_bytes_are_read_in_pieces() -> None:
    files, _ = written(synced=True)
    disk = disk_with({**files, LOG: files[LOG] + bytes(9_000_000)})
    [repair] = open_log(disk).repairs
    assert re.search(r"cut 9000000 bytes .*nothing but zeros", repair)


def test_recovered_payloads_are_those_that_were_accepted() -> None:
    files, _ = written(synced=True)
    log = open_log(disk_with(files))
    places = [*log.recovered.waiting, *(lease.entry for lease in log.recovered.leases)]
    places += [letter.entry for letter in log.recovered.dead]
    events = [entry.event for entry in places]
    assert log.read(events) == [b'{"n":%d}' % one.number for one in events]


def test_the_time_of_each_batch_is_kept_for_people() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW)
    facts: list[Fact] = [Enqueued(event(1), NOW)]
    log.write(log.prepare(facts, now=NOW + 5))
    assert [frame.header.time for frame in scan(files_of(disk)[LOG])] == [NOW, NOW + 5]
