"""An explanation on the wire and on a terminal: nothing empty, nothing lost, nothing obeyed."""

import json
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.broker import Explanation, Happening
from web.explanation import ExplanationBody, explanation_body
from web.terminal import open_console, printable, wall_time
from web.timeline import explanation_text

NOW = 1_700_000_000_123

FULL = Explanation(
    id="an-id",
    place="delayed",
    topic="orders",
    timestamp=NOW,
    retries=1,
    payload_size=4321,
    due=NOW + 9000,
    deadline=None,
    timeline=(
        Happening("accepted", NOW, 0),
        Happening("delivered", NOW + 10, 100, "10.0.0.7", "AAAA****", 0, deadline=NOW + 5010),
        Happening("rejected", NOW + 1010, 200, retries=1, due=NOW + 9000, error="out of stock"),
    ),
    folded=False,
)


def on_the_wire(explanation: Explanation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(explanation_body(explanation)))
    return found


def on_a_terminal(capsys: pytest.CaptureFixture[str], explanation: Explanation) -> str:
    open_console().print(explanation_text(explanation_body(explanation)))
    return capsys.readouterr().out


def test_members_of_the_event_are_always_there_and_empty_ones_of_a_happening_never() -> None:
    assert on_the_wire(FULL) == {
        "id": "an-id",
        "place": "delayed",
        "topic": "orders",
        "timestamp": NOW,
        "retries": 1,
        "payloadSize": 4321,
        "due": NOW + 9000,
        "deadline": None,
        "folded": False,
        "timeline": [
            {"what": "accepted", "at": NOW, "position": 0},
            {
                "what": "delivered",
                "at": NOW + 10,
                "position": 100,
                "consumer": "10.0.0.7",
                "receipt": "AAAA****",
                "retries": 0,
                "deadline": NOW + 5010,
            },
            {
                "what": "rejected",
                "at": NOW + 1010,
                "position": 200,
                "retries": 1,
                "due": NOW + 9000,
                "error": "out of stock",
            },
        ],
    }
    bare = attrs.evolve(FULL, topic="", due=None, timeline=(), folded=True)
    shown = on_the_wire(bare)
    assert shown.keys() == on_the_wire(FULL).keys()
    assert (shown["topic"], shown["due"], shown["timeline"], shown["folded"]) == (
        None,
        None,
        [],
        True,
    )


maybe = st.none() | st.integers(-(2**62), 2**62)
happenings = st.builds(
    Happening,
    what=st.sampled_from(["accepted", "copied", "dead"]),
    at=maybe,
    position=st.integers(0, 2**62),
    consumer=st.text(max_size=5),
    receipt=st.text(max_size=5),
    retries=maybe,
    due=maybe,
    deadline=maybe,
    reason=st.text(max_size=5),
    error=st.text(max_size=5),
)


@given(st.lists(happenings, max_size=3))
def test_what_was_sent_is_what_is_read(timeline: list[Happening]) -> None:
    body = explanation_body(attrs.evolve(FULL, timeline=tuple(timeline)))
    assert msgspec.json.decode(msgspec.json.encode(body), type=ExplanationBody) == body
    assert [attrs.astuple(happening) for happening in timeline] == [
        msgspec.structs.astuple(happening) for happening in body.timeline
    ]


def test_people_read_place_and_history_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    lines = on_a_terminal(capsys, FULL).splitlines()
    assert lines[0] == "an-id waits for its time until 2023-11-14 22:13:29.123Z"
    assert lines[1] == ("topic orders, 4,321 bytes, 1 retry, accepted 2023-11-14 22:13:20.123Z")
    accepted, delivered, rejected = lines[-3:]
    assert accepted.split() == ["2023-11-14", "22:13:20.123Z", "accepted", "0"]
    assert " 0.010 s " in delivered
    assert (
        "consumer 10.0.0.7, receipt AAAA****, retries 0, lease ends 2023-11-14 22:13:25.133Z"
        in delivered
    )
    assert " 1.000 s " in rejected
    assert "retries 1, due 2023-11-14 22:13:29.123Z, error out of stock" in rejected


def test_people_hear_what_is_not_there_any_more(capsys: pytest.CaptureFixture[str]) -> None:
    folded = attrs.evolve(
        FULL, folded=True, topic="", timeline=(Happening("copied", None, 7),), place="on the moon"
    )
    text = on_a_terminal(capsys, folded)
    assert "is on the moon until" in text
    assert "without a topic" in text
    assert "Older history was folded" in text


def test_what_a_client_wrote_does_not_drive_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nasty = "\x1b]0;title\x07\x9b2J\r\n[red]:smile: é"
    text = on_a_terminal(
        capsys,
        attrs.evolve(FULL, timeline=(Happening("dead", NOW, 1, consumer=nasty, error=nasty),)),
    )
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "error \\x1b]0;title\\x07\\x9b2J\\r\\n[red]:smile: é" in text


@given(st.text())
def test_printable_text_stays_and_everything_else_is_escaped(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_has_its_milliseconds(ms: int) -> None:
    assert wall_time(ms).endswith(f"{ms % 1000:03d}Z")


def test_a_time_outside_of_the_calendar_is_still_said() -> None:
    assert wall_time(2**62) == f"{2**62} ms"
