"""Facts survive the way to bytes and back, and the bytes are those that the format says."""

from collections.abc import Sequence
from struct import pack

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence import fields, layout
from persistence.decode import (
    HEAD_SIZE,
    decode,
    decode_one,
    fact_size,
    heads,
    payload_of,
)
from persistence.encode import (
    CONSUMER_MAX,
    ERROR_MAX,
    REASON_MAX,
    encode,
    home_size,
    payload_offset,
)
from persistence.entry import NOT_WRITTEN, ConsumerKind, Row, Stamp
from persistence.facts import (
    COUNT_MAX,
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Imported,
    Leased,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from tests.persistence.samples import NOW, bytes_of, content, enqueued, history, old_facts

START = 5000
times = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, COUNT_MAX)
numbers = st.integers(1, 2**64 - 1)
texts = st.text(max_size=300)
reasons = st.text(max_size=REASON_MAX // 4)
consumers = st.text(max_size=CONSUMER_MAX // 4)
stamps = st.builds(Stamp, counts, counts)
flag = st.booleans()
kinds = st.sampled_from(ConsumerKind)
facts = st.one_of(
    st.builds(Opened, boot=numbers, time=times),
    st.builds(
        lambda number, timestamp, due, topic, payload, foreign_id, copied: Enqueued(
            number, timestamp, due, topic, payload, foreign_id=foreign_id, copied=copied
        ),
        numbers,
        times,
        times,
        st.text(max_size=255),
        st.binary(max_size=1000),
        st.just("") | texts,
        flag,
    ),
    st.builds(Leased, numbers, times, counts, stamps, times, times, kinds, consumers, flag),
    st.builds(Extended, numbers, times, counts, stamps, times, times, kinds, consumers, flag),
    st.builds(Settled, numbers),
    st.builds(Returned, numbers, times, counts, stamps, st.sampled_from(ReturnCause), texts, flag),
    st.builds(Dead, numbers, times, counts, stamps, reasons, texts, flag),
    st.builds(Reprocessed, numbers, times, stamps, flag),
    st.builds(Discarded, numbers),
    st.builds(Imported, texts, times, flag),
)


def body_of(batch: Sequence[Fact]) -> bytes:
    return b"".join(bytes_of(fact) for fact in batch)


def nobody(_number: int) -> None:
    return None


def anybody(_number: int) -> Row:
    return Row(0, 0, NOW, NOW, 1, 1)


def read(body: bytes) -> list[Fact]:
    return [fact for *_, fact in decode(memoryview(body), START, anybody)]


def read_one(data: bytes) -> Fact:
    return decode_one(data, START, anybody)[0]


@given(st.lists(st.tuples(facts, times), max_size=5))
def test_every_fact_comes_back_as_it_went(batch: list[tuple[Fact, int]]) -> None:
    pieces = [bytes_of(fact, previous) for fact, previous in batch]
    body = b"".join(pieces)
    found = list(decode(memoryview(body), START, nobody))
    assert [content(fact) for *_, fact in found] == [content(fact) for fact, _ in batch]
    assert [previous for *_, previous, _ in found] == [previous for _, previous in batch]
    assert [size for _, size, _, _ in found] == [len(piece) for piece in pieces]
    ends = [position + size - START for position, size, _, _ in found]
    assert [position - START for position, *_ in found] == [0, *ends][: len(found)]
    for (position, *_), (fact, _) in zip(found, batch, strict=True):
        if isinstance(fact, Enqueued):
            assert bytes(payload_of(body, position - START)) == fact.payload


@given(facts, times, st.binary(max_size=30))
def test_one_fact_is_read_whatever_comes_behind_it(fact: Fact, previous: int, more: bytes) -> None:
    data = bytes_of(fact, previous)
    found, before = decode_one(data + more, START, nobody)
    assert (content(found), before) == (content(fact), previous)
    assert fact_size((data + more)[:HEAD_SIZE]) == len(data)


@given(st.lists(facts, max_size=5))
def test_heads_say_what_whole_facts_say(batch: list[Fact]) -> None:
    body = body_of(batch) + b"".join(old_facts())
    whole = list(decode(memoryview(body), START, anybody))
    found = list(heads(body, START))
    assert [(head.position, head.size, head.previous) for head in found] == [
        (position, size, previous) for position, size, previous, _ in whole
    ]
    assert [head.number for head in found] == [fact.number for *_, fact in whole]
    assert [head.flags & layout.COPIED for head in found] == [
        getattr(fact, "copied", False) for *_, fact in whole
    ]
    assert [head.kind for head in found] == [body[head.position - START] for head in found]


@given(facts)
def test_the_place_of_a_payload_follows_from_the_sizes(fact: Fact) -> None:
    if not isinstance(fact, Enqueued):
        return
    data, topic_size = bytes_of(fact), len(fact.topic.encode())
    assert len(data) == home_size(fact.payload_size, topic_size, len(fact.foreign_id.encode()))
    at = payload_offset(topic_size)
    assert data[at : at + fact.payload_size] == fact.payload


def test_a_history_comes_back_fact_by_fact() -> None:
    batches = history()
    assert [[content(fact) for fact in read(body_of(batch))] for batch in batches] == [
        [content(fact) for fact in batch] for batch in batches
    ]


def head(kind: int, flags: int, size: int, number: int) -> bytes:
    return pack("<BBIQq", kind, flags, size, number, -1)


@pytest.mark.parametrize(
    ("fact", "data"),
    [
        (Opened(2, NOW), head(1, 0, 38, 0) + pack("<Qq", 2, NOW)),
        (
            Enqueued(7, NOW, NOW + 1, "a/b", b"{}"),
            head(2, 0, 49, 7) + pack("<qqHI", NOW, NOW + 1, 3, 2) + b"a/b{}",
        ),
        (
            Enqueued(7, NOW, NOW + 1, "a", b"{}", foreign_id="x-1", copied=True),
            head(2, 3, 52, 7) + pack("<qqHI", NOW, NOW + 1, 1, 2) + b"a{}\x03\x00x-1",
        ),
        (Settled(7), head(5, 0, 22, 7)),
        (Discarded(7), head(9, 0, 22, 7)),
        (
            Leased(7, NOW, 2, Stamp(3, 4), NOW + 5, 6, ConsumerKind.WORKER, "w-1"),
            head(10, 0, 64, 7) + pack("<qIIIqqBH", NOW, 2, 3, 4, NOW + 5, 6, 1, 3) + b"w-1",
        ),
        (
            Extended(7, NOW, 2, Stamp(3, 4), NOW + 5, 6, copied=True),
            head(11, 1, 61, 7) + pack("<qIIIqqBH", NOW, 2, 3, 4, NOW + 5, 6, 0, 0),
        ),
        (
            Returned(7, NOW, 2, Stamp(3, 4), ReturnCause.RELEASED, "é"),
            head(12, 0, 49, 7) + pack("<qIIIBI", NOW, 2, 3, 4, 3, 2) + b"\xc3\xa9",
        ),
        (
            Dead(7, NOW, 2, Stamp(3, 4), "gone", "no"),
            head(13, 0, 54, 7) + pack("<qIIIHI", NOW, 2, 3, 4, 4, 2) + b"goneno",
        ),
        (
            Reprocessed(7, NOW, Stamp(3, 4)),
            head(14, 0, 38, 7) + pack("<qII", NOW, 3, 4),
        ),
        (Imported("s", 99), head(15, 0, 33, 0) + pack("<qH", 99, 1) + b"s"),
    ],
)
def test_the_bytes_are_those_of_the_format(fact: Fact, data: bytes) -> None:
    assert bytes_of(fact) == data


def test_the_payload_is_left_in_the_log() -> None:
    fact = read_one(bytes_of(enqueued(1, b"12345")))
    assert isinstance(fact, Enqueued)
    assert (fact.payload, fact.payload_size) == (None, 5)


def test_a_payload_goes_into_the_log_uncopied() -> None:
    parts: list[bytes] = []
    fact = enqueued(1)
    encode(fact, NOT_WRITTEN, parts)
    assert any(part is fact.payload for part in parts)


def test_a_payload_is_found_behind_other_facts() -> None:
    before = bytes_of(Settled(1))
    body = before + bytes_of(enqueued(2, b"payload")) + b"more"
    assert payload_of(memoryview(body), len(before)).tobytes() == b"payload"


@pytest.mark.parametrize("data", [b"", bytes_of(Settled(1)) * 3, bytes_of(enqueued(1))[:-1]])
def test_no_payload_is_made_up(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no event was enqueued|cut short"):
        payload_of(data, 0)


def test_events_of_one_topic_share_its_text() -> None:
    first, second = read(body_of([enqueued(1), enqueued(2)]))
    assert isinstance(first, Enqueued)
    assert isinstance(second, Enqueued)
    assert first.topic is second.topic


def test_any_number_of_topics_come_back_and_few_are_kept() -> None:
    batch = [enqueued(number, b"", f"topic-{number % 2500}") for number in range(1, 5001)]
    assert [content(fact) for fact in read(body_of(batch))] == [content(fact) for fact in batch]
    assert len(fields._topics) <= fields._TOPICS_MAX


def test_a_lone_surrogate_in_an_error_text_is_written_as_its_escape() -> None:
    fact = read_one(bytes_of(Dead(1, 0, 0, Stamp(1, 1), "r\udc00", "name \udcff")))
    assert isinstance(fact, Dead)
    assert (fact.reason, fact.error) == ("r\\udc00", "name \\udcff")


@pytest.mark.parametrize("character", ["x", "é", "€", "\U0001f600"])
@pytest.mark.parametrize("shift", range(4))
def test_long_texts_are_cut_at_the_end_of_a_character(character: str, shift: int) -> None:
    def kept(size_max: int) -> str:
        return "-" * shift + character * ((size_max - shift) // len(character.encode()))

    text = "-" * shift + character * (ERROR_MAX + 1)
    leased = read_one(bytes_of(Leased(1, 0, 0, Stamp(1, 1), 0, 0, consumer=text)))
    dead = read_one(bytes_of(Dead(1, 0, 0, Stamp(1, 1), text, text)))
    returned = read_one(bytes_of(Returned(1, 0, 0, Stamp(1, 1), ReturnCause.REJECTED, text)))
    assert isinstance(leased, Leased)
    assert isinstance(dead, Dead)
    assert isinstance(returned, Returned)
    assert leased.consumer == kept(CONSUMER_MAX)
    assert dead.reason == kept(REASON_MAX)
    assert dead.error == returned.error == kept(ERROR_MAX)


@pytest.mark.parametrize(
    "fact",
    [
        Leased(1, 0, COUNT_MAX, Stamp(COUNT_MAX, COUNT_MAX), 0, 0, consumer="c"),
        Extended(1, 0, COUNT_MAX, Stamp(COUNT_MAX, COUNT_MAX), 0, 0),
        Returned(1, 0, COUNT_MAX, Stamp(COUNT_MAX, COUNT_MAX), ReturnCause.REJECTED),
        Dead(1, 0, COUNT_MAX, Stamp(COUNT_MAX, COUNT_MAX), "r"),
        Reprocessed(1, 0, Stamp(COUNT_MAX, COUNT_MAX)),
    ],
)
def test_counts_stop_at_the_greatest_that_fits(fact: Fact) -> None:
    changes: dict[str, object] = {"stamp": Stamp(2**32, 2**70)}
    if hasattr(fact, "retries"):
        changes["retries"] = 2**32
    beyond: Fact = attrs.evolve(fact, **changes)  # type: ignore[arg-type]
    assert bytes_of(beyond) == bytes_of(fact)


@pytest.mark.parametrize(
    "fact",
    [
        Enqueued(7, 0, 0, "t", None, 5),
        Enqueued(7, 0, 0, "t" * 65536, b""),
        Enqueued(7, 0, 0, "t", b"", foreign_id="f" * 65536),
        Enqueued(7, 0, 0, "\udcff", b""),
        Enqueued(7, 0, 0, "t", b"", foreign_id="\udcff"),
        Enqueued(7, 2**63, 0, "t", b""),
        Returned(7, 2**63, 0, Stamp(1, 1), ReturnCause.REJECTED),
        Returned(7, 0, -1, Stamp(1, 1), ReturnCause.REJECTED),
        Settled(2**64),
        Imported("s" * 65536, 0),
        Imported("\udcff", 0),
    ],
)
def test_what_the_log_cannot_hold_is_refused_and_nothing_is_written(fact: Fact) -> None:
    parts = [b"before"]
    with pytest.raises(ValueError, match=r"7 has no payload|does not fit|surrogates|format"):
        encode(fact, NOT_WRITTEN, parts)
    assert parts == [b"before"]
