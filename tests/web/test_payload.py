"""Validation of bodies against Python's own JSON reader, and what is said of bad ones."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from web.call import Call
from web.payload import DEPTH_MAX, object_fault, one_object, split_batch
from web.problems import ProblemError

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=4)
json_like = st.text(st.sampled_from('{}[]",:\\u0dD89aeE+-.1 \n\tnultrfs\x00é😀'), max_size=40)


def call(body: bytes, content_type: bytes = b"") -> Call:
    headers = {b"content-type": content_type} if content_type else {}
    return Call("POST", "/", {}, headers, body)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def refuse(constant: str) -> object:
    raise ValueError(constant)


def is_acceptable(raw: bytes) -> bool:
    """Decide it the slow way."""
    try:
        value = json.loads(raw.decode(), parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and depth(value) <= DEPTH_MAX


@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_object_is_accepted(value: Any, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert object_fault(raw) is None
    assert one_object(call(raw)) is raw


@given(json_like.map(str.encode) | st.binary(max_size=20))
@example(b'{"a":"\\ud800"}')
@example(b'{"a":"\\\\ud800"}')
@example(b'{"a":"\\ud83d\\ude00"}')
@example(b'{"\\udc00":1}')
@example(b'{"a":1.}')
@example(b'{"a":.1}')
@example(b'{"a":+1}')
@example(b'{"a":1e5}')
@example(b'{"a":-}')
@example(b"\x0c{}")
@example(b'{"a":"\x7f"}')
def test_what_is_accepted_is_what_python_reads(raw: bytes) -> None:
    assert (object_fault(raw) is None) == is_acceptable(raw)


@given(
    st.integers(1, 130),
    st.lists(st.sampled_from(["[", '{"a":', '{"[{\\"":']), min_size=130, max_size=130),
    st.text('[]{}"\\', max_size=200),
)
def test_depth_is_counted_outside_of_strings(levels: int, openers: list[str], noise: str) -> None:
    opened = ['{"a":', *openers[: levels - 1]]
    closed = "".join("]" if opener == "[" else "}" for opener in reversed(opened))
    raw = ("".join(opened) + json.dumps(noise) + closed).encode()
    fault = object_fault(raw)
    assert (fault is None) == (levels <= DEPTH_MAX)
    if fault is not None:
        assert "deeper than 100" in fault


def test_many_shallow_brackets_are_no_depth() -> None:
    assert object_fault(b'{"a":[' + b"[{}]," * 5000 + b"[]]}") is None


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"a":"x\\\\\\udc00"}', "surrogate"),
        (b'{"a":' + b"[" * 10_000, "deeper than 100"),
        (b'{"a":1e999}', "number that is too large"),
        (b"[]", "got `array`"),
        (b'{"a":}', "byte 5"),
    ],
)
def test_a_fault_is_said_in_words(raw: bytes, words: str) -> None:
    assert words in (object_fault(raw) or "")


@given(st.lists(objects, min_size=1, max_size=5), st.sampled_from(["", " ", "\r\n\t"]))
def test_a_batch_is_split_into_the_bytes_of_its_events(batch: list[Any], space: str) -> None:
    texts = [json.dumps(event) for event in batch]
    expected = [text.encode() for text in texts]
    array = f"{space}[{space}{f'{space},{space}'.join(texts)}{space}]{space}"
    assert split_batch(call(array.encode()), 5) == expected
    lines = "\n".join(f"{space}{text}{space}" for text in texts)
    assert split_batch(call(lines.encode(), b"application/x-ndjson"), 5) == expected


@given(
    st.lists(objects, min_size=1, max_size=5),
    st.data(),
    st.sampled_from(["1", "nope", '{"a":NaN}', '{"a":"\\ud800"}', '{"a"}', '"}', "[]", ""]),
)
def test_the_first_bad_event_of_a_batch_is_named(
    batch: list[Any], data: st.DataObject, bad: str
) -> None:
    index = data.draw(st.integers(0, len(batch)))
    texts = [json.dumps(event) for event in batch]
    texts.insert(index, bad)
    texts.append("also bad")
    with pytest.raises(ProblemError) as caught:
        split_batch(call(f"[{','.join(texts)}]".encode()), 10)
    assert f"index {index} " in caught.value.problem.detail


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[{}] x", "after the event at index 0"),
        (b"[{},{} {}]", "after the event at index 1"),
        (b"{}\n{}", "application/x-ndjson"),
        (b"3", "not a JSON array"),
    ],
)
def test_what_is_wrong_with_a_batch_itself_is_said(raw: bytes, words: str) -> None:
    with pytest.raises(ProblemError) as caught:
        split_batch(call(raw), 10)
    assert words in caught.value.problem.detail


@pytest.mark.parametrize(
    "content_type", [b"application/x-ndjson", b"application/ndjson", b"application/jsonl"]
)
def test_lines_go_by_several_names(content_type: bytes) -> None:
    assert split_batch(call(b"{}\n{}\n", content_type), 10) == [b"{}", b"{}"]


@given(st.binary(max_size=30) | json_like.map(str.encode))
def test_no_batch_raises_anything_but_a_problem(raw: bytes) -> None:
    for content_type in (b"", b"application/x-ndjson"):
        events = []
        with suppress(ProblemError):
            events = split_batch(call(raw, content_type), 100)
        assert all(is_acceptable(event) for event in events)
