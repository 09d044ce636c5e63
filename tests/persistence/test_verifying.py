"""Checking a log finds what a start would refuse, all of it, and takes nothing else for damage."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.errors import FormatTooNew, LogDamaged, NoLog, StorageError
from persistence.facts import Enqueued, Settled
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.scan import Image
from persistence.segment import SegmentHeader, encode_frame
from persistence.verifying import Finding, Verification, What, verify
from tests.persistence.damaged_logs import (
    ACTIVE,
    MANIFEST,
    ONE,
    OPTIONS,
    TWO,
    Accident,
    Files,
    add,
    body_at,
    change,
    copy,
    flip,
    frames_in,
    from_version,
    life,
    lose,
    rename,
    swap,
    together,
    written,
)
from tests.persistence.samples import NOW, bytes_of, disk_with, enqueued

NINE = "events-0000000009.log"


def check(files: Files) -> Verification:
    disk = disk_with(files)
    disk.look()
    return verify(disk)


def refusal(files: Files) -> StorageError:
    """The error that a start ends in."""
    with pytest.raises(StorageError) as caught:
        EventLog.open(disk_with(files), now=NOW, options=OPTIONS)
    return caught.value


def after(accident: Accident, *, closed: bool = True) -> Files:
    files = written(closed=closed)
    accident(files)
    return files


def start_of(name: str, index: int) -> int:
    return body_at(name, index) - 48


DAMAGE: dict[str, tuple[Accident, str, int, str]] = {
    "a bit of a sealed header": (flip(ONE, 70), ONE, 0, "checksum of the segment's header"),
    "a bit of a sealed body": (
        flip(ONE, body_at(ONE, 2) + 3),
        ONE,
        start_of(ONE, 2),
        "the checksum of a batch is wrong",
    ),
    "a bit of a batch's header": (
        flip(ONE, start_of(ONE, 3) + 30),
        ONE,
        start_of(ONE, 3),
        "no valid header of a batch",
    ),
    "a bit of the active header": (flip(ACTIVE, 70), ACTIVE, 0, "the segment's header"),
    "a bit before what was synced": (
        flip(ACTIVE, body_at(ACTIVE, 1)),
        ACTIVE,
        start_of(ACTIVE, 1),
        "the checksum of a batch is wrong",
    ),
    "a missing segment": (lose(ONE), ONE, 0, "the file is missing"),
    "a missing active segment": (lose(ACTIVE), ACTIVE, 0, "the file is missing"),
    "an empty segment": (add(ONE, b""), ONE, 0, "the file is empty"),
    "a segment cut short": (change(ONE, lambda data: data[:500]), ONE, 500, "cut short"),
    "a segment too long": (
        change(ONE, lambda data: data + b"more"),
        ONE,
        len(written()[ONE]),
        "4 bytes too many",
    ),
    "a duplicated segment": (copy(ONE, NINE), NINE, 16, "it is segment 1 under the name"),
    "a renamed segment": (rename(ONE, NINE), NINE, 16, "it is segment 1 under the name"),
    "swapped segments": (swap(ONE, TWO), TWO, 16, "it is segment 1 under the name"),
    "a foreign segment": (add(NINE, b"something else"), NINE, 0, "this is not a log segment"),
    "a missing manifest and segment": (
        together(lose(MANIFEST), lose("events-0000000000.log")),
        MANIFEST,
        0,
        "segment 0 is not there either",
    ),
    "a damaged manifest": (flip(MANIFEST, 60), MANIFEST, 0, "the checksum is wrong"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_a_start_refuses_it(name: str) -> None:
    accident, file, offset, words = DAMAGE[name]
    files = after(accident)
    found = check(files)
    assert not found.sound
    first = found.damage[0]
    assert (first.what, first.file, first.offset) == (What.DAMAGE, f"memory/{file}", offset)
    assert words in first.detail
    error = refusal(files)
    assert isinstance(error, LogDamaged)
    assert "event-broker log verify" in str(error)
    assert "event-broker log repair" in str(error)


@pytest.mark.parametrize("name", [ONE, ACTIVE])
def test_a_later_version_is_named_and_refused(name: str) -> None:
    files = after(change(name, from_version(7)))
    (found,) = check(files).damage
    assert found == Finding(What.NEWER, f"memory/{name}", 8, None, "format version 7")
    assert isinstance(refusal(files), FormatTooNew)


def test_every_damaged_place_is_found_in_one_go() -> None:
    files = written()
    for accident in (
        flip(ONE, body_at(ONE, 0)),
        flip(ONE, body_at(ONE, 4)),
        flip(TWO, body_at(TWO, 1)),
        flip(ACTIVE, body_at(ACTIVE, 1)),
    ):
        accident(files)
    found = check(files)
    places = [(finding.file, finding.offset) for finding in found.damage]
    assert places == [
        (f"memory/{ONE}", start_of(ONE, 0)),
        (f"memory/{ONE}", start_of(ONE, 4)),
        (f"memory/{TWO}", start_of(TWO, 1)),
        (f"memory/{ACTIVE}", start_of(ACTIVE, 1)),
    ]
    sizes = [finding.size for finding in found.damage]
    assert sizes[0] == start_of(ONE, 1) - start_of(ONE, 0)


def test_a_sound_log_is_told_to_be_sound() -> None:
    found = check(written())
    assert found.sound
    assert found.findings == ()
    facts = 1 + sum(map(len, life()))
    assert (found.facts, found.batches) == (facts, facts + 1)  # the last one is the mark
    assert found.end == found.catalog.end
    assert len(found.fold.register) == 22
    assert found.fold.strict


def test_a_torn_tail_is_no_damage() -> None:
    files = written(closed=False)
    last = frames_in(files[ACTIVE])[-1]
    at = len(files[ACTIVE]) - last.header.body_size - 48
    for accident in (
        change(ACTIVE, lambda data: data[:-5]),
        change(ACTIVE, lambda data: data + bytes(500)),
        flip(ACTIVE, at + 60),
    ):
        torn = dict(files)
        accident(torn)
        found = check(torn)
        assert found.sound
        (finding,) = found.findings
        assert finding.what is What.TORN
        assert finding.offset in {at, len(files[ACTIVE])}
        EventLog.open(disk_with(torn), now=NOW, options=OPTIONS).close()


def test_a_missing_manifest_alone_is_no_damage() -> None:
    found = check(after(lose(MANIFEST)))
    assert found.sound
    assert [finding.what for finding in found.findings] == [What.UNLISTED]


def test_other_files_are_told_and_are_no_damage() -> None:
    others = {
        "notes.txt": What.FOREIGN,
        "events.log.new": What.LEFTOVER,
        "events.log.torn-77": What.KEPT,
        f"{ONE}.damaged": What.KEPT,
        f"{ONE}.aside.2": What.KEPT,
    }
    found = check({**written(), **dict.fromkeys(others, b"x")})
    assert found.sound
    assert {finding.file: finding.what for finding in found.findings} == {
        f"memory/{name}": what for name, what in others.items()
    }


def test_facts_that_cannot_follow_are_damage_and_count_for_nothing() -> None:
    files = written()
    base = sum(len(data) for name, data in files.items() if name not in {ACTIVE, MANIFEST})
    end = base + len(files[ACTIVE])
    salt = SegmentHeader(0, 0, 0, bytes(range(16))).salt
    facts = [bytes_of(enqueued(50)), bytes_of(Settled(99))]
    frame = encode_frame(facts, position=end, count=2, synced=end, time=NOW, salt=salt)
    found = check({**files, ACTIVE: files[ACTIVE] + bytes(frame)})
    (finding,) = found.damage
    assert finding.offset == len(files[ACTIVE]) + 48 + len(facts[0])
    assert "Settled of event 99 cannot follow" in finding.detail
    assert found.fold.register.get(50) is None
    assert found.fold.counters == check(files).fold.counters


def test_a_directory_without_a_log_is_told_apart() -> None:
    with pytest.raises(NoLog, match="there is no log in memory"):
        check({"notes.txt": b"x"})


def test_a_log_in_use_is_sound_at_every_moment() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW, options=OPTIONS)
    looker = disk.another()
    for batch in life():
        log.append(batch, now=NOW)
        log.write()
        looker.look()
        found = verify(looker)
        assert found.sound
        assert found.end == log.end
        log.sync()


@attrs.define(eq=False)
class Busy:
    """A disk whose log goes on after somebody has read its manifest twice."""

    inner: MemoryDisk
    log: EventLog
    number: int = 1000
    manifests: int = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def open_to_read(self, name: str) -> object:
        if name == MANIFEST:
            self.manifests += 1
        elif self.manifests == 2:
            self.manifests = 0
            self.log.append([Settled(n) for n, _ in self.log.register.rows()][:8])
            for _ in range(4):
                self.number += 1
                fact = Enqueued(self.number, NOW, NOW, "t", b'{"x":"%s"}' % (b"x" * 200))
                self.log.append([fact])
            self.log.write()
            self.log.sync()
            self.log.drop(self.log.droppable())
        return self.inner.open_to_read(name)


def test_segments_that_are_sealed_or_deleted_meanwhile_are_no_damage() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW, options=OPTIONS)
    log.append([enqueued(number) for number in range(1, 10)])
    for number in range(10, 40):
        log.append([enqueued(number, b'{"x":"%s"}' % (b"y" * 200))])
    log.write()
    log.sync()
    looker = disk.another()
    looker.look()
    busy = Busy(looker, log)
    seen: set[What] = set()
    for _ in range(10):
        found = verify(busy)  # type: ignore[arg-type]
        assert found.sound, found.damage
        seen |= {finding.what for finding in found.findings}
    assert What.DELETED in seen


NAMES = sorted(written())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_flipped_bit_is_overlooked(data: st.DataObject) -> None:
    files = written()
    name = data.draw(st.sampled_from(NAMES))
    bit = data.draw(st.integers(0, len(files[name]) * 8 - 1))
    flip(name, bit // 8, 1 << bit % 8)(files)
    found = check(files)
    mark = len(files[ACTIVE]) - 48  # nothing vouches for the last batch
    if name == ACTIVE and bit // 8 >= mark:
        assert [finding.what for finding in found.findings] == [What.TORN]
    else:
        assert not found.sound
        refusal(files)


def test_a_source_of_zeros_alone_is_no_crash() -> None:
    files = after(change(ACTIVE, lambda data: data[:136] + bytes(4096)))
    found = check(files)
    assert found.sound
    assert found.findings[0].detail.endswith("going on: nothing but zeros")
    assert Image(files[ACTIVE]).size() == 136 + 4096
