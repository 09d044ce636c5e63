"""Bytes that are no facts are never taken for some, whatever is wrong with them."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence import layout
from persistence.decode import HEAD_SIZE, decode, decode_one, heads
from persistence.entry import Row, Stamp
from persistence.errors import NewerFormat, Undecodable
from persistence.facts import (
    Dead,
    Extended,
    Fact,
    FactKind,
    Imported,
    Leased,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.legacy import Look
from tests.persistence.samples import NOW, bytes_of, enqueued, every_kind, old_facts

START = 5000
ALL = [*(bytes_of(fact, 7) for fact in every_kind()), *old_facts()]
every = pytest.mark.parametrize("data", ALL, ids=[FactKind(data[0]).name for data in ALL])


def nobody(_number: int) -> None:
    return None


def anybody(_number: int) -> Row:
    return Row(0, 0, NOW, NOW, 1, 1)


def read_one(data: bytes) -> Fact:
    return decode_one(data, START, anybody)[0]


@pytest.mark.parametrize("reader", ["decode", "decode_one", "heads"])
@every
def test_an_unknown_kind_or_flag_is_of_a_newer_format(data: bytes, reader: str) -> None:
    known = layout.COPIED | layout.FOREIGN if data[0] == FactKind.ENQUEUED else layout.COPIED
    if data[0] < 10 and data[0] != FactKind.ENQUEUED:
        known = 0
    for bit in range(8):
        if not known & 1 << bit:
            damaged = bytes([data[0], data[1] | 1 << bit]) + data[2:]
            with pytest.raises(NewerFormat, match="unknown flags 0x") as caught:
                read_with(reader, damaged)
            assert caught.value.position == START
    for kind in (0, 17, 255):
        with pytest.raises(NewerFormat, match=f"unknown kind of fact {kind}"):
            read_with(reader, bytes([kind]) + data[1:])


def read_with(reader: str, data: bytes) -> None:
    if reader == "decode":
        list(decode(memoryview(data), START, anybody))
    elif reader == "decode_one":
        read_one(data)
    else:
        list(heads(data, START))


@every
def test_a_fact_that_is_cut_short_anywhere_is_refused(data: bytes) -> None:
    whole = bytes_of(Settled(1))
    for size in range(1, len(data)):
        cut = whole + data[:size]
        for reading in (decode(memoryview(cut), START, anybody), heads(cut, START)):
            next(reading)
            with pytest.raises(Undecodable, match=r"cut short|does not fit") as caught:
                next(reading)
            assert not isinstance(caught.value, NewerFormat)
            assert caught.value.position == START + len(whole)
    for size in range(len(data)):
        with pytest.raises(Undecodable, match=r"cut short|does not fit"):
            read_one(data[:size])


@every
def test_a_size_that_is_not_the_sum_of_the_parts_is_refused(data: bytes) -> None:
    for wrong in (0, 1, HEAD_SIZE - 1, len(data) - 1, len(data) + 1, 2**32 - 1):
        damaged = data[:2] + pack("<I", wrong) + data[6:] + bytes(100)
        with pytest.raises(Undecodable, match="does not fit its content") as caught:
            read_one(damaged)
        assert caught.value.position == START


SIZES_OF_PARTS = [
    (enqueued(1), "<H", 38),
    (enqueued(1), "<I", 40),
    (enqueued(1, b"", "", foreign_id="f"), "<H", 44),
    (Leased(1, 0, 0, Stamp(1, 1), 0, 0, consumer="c"), "<H", 59),
    (Returned(1, 0, 0, Stamp(1, 1), ReturnCause.REJECTED, "e"), "<I", 43),
    (Dead(1, 0, 0, Stamp(1, 1), "r", "e"), "<H", 42),
    (Dead(1, 0, 0, Stamp(1, 1), "r", "e"), "<I", 44),
    (Imported("s", 0), "<H", 30),
]


@pytest.mark.parametrize(("fact", "code", "at"), SIZES_OF_PARTS)
@pytest.mark.parametrize("wrong", [0, 2, 200, 65535])
def test_a_part_that_does_not_fit_its_fact_is_refused(
    fact: Fact, code: str, at: int, wrong: int
) -> None:
    size = pack(code, wrong)
    data = bytes_of(fact)
    with pytest.raises(Undecodable, match="does not fit its content"):
        read_one(data[:at] + size + data[at + len(size) :] + bytes(100))


@pytest.mark.parametrize(
    ("fact", "at", "what"),
    [
        (Leased(1, 0, 0, Stamp(1, 1), 0, 0), 58, "2 is not a valid ConsumerKind"),
        (Extended(1, 0, 0, Stamp(1, 1), 0, 0), 58, "2 is not a valid ConsumerKind"),
        (Returned(1, 0, 0, Stamp(1, 1), ReturnCause.REJECTED), 42, "5 is not a valid ReturnC"),
    ],
)
def test_a_value_that_means_nothing_is_refused(fact: Fact, at: int, what: str) -> None:
    data = bytearray(bytes_of(fact))
    data[at] = int(what[0])
    with pytest.raises(Undecodable, match=what) as caught:
        read_one(bytes(data))
    assert caught.value.position == START


@pytest.mark.parametrize(
    "fact",
    [
        enqueued(1, b"", "BAD"),
        enqueued(1, foreign_id="BAD"),
        Leased(1, 0, 0, Stamp(1, 1), 0, 0, consumer="BAD"),
        Extended(1, 0, 0, Stamp(1, 1), 0, 0, consumer="BAD"),
        Returned(1, 0, 0, Stamp(1, 1), ReturnCause.REJECTED, "BAD"),
        Dead(1, 0, 0, Stamp(1, 1), "BAD", "no"),
        Dead(1, 0, 0, Stamp(1, 1), "no", "BAD"),
        Imported("BAD", 0),
    ],
)
def test_a_text_that_is_no_text_is_refused(fact: Fact) -> None:
    data = bytes_of(fact).replace(b"BAD", b"\xff\xfe\xfd")
    with pytest.raises(Undecodable, match="codec can't decode") as caught:
        read_one(data)
    assert caught.value.position == START


@every
def test_one_changed_byte_anywhere_gives_a_fact_or_a_refusal(data: bytes) -> None:
    for at in range(len(data)):
        for value in {0, 1, 2, 0x7F, 0xFF, *(data[at] ^ 1 << bit for bit in range(8))}:
            judge(data[:at] + bytes([value]) + data[at + 1 :], nobody)


@given(st.data())
def test_any_changed_byte_gives_facts_or_a_refusal(data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.sampled_from(ALL), min_size=1, max_size=5))
    body = bytearray(b"".join(pieces))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(1, len(body))) :]
    look = data.draw(st.sampled_from([anybody, nobody]))
    judge(bytes(body), look)


@given(st.binary(max_size=200), st.integers(0, 16))
def test_noise_gives_facts_or_a_refusal(noise: bytes, kind: int) -> None:
    judge(bytes([kind]) + noise, anybody)


def judge(body: bytes, look: Look) -> None:
    """See to it that facts follow each other to the end, or to what is refused."""
    end = START
    try:
        for position, size, _, _ in decode(memoryview(body), START, look):
            assert position == end
            end += size
        assert end == START + len(body)
    except Undecodable as error:
        assert error.position == end  # noqa: PT017 - both outcomes are fine
    sure = end
    end = START
    try:
        for head in heads(body, START):
            assert head.position == end
            end += head.size
        assert end == START + len(body)
    except Undecodable as error:
        assert error.position == end >= sure  # noqa: PT017
