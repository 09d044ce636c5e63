"""The earlier broker's files: good lines are read, bad ones are named with what is wrong."""

import json
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.id_set import IdSet
from persistence.lines import Line, lines
from persistence.memory_disk import MemoryDisk
from persistence.old_broker import (
    LINE_SIZE_MAX,
    DoneFile,
    Entry,
    NoOldFiles,
    OldDeath,
    OldEvent,
    OldFiles,
    RecordFile,
)
from persistence.scan import Image
from tests.persistence.old_files import RULES, json_lines, letter, old_disk, record
from tests.persistence.samples import NOW, disk_with


def entries(disk: MemoryDisk, name: str = "events.log") -> list[Entry]:
    return list(RecordFile(disk, name).entries(RULES))


def test_an_event_is_read_with_its_payload_as_the_bytes_that_it_is() -> None:
    line = b'{ "payload" : {"a": 1.0,\t"a":"\\u0041"} ,"ts":%d,"id":"x-1","more":[]}\r\n' % NOW
    (entry,) = entries(old_disk(line))
    assert entry.event == OldEvent("x-1", NOW, b'{"a": 1.0,\t"a":"\\u0041"}', 0, "")
    assert (entry.fault, entry.death, entry.line.number) == ("", None, 1)


def test_topic_and_retries_are_kept() -> None:
    (entry,) = entries(old_disk([record("a", topic="orders", retries=3)]))
    assert entry.event == OldEvent("a", NOW, b'{"name": "a"}', 3, "orders")
    many, none = entries(old_disk([record("a", retries=2**40), record("b", topic=None)]))
    assert many.event is not None
    assert many.event.retries == 2**32 - 1
    assert none.event is not None
    assert none.event.topic == ""


@pytest.mark.parametrize(
    ("error", "kept"),
    [({}, ""), ({"error": None}, ""), ({"error": "bäd"}, "bäd"), ({"error": {"a": 1}}, '{"a":1}')],
)
def test_a_dead_letter_is_read(error: dict[str, Any], kept: str) -> None:
    (entry,) = entries(old_disk(dead=[letter("a", **error)]), "dlq.log")
    assert entry.death == OldDeath(NOW + 5, "max_retries_exceeded", kept)
    assert entry.event == OldEvent("a", NOW, b'{"name": "a"}', 5, "")


def without(member: str) -> dict[str, Any]:
    return {name: value for name, value in record("a").items() if name != member}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense", "it cannot be read"),
        (b'{"id":"a"', "it cannot be read"),
        (b'{"id":"a","ts":1,"payload":{"x":NaN}}', "it cannot be read"),
        (b'{"id":"\xff","ts":1,"payload":{}}', "not valid UTF-8"),
        (b'{"id":"\\ud800","ts":1,"payload":{}}', "it cannot be read"),
        (b'{"id":"a","ts":1,"payload":' + b"[" * 100_000, "nested too deep"),
        (b"[]", "expected `object`, got `array`"),
        (b"null", "expected `object`"),
        (json.dumps(without("id")).encode(), "missing required field `id`"),
        (json.dumps(without("ts")).encode(), "missing required field `ts`"),
        (json.dumps(without("payload")).encode(), "missing required field `payload`"),
        (json.dumps(record("")).encode(), "`$.id`"),
        (json.dumps(record("é" * 256)).encode(), "`$.id`"),
        (json.dumps(record("a", ts=-1)).encode(), "`$.ts`"),
        (json.dumps(record("a", ts="then")).encode(), "`$.ts`"),
        (json.dumps(record("a", ts=2**48)).encode(), "`$.ts`"),
        (json.dumps(record("a", retries=-1)).encode(), "`$.retries`"),
        (json.dumps(record("a", topic=7)).encode(), "`$.topic`"),
        (
            json.dumps(record("a", topic="a b")).encode(),
            "its topic cannot be taken: it has a space",
        ),
        (json.dumps(record("a", payload=[])).encode(), "its payload is not valid: it is no object"),
    ],
)
def test_a_line_that_cannot_be_taken_is_told_and_the_next_one_is_read(
    line: bytes, words: str
) -> None:
    bad, good = entries(old_disk(line + b"\n" + json_lines([record("b")])))
    assert bad.event is None
    assert words in bad.fault
    assert (bad.line.number, good.line.number) == (1, 2)
    assert good.event is not None
    assert good.event.id == "b"


@pytest.mark.parametrize("member", ["timestamp", "reason", "record"])
def test_a_dead_letter_without_what_it_needs_is_told(member: str) -> None:
    half = {name: value for name, value in letter("a").items() if name != member}
    (entry,) = entries(old_disk(dead=[half]), "dlq.log")
    assert f"missing required field `{member}`" in entry.fault


def test_a_line_without_an_end_is_told_even_if_it_looks_whole() -> None:
    whole = json_lines([record("a")])
    for cut in (whole[:-1], whole[:-5]):
        good, torn = entries(old_disk(whole + cut))
        assert good.event is not None
        assert torn.event is None
        assert "its end is missing" in torn.fault
        assert not torn.line.ended


def test_a_line_that_is_too_long_is_told_without_being_kept() -> None:
    class Endless:
        def size(self) -> int:
            return 3 * LINE_SIZE_MAX

        def read(self, offset: int, size: int) -> bytes:
            return b"x" * (size - 1) + (b"\n" if offset + size == self.size() else b"x")

    tracemalloc.start()
    (line,) = lines(Endless(), 5 * 1024 * 1024)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert line == Line(1, 0, 3 * LINE_SIZE_MAX, None, ended=True)
    assert peak < 12 * 1024 * 1024


@given(
    st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b" ")), max_size=8),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 12),
)
def test_lines_are_those_of_the_file_whatever_is_read_at_a_time(
    texts: list[bytes], ended: bool, chunk_size: int, size_max: int
) -> None:
    data = b"\n".join(texts) + (b"\n" if ended and texts else b"")
    found = list(lines(Image(data), size_max, chunk_size=chunk_size))
    expected = data.split(b"\n")
    last = expected.pop()
    if last:
        expected.append(last)
    assert [line.text for line in found] == [
        text if len(text) <= size_max else None for text in expected
    ]
    for number, line in enumerate(found, 1):
        assert line.number == number
        assert data[line.start : line.end].rstrip(b"\n") == expected[number - 1]
        assert line.ended == data[: line.end].endswith(b"\n")


def test_empty_lines_are_passed_over_and_still_counted() -> None:
    (entry,) = entries(old_disk(b"\n \n" + json_lines([record("a")]) + b"\n"))
    assert entry.line.number == 3


def test_a_file_is_known_again_by_its_first_record_when_it_has_grown_and_moved() -> None:
    first, second = json_lines([record("a")]), json_lines([record("b")])
    name = RecordFile(old_disk(first), "events.log").source()
    assert name is not None
    for longer in (first + second, b"rubbish\n\n" + first, first + b"torn"):
        assert RecordFile(old_disk(longer), "events.log").source() == name
    assert RecordFile(old_disk(second + first), "events.log").source() != name


@pytest.mark.parametrize("data", [b"", b"\n", b"rubbish\n", json_lines([record("a")])[:-1]])
def test_a_file_without_a_whole_record_has_no_name(data: bytes) -> None:
    assert RecordFile(old_disk(data), "events.log").source() is None


def test_committed_ids_are_read_and_what_is_none_is_told() -> None:
    data = b"a\r\n\n" + b"x" * 256 + b"\n" + b"\xff\n" + b"\xc3\xa9" * 255 + b"\nb"
    found = [
        (line.number, one, fault)
        for line, one, fault in DoneFile(old_disk(done=data), "committed.log").ids()
    ]
    assert found == [
        (1, "a", ""),
        (3, "", "it is longer than the 255 characters of an id"),
        (4, "", "it is not valid UTF-8"),
        (5, "é" * 255, ""),
        (6, "b", ""),
    ]


def test_what_is_missing_is_none() -> None:
    files = OldFiles.open(old_disk(events=[record("a")]))
    assert files.events is not None
    assert (files.dead, files.done) == (None, None)
    files.close()


def test_another_directory_is_refused() -> None:
    with pytest.raises(NoOldFiles, match=r"memory has neither events\.log nor dlq\.log"):
        OldFiles.open(old_disk(done=["a"]))
    with pytest.raises(NoOldFiles, match="a data directory of this broker"):
        OldFiles.open(disk_with({"events.log": b"\x89EVLOG\r\n" + bytes(128)}))


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_a_set_of_ids_has_what_was_put_in(there: list[str], asked: list[str]) -> None:
    ids = IdSet()
    for number, one in enumerate(there):
        assert ids.add(one) == (one not in there[:number])
    assert len(ids) == len(set(there))
    assert [one in ids for one in asked] == [one in there for one in asked]


def test_an_id_costs_few_bytes() -> None:
    ids = IdSet()
    few, many = 200_000, 400_000
    for number in range(few):
        ids.add(f"0190b2f4-7c1e-7000-8000-{number:012x}")
    size = size_of(ids)
    for number in range(few, many):
        ids.add(f"0190b2f4-7c1e-7000-8000-{number:012x}")
    assert size_of(ids) - size < 24 * (many - few)
    assert size_of(ids) < 75 * many  # buckets included


def size_of(ids: IdSet) -> int:
    buckets = ids._buckets
    return sys.getsizeof(buckets) + sum(map(sys.getsizeof, [*buckets, *buckets.values()]))
