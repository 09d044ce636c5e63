"""Snapshots of logs to which certain things happened: when they are used, and when not and why."""

import pytest

from persistence.entry import NEVER_DELIVERED, Stamp
from persistence.errors import LogDamaged
from persistence.facts import (
    Dead,
    Discarded,
    Fact,
    Imported,
    Leased,
    Reprocessed,
    Settled,
)
from persistence.fold import Fold
from persistence.names import SNAPSHOT_NAME
from persistence.scan import End, Image, Scan, scan
from persistence.snapshot_writer import SnapshotSpoilt, SnapshotWriter
from tests.persistence.samples import NOW, enqueued, files_of
from tests.persistence.snapshots import (
    LOG,
    SMALL,
    House,
    finish,
    house_with_history,
    recovered,
    take_snapshot,
)


def topics_of(fold: Fold) -> dict[int, str]:
    return {n: fold.register.topics.name(row.topic) for n, row in fold.register.rows()}


# Where reading begins


def test_a_scan_may_begin_at_any_batch() -> None:
    data = house_with_history().files()[LOG]
    header = scan(data).header
    frames = [(frame.header, bytes(frame.body)) for frame in scan(data)]
    for index, (first, _) in enumerate(frames):
        part = Scan(Image(data), header, start=first.position, chunk_size=100)
        assert [(frame.header, bytes(frame.body)) for frame in part] == frames[index:]
        assert (part.verdict.end, part.verdict.valid) == (End.CLEAN, len(data))
        assert first.position <= part.verdict.synced <= len(data)
    empty = Scan(Image(data), header, start=len(data))
    assert list(empty) == []
    assert (empty.verdict.end, empty.verdict.valid) == (End.CLEAN, len(data))


# What is between the pieces


@pytest.mark.parametrize("rows_max", [1, 2, 3, 100])
def test_with_a_snapshot_all_is_known_that_is_known_without(rows_max: int) -> None:
    house = house_with_history(rows_max)
    house.fold()
    house.append(enqueued(8), Settled(5), Imported("stream", 9999))
    fold = house.fold()
    assert fold.imports["stream"].offset == 9999


def test_a_snapshot_of_an_empty_log_is_one() -> None:
    house = House()
    take_snapshot(house.log)
    assert len(house.fold().register) == 0
    house.append(enqueued(1))
    assert len(house.fold().register) == 1


def test_what_is_before_a_snapshot_is_not_read() -> None:
    house = House(SMALL)
    for number in range(1, 40):
        house.append(enqueued(number))
    take_snapshot(house.log)
    house.append(enqueued(40))
    files = house.files()
    sealed = "events-0000000001.log"
    damaged = {**files, sealed: files[sealed][:300] + b"?" + files[sealed][301:]}
    assert len(recovered(damaged, snapshots=True).fold.register) == 40
    with pytest.raises(LogDamaged):
        recovered(damaged, snapshots=False)


def test_a_step_copies_no_more_than_it_may_and_the_pieces_have_all_rows() -> None:
    house = House()
    house.append(*(enqueued(number) for number in range(1, 24)))
    writer = SnapshotWriter(house.log, rows_max=5)
    sizes = []
    while (piece := writer.step(NOW)) is not None:
        sizes.append(piece.count)
        writer.write(piece)
    finish(house.log, writer)
    assert sizes == [5, 5, 5, 5, 3]
    assert (writer.rows, writer.size) == (23, len(files_of(house.disk)[SNAPSHOT_NAME]))
    house.fold()


def test_events_that_come_during_a_snapshot_do_not_keep_it_from_ending() -> None:
    house = House()
    house.append(*(enqueued(number) for number in range(1, 10)))
    writer = SnapshotWriter(house.log, rows_max=3)
    steps = 0
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
        steps += 1
        number = house.log.fold.next_number
        house.append(*(enqueued(number + more) for more in range(5)))
    finish(house.log, writer)
    assert steps <= 4
    house.fold()


def test_facts_count_once_whether_their_event_was_copied_before_them_or_after() -> None:
    house = House()
    house.append(*(enqueued(number) for number in range(1, 7)))
    writer = SnapshotWriter(house.log, rows_max=3)
    for _ in range(2):
        house.append(Leased(1, NOW, 0, Stamp(1, 1), NOW, 5), Settled(2), Settled(5))
        house.append(Leased(6, NOW, 0, Stamp(1, 1), NOW, 5), Settled(6), enqueued(7))
        piece = writer.step(NOW)
        assert piece is not None
        writer.write(piece)
        house.append(Settled(1), Leased(3, NOW, 0, Stamp(1, 1), NOW, 5), Settled(4))
        break
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
    house.append(Dead(7, NOW, 0, NEVER_DELIVERED, "rejected"))
    finish(house.log, writer)
    house.append(Discarded(7))
    assert [number for number, _ in house.fold().register.rows()] == [3]


def test_an_event_with_an_early_number_may_come_late() -> None:
    house = House()
    house.append(*(enqueued(number) for number in (2, 4, 6)))
    writer = SnapshotWriter(house.log, rows_max=1)
    for number in (5, 1, 3):
        piece = writer.step(NOW)
        assert piece is not None
        writer.write(piece)
        house.append(enqueued(number))
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
    finish(house.log, writer)
    assert [number for number, _ in house.fold().register.rows()] == [1, 2, 3, 4, 5, 6]


def test_one_id_may_mean_another_topic_in_each_piece() -> None:
    house = House()
    house.append(enqueued(1, topic="a"), enqueued(2, topic="b"), enqueued(3, topic="a"))
    writer = SnapshotWriter(house.log, rows_max=1)

    def step(*facts: Fact) -> None:
        piece = writer.step(NOW)
        assert piece is not None
        writer.write(piece)
        house.append(*facts)

    # "a" had the id 0, and "c" gets it.
    step(Settled(1), Settled(3), enqueued(4, topic="c"), enqueued(5, topic="d"))
    step(Settled(2), enqueued(6, topic="a"), enqueued(7, topic="b"))
    assert writer.step(NOW) is None
    finish(house.log, writer)
    assert topics_of(house.fold()) == {4: "c", 5: "d", 6: "a", 7: "b"}

    writer = SnapshotWriter(house.log, rows_max=1)
    step(Settled(5), Settled(4), enqueued(8, topic="e"), enqueued(9, topic="f"))
    step(Settled(6), Settled(7), enqueued(10, topic="g"), enqueued(11, topic="b"))
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
    finish(house.log, writer)
    fold = house.fold()
    assert topics_of(fold) == {8: "e", 9: "f", 10: "g", 11: "b"}
    assert len(fold.register.topics) == 4


def test_topics_keep_their_rows_when_an_id_was_passed_on_while_both_are_there() -> None:
    house = House()
    house.append(enqueued(1, topic="x"), enqueued(2, topic="a"), enqueued(9, topic="x"))
    writer = SnapshotWriter(house.log, rows_max=2)
    piece = writer.step(NOW)
    assert piece is not None
    writer.write(piece)
    # "x" goes, comes again under another id, and its first id goes to "y".
    house.append(Settled(1), Settled(9), enqueued(10, topic="y"), enqueued(11, topic="x"))
    house.append(enqueued(8, topic="y"))
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
    finish(house.log, writer)
    house.append(Settled(2), enqueued(12, topic="a"))
    assert topics_of(house.fold()) == {8: "y", 10: "y", 11: "x", 12: "a"}


def test_a_topic_that_was_named_anew_is_told_anew() -> None:
    house = House()
    house.append(*(enqueued(number, topic="a") for number in (1, 2)))
    house.append(enqueued(3, topic="b"))
    writer = SnapshotWriter(house.log, rows_max=2)
    piece = writer.step(NOW)
    assert piece is not None
    writer.write(piece)
    assert piece.topics == ((0, "a"),)
    house.append(Settled(1), Settled(2), enqueued(4, topic="c"))
    piece = writer.step(NOW)
    assert piece is not None
    writer.write(piece)
    assert set(piece.topics) == {(0, "c"), (1, "b")}
    finish(house.log, writer)
    assert topics_of(house.fold()) == {3: "b", 4: "c"}


# Segments that went


def test_an_event_whose_end_is_gone_does_not_come_back() -> None:
    house = House(SMALL)
    house.append(enqueued(1))
    house.roll()
    house.append(*(enqueued(number) for number in (2, 3, 4)))
    take_snapshot(house.log)
    house.roll()
    house.append(Settled(1))
    house.roll()
    assert {0, 2} <= set(house.drop())
    assert [number for number, _ in house.fold().register.rows()] == [2, 3, 4]


def test_an_event_without_payload_is_where_its_fact_is_and_not_in_the_next_segment() -> None:
    house = House(SMALL)
    house.fill(enqueued(4, b""))
    house.append(*(enqueued(number) for number in (2, 3)))
    row = house.log.register.get(4)
    assert row is not None
    assert row.payload_at == house.log.fold.holdings.active.base
    take_snapshot(house.log)
    house.roll()
    house.append(Settled(4))
    house.roll()
    assert {0, 2} <= set(house.drop())
    assert [number for number, _ in house.fold().register.rows()] == [2, 3]


def test_what_the_newest_fact_of_a_vanished_event_counted_for_counts_no_more() -> None:
    house = House(SMALL)
    house.append(enqueued(1))
    house.roll()
    house.append(Leased(1, NOW, 0, Stamp(1, 1), NOW, 5), *(enqueued(n) for n in (2, 3, 4)))
    take_snapshot(house.log)
    house.roll()
    house.append(Settled(1))
    house.roll()
    assert house.drop()
    house.fold()
    house.append(*map(Settled, (2, 3, 4)))
    house.roll()
    assert house.fold().holdings.droppable() == house.log.droppable() != []


def test_a_copy_brings_an_event_back_whose_first_home_is_gone() -> None:
    house = House(SMALL)
    house.append(enqueued(1), Leased(1, NOW, 0, Stamp(1, 1), NOW, 5))
    house.roll()
    house.append(*(enqueued(number) for number in (2, 3)))
    take_snapshot(house.log)
    house.copy(0)
    house.append(Dead(1, NOW, 1, Stamp(1, 1), "rejected"))
    house.roll()
    assert 0 in house.drop()
    assert sorted(number for number, _ in house.fold().register.rows()) == [1, 2, 3]


def test_a_copy_made_during_a_snapshot_is_in_it() -> None:
    house = House(SMALL)
    house.append(enqueued(1, topic="a"), enqueued(2, topic="a"), enqueued(3, topic="b"))
    house.roll()
    writer = SnapshotWriter(house.log, rows_max=1)
    for copies_now in (False, True, False):
        piece = writer.step(NOW)
        assert piece is not None
        writer.write(piece)
        if copies_now:
            house.copy(0)
    finish(house.log, writer)
    house.roll()
    assert 0 in house.drop()
    assert topics_of(house.fold()) == {1: "a", 2: "a", 3: "b"}


def test_a_fact_that_only_the_snapshot_knows_of_is_no_reason_to_refuse() -> None:
    house = House(SMALL)
    house.append(enqueued(1))
    house.roll()
    house.append(Dead(1, NOW, 1, NEVER_DELIVERED, "rejected"), enqueued(2), enqueued(3))
    take_snapshot(house.log)
    house.roll()
    house.append(Reprocessed(1, NOW, NEVER_DELIVERED))
    house.roll()
    house.append(Leased(1, NOW, 0, Stamp(1, 1), NOW, 5))
    house.roll()
    assert house.drop()
    house.fold()


# What the log takes back


def test_a_snapshot_of_what_the_log_took_back_is_given_up() -> None:
    for refused in (True, False):
        house = House()
        house.append(enqueued(1))
        house.commit()
        writer = SnapshotWriter(house.log)
        house.append(enqueued(2))
        piece = writer.step(NOW)
        assert piece is not None
        house.log.abandon()
        if not refused:
            house.append(enqueued(2))
        # Something else fills the place, however large it is.
        house.append(enqueued(3, b"x" * 200))
        with pytest.raises(SnapshotSpoilt):
            writer.write(piece)
            finish(house.log, writer)
        writer.give_up()
        assert SNAPSHOT_NAME not in house.disk.names()


def test_a_mark_in_the_very_place_of_one_that_was_taken_back_proves_nothing() -> None:
    house = House()
    house.append(*(enqueued(number) for number in (1, 2)))
    house.commit()
    writer = SnapshotWriter(house.log, rows_max=1)
    house.append(enqueued(3, topic="refused"))
    piece = writer.step(NOW)
    assert piece is not None
    writer.write(piece)
    house.log.abandon()
    house.append(enqueued(4, topic="instead"))
    with pytest.raises(SnapshotSpoilt):
        writer.step(NOW)


def test_what_was_taken_back_and_appended_again_behind_a_written_mark_does_no_harm() -> None:
    house = House()
    house.append(*(enqueued(number) for number in (1, 2)))
    writer = SnapshotWriter(house.log, rows_max=1)
    piece = writer.step(NOW)
    assert piece is not None
    house.commit()
    writer.write(piece)
    house.append(enqueued(3), Settled(1))
    house.log.abandon()
    house.append(Settled(1))
    while (piece := writer.step(NOW)) is not None:
        writer.write(piece)
    finish(house.log, writer)
    files = house.files()
    found = recovered(files, snapshots=True)
    assert found.snapshot_problem == ""
    assert [number for number, _ in found.fold.register.rows()] == [2]
