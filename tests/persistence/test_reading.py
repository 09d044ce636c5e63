"""A log is read beside its writer: whole batches as far as they are written, and nothing else."""

from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.copying import Body
from persistence.errors import LogDamaged, ReadFailed, Undecodable
from persistence.facts import Enqueued, Settled
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.names import sealed_name
from persistence.reading import LogReader
from persistence.segment import FRAME_HEADER_SIZE, encode_frame
from persistence.segment_files import SegmentGone, Span
from tests.persistence.logs import LOG, commit, frames_in, let_go, open_log, payloads, write
from tests.persistence.old_release import an_old_log
from tests.persistence.samples import NOW, enqueued, seeded

SEGMENT_BYTES = 800


def a_log(events: int = 12, size: int = 100) -> EventLog:
    """A log of several segments, each event in a batch of its own."""
    log = open_log(MemoryDisk(), segment_max_bytes=SEGMENT_BYTES)
    for number in range(1, events + 1):
        log.append([enqueued(number, b"x" * size)], now=NOW + number)
        log.write()
    log.sync()
    return log


def disk_of(log: EventLog) -> MemoryDisk:
    assert isinstance(log.disk, MemoryDisk)
    return log.disk


def read_all(reader: LogReader, number: int, size: int = 1 << 20) -> list[Body]:
    """Read a segment to its end."""
    found: list[Body] = []
    offset = 0
    while True:
        bodies, offset = reader.batches(number, offset, size)
        if not bodies:
            return found
        found += bodies


def expected(log: EventLog, number: int) -> list[Body]:
    place = log.places.find(number)
    assert place is not None
    frames = frames_in(disk_of(log), place.name)
    return [Body(f.body_position, bytes(f.body), f.header.time) for f in frames]


# Batches


@pytest.mark.parametrize("size", [1, 47, 200, 500, 1 << 20])
def test_all_batches_of_all_segments_are_read_whatever_is_read_at_once(size: int) -> None:
    log = a_log()
    reader = LogReader(log)
    assert len(log.places.places) > 3
    for place in log.places.places:
        assert read_all(reader, place.number, size) == expected(log, place.number)


def test_no_more_is_read_at_once_than_asked_for_unless_a_batch_is_larger() -> None:
    log = a_log(40, 1)
    place = log.places.places[1]
    bodies, offset = LogReader(log).batches(place.number, 0, 300)
    assert len(bodies) > 1
    assert offset == bodies[-1].end - place.base
    assert offset <= 136 + 300
    log = a_log(3, 5000)
    bodies, _ = LogReader(log).batches(log.places.places[1].number, 0, 300)
    assert [len(body.data) > 5000 for body in bodies] == [True]


def test_the_segment_that_grows_is_read_as_far_as_it_is_written() -> None:
    log = a_log(1)
    reader = LogReader(log)
    active = log.places.places[-1].number
    bodies, offset = reader.batches(active, 0, 1 << 20)
    assert len(bodies) == 2
    log.append([enqueued(2)])
    assert reader.batches(active, offset, 1 << 20) == ([], offset)
    log.write()
    [body], after = reader.batches(active, offset, 1 << 20)
    assert body.end == log.end
    assert reader.batches(active, after, 1 << 20) == ([], after)


@pytest.mark.parametrize("part", [slice(100), slice(48), slice(138), slice(30, 138)])
def test_what_is_being_written_this_moment_is_not_read(part: slice) -> None:
    log = a_log(1)
    place = log.places.places[-1]
    before = read_all(LogReader(log), place.number)
    salt = log._tail.segment.salt
    frame = encode_frame([b"x" * 90], position=log.end, count=1, synced=0, time=NOW, salt=salt)
    disk_of(log).open(LOG).write(log.end - place.base, frame[part])
    assert read_all(LogReader(log), place.number) == before


def test_a_segment_of_release_0_1_0_is_read_as_well() -> None:
    log = open_log(an_old_log().disk())
    assert read_all(LogReader(log), 0) == expected(log, 0)


def test_a_segment_that_is_not_there_is_gone() -> None:
    log = a_log()
    for number in range(1, 9):
        commit(log, Settled(number))
    reader = LogReader(log)
    gone = let_go(log)
    for number in (gone[0], 99):
        with pytest.raises(SegmentGone):
            reader.batches(number, 0, 100)


def test_a_segment_that_is_begun_in_memory_alone_is_not_there_yet() -> None:
    log = a_log(1)
    log.append([enqueued(2, b"x" * 900)])
    begun = log.fold.holdings.active.number
    reader = LogReader(log)
    with pytest.raises(SegmentGone):
        reader.batches(begun, 0, 100)
    log.write()
    assert len(read_all(reader, begun)) == 1


@attrs.define
class Meanwhile:
    """A log to which something happens whenever a reader asks it for something."""

    log: EventLog
    happens: Callable[[], None]

    def __getattr__(self, name: str) -> Any:
        self.happens()
        return getattr(self.log, name)


@pytest.mark.parametrize("seed", range(40))
def test_reading_goes_on_whatever_the_writer_does_meanwhile(seed: int) -> None:
    log = open_log(MemoryDisk(), segment_max_bytes=SEGMENT_BYTES)
    left, random = 40, seeded(seed)

    def happens() -> None:
        nonlocal left
        if left and random.random() < 0.2:
            left -= 1
            write(log, enqueued(log.fold.next_number, b"x" * random.randrange(600)))

    reader = LogReader(cast("EventLog", Meanwhile(log, happens)))
    found: dict[int, list[Body]] = {}
    number, offset = 0, 0
    while left or number <= log.places.places[-1].number:
        whole = number < log.places.places[-1].number or not left
        bodies, offset = reader.batches(number, offset, 200)
        found.setdefault(number, []).extend(bodies)
        if whole and not bodies:
            number, offset = number + 1, 0
    assert found == {number: expected(log, number) for number in found}


# Damage


def test_a_batch_that_has_changed_is_named_by_file_and_offset() -> None:
    for place in (1, -1):
        log = a_log()
        where = log.places.places[place]
        wanted = expected(log, where.number)[-1]
        for at, detail in ((-10, "no valid header"), (3, "checksum of a batch")):
            file = disk_of(log).open(where.name)
            offset = wanted.position - where.base
            [byte] = file.read(offset + at, 1)
            file.write(offset + at, bytes([byte ^ 1]))
            with pytest.raises(LogDamaged, match=detail) as caught:
                read_all(LogReader(log), where.number)
            assert caught.value.file == f"memory/{where.name}"
            assert caught.value.offset == offset - FRAME_HEADER_SIZE
            file.write(offset + at, bytes([byte]))
        read_all(LogReader(log), where.number)


@pytest.mark.parametrize("place", [1, -1])
@pytest.mark.parametrize("left", [136, 150, 200, 300])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_file_that_was_cut_is_not_taken_for_one_that_ends(
    place: int, left: int, size: int
) -> None:
    log = a_log()
    where = log.places.places[place]
    disk_of(log).open(where.name).truncate(left)
    with pytest.raises(LogDamaged) as caught:
        read_all(LogReader(log), where.number, size)
    assert caught.value.file == f"memory/{where.name}"
    assert caught.value.offset <= left


def test_a_header_that_has_changed_is_named() -> None:
    log = a_log()
    name = sealed_name(1)
    disk_of(log).open(name).write(50, b"?")
    reader = LogReader(log)
    attempts = (
        lambda: reader.batches(1, 0, 100),
        lambda: reader.numbers_from(1),
        lambda: reader.read([Span(log.places.places[1].base + 200, 5)]),
    )
    for attempt in attempts:
        with pytest.raises(LogDamaged) as caught:
            attempt()
        assert (caught.value.file, caught.value.offset) == (f"memory/{name}", 0)


def test_a_disk_that_cannot_be_read_is_told() -> None:
    log = a_log()
    disk_of(log).faults.cut_power()
    reader = LogReader(log)
    attempts = (
        lambda: reader.batches(1, 0, 100),
        lambda: reader.numbers_from(1),
        lambda: reader.read([Span(300, 5)]),
        lambda: reader.written_at(300),
    )
    for attempt in attempts:
        with pytest.raises(ReadFailed):
            attempt()


def test_what_makes_no_sense_is_named_by_file_and_offset() -> None:
    log = a_log()
    place = log.places.places[2]
    damage = LogReader(log).damage(Undecodable(place.base + 140, "nonsense"))
    assert (damage.file, damage.offset) == (f"memory/{place.name}", 140)


# Spans


def test_spans_are_read_beside_the_log() -> None:
    log = a_log()
    spans = log.spans([3, 12, 1])
    assert LogReader(log).read(spans) == payloads(log, [3, 12, 1])


def test_spans_of_dropped_segments_are_gone() -> None:
    log = a_log()
    spans = log.spans([5])
    for number in range(1, 9):
        commit(log, Settled(number))
    let_go(log)
    with pytest.raises(SegmentGone):
        LogReader(log).read(spans)


# When something was written


def test_it_is_told_when_a_fact_was_written() -> None:
    log = a_log()
    reader = LogReader(log)
    for number, row in log.register.rows():
        assert reader.written_at(row.last_fact) == NOW + number
        assert reader.written_at(row.payload_at + row.payload_size - 1) == NOW + number


def test_it_is_not_told_where_nobody_knows() -> None:
    log = a_log(1)
    commit(log, enqueued(2))
    row = log.register.get(2)
    assert row is not None
    assert LogReader(log).written_at(row.last_fact) is None


@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=5))
def test_the_beginning_of_a_batch_is_found_however_far_back_it_is(sizes: list[int]) -> None:
    log = open_log(MemoryDisk())
    imitation = encode_frame([], position=200, count=0, synced=0, time=1, salt=1)
    facts = [
        Enqueued(number, NOW, NOW, "", bytes(imitation) + b"x" * size)
        for number, size in enumerate(sizes, 1)
    ]
    log.append(facts[:1], now=NOW + 1)
    log.append(facts[1:], now=NOW + 2)
    log.write()
    reader = LogReader(log)
    times = [reader.written_at(row.last_fact) for _, row in log.register.rows()]
    assert times == [NOW + 1] + [NOW + 2] * (len(sizes) - 1)


def test_the_beginning_of_a_batch_is_found_where_two_looks_meet() -> None:
    log = open_log(MemoryDisk())
    log.append([enqueued(1)], now=NOW + 1)
    batch = log.append([enqueued(2, b"x" * 70_000)], now=NOW + 2)
    log.write()
    reader = LogReader(log)
    for distance in range(65_480, 65_600):
        assert reader.written_at(batch.position + distance) == NOW + 2


def test_when_a_fact_was_written_is_gone_with_its_segment() -> None:
    log = a_log()
    row = log.register.get(5)
    assert row is not None
    for number in range(1, 9):
        commit(log, Settled(number))
    let_go(log)
    with pytest.raises(SegmentGone):
        LogReader(log).written_at(row.last_fact)


# Where to look for an event


def test_an_event_is_looked_for_from_the_segment_on_in_which_it_came() -> None:
    log = a_log()
    reader = LogReader(log)
    everywhere = [place.number for place in log.places.places]
    for number, row in log.register.rows():
        place = log.places.at(row.payload_at)
        assert place is not None
        assert reader.numbers_from(number) == everywhere[place.number :]
    # It may still come.
    assert reader.numbers_from(13) == everywhere[-1:]


def test_segments_that_went_away_meanwhile_are_passed_over() -> None:
    log = a_log()
    disk_of(log).remove(sealed_name(0))
    numbers = LogReader(log).numbers_from(1)
    assert numbers == [place.number for place in log.places.places[1:]]


# Letting go


def test_a_forgotten_file_is_opened_again() -> None:
    log = a_log()
    reader = LogReader(log)
    before = read_all(reader, 1)
    reader.forget(1)
    assert read_all(reader, 1) == before
    disk_of(log).remove(sealed_name(1))
    assert read_all(reader, 1) == before
    reader.close()
    with pytest.raises(SegmentGone):
        reader.batches(1, 0, 100)
