"""Opening a log that something happened to: what is dropped, what is refused, what is told."""

import re
import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.entry import Stamp
from persistence.errors import FormatTooNew, LogDamaged, StorageError
from persistence.facts import Dead, Discarded, Enqueued, Fact, Leased, Lost, Settled
from persistence.log import EventLog, LogOptions
from persistence.manifest import Manifest, ManifestSegment
from persistence.memory_disk import MemoryDisk
from persistence.names import sealed_name
from persistence.scan import End, scan
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE, SegmentHeader, encode_frame
from tests.persistence.logs import (
    LOG,
    Told,
    commit,
    everything,
    let_go,
    open_log,
    payloads,
    state_after,
    told,
    write,
)
from tests.persistence.samples import (
    KEY,
    NOW,
    bytes_of,
    disk_with,
    enqueued,
    files_of,
    history,
    seeded,
)

MANIFEST = "events.manifest"
SALT = SegmentHeader(0, 0, NOW, KEY).salt
STATES = [state_after(history()[:count]) for count in range(len(history()) + 1)]


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


def rolled() -> dict[str, bytes]:
    """The files of the same log in several segments."""
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=700)
    for batch in history():
        commit(log, *batch)
    return files_of(disk.kill())


def expected(batches: int) -> Told:
    """The state after that many batches; the first one only says that the log was opened."""
    return STATES[max(0, batches - 1)]


def appended(files: dict[str, bytes], *facts: bytes, count: int | None = None) -> MemoryDisk:
    """A log in one segment, with another batch behind its end."""
    frame = encode_frame(
        list(facts),
        position=len(files[LOG]),
        count=len(facts) if count is None else count,
        synced=HEADER_SIZE,
        time=NOW,
        salt=SALT,
    )
    return disk_with({**files, LOG: files[LOG] + bytes(frame)})


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


# Tails that nobody was promised


def test_a_log_cut_off_at_any_byte_recovers_the_whole_batches_before() -> None:
    files, starts = written(synced=True)
    for size in range(HEADER_SIZE, len(files[LOG]) + 1):
        disk = disk_with({**files, LOG: files[LOG][:size]})
        log = open_log(disk)
        whole = sum(1 for end in starts[1:] if end <= size)
        assert told(log.fold) == expected(whole), size
        torn = size - starts[whole]
        assert len(log.repairs) == (1 if torn else 0)
        if torn:
            copy = f"events.log.torn-{starts[whole]}"
            assert files_of(disk)[copy] == files[LOG][starts[whole] : size]
            text = f"cut {torn} bytes off memory/events.log at offset {starts[whole]}"
            assert text in log.repairs[0]
            assert copy in log.repairs[0]


def test_without_syncs_damage_drops_all_that_follows() -> None:
    files, starts = written(synced=False)
    data = bytearray(files[LOG])
    data[starts[4] + 60] ^= 1
    log = open_log(disk_with({**files, LOG: bytes(data)}))
    assert told(log.fold) == expected(4)
    assert log.repairs[0].startswith(f"cut {len(data) - starts[4]} bytes")


@given(st.integers(0, 2000), st.integers(0, 12))
def test_a_tail_of_zeros_is_cut_off(zeros: int, batches: int) -> None:
    files, starts = written(synced=True)
    kept = min(batches, len(starts) - 1)
    data = files[LOG][: starts[kept]] + bytes(zeros)
    log = open_log(disk_with({**files, LOG: data}))
    assert told(log.fold) == expected(kept)
    assert len(log.repairs) == (1 if zeros else 0)
    assert not zeros or "nothing but zeros" in log.repairs[0]


def test_a_million_zero_bytes_are_read_in_pieces() -> None:
    files, _ = written(synced=True)
    disk = disk_with({**files, LOG: files[LOG] + bytes(9_000_000)})
    [repair] = open_log(disk).repairs
    assert re.search(r"cut 9000000 bytes .*nothing but zeros", repair)


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
    commit(log, enqueued(100))
    again = open_log(disk.crash(seeded(1)))
    assert again.repairs == []
    assert again.fold.next_number == 101


def test_a_torn_tail_behind_sealed_segments_is_cut_off() -> None:
    files = rolled()
    disk = disk_with({**files, LOG: files[LOG] + b"torn"})
    log = open_log(disk)
    assert told(log.fold) == STATES[-1]
    [repair] = log.repairs
    assert repair.startswith(f"cut 4 bytes off memory/events.log at offset {len(files[LOG])}")


# Damage


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
            assert told(log.fold) == expected(len(starts) - 2)
            assert len(log.repairs) == 1


def test_no_flipped_bit_ever_changes_a_fact() -> None:
    files, starts = written(synced=True)
    whole = [bytes(frame.body) for frame in scan(files[LOG])]
    for offset in range(HEADER_SIZE, len(files[LOG])):
        for bit in (offset % 8, (offset + 3) % 8):
            data = bytearray(files[LOG])
            data[offset] ^= 1 << bit
            found = scan(data)
            bodies = [bytes(frame.body) for frame in found]
            assert bodies == whole[: len(bodies)]
            assert len(bodies) < len(whole)
            assert found.verdict.end is (End.DAMAGED if offset < starts[-2] else End.TORN)


def test_a_flipped_bit_anywhere_in_a_sealed_segment_is_refused() -> None:
    files = rolled()
    name = sealed_name(1)
    starts = [frame.header.position for frame in scan(files[name])]
    base = starts[0] - HEADER_SIZE
    for offset in range(0, len(files[name]), 3):
        data = bytearray(files[name])
        data[offset] ^= 1 << offset % 8
        disk = disk_with({**files, name: bytes(data)})
        error = opening_fails(disk, StorageError)
        if offset >= HEADER_SIZE:
            assert isinstance(error, LogDamaged)
            place = max(start for start in starts if start - base <= offset) - base
            assert (error.file, error.offset) == (f"memory/{name}", place)


def test_a_sealed_segment_is_never_taken_for_torn() -> None:
    files = rolled()
    name = sealed_name(2)
    for data in (files[name][:-1], files[name] + b"\0"):
        error = opening_fails(disk_with({**files, name: data}), LogDamaged)
        assert isinstance(error, LogDamaged)
        assert error.file == f"memory/{name}"


def test_a_closed_log_vouches_for_all_of_its_facts() -> None:
    disk = MemoryDisk()
    log = open_log(disk)
    commit(log, enqueued(1))
    end = log.end
    log.close()
    files = files_of(disk.another())
    for offset in range(HEADER_SIZE, end):
        data = bytearray(files[LOG])
        data[offset] ^= 0x10
        opening_fails(disk_with({**files, LOG: bytes(data)}), LogDamaged)


def test_a_hostile_payload_cannot_plant_a_batch() -> None:
    stranger = SegmentHeader(0, 0, NOW, b"0123456789abcdef")
    disk = MemoryDisk()
    log = open_log(disk)
    at = log.end + FRAME_HEADER_SIZE + 44
    forged = encode_frame([], position=at, count=0, synced=at, time=NOW, salt=stranger.salt)
    write(log, enqueued(1, bytes(forged), topic=""))
    files = files_of(disk.kill())
    assert files[LOG].find(forged) == at
    data = bytearray(files[LOG])
    data[at - 44] ^= 1
    again = open_log(disk_with({**files, LOG: bytes(data)}))
    assert len(again.register) == 0


# Bytes that pass their checksums


@pytest.mark.parametrize(
    ("facts", "wrong", "detail"),
    [
        ([Settled(90)], 0, "Settled of event 90 cannot follow"),
        ([enqueued(9), Discarded(9)], 1, "Discarded of event 9 cannot follow"),
        ([enqueued(3)], 0, "Enqueued of event 3 cannot follow"),
        ([attrs.evolve(enqueued(9), copied=True)], 0, "Enqueued of event 9 cannot follow"),
        ([Leased(3, 0, 0, Stamp(1, 9), 0, 0)], 0, "Leased of event 3 cannot follow"),
    ],
)
def test_a_fact_that_cannot_follow_is_refused(facts: list[Fact], wrong: int, detail: str) -> None:
    files, starts = written(synced=True)
    data = list(map(bytes_of, facts))
    error = opening_fails(appended(files, *data), LogDamaged)
    assert isinstance(error, LogDamaged)
    assert detail in str(error)
    assert error.offset == starts[-1] + FRAME_HEADER_SIZE + len(b"".join(data[:wrong]))


def test_behind_lost_facts_some_may_follow_on_what_was_lost() -> None:
    files, _ = written(synced=True)
    facts: list[Fact] = [Lost(40), Settled(90), Leased(3, 7, 5, Stamp(1, 9), 0, 0)]
    log = open_log(appended(files, *map(bytes_of, facts)))
    row = log.register.get(3)
    assert row is not None
    assert (row.due, row.retries, row.stamp) == (7, 5, Stamp(1, 9))


def test_a_wrong_number_of_facts_is_refused() -> None:
    files, _ = written(synced=True)
    assert "a batch of 2 facts has 0" in str(opening_fails(appended(files, count=2), LogDamaged))
    fact = bytes_of(enqueued(9))
    error = opening_fails(appended(files, fact, fact, count=1), LogDamaged)
    assert "cannot follow" in str(error)


def test_a_segment_of_a_future_version_is_refused() -> None:
    files, _ = written(synced=True)
    data = bytearray(files[LOG])
    struct.pack_into("<H", data, 8, 3)
    error = opening_fails(disk_with({**files, LOG: bytes(data)}), FormatTooNew)
    assert "memory/events.log was written by a newer version (format version 3" in str(error)


def test_a_fact_of_a_future_kind_is_refused() -> None:
    files, _ = written(synced=True)
    fact = struct.pack("<BBIQq", 200, 0, 22, 1, -1)
    error = opening_fails(appended(files, fact), FormatTooNew)
    assert "unknown kind of fact 200" in str(error)


# Files


def test_a_lost_log_is_not_taken_for_a_new_start() -> None:
    files, _ = written(synced=True)
    error = opening_fails(disk_with({MANIFEST: files[MANIFEST]}), LogDamaged)
    assert "the file is missing although events.manifest says that there" in str(error)
    opening_fails(disk_with({"events.log.torn-136": b"x"}), LogDamaged)


def test_a_lost_segment_is_noticed() -> None:
    files = rolled()
    for name in filter(lambda name: name.endswith(".log"), files):
        left = {other: data for other, data in files.items() if other != name}
        error = opening_fails(disk_with(left), LogDamaged)
        assert isinstance(error, LogDamaged)
        assert error.file == f"memory/{name}"


def test_a_log_of_another_directory_is_refused() -> None:
    files, _ = written(synced=True)
    other = Manifest(bytes(16), 1, (ManifestSegment(0, 0, LOG),)).encode()
    error = opening_fails(disk_with({**files, MANIFEST: other}), LogDamaged)
    assert "it belongs to another log than events.manifest" in str(error)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"\n", b"", LogDamaged),
        (b"event-broker manifest 2\n", b"", LogDamaged),
        (b"segment 0", b"segment 1", LogDamaged),
        (b"manifest 2", b"manifest 3", FormatTooNew),
    ],
)
def test_a_changed_manifest_is_refused(old: bytes, new: bytes, error: type[StorageError]) -> None:
    files, _ = written(synced=True)
    changed = files[MANIFEST].replace(old, new)
    assert changed != files[MANIFEST]
    opening_fails(disk_with({**files, MANIFEST: changed}), error)


def test_a_missing_manifest_is_written_again() -> None:
    for files in (written(synced=True)[0], rolled()):
        disk = disk_with({name: data for name, data in files.items() if name != MANIFEST})
        log = open_log(disk)
        assert told(log.fold) == STATES[-1]
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


def test_a_roll_that_was_cut_short_is_gone_on_with() -> None:
    files = rolled()
    # The newest segment got its final name, and the process ended.
    newest = max(number for number in range(99) if sealed_name(number) in files) + 1
    disk = disk_with({**files, sealed_name(newest): files[LOG]})
    disk.remove(LOG)
    log = open_log(disk)
    assert told(log.fold) == STATES[-1]
    assert log.repairs == []
    assert [place.number for place in log.places.places] == list(range(newest + 2))
    commit(log, enqueued(60))
    assert told(open_log(disk.crash(seeded(1))).fold) == told(log.fold)


# Logs without their oldest segments


def dropped() -> tuple[MemoryDisk, EventLog]:
    """A log without its first segment, with facts about events that are gone with it."""
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=500)
    stamp = Stamp(1, 1)
    for first in range(1, 16, 5):
        numbers = range(first, first + 5)
        commit(log, *(enqueued(number, b"x" * 60) for number in numbers))
        commit(log, *(Leased(number, NOW, 0, stamp, NOW, 9) for number in numbers))
        commit(log, *(Settled(number) for number in numbers if number % 5))
        commit(log, Dead(first + 4, NOW, 0, stamp, "rejected"))
    commit(log, Discarded(5), enqueued(16))
    assert let_go(log)
    return disk, log


def test_facts_about_events_that_are_gone_with_their_segments_mean_nothing() -> None:
    disk, log = dropped()
    numbers = [place.number for place in log.places.places]
    assert numbers[0] > 0
    again = open_log(disk.kill(), segment_max_bytes=500)
    before, after = everything(log.fold), everything(again.fold)
    assert after.pop("boot") == before.pop("boot") + 1
    held_before, held_after = before.pop("held"), after.pop("held")
    assert held_after[:-1] == held_before[:-1]
    assert after == before


def test_what_follows_is_held_to_the_facts_before_it_again() -> None:
    disk, _ = dropped()
    log = open_log(disk.kill())
    assert log.fold.strict
    commit(log, enqueued(70))
    assert told(open_log(disk.crash(seeded(0))).fold) == told(log.fold)


# What is recovered


def test_recovered_payloads_are_those_that_were_accepted() -> None:
    for files in (written(synced=True)[0], rolled()):
        log = open_log(disk_with(files))
        numbers = [number for number, _ in log.register.rows()]
        assert payloads(log, numbers) == [b'{"n":%d}' % number for number in numbers]


def test_progress_is_told_up_to_the_end() -> None:
    disk = MemoryDisk()
    log = open_log(disk, segment_max_bytes=6_000_000)
    big = b"x" * 1_000_000
    for number in range(1, 12):
        commit(log, Enqueued(number, NOW, NOW, "", big))
    told_so: list[tuple[int, int]] = []
    options = LogOptions(segment_max_bytes=6_000_000)
    EventLog.open(disk.kill(), now=NOW, options=options, progress=lambda *one: told_so.append(one))
    total = sum(len(data) for name, data in files_of(disk.another()).items() if name != MANIFEST)
    done = [one for one, _ in told_so]
    assert done == sorted(done)
    assert (done[0], len(done) > 3) == (0, True)
    assert told_so[-1][0] == told_so[-1][1]
    assert abs(told_so[-1][1] - total) < 1000
