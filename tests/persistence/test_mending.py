"""A repair keeps the original, loses no sound batch without need, and leaves a log that opens."""

from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from persistence.aside import is_kept
from persistence.decode import decode_one
from persistence.errors import CannotMend, FormatTooNew, LogDamaged, NoLog, StorageError
from persistence.facts import Lost
from persistence.filler import can_fill, fillers
from persistence.fold import Fold
from persistence.header_mending import corrected
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.mending import Mended, mend
from persistence.mending_plan import Plan, Remedy, make_plan
from persistence.segment import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    SegmentHeader,
    decode_frame_header,
    decode_header,
    encode_frame,
)
from tests.persistence.damaged_logs import (
    ACTIVE,
    MANIFEST,
    ONE,
    OPTIONS,
    TWO,
    Accident,
    Files,
    add,
    bodies_of,
    body_at,
    change,
    copy,
    flip,
    frames_in,
    from_version,
    lose,
    rename,
    state_in,
    state_of,
    swap,
    together,
    written,
)
from tests.persistence.directories import old_header
from tests.persistence.samples import (
    KEY,
    NOW,
    bytes_of,
    disk_with,
    enqueued,
    files_of,
    old_leased,
)

ZERO = "events-0000000000.log"
THREE = "events-0000000003.log"
NINE = "events-0000000009.log"
LATER = NOW + 1_000_000


def plan_of(files: Files) -> Plan:
    disk = disk_with(files)
    disk.lock()
    return make_plan(disk)


def repair(files: Files, remedy: Remedy | None = None) -> tuple[Files, Mended]:
    """Repair a log, and see that everything that changed was kept as it was."""
    disk = disk_with(files)
    disk.lock()
    mended = mend(disk, make_plan(disk), remedy, now=LATER)
    disk.close()
    found = files_of(disk)
    assert mended.verification.sound
    assert set(mended.kept) <= set(found)
    for name, data in files.items():
        as_it_was = [kept for kept, content in found.items() if content == data]
        assert as_it_was or name == "events.log.new", f"{name} is nowhere as it was"
    assert not any(name.endswith(".new") for name in found)
    return found, mended


def after(*accidents: Accident, closed: bool = True) -> Files:
    files = written(closed=closed)
    together(*accidents)(files)
    return files


def events_of(body: bytes, position: int) -> set[int]:
    """The events that a batch is about."""
    numbers = set()
    at = 0
    while at < len(body):
        fact, _ = decode_one(body[at:], position + at, lambda _: None)
        numbers.add(fact.number)
        at += int.from_bytes(body[at + 2 : at + 6], "little")
    return numbers


def lost_numbers(*positions: int) -> set[int]:
    bodies = bodies_of(written())
    return {n for at in positions for n in events_of(bodies[at], at)}


HARMLESS: dict[str, Accident] = {
    "a bit of a sealed header": flip(ONE, 70),
    "a bit of a header's version": flip(ONE, 8, 4),
    "a bit of the active header": flip(ACTIVE, 20, 128),
    "a segment too long": change(ONE, lambda data: data + b"more"),
    "a duplicated segment": copy(ONE, NINE),
    "a duplicate as the next segment": copy(ONE, "events-0000000005.log"),
    "a renamed segment": rename(ONE, NINE),
    "a renamed active segment": rename(ACTIVE, NINE),
    "swapped segments": swap(ONE, TWO),
    "segments in a circle": together(swap(ZERO, ONE), swap(ONE, TWO)),
    "a segment in the place of the active one": together(rename(ACTIVE, NINE), rename(ONE, ACTIVE)),
    "a foreign segment": add(NINE, b"something else"),
    "a segment of another log": add(
        NINE, SegmentHeader(9, 7000, NOW, b"0123456789abcdef").encode()
    ),
    "an empty file": add(NINE, b""),
    "a damaged manifest": flip(MANIFEST, 60),
    "a bit of the manifest's version": flip(MANIFEST, len("event-broker manifest "), 1),
    "an empty manifest": add(MANIFEST, b""),
    "a damaged manifest and header": together(flip(MANIFEST, 60), flip(TWO, 70)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_out_of_order_is_put_right_without_a_loss(name: str) -> None:
    files = after(HARMLESS[name])
    plan = plan_of(files)
    assert not plan.idle
    assert plan.losses == ()
    assert plan.remarks
    mended, _ = repair(files)
    assert state_in(mended) == state_in(written())
    assert bodies_of(mended) == bodies_of(written())
    assert plan_of(mended).idle


def test_a_lost_manifest_is_made_anew_where_numbers_are_missing() -> None:
    files = after(lose(ZERO))
    files, _ = repair(files, Remedy.SKIP)
    expected = state_in(files)
    lose(MANIFEST)(files)
    with pytest.raises(LogDamaged):
        state_in(files)
    mended, _ = repair(files)
    assert state_in(mended) == expected


def test_a_manifest_that_is_older_than_the_segments_is_made_anew() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW, options=OPTIONS)
    old = files_of(disk)[MANIFEST]
    log.append([enqueued(number) for number in range(1, 15)])
    log.append([enqueued(number) for number in range(15, 30)])
    log.write()
    log.append([enqueued(number) for number in range(30, 45)])
    log.close()
    files = {**files_of(disk), MANIFEST: old}
    with pytest.raises(LogDamaged):
        state_in(files)
    mended, _ = repair(files)
    assert len(state_in(mended)) == 29


DAMAGE: dict[str, tuple[Accident, set[int]]] = {
    "a bit of a sealed body": (
        flip(ONE, body_at(ONE, 2) + 3),
        lost_numbers(frames_in(written()[ONE])[2].header.position),
    ),
    "a bit of a batch's header": (
        flip(ONE, body_at(ONE, 3) - 20),
        lost_numbers(frames_in(written()[ONE])[3].header.position),
    ),
    "the first batch of a segment": (
        flip(TWO, HEADER_SIZE),
        lost_numbers(frames_in(written()[TWO])[0].header.position),
    ),
    "the last batch of a segment": (
        flip(TWO, len(written()[TWO]) - 1),
        lost_numbers(frames_in(written()[TWO])[-1].header.position),
    ),
    "the first batch of all": (flip(ZERO, body_at(ZERO, 0)), set()),
    "a batch of the active segment": (
        flip(ACTIVE, body_at(ACTIVE, 1)),
        lost_numbers(frames_in(written()[ACTIVE])[1].header.position),
    ),
    "the last facts": (
        flip(ACTIVE, body_at(ACTIVE, -2)),
        lost_numbers(frames_in(written()[ACTIVE])[-2].header.position),
    ),
    "two batches apart": (
        together(flip(ONE, body_at(ONE, 1)), flip(ONE, body_at(ONE, 4))),
        lost_numbers(*(frames_in(written()[ONE])[index].header.position for index in (1, 4))),
    ),
    "two batches that touch": (
        together(flip(ONE, body_at(ONE, 1)), flip(ONE, body_at(ONE, 2) - 40)),
        lost_numbers(*(frames_in(written()[ONE])[index].header.position for index in (1, 2))),
    ),
    "a missing segment": (
        lose(ONE),
        lost_numbers(*(frame.header.position for frame in frames_in(written()[ONE]))),
    ),
    "an empty segment": (
        add(ONE, b""),
        lost_numbers(*(frame.header.position for frame in frames_in(written()[ONE]))),
    ),
    "a missing active segment": (
        lose(ACTIVE),
        lost_numbers(*(f.header.position for f in frames_in(written()[ACTIVE])[:-1])),
    ),
    "a segment cut short": (
        change(ONE, lambda data: data[: body_at(ONE, 2)]),
        lost_numbers(*(frame.header.position for frame in frames_in(written()[ONE])[2:])),
    ),
    "a header of which nothing is left": (
        change(ONE, lambda data: bytes(HEADER_SIZE) + data[HEADER_SIZE:]),
        set(),
    ),
    "an active header of which nothing is left": (
        change(ACTIVE, lambda data: bytes(HEADER_SIZE) + data[HEADER_SIZE:]),
        set(),
    ),
    "a header and the manifest": (
        together(change(TWO, lambda data: data[:16] + bytes(24) + data[40:]), add(MANIFEST, b"?")),
        set(),
    ),
    "a whole segment of noise": (
        change(TWO, lambda data: Random(1).randbytes(len(data))),
        lost_numbers(*(frame.header.position for frame in frames_in(written()[TWO]))),
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_skipped_and_all_else_is_kept(name: str) -> None:
    accident, lost = DAMAGE[name]
    files = after(accident)
    with pytest.raises(LogDamaged):
        state_in(files)
    mended, _ = repair(files, Remedy.SKIP)
    sound = {at: body for at, body in bodies_of(written()).items() if at in kept_in(files)}
    found = {at: body for at, body in bodies_of(mended).items() if body[0] != 16}
    assert found == sound
    before, now = state_in(written()), state_in(mended)
    assert {n: row for n, row in now.items() if n not in lost} == {
        n: row for n, row in before.items() if n not in lost
    }
    assert len(before) - len(now) <= len(lost)


def kept_in(files: Files) -> set[int]:
    """The log positions of the batches that are whole, wherever they are found."""
    salt = decode_header(written()[ZERO]).salt
    positions = set()
    sound = {f.header.position: bytes(f.body) for d in segments(written()) for f in frames_in(d)}
    for data in segments(files):
        for at in range(len(data) - FRAME_HEADER_SIZE + 1):
            header = decode_frame_header(data, at, salt)
            if header is not None:
                body = data[at + FRAME_HEADER_SIZE : at + FRAME_HEADER_SIZE + header.body_size]
                if sound.get(header.position) == body:
                    positions.add(header.position)
    return positions


def segments(files: Files) -> list[bytes]:
    return [data for name, data in sorted(files.items()) if name.endswith(".log")]


@pytest.mark.parametrize("name", set(DAMAGE) - {"the first batch of all"})
def test_a_cut_leaves_the_log_as_it_was_before_the_damage(name: str) -> None:
    files = after(DAMAGE[name][0])
    plan = plan_of(files)
    limit = plan.losses[0].position
    mended, _ = repair(files, Remedy.TRUNCATE)
    found = bodies_of(mended)
    assert found == {at: body for at, body in bodies_of(written()).items() if at < limit}
    now = state_in(mended)
    assert plan.truncate is not None
    assert len(now) == plan.truncate.events


def test_nothing_is_changed_before_somebody_has_chosen() -> None:
    files = after(flip(ONE, body_at(ONE, 2)), add(NINE, b"something else"))
    disk = disk_with(files)
    disk.lock()
    plan = make_plan(disk)
    with pytest.raises(ValueError, match="remedy"):
        mend(disk, plan, None, now=LATER)
    assert files_of(disk) == files


def test_a_plan_says_what_each_remedy_leaves() -> None:
    frame = frames_in(written()[ONE])[2]
    files = after(flip(ONE, body_at(ONE, 2)))
    plan = plan_of(files)
    (loss,) = plan.losses
    assert (loss.file, loss.offset) == (f"memory/{ONE}", body_at(ONE, 2) - FRAME_HEADER_SIZE)
    assert (loss.position, loss.size) == (
        frame.header.position,
        frame.header.end - frame.header.position,
    )
    assert plan.skip.size == loss.size
    assert plan.skip.events == len(state_in(repair(files, Remedy.SKIP)[0]))
    assert plan.truncate is not None
    assert plan.truncate.facts == sum(
        1 for at in bodies_of(written()) if at > frame.header.position
    )


def test_events_that_are_concerned_are_named() -> None:
    for index, frame in enumerate(frames_in(written()[ONE])):
        (number,) = events_of(bytes(frame.body), frame.body_position)
        # Once the batch's header is damaged, once the body, in its last byte.
        for offset in (body_at(ONE, index) - 40, body_at(ONE, index) + len(frame.body) - 1):
            plan = plan_of(after(flip(ONE, offset)))
            affected = {event.number: event for event in plan.affected}
            settled = number not in state_in(written()) and frame.body[0] != 5
            assert set(affected) == (set() if settled else {number})
            if frame.body[0] == 2 and not settled:
                assert not affected[number].there
                assert affected[number].timestamp == NOW + number


def test_ids_and_receipts_of_what_is_lost_are_not_given_again() -> None:
    for remedy in Remedy:
        for index in range(1, 5):
            files = after(flip(ACTIVE, body_at(ACTIVE, -index) - 20))
            if not plan_of(files).losses:
                continue
            mended, _ = repair(files, remedy)
            log = EventLog.open(disk_with(mended), now=NOW, options=OPTIONS)
            assert log.fold.next_number >= 25
            assert log.boot > 1
            log.close()
    files = after(flip(ZERO, body_at(ZERO, 0)), lose(ONE), lose(TWO), lose(THREE), lose(ACTIVE))
    mended, _ = repair(files, Remedy.SKIP)
    log = EventLog.open(disk_with(mended), now=NOW, options=OPTIONS)
    assert log.fold.next_number > 25
    assert log.boot > 2


def test_counters_stay_where_a_header_says_them() -> None:
    before = EventLog.open(disk_with(written()), now=NOW, options=OPTIONS).fold.counters
    mended, _ = repair(after(flip(ONE, body_at(ONE, 2))), Remedy.SKIP)
    assert EventLog.open(disk_with(mended), now=NOW, options=OPTIONS).fold.counters == before
    header = change(TWO, lambda data: bytes(HEADER_SIZE) + data[HEADER_SIZE:])
    mended, _ = repair(after(header), Remedy.SKIP)
    assert EventLog.open(disk_with(mended), now=NOW, options=OPTIONS).fold.counters == before


def test_a_mended_log_goes_on() -> None:
    files = after(flip(ONE, body_at(ONE, 2)))
    mended, _ = repair(files, Remedy.SKIP)
    disk = disk_with(mended)
    log = EventLog.open(disk, now=NOW, options=OPTIONS)
    first = log.fold.next_number
    for number in range(first, first + 40):
        log.append([enqueued(number)])
    log.write()
    expected = state_of(log)
    log.close()
    assert state_in(files_of(disk)) == expected


def test_the_snapshot_goes_with_the_state_that_it_knows() -> None:
    files = {**after(flip(ONE, body_at(ONE, 2))), "events.snapshot": b"whatever"}
    mended, done = repair(files, Remedy.SKIP)
    assert "events.snapshot" not in mended
    assert "events.snapshot.aside" in done.kept


def test_a_torn_tail_is_cut_off_as_a_start_does_it() -> None:
    files = after(change(ACTIVE, lambda data: data + b"torn"), closed=False)
    plan = plan_of(files)
    assert plan.torn
    assert plan.losses == ()
    end = len(written(closed=False)[ACTIVE])
    disk = disk_with(files)
    disk.lock()
    done = mend(disk, plan, None, now=LATER)
    assert done.repairs[0].startswith(f"cut 4 bytes off memory/{ACTIVE} at offset {end}")
    found = files_of(disk)
    assert found[f"{ACTIVE}.torn-{end}"] == b"torn"
    assert found[ACTIVE] == written(closed=False)[ACTIVE]


def test_batches_behind_a_torn_place_are_kept_if_somebody_wants_it() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW)
    for number in range(1, 9):
        log.append([enqueued(number)])
    log.write()
    files = files_of(disk.kill())
    offset = frames_in(files[ACTIVE])[3].body_position + 5
    flip(ACTIVE, offset)(files)
    plan = plan_of(files)
    assert plan.torn_batches == 5
    assert plan.losses == ()
    disk = disk_with(files)
    disk.lock()
    mend(disk, make_plan(disk), None, now=LATER)
    assert set(state_in(files_of(disk))) == {1, 2}
    mended, _ = repair(files, Remedy.SKIP)
    assert set(state_in(mended)) == {1, 2, 4, 5, 6, 7, 8}


def test_a_sound_log_is_left_alone() -> None:
    assert plan_of(written()).idle
    assert plan_of({**written(), "notes.txt": b"x"}).idle


@pytest.mark.parametrize(
    "accident",
    [
        change(ONE, from_version(7)),
        change(ACTIVE, from_version(7)),
        add(MANIFEST, b"event-broker manifest 9\nwhatever\n"),
    ],
)
def test_what_a_later_version_wrote_is_refused(accident: Accident) -> None:
    with pytest.raises(FormatTooNew):
        plan_of(after(accident, flip(TWO, body_at(TWO, 1))))


def test_what_cannot_be_told_is_refused() -> None:
    other = SegmentHeader(9, 7000, NOW, b"0123456789abcdef").encode()
    with pytest.raises(CannotMend, match="several logs"):
        plan_of(after(lose(MANIFEST), add(NINE, other)))
    with pytest.raises(CannotMend):
        plan_of({ACTIVE: bytes(500)})
    with pytest.raises(NoLog):
        plan_of({})
    files = after(flip(ZERO, body_at(ZERO, 0)), flip(ZERO, 70))
    disk = disk_with(files)
    disk.lock()
    assert make_plan(disk).truncate is not None
    files = after(lose(ZERO))
    disk = disk_with(files)
    disk.lock()
    plan = make_plan(disk)
    assert plan.truncate is None
    with pytest.raises(CannotMend, match="nothing would be left"):
        mend(disk, plan, Remedy.TRUNCATE, now=LATER)
    assert files_of(disk) == files


def test_a_full_disk_stops_a_repair_before_it_begins() -> None:
    files = after(flip(ONE, body_at(ONE, 2)))
    disk = disk_with(files)
    disk.capacity = sum(map(len, files.values())) + 1000
    disk.lock()
    with pytest.raises(StorageError, match="bytes are needed"):
        mend(disk, make_plan(disk), Remedy.SKIP, now=LATER)
    assert files_of(disk) == files


def test_a_log_of_release_0_1_0_opens_after_a_repair() -> None:
    header = old_header()
    salt = SegmentHeader(0, 0, 0, KEY).salt
    at = 128
    frames = []
    for facts in (
        [bytes_of(enqueued(1))],
        [bytes_of(enqueued(2))],
        [old_leased(2, 170, (1, 1), NOW, 5), old_leased(1, 170, (1, 2), NOW, 5)],
        [],
    ):
        data = encode_frame(facts, position=at, count=len(facts), synced=at, time=0, salt=salt)
        frames.append(bytes(data))
        at += len(data)
    files = {ACTIVE: header + b"".join(frames)}
    assert set(state_in(files)) == {1, 2}
    flip(ACTIVE, 128 + len(frames[0]) + 60)(files)
    mended, _ = repair(files, Remedy.SKIP)
    state = state_in(mended)
    assert set(state) == {1}
    assert state[1][2] == 1  # it is leased


@pytest.mark.parametrize("remedy", Remedy)
@pytest.mark.parametrize(
    "accident",
    [
        together(flip(ONE, body_at(ONE, 2)), flip(TWO, body_at(TWO, 2)), add(NINE, b"x")),
        together(flip(ONE, 70), flip(ACTIVE, body_at(ACTIVE, 1)), flip(MANIFEST, 60)),
    ],
)
def test_a_repair_that_is_cut_short_anywhere_can_be_done_again(
    accident: Accident, remedy: Remedy
) -> None:
    files = after(accident)
    repaired, _ = repair(files, remedy)
    expected = set(state_in(repaired))
    random = Random(5)
    step = 0
    while True:
        step += random.randint(1, 3)
        disk = disk_with(files)
        disk.lock()
        plan = make_plan(disk)
        disk.faults.cut_power(step)
        try:
            mend(disk, plan, remedy, now=LATER)
        except StorageError:
            left = disk.crash(random)
        else:
            break
        found = files_of(left)
        for data in files.values():
            assert data in found.values()
        left.lock()
        plan = make_plan(left)
        mend(left, plan, remedy if plan.losses else None, now=LATER)
        left.close()
        found = files_of(left)
        assert set(state_in(found)) == expected
        for data in files.values():
            assert data in found.values()
    assert step > 30


NAMES = sorted(set(written()) - {MANIFEST})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flipped_bits_never_cost_a_sound_batch(data: st.DataObject) -> None:
    closed = data.draw(st.booleans())
    files = written(closed=closed)
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(sorted(files)))
        bit = data.draw(st.integers(0, len(files[name]) * 8 - 1))
        flip(name, bit // 8, 1 << bit % 8)(files)
    disk = disk_with(files)
    disk.lock()
    try:
        plan = make_plan(disk)
    except FormatTooNew:
        assume(False)  # two bits, one of them in a version
    mend(disk, plan, Remedy.SKIP, now=LATER)
    disk.close()
    mended = files_of(disk)
    sound = {f.header.position for d in segments(written(closed=closed)) for f in frames_in(d)}
    whole = kept_in(files) & sound
    found = {f.header.position for d in segments(mended) for f in frames_in(d)}
    assert whole <= found
    state_in(mended)
    for content in files.values():
        assert content in mended.values()


@given(st.integers(0, 5000), st.integers(0, 2**40))
def test_a_hole_of_any_length_of_batches_can_be_filled(size: int, position: int) -> None:
    assert can_fill(size) == (size in {0, 48} or size >= 70)
    if not can_fill(size):
        return
    salt = 77
    data = b"".join(fillers(position, size, time=NOW, salt=salt))
    assert len(data) == size
    if size:
        header = decode_frame_header(data, 0, salt)
        assert header is not None
        assert (header.position, header.end) == (position, position + size)
        if header.count:
            fact, _ = decode_one(data[48:], position + 48, lambda _: None)
            assert isinstance(fact, Lost)
            fold = Fold()
            fold.holdings.begin(0, 0)
            fold.apply(fact, None, position + 48, fact.size)
            assert not fold.strict


def test_a_large_hole_is_filled_with_several_batches() -> None:
    for size in (16 * 2**20 + 1, 16 * 2**20 + 48, 40 * 2**20):
        found = [len(frame) for frame in fillers(0, size, time=NOW, salt=1)]
        assert sum(found) == size
        assert len(found) > 1
        assert all(can_fill(one) for one in found)


@given(st.integers(0, HEADER_SIZE * 8 - 1), st.integers(0, HEADER_SIZE * 8 - 1))
def test_one_bit_of_a_header_is_put_right_and_two_are_not(one: int, other: int) -> None:
    header = SegmentHeader(3, 4000, NOW, KEY, boot=2, next_number=9).encode()
    data = bytearray(header)
    data[one // 8] ^= 1 << one % 8
    assert corrected(bytes(data)) == header
    if other != one:
        data[other // 8] ^= 1 << other % 8
        assert corrected(bytes(data)) is None


def test_names_of_kept_files_are_known() -> None:
    for name in (f"{ONE}.damaged", f"{ACTIVE}.aside.12", "events.manifest.damaged"):
        assert is_kept(name)
    for name in (ONE, f"{ONE}.damaged.new", "notes.damaged", f"{ACTIVE}.torn-5"):
        assert not is_kept(name)
