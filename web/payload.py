"""Validation of bodies. A payload is parsed once to be sure of it, and kept as the bytes it is."""

import json
import re
from array import array
from itertools import accumulate
from typing import Annotated

import msgspec

from web.call import Call
from web.media import NDJSON, check_media_type
from web.problems import Code, ProblemError

__all__ = ["DEPTH_MAX", "one_object", "receipt_list", "split_batch"]

DEPTH_MAX = 100
RECEIPTS_MAX = 1000
RECEIPT_CHARS_MAX = 256
WHITESPACE = b" \t\r\n"
NDJSON_HINT = " Send one object a line with Content-Type application/x-ndjson, or an array."
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# An escaped half of a pair whose other half does not stand where it must.
LONE_SURROGATE = re.compile(
    rb"(?<!\\)(?:\\\\)*\\u(?:[dD][89abAB]..(?!\\u[dD][c-fC-F])|[dD][c-fC-F])", re.DOTALL
)
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
ARRAY_START = re.compile(r"[ \t\r\n]*\[[ \t\r\n]*")
COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")

_lenient = json.JSONDecoder()
_object = msgspec.json.Decoder(dict[str, object])
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Receipts(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an acknowledgement."""

    receiptIds: Annotated[  # noqa: N815 - the member's name
        list[Annotated[str, msgspec.Meta(max_length=RECEIPT_CHARS_MAX)]],
        msgspec.Meta(min_length=1, max_length=RECEIPTS_MAX),
    ]


_receipts = msgspec.json.Decoder(Receipts)


def one_object(call: Call) -> bytes:
    """Return the body, which is one JSON object.

    Raises:
        ProblemError: it is not, or the content type says that it is something else.
    """
    check_media_type(call)
    fault = object_fault(call.body)
    if fault is not None:
        raise ProblemError.of(Code.INVALID_PAYLOAD, f"The body is not a valid event: {fault}.")
    return call.body


def split_batch(call: Call, events_max: int) -> list[bytes]:
    """Return the bytes of each object of a JSON array or of NDJSON.

    Args:
        call: the request.
        events_max: how many there may be.

    Raises:
        ProblemError: something is wrong with the body, or with the object at a named index.
    """
    parts = _lines(call.body) if check_media_type(call, NDJSON) in NDJSON else _elements(call.body)
    if not parts:
        raise ProblemError.of(Code.INVALID_PAYLOAD, "The batch is empty; send at least one event.")
    if len(parts) > events_max:
        raise ProblemError.of(
            Code.BATCH_TOO_LARGE,
            f"The batch has {len(parts)} events; the queue takes at most {events_max}.",
        )
    for index, part in enumerate(parts):
        fault = object_fault(part)
        if fault is not None:
            raise _bad_element(index, fault)
    return parts


def receipt_list(call: Call) -> list[str]:
    """Return the receipts of an acknowledgement's body.

    Raises:
        ProblemError: the body is something else.
    """
    check_media_type(call)
    try:
        return _receipts.decode(call.body).receiptIds
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fault = _fault_text(error, call.body)
        raise ProblemError.of(
            Code.INVALID_PAYLOAD,
            f'The body must be {{"receiptIds": [...]}} with 1 to {RECEIPTS_MAX} strings of at most'
            f" {RECEIPT_CHARS_MAX} characters: {fault}.",
        ) from None


def object_fault(raw: bytes) -> str | None:
    """Say why the bytes are not an acceptable JSON object; None when they are."""
    try:
        _object.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _fault_text(error, raw)
    # Not more brackets than levels allowed: it cannot be deeper. Else the levels are counted.
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX and _depth(raw) > DEPTH_MAX:
        return f"it is nested deeper than {DEPTH_MAX} levels"
    return None


def _depth(raw: bytes) -> int:
    """Return how deep valid JSON is nested."""
    brackets = STRING.sub(b"", raw).translate(None, NOT_BRACKETS)
    return max(accumulate(array("b", brackets.translate(STEPS))), default=0)


def _fault_text(error: Exception, raw: bytes) -> str:
    if isinstance(error, RecursionError):
        return f"it is nested deeper than {DEPTH_MAX} levels"
    if isinstance(error, UnicodeDecodeError):
        return "it is not valid UTF-8"
    if not raw.strip(WHITESPACE):
        return "it is empty"
    if raw.startswith(b"\xef\xbb\xbf"):
        return "it starts with a byte order mark"
    if "out of range" in str(error):
        return "it has a number that is too large to be read"
    if not isinstance(error, msgspec.ValidationError) and LONE_SURROGATE.search(raw):
        return "it has half of a surrogate pair"
    return str(error).replace("JSON is malformed", "malformed JSON")


def _lines(body: bytes) -> list[bytes]:
    return [line for line in (part.strip(WHITESPACE) for part in body.split(b"\n")) if line]


def _elements(body: bytes) -> list[bytes]:
    try:
        return [bytes(raw) for raw in _array.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fault = _fault_text(error, body)
        index, own_fault = _first_bad_element(body)
        if index is not None:
            raise _bad_element(index, own_fault or fault) from None
        hint = "" if body.lstrip(WHITESPACE).startswith(b"[") else NDJSON_HINT
        raise ProblemError.of(
            Code.INVALID_PAYLOAD,
            f"The body is not a JSON array of events: {own_fault or fault}.{hint}",
        ) from None


def _bad_element(index: int, fault: str) -> ProblemError:
    return ProblemError.of(
        Code.INVALID_PAYLOAD, f"The event at index {index} of the batch is not valid: {fault}."
    )


def _first_bad_element(body: bytes) -> tuple[int | None, str | None]:
    """Return where a broken array breaks, and what is wrong with that element if it has an end.

    Slow, and only for bodies that are refused. No index: it is no array, or it breaks between
    two elements.
    """
    # Bytes that are not UTF-8 survive the way to text and back.
    text = body.decode("utf-8", "surrogateescape")
    match = ARRAY_START.match(text)
    if match is None:
        return None, None
    index = 0
    while True:
        start = match.end()
        try:
            _, end = _lenient.raw_decode(text, start)
        except (ValueError, RecursionError):
            return index, None
        fault = object_fault(text[start:end].encode("utf-8", "surrogateescape"))
        match = COMMA.match(text, end)
        if fault is not None:
            return index, fault
        if match is None:
            return None, f"after the event at index {index} there is neither a comma nor the end"
        index += 1
