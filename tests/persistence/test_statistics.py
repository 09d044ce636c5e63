"""The figures of a log are those that its own process has."""

import attrs
import pytest

from persistence.entry import Place
from persistence.errors import NoLog
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.reserve import Reserve
from persistence.snapshot_layout import Header
from persistence.statistics import SnapshotStatistics, Statistics, statistics
from tests.persistence.damaged_logs import ACTIVE, ONE, OPTIONS, body_at, flip, life, written
from tests.persistence.samples import KEY, NOW, disk_with


def figures(disk: MemoryDisk, now: int = NOW + 1) -> Statistics:
    looker = disk.another()
    looker.look()
    return statistics(looker, now=now)


def test_the_figures_of_a_log_in_use_are_those_of_its_process() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW, options=OPTIONS)
    for batch in life():
        log.append(batch)
        log.write()
        log.sync()
        found = figures(disk)
        held = [(h.number, h.size, h.live, h.live_bytes) for h in log.fold.holdings]
        assert [
            (one.number, one.size, one.live_facts, one.live_bytes) for one in found.segments
        ] == held
        assert found.counters == attrs.asdict(log.fold.counters)
        register = log.register
        assert found.ready + found.delayed == register.count(Place.WAITING)
        assert (found.leased, found.dead) == (
            register.count(Place.LEASED),
            register.count(Place.DEAD),
        )
        assert found.topics == len(register.topics)
        assert (found.boots, found.next_number) == (log.boot, log.fold.next_number)
        assert found.end == log.end
        assert found.synced <= log.synced


def test_totals_are_the_sum_of_the_segments() -> None:
    files = written()
    found = figures(disk_with(files))
    assert [one.file for one in found.segments][-1] == ACTIVE
    assert [one.sealed for one in found.segments] == [True] * (len(found.segments) - 1) + [False]
    assert found.size == sum(len(data) for name, data in files.items() if name.endswith(".log"))
    assert found.live_bytes == sum(one.live_bytes for one in found.segments)
    assert found.dead_share == pytest.approx(1 - found.live_bytes / found.size)
    for one in found.segments:
        assert one.dead_share == pytest.approx((one.size - one.live_bytes) / one.size)
    assert found.damage == ()


def test_events_that_are_not_due_yet_are_delayed() -> None:
    disk = disk_with(written())
    late = figures(disk, now=NOW + 5)
    assert late.delayed == 0
    early = figures(disk, now=NOW + 4)
    assert early.delayed == 2  # they were returned, and are due at NOW + 5
    assert early.ready + early.delayed == late.ready


def test_reserve_and_snapshot_are_measured() -> None:
    files = written()
    disk = disk_with(files)
    assert figures(disk).reserve_size == 0
    assert figures(disk).snapshot is None
    disk.lock()
    Reserve(disk, 10_000).fill()
    disk.close()
    snapshot = Header(KEY, created=NOW, start=5, end=7).encode()
    found = figures(disk_with({**files, "events.snapshot": snapshot + b"more"}))
    assert found.snapshot == SnapshotStatistics(NOW, len(snapshot) + 4, 7)
    assert figures(disk).reserve_size == 10_000
    assert figures(disk_with({**files, "events.snapshot": b"damaged"})).snapshot is None


def test_a_damaged_log_gives_the_figures_of_what_is_left() -> None:
    files = written()
    sound = figures(disk_with(files))
    flip(ONE, body_at(ONE, 2))(files)
    found = figures(disk_with(files))
    assert len(found.damage) == 1
    assert found.ready < sound.ready or found.live_bytes < sound.live_bytes


def test_a_directory_without_a_log_is_told_apart() -> None:
    with pytest.raises(NoLog):
        figures(MemoryDisk())
