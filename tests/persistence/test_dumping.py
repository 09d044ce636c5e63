"""A dump gives every fact of a log as JSON would have it, filtered, in little memory."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.acquaintance import Acquaintance, Known
from persistence.dumping import KINDS, Dump, Dumped, Selection, fields_of
from persistence.errors import NoLog
from persistence.facts import Enqueued, FactKind, Lost
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.segment import SegmentHeader, encode_frame
from persistence.segment_files import Place, SegmentFiles, SegmentMap
from tests.persistence.damaged_logs import (
    ACTIVE,
    MANIFEST,
    ONE,
    OPTIONS,
    Files,
    body_at,
    flip,
    frames_in,
    life,
    lose,
    written,
)
from tests.persistence.directories import old_header
from tests.persistence.samples import (
    KEY,
    NOW,
    bytes_of,
    disk_with,
    enqueued,
    every_kind,
    history,
    old_dead,
    old_extended,
    old_leased,
    old_reprocessed,
    old_returned,
)


def dumped(files: Files, selection: Selection | None = None) -> list[Dumped]:
    disk = disk_with(files)
    disk.look()
    return list(Dump(disk, selection))


def records(files: Files, **selection: Any) -> list[dict[str, Any]]:
    return [one.record for one in dumped(files, Selection(**selection))]


def positions(found: list[dict[str, Any]]) -> list[int]:
    return [record["position"] for record in found]


def test_every_fact_is_given_in_order_with_where_it_stands() -> None:
    files = written()
    found = records(files)
    facts = [fact for batch in life() for fact in batch]
    assert [record["kind"] for record in found[1:]] == [
        type(fact).__name__.lower() for fact in facts
    ]
    assert [record["number"] for record in found[1:]] == [fact.number for fact in facts]
    assert positions(found) == sorted(positions(found))
    for record in found:
        data = files[record["file"]]
        assert data[record["offset"]] in KINDS[record["kind"]]
    first = found[1]
    del first["position"], first["file"], first["offset"]
    assert first == {
        "time": NOW + 1,
        "kind": "enqueued",
        "id": None,
        "number": 1,
        "topic": "orders",
        "timestamp": NOW + 1,
        "due": NOW,
        "payload": b'{"number":1}',
    }
    leased = next(record for record in found if record["kind"] == "leased")
    assert leased["topic"] == "orders"
    assert leased["consumer"] == "c-3"
    assert (leased["boot"], leased["delivery"], leased["holder"]) == (1, 3, "client")


def test_every_kind_of_fact_has_a_name_and_is_json() -> None:
    assert {kind for kinds in KINDS.values() for kind in kinds} == set(FactKind)
    for fact in [*every_kind(), Lost(99)]:
        said = fields_of(fact)
        assert json.loads(json.dumps(said)) == said
        assert said.get("copied", False) == getattr(fact, "copied", False)
        named = {field.name for field in attrs.fields(type(fact))} - {"number", "topic", "copied"}
        if not isinstance(fact, Enqueued):
            assert len(set(said) - {"copied"}) >= len(named)


def test_payloads_can_be_left_out() -> None:
    found = records(written(), payloads=False, kinds=frozenset({"enqueued"}))
    assert len(found) == 24
    assert {record["payload_size"] for record in found} == {12, 13}
    assert all("payload" not in record for record in found)


def test_facts_are_chosen_by_event_topic_kind_and_place() -> None:
    files = written()
    everything = records(files)
    about = [record for record in everything if record.get("number") == 6]
    assert [record["kind"] for record in about] == ["enqueued", "leased", "dead"]
    assert records(files, number=6) == about
    bills = [record for record in everything if record.get("topic") == "bills"]
    assert {record["kind"] for record in bills} == {"enqueued", "leased", "dead", "settled"}
    assert records(files, topic="bills") == bills
    dead = records(files, kinds=frozenset({"dead", "settled"}), topic="bills")
    assert dead == [record for record in bills if record["kind"] in {"dead", "settled"}]
    assert records(files, topic="none") == []
    for start in (0, everything[7]["position"], everything[7]["position"] + 1, 10**6):
        behind = [record for record in everything if record["position"] >= start]
        assert records(files, start=start) == behind


def test_an_event_is_found_by_its_id_at_another_broker() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW, options=LogOptions(segment_max_bytes=300))
    for batch in history():
        log.append(batch)
    log.write()
    looker = disk.another()
    looker.look()
    wanted = Selection(foreign_id="1526919030474-55")
    found = [one.record for one in Dump(looker, wanted)]
    assert [record["kind"] for record in found] == ["enqueued", "dead"]
    assert {record["id"] for record in found} == {"1526919030474-55"}
    later = attrs.evolve(wanted, start=found[1]["position"])
    assert [one.record for one in Dump(looker, later)] == found[1:]
    assert list(Dump(looker, Selection(foreign_id="another"))) == []


def test_what_stays_the_same_is_found_by_following_the_facts_back() -> None:
    files = written()
    disk = disk_with(files)
    found = {one.record["position"]: one for one in dumped(files)}
    bases = {}
    for one in found.values():
        bases[one.record["file"]] = one.record["position"] - one.record["offset"]
    places = [Place(at, base, name) for at, (name, base) in enumerate(bases.items())]
    known = Acquaintance(SegmentMap.of(places), SegmentFiles(disk), events_max=1)
    enqueues = {
        one.number: position for position, one in found.items() if one.record["kind"] == "enqueued"
    }
    for number, position in enqueues.items():
        topic = "orders" if number % 2 else "bills"
        assert known.recall(number, position) == Known(NOW + number, topic, "")
    assert known.recall(77, enqueues[3]) is None
    assert known.recall(3, 10**9) is None
    assert known.recall(4, -1) is None


def test_a_dump_remembers_a_bounded_number_of_events() -> None:
    known = Acquaintance(SegmentMap.of([]), SegmentFiles(MemoryDisk()), events_max=10)
    for number in range(1, 1000):
        known.meet(enqueued(number))
    assert len(known._young) + len(known._old) <= 10
    assert known.recall(999, -1) is not None
    known.forget(999)
    assert known.recall(999, -1) is None


def test_damage_is_left_out_and_told() -> None:
    files = written()
    everything = records(files)
    flip(ONE, body_at(ONE, 2))(files)
    disk = disk_with(files)
    disk.look()
    dump = Dump(disk)
    found = [one.record for one in dump]
    (skipped,) = dump.skipped
    assert (skipped.file, skipped.offset) == (f"memory/{ONE}", body_at(ONE, 2) - 48)
    lost = [record for record in everything if record["position"] not in positions(found)]
    assert [(record["file"], record["offset"]) for record in lost] == [(ONE, body_at(ONE, 2))]
    number = lost[0]["number"]
    assert {record["topic"] for record in found if record.get("number") == number} <= {None}


def test_a_missing_segment_is_told() -> None:
    files = written()
    lose(ONE)(files)
    disk = disk_with(files)
    disk.look()
    dump = Dump(disk)
    assert len(list(dump)) > 20
    assert [finding.file for finding in dump.skipped] == [f"memory/{ONE}"]


def test_facts_of_release_0_1_0_say_what_they_said() -> None:
    facts = [
        bytes_of(enqueued(1)),
        old_leased(1, 170, (1, 2), NOW, 5, 1, b"w"),
        old_extended(1, 170, NOW, 5),
        old_returned(1, 170, NOW, 1, 1, b"no"),
        old_dead(1, 170, NOW, 1, b"rejected", b"no"),
        old_reprocessed(1, 170, NOW),
    ]
    header = old_header()
    salt = SegmentHeader(0, 0, 0, KEY).salt
    frame = encode_frame(facts, position=128, count=6, synced=128, time=0, salt=salt)
    found = records({ACTIVE: header + bytes(frame)})
    about = ("position", "file", "offset", "time", "id", "number", "topic")
    said = [{k: v for k, v in record.items() if k not in about} for record in found]
    assert said[1:] == [
        {
            "kind": "leased",
            "boot": 1,
            "delivery": 2,
            "deadline": NOW,
            "length": 5,
            "holder": "worker",
            "consumer": "w",
        },
        {"kind": "extended", "deadline": NOW, "length": 5},
        {"kind": "returned", "due": NOW, "retries": 1, "cause": "rejected", "error": "no"},
        {"kind": "dead", "at": NOW, "retries": 1, "reason": "rejected", "error": "no"},
        {"kind": "reprocessed", "due": NOW},
    ]
    assert {record["time"] for record in found} == {None}


def test_a_directory_without_a_log_is_told_apart() -> None:
    with pytest.raises(NoLog):
        dumped({})


def test_a_log_in_use_is_dumped_up_to_its_end() -> None:
    disk = MemoryDisk()
    log = EventLog.open(disk, now=NOW, options=OPTIONS)
    looker = disk.another()
    looker.look()
    count = 1
    for batch in life():
        log.append(batch, now=NOW)
        log.write()
        count += len(batch)
        assert len(list(Dump(looker))) == count


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_flipped_bit_stops_a_dump_or_changes_a_fact(data: st.DataObject) -> None:
    files = written()
    sound = {record["position"]: record for record in records(files)}
    name = data.draw(st.sampled_from(sorted(set(files) - {MANIFEST})))
    offset = data.draw(st.integers(0, len(files[name]) - 1))
    flip(name, offset, 1 << data.draw(st.integers(0, 7)))(files)
    for record in records(files):
        expected = sound[record["position"]]
        if record.get("topic", "") is None:  # the fact that said so is damaged
            expected = {**expected, "topic": None}
        assert record == expected
    if offset < 136:
        return
    hit = max(f.header.position for f in frames_in(written()[name]) if _offset(f, name) <= offset)
    kept = {record["position"] for record in records(files)}
    inside = [position for position in sound if position not in kept]
    assert all(sound[position]["file"] == name for position in inside)
    assert all(position > hit for position in inside)


def _offset(frame: Any, name: str) -> int:
    base = frames_in(written()[name])[0].header.position - 136
    return int(frame.header.position - base)
