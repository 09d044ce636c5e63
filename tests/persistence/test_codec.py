"""Facts survive the way to bytes and back, and bytes that are no facts are never taken for some."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence import layout
from persistence.decode import decode
from persistence.encode import encode, previous_positions
from persistence.entry import NOT_WRITTEN, ConsumerKind, Event, Stamp
from persistence.errors import NewerFormat, Undecodable
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Leased,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from tests.persistence.samples import event, history

START = 5000
times = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 2**32 - 1)
numbers = st.integers(1, 2**64 - 1)
texts = st.text(max_size=300)
events = st.builds(
    lambda number, timestamp, topic, payload: Event(
        number, timestamp, topic, payload, len(payload)
    ),
    numbers,
    times,
    st.text(max_size=255),
    st.binary(max_size=1000),
)
stamps = st.builds(Stamp, numbers, numbers)
facts = st.one_of(
    st.builds(Opened, boot=numbers, time=times),
    st.builds(Enqueued, events, due=times),
    st.builds(
        Leased, events, stamps, times, times, kind=st.sampled_from(ConsumerKind), consumer=texts
    ),
    st.builds(Extended, events, times, times),
    st.builds(Settled, events),
    st.builds(Returned, events, times, counts, st.sampled_from(ReturnCause), error=texts),
    st.builds(Dead, events, times, counts, reason=texts, error=texts),
    st.builds(Reprocessed, events, times),
    st.builds(Discarded, events),
)


def body_of(batch: Sequence[Fact]) -> bytes:
    parts: list[bytes] = []
    end = encode(batch, START, parts)
    body = b"".join(parts)
    assert end == START + len(body)
    return body


def stub(number: int) -> Event:
    return Event(number, 0, "", None, 0)


def content(fact: Fact) -> dict[str, object]:
    """The fact's own fields, and of its event what this fact carries."""
    fields = {name: getattr(fact, name) for name in type(fact).__slots__ if name[0] != "_"}
    about = fields.pop("event", None)
    if about is not None:
        fields["number"] = about.number
        fields["last_fact"] = about.last_fact
    if isinstance(fact, Enqueued):
        about = fact.event
        fields["topic"] = about.topic
        fields["timestamp"] = about.timestamp
        fields["payload"] = (about.payload_position, about.payload_size)
    return fields


@given(st.lists(facts, max_size=5))
def test_every_fact_comes_back_as_it_went(batch: list[Fact]) -> None:
    body = body_of(batch)
    found = list(decode(memoryview(body), START, stub))
    assert [type(fact) for _, fact in found] == [type(fact) for fact in batch]
    assert [content(fact) for _, fact in found] == [content(fact) for fact in batch]
    for fact in batch:
        if isinstance(fact, Enqueued):
            at = fact.event.payload_position - START
            assert body[at : at + fact.event.payload_size] == fact.event.payload


def test_a_fact_names_the_one_before_it_about_the_same_event() -> None:
    one, other = event(1), event(2)
    body = body_of([Enqueued(one, 0), Enqueued(other, 0), Settled(one), Settled(other)])
    positions = [where for where, _ in decode(memoryview(body), START, stub)]
    assert previous_positions(body) == [NOT_WRITTEN, NOT_WRITTEN, positions[0], positions[1]]
    assert (one.last_fact, other.last_fact) == (positions[2], positions[3])


def test_the_payload_is_left_in_the_log() -> None:
    body = body_of([Enqueued(event(1), 0)])
    [(_, fact)] = decode(memoryview(body), START, stub)
    assert isinstance(fact, Enqueued)
    assert fact.event.payload is None


def test_events_of_one_topic_share_its_text() -> None:
    body = body_of([Enqueued(event(1), 0), Enqueued(event(2), 0)])
    first, second = (fact.event for _, fact in decode(memoryview(body), START, stub))  # type: ignore[union-attr]
    assert first.topic is second.topic


def test_an_event_without_its_payload_cannot_be_enqueued() -> None:
    with pytest.raises(ValueError, match="event 7 has no payload"):
        body_of([Enqueued(stub(7), 0)])


def test_a_lone_surrogate_in_an_error_text_is_written_as_its_escape() -> None:
    body = body_of([Dead(event(1), 0, 0, "rejected", "name \udcff")])
    [(_, fact)] = decode(memoryview(body), START, stub)
    assert isinstance(fact, Dead)
    assert fact.error == "name \\udcff"


@pytest.mark.parametrize(
    ("at", "value", "what"), [(0, 10, "unknown kind of fact 10"), (1, 1, "unknown flags 0x01")]
)
def test_an_unknown_kind_or_flag_is_of_a_newer_format(at: int, value: int, what: str) -> None:
    body = bytearray(body_of([Settled(event(1)), Settled(event(1))]))
    second = layout.HEAD.size
    body[second + at] = value
    reading = decode(memoryview(body), START, stub)
    next(reading)
    with pytest.raises(NewerFormat, match=what) as caught:
        next(reading)
    assert caught.value.position == START + second


def test_a_fact_about_an_unknown_event_is_refused() -> None:
    nothing: dict[int, Event] = {}
    reading = decode(memoryview(body_of([Settled(event(9))])), START, nothing.__getitem__)
    with pytest.raises(Undecodable, match="event 9, which is not there"):
        next(reading)


@given(st.data())
def test_any_changed_byte_gives_facts_or_a_refusal(data: st.DataObject) -> None:
    whole = body_of([fact for batch in history() for fact in batch])
    body = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    try:
        for _ in decode(memoryview(body), START, stub):
            pass
    except Undecodable as error:
        assert START <= error.position < START + len(body)  # noqa: PT017 - both outcomes are fine
