"""A data directory that release 0.1.0 wrote is taken over: read, gone on with, and cleared away."""

import pytest

from persistence.entry import ConsumerKind, Place, Stamp
from persistence.errors import LogDamaged, StorageError
from persistence.facts import Dead, Discarded, Extended, Fact, Leased, Reprocessed, Settled
from persistence.log import EventLog
from persistence.manifest import decode_manifest
from persistence.memory_disk import MemoryDisk
from persistence.names import MANIFEST_NAME, sealed_name
from persistence.scan import scan
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE
from tests.persistence.directories import old_manifest
from tests.persistence.logs import (
    LOG,
    commit,
    copy_forward,
    everything,
    let_go,
    open_log,
    payloads,
    told,
    write,
)
from tests.persistence.old_release import OldLog, an_old_log
from tests.persistence.samples import (
    KEY,
    NOW,
    content,
    disk_with,
    enqueued,
    files_of,
    old_leased,
    old_returned,
    seeded,
)

ONE = Stamp(1, 1)
NEVER = Stamp(0, 0)
CLIENT, WORKER = ConsumerKind.CLIENT, ConsumerKind.WORKER

# For each event: due, retries, stamp, place, whether the receipt is open, who holds it.
EXPECTED = {
    1: (NOW + 1, 0, NEVER, Place.WAITING, 0, CLIENT),
    2: (NOW + 2, 0, ONE, Place.LEASED, 1, CLIENT),
    3: (NOW + 50, 1, ONE, Place.WAITING, 0, CLIENT),
    4: (NOW + 50, 1, ONE, Place.WAITING, 1, CLIENT),
    5: (NOW + 50, 0, ONE, Place.WAITING, 1, CLIENT),
    6: (NOW + 50, 1, ONE, Place.WAITING, 0, CLIENT),
    7: (NOW + 60, 5, ONE, Place.DEAD, 0, CLIENT),
    8: (NOW + 70, 0, ONE, Place.WAITING, 0, CLIENT),
    11: (NOW + 11, 0, ONE, Place.LEASED, 1, WORKER),
    12: (NOW + 71, 0, Stamp(1, 2), Place.LEASED, 1, CLIENT),
}


def states(log: EventLog) -> dict[int, tuple[object, ...]]:
    return {
        number: (row.due, row.retries, row.stamp, row.place, row.receipt_open, row.kind)
        for number, row in log.register.rows()
    }


def batches() -> list[list[Fact]]:
    """What a process of today says about the old events and others."""
    return [
        [
            Extended(2, NOW + 2, 0, ONE, NOW + 5000, 4000, consumer="me"),
            Leased(1, NOW + 1, 0, Stamp(2, 1), NOW + 5000, 4000),
            Settled(5),
            Dead(6, NOW + 90, 1, ONE, "rejected"),
            Reprocessed(7, NOW + 91, ONE),
        ],
        [enqueued(20, foreign_id="x"), Discarded(6)],
    ]


def go_on(log: EventLog) -> None:
    for facts in batches():
        commit(log, *facts)


def test_an_old_log_says_what_it_said() -> None:
    log = open_log(an_old_log().disk())
    assert log.repairs == []
    assert (log.key, log.boot) == (KEY, 2)
    assert states(log) == EXPECTED
    assert (log.fold.next_number, log.fold.last_event_at) == (13, NOW + 12)
    names = {number: log.register.topics.name(row.topic) for number, row in log.register.rows()}
    assert names == {number: "" if number == 12 else "orders" for number in EXPECTED}
    assert payloads(log, EXPECTED) == [b'{"n":%d}' % number for number in EXPECTED]
    # enqueued, consumed, acknowledged, failed, dead, reprocessed, discarded
    assert log.fold.counters.values() == (12, 12, 1, 7, 4, 2, 1)


def test_the_newest_facts_of_an_old_log_have_what_they_lacked() -> None:
    log = open_log(an_old_log().disk())
    expected: list[Fact] = [
        Extended(2, NOW + 2, 0, ONE, NOW + 900, 800),
        Extended(11, NOW + 11, 0, ONE, NOW + 900, 800, WORKER),
        Leased(12, NOW + 71, 0, Stamp(1, 2), NOW + 200, 100),
        Dead(7, NOW + 60, 5, ONE, "max_retries_exceeded", "nö"),
        Reprocessed(8, NOW + 70, ONE),
    ]
    found = log.read_facts([2, 11, 12, 7, 8])
    assert [content(fact) for fact in found] == [content(fact) for fact in expected]


def test_an_old_segment_goes_on_with_facts_of_today() -> None:
    old = an_old_log()
    disk = old.disk()
    log = open_log(disk)
    go_on(log)
    leases = batches()[0][:2]
    files = files_of(disk)
    assert files[LOG].startswith(bytes(old.image))
    assert decode_manifest(files[MANIFEST_NAME]) == decode_manifest(old_manifest())
    for again in (open_log(disk.crash(seeded(1))), open_log(disk.kill())):
        assert told(again.fold) == told(log.fold)
        assert again.fold.counters == log.fold.counters
        assert [content(f) for f in again.read_facts([2, 1])] == [content(f) for f in leases]


@pytest.mark.parametrize("end", ["close", "kill", "crash"])
def test_an_old_log_rolls_on_and_is_cleared_away(end: str) -> None:
    disk = an_old_log().disk()
    log = open_log(disk, segment_max_bytes=1000)
    go_on(log)
    assert [place.number for place in log.places.places] == [0, 1]
    files = files_of(disk)
    assert files[MANIFEST_NAME].startswith(b"event-broker manifest 2\n")
    assert len(files[sealed_name(0)]) - 128 == sum(
        len(frame.body) + FRAME_HEADER_SIZE for frame in scan(files[sealed_name(0)])
    )
    before = told(log.fold)
    read = payloads(log, before)
    copy_forward(log, 0, step=700)
    assert 0 in let_go(log)
    assert told(log.fold) == before
    known = everything(log.fold)
    if end == "close":
        log.close()
        left = disk.another()
    else:
        left = disk.kill() if end == "kill" else disk.crash(seeded(4))
    again = open_log(left, segment_max_bytes=1000)
    assert again.repairs == []
    assert told(again.fold) == before
    assert payloads(again, before) == read
    found = everything(again.fold)
    for same in ("ids", "foreign", "counters", "next_number", "last_event_at"):
        assert found[same] == known[same]
    assert sealed_name(0) not in left.names()


def test_a_power_cut_at_any_operation_of_an_upgrade_loses_nothing() -> None:
    # What was told after each batch.
    log = open_log(an_old_log().disk())
    tales = [told(log.fold)]
    for facts in batches():
        log.append(facts)
        tales.append(told(log.fold))

    def upgrade(disk: MemoryDisk) -> int:
        """Give the number of batches that were promised."""
        promised = 0
        try:
            log = open_log(disk, segment_max_bytes=600)
            for facts in batches():
                commit(log, *facts)
                promised += 1
            copy_forward(log, 0, step=700)
            let_go(log)
            log.close()
        except StorageError:
            pass
        return promised

    whole = an_old_log().disk()
    before = whole.faults.operations
    assert upgrade(whole) == len(tales) - 1
    assert sealed_name(0) not in whole.another().names()
    for cut in range(1, whole.faults.operations - before + 1):
        disk = an_old_log().disk()
        disk.faults.cut_power(cut)
        promised = upgrade(disk)
        for seed in range(3):
            found = told(open_log(disk.crash(seeded(seed))).fold)
            assert promised <= tales.index(found) <= promised + 1, (cut, seed)


def test_an_old_log_cut_off_at_any_byte_recovers_the_whole_batches_before() -> None:
    old = OldLog()
    old.fact(enqueued(1))
    old.old(old_leased, 1, (1, 1), NOW + 9, 9, 1, b"w")
    ends = [len(old.image)]
    old.old(old_returned, 1, NOW + 5, 1, 1, b"no")
    ends.append(len(old.image))
    for size in range(ends[0], ends[1] + 1):
        disk = disk_with({LOG: bytes(old.image[:size]), MANIFEST_NAME: old_manifest()})
        log = open_log(disk)
        row = log.register.get(1)
        assert row is not None
        place = Place.WAITING if size == ends[1] else Place.LEASED
        assert row.place == place
        assert len(log.repairs) == (size not in ends)


def test_a_changed_byte_in_an_old_log_is_refused() -> None:
    old = an_old_log()
    files = files_of(old.disk())
    starts = [frame.header.position for frame in scan(bytes(old.image))]
    for offset in range(128, starts[-1], 31):
        data = bytearray(old.image)
        data[offset] ^= 4
        disk = disk_with({**files, LOG: bytes(data)})
        with pytest.raises(LogDamaged) as caught:
            open_log(disk)
        assert caught.value.offset == max(start for start in starts if start <= offset)
        assert files_of(disk)[LOG] == bytes(data)


def test_an_old_directory_without_its_manifest_gets_one() -> None:
    old = an_old_log()
    disk = disk_with({LOG: bytes(old.image)})
    log = open_log(disk)
    assert states(log) == EXPECTED
    assert decode_manifest(files_of(disk)[MANIFEST_NAME]) == decode_manifest(old_manifest())


def test_an_old_segment_may_be_too_full_for_the_first_new_fact() -> None:
    disk = an_old_log().disk()
    log = open_log(disk, segment_max_bytes=300)
    assert [place.number for place in log.places.places] == [0, 1]
    assert files_of(disk)[LOG][8:12] == bytes([2, 0, HEADER_SIZE, 0])
    write(log, enqueued(13))
    again = open_log(disk.kill())
    assert told(again.fold) == told(log.fold)
    assert again.boot == 3
