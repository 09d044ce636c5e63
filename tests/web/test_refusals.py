"""What is refused, by real sockets: each in the form of a problem, and none ends the server."""

import json
from collections.abc import AsyncIterator
from typing import Any

import h2.config
import h2.connection
import pytest

PROBLEM_MEMBERS = ["type", "title", "status", "detail", "error", "code", "timestamp"]
CHUNKED = b"POST /api/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

CONTRADICTION = (
    b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
)
TWO_LENGTHS = (
    b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"
)


def check_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    return check_problem_body(answer.content, answer.headers["content-type"], status, code)


def check_problem_body(content: bytes, content_type: str, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(content)
    assert content_type == "application/problem+json"
    assert list(body) == PROBLEM_MEMBERS
    assert body["status"] == status
    assert body["code"] == code
    assert body["error"] == body["detail"]
    assert body["timestamp"] == 1_700_000_000_000
    assert body["detail"].endswith(".")
    return body


def check_raw(response: bytes, status: int, code: str) -> None:
    head, _, content = response.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % status), response
    headers = dict(line.split(b": ", 1) for line in lines[1:])
    assert len(content) == int(headers[b"content-length"])
    check_problem_body(content, headers[b"content-type"].decode(), status, code)


@pytest.fixture(autouse=True)
async def alive_after(house: Any) -> AsyncIterator[None]:
    """Whatever was refused, the server still answers, holds nothing and has no open requests."""
    yield
    assert (await house.client.get("/api/health")).status_code == 200
    assert (await house.broker.status()).leases == 0


BAD_PAYLOADS = {
    "empty": b"",
    "blank": b" \r\n",
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"1",
    "null": b"null",
    "cut off": b'{"a":',
    "two objects": b"{}{}",
    "trailing text": b"{} x",
    "single quotes": b"{'a':1}",
    "trailing comma": b'{"a":1,}',
    "leading zero": b'{"a":01}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "invalid UTF-8": b'{"a":"\xff"}',
    "invalid UTF-8 in a key": b'{"\xc3\x28":1}',
    "an encoded surrogate": b'{"a":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "a lone low surrogate": b'{"a":"\\udc00x"}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a huge float": b'{"a":1e999}',
    "a huge integer": b'{"a":' + b"9" * 5000 + b"}",
    "a raw control character": b'{"a":"\x01"}',
    "NUL": b"\x00",
    "101 levels": b'{"a":' * 101 + b"1" + b"}" * 101,
    "101 levels of arrays": b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
    "10,000 levels": b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "100,000 open brackets": b'{"a":' + b"[" * 100_000,
    "UTF-16": '{"a":1}'.encode("utf-16"),
}


@pytest.mark.parametrize("payload", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS.keys())
async def test_what_is_no_json_object_is_refused(house: Any, payload: bytes) -> None:
    check_problem(await house.client.post("/api/events", content=payload), 400, "INVALID_PAYLOAD")
    lines = {"content-type": "application/x-ndjson"}
    for content, headers in (
        (b"[{}," + payload + b"]", {}),
        (b"{}\n" + payload.replace(b"\n", b"") + b"\n", lines),
    ):
        if payload.strip() or not headers:
            answer = await house.client.post("/api/events/batch", content=content, headers=headers)
            body = check_problem(answer, 400, "INVALID_PAYLOAD")
            # What comes after half an element belongs to it; the rest of these are whole.
            assert "index 1 " in body["detail"] or "index 2 " in body["detail"]
    assert await house.take() == []


@pytest.mark.parametrize("content", [b"[]", b"{}", b"", b"nonsense", b'"[]"', b"[", b"\xff"])
async def test_what_is_no_batch_is_refused(house: Any, content: bytes) -> None:
    answer = await house.client.post("/api/events/batch", content=content)
    check_problem(answer, 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/x-ndjson"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "text/json"},
        {"content-type": "nonsense"},
        {"content-encoding": "gzip"},
    ],
)
async def test_another_content_type_is_refused(house: Any, headers: dict[str, str]) -> None:
    for path in ("/api/events", "/api/events/acknowledge"):
        answer = await house.client.post(path, content=b"{}", headers=headers)
        check_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "topic",
    ["", "x" * 256, "a%20b", "a+b", "%00", "a%0d%0ab", "%F0%9F%98%80", "a%7f", "%22", "a,b", "%5C"],
)
async def test_a_bad_topic_is_refused(house: Any, topic: str) -> None:
    for method, path in (
        ("POST", "/api/events"),
        ("POST", "/api/events/batch"),
        ("GET", "/api/events/consume"),
    ):
        answer = await house.client.request(method, f"{path}?topic={topic}", content=b"{}")
        check_problem(answer, 400, "INVALID_TOPIC")
    if topic:  # without one the list is of all topics
        check_problem(await house.client.get(f"/api/dlq?topic={topic}"), 400, "INVALID_TOPIC")


@pytest.mark.parametrize(
    "target",
    [
        "GET /api/events/consume?maxEvents=0",
        "GET /api/events/consume?maxEvents=-1",
        "GET /api/events/consume?maxEvents=",
        "GET /api/events/consume?maxEvents=ten",
        "GET /api/events/consume?maxEvents=1.5",
        "GET /api/events/consume?maxEvents=1e1",
        "GET /api/events/consume?maxEvents=0x10",
        "GET /api/events/consume?maxEvents=%D9%A3",
        "GET /api/events/consume?maxEvents=-" + "9" * 6000,
        "GET /api/events/consume?timeoutMs=-1",
        "GET /api/events/consume?timeoutMs=NaN",
        "GET /api/events/consume?timeoutMs=",
        "GET /api/events/consume?timeoutMs=1&timeoutMs=2",
        "GET /api/events/consume?max=1",
        "GET /api/events/consume?%00=1",
        "GET /api/events/consume?a=%FF",
        "POST /api/events?tpoic=x",
        "POST /api/events?topic=%FF",
        "POST /api/events?durability=",
        "POST /api/events?durability=disk",
        "POST /api/events?durability=os&durability=os",
        "POST /api/events/batch?durability=true",
        "GET /api/events/some-id?verbose=1",
        "POST /api/events/acknowledge?x=1",
        "POST /api/events/r/nack?requeue=yes",
        "POST /api/events/r/nack?requeue=",
        "POST /api/events/r/nack?delayMs=-1",
        "POST /api/events/r/nack?delayMs=43200001",
        "POST /api/events/r/extend?visibilityTimeoutMs=0",
        "POST /api/events/r/extend?visibilityTimeoutMs=43200001",
        "GET /api/dlq?limit=0",
        "GET /api/dlq?limit=x",
        "GET /api/dlq?offset=-1",
        "GET /api/dlq?page=1",
        "POST /api/dlq/r/reprocess?x",
        "DELETE /api/dlq/r?x=1",
        "GET /api/status?x=1",
        "GET /api/metrics?x=1",
        "GET /api/health?x=1",
    ],
)
async def test_bad_parameters_are_named(house: Any, target: str) -> None:
    method, path = target.split()
    answer = await house.client.request(method, path, content=b"{}" if method == "POST" else None)
    check_problem(answer, 400, "INVALID_PARAMETER")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"receiptIds":"x"}',
        b'{"receiptIds":[]}',
        b'{"receiptIds":[1]}',
        b'{"receiptIds":[null]}',
        b'{"receiptIds":["a"],"more":1}',
        b'{"receiptIds":["a"]} x',
        b'{"receiptIds":["\xff"]}',
        b'{"receiptIds":["\\ud800"]}',
        json.dumps({"receiptIds": ["x" * 257]}).encode(),
        json.dumps({"receiptIds": ["x"] * 1001}).encode(),
        b'{"receiptIds":' + b"[" * 10_000,
    ],
)
async def test_a_bad_acknowledgement_is_refused(house: Any, content: bytes) -> None:
    answer = await house.client.post("/api/events/acknowledge", content=content)
    check_problem(answer, 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api",
        "/api/",
        "/api/events/",
        "/api//events",
        "/api/events/a/b/nack",
        "/API/HEALTH",
        "/%2e%2e/etc/passwd",
        "/api/dlq/",
        "/static/x",
    ],
)
async def test_an_unknown_path_is_not_found(house: Any, path: str) -> None:
    response = await house.talk(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert b" 404 " in response.split(b"\r\n", 1)[0]
    assert b'"code":"NOT_FOUND"' in response


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/events", "POST"),
        ("PUT", "/api/events", "POST"),
        ("POST", "/api/events/consume", "GET"),
        ("HEAD", "/api/events/acknowledge", "POST"),
        ("GET", "/api/events/acknowledge", "POST"),
        ("GET", "/api/events/batch", "POST"),
        ("HEAD", "/api/events/consume", "GET"),
        ("DELETE", "/api/events/some-id", "GET, HEAD"),
        ("GET", "/api/events/r/nack", "POST"),
        ("OPTIONS", "/api/status", "GET, HEAD"),
        ("DELETE", "/api/health", "GET, HEAD"),
        ("GET", "/api/dlq/r", "DELETE"),
        ("GET", "/api/dlq/r/reprocess", "POST"),
        ("BREW", "/", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_hears_the_right_one(
    house: Any, method: str, path: str, allow: str
) -> None:
    answer = await house.client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    if method != "HEAD":
        check_problem(answer, 405, "METHOD_NOT_ALLOWED")


async def test_a_declared_body_over_the_limit_is_refused_before_it_comes(open_house: Any) -> None:
    async with open_house(max_payload_bytes=100) as house:
        stream = await house.connect(
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n"
        )
        async with stream:
            first = await stream.receive_some()
        assert first.startswith(b"HTTP/1.1 413 ")
        fits = b'{"a":"' + b"x" * 92 + b'"}'
        assert len(fits) == 100
        assert (await house.client.post("/api/events", content=fits)).status_code == 202
        for path in ("/api/events", "/api/events/batch", "/api/events/acknowledge", "/nowhere"):
            answer = await house.client.post(path, content=fits + b" ")
            check_problem(answer, 413, "PAYLOAD_TOO_LARGE")


async def test_a_large_body_that_is_refused_can_be_sent_to_its_end(open_house: Any) -> None:
    async with open_house(max_payload_bytes=1000) as house:
        answer = await house.client.post("/api/events", content=b"x" * 5_000_000)
        check_problem(answer, 413, "PAYLOAD_TOO_LARGE")
        assert answer.headers["connection"] == "close"


async def test_a_body_that_grows_over_the_limit_is_refused(open_house: Any) -> None:
    async with open_house(max_payload_bytes=1000) as house:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 1000

        answer = await house.client.post("/api/events", content=pieces())
        check_problem(answer, 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (
            CONTRADICTION,
            400,
            "INVALID_REQUEST",
        ),
        (b"GET /api/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET /%0d%0aa HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET /%C2%85 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET /%FF HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"nonsense\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400, "INVALID_REQUEST"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400, "INVALID_REQUEST"),
        (
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\n{}",
            400,
            "INVALID_REQUEST",
        ),
        (
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
            400,
            "INVALID_REQUEST",
        ),
        (
            TWO_LENGTHS,
            400,
            "INVALID_REQUEST",
        ),
        (
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "INVALID_REQUEST",
        ),
        (CHUNKED + b"zz\r\n", 400, "INVALID_REQUEST"),
        (
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 19 + b"\r\n\r\n{}",
            413,
            "PAYLOAD_TOO_LARGE",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
            431,
            "HEADERS_TOO_LARGE",
        ),
        (
            b"GET /?" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            431,
            "HEADERS_TOO_LARGE",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 200_000, 431, "HEADERS_TOO_LARGE"),
    ],
)
async def test_broken_http_is_refused_in_the_same_form(
    house: Any, request_bytes: bytes, status: int, code: str
) -> None:
    check_raw(await house.talk(request_bytes), status, code)


async def test_a_websocket_is_refused(house: Any) -> None:
    stream = await house.connect(
        b"GET /api/events HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with stream:
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 403 ")


async def test_the_absolute_form_of_a_target_is_understood(house: Any) -> None:
    response = await house.talk(
        b"GET http://x/api/health?a=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    check_raw(response, 400, "INVALID_PARAMETER")


async def test_pipelined_requests_are_answered_in_order(house: Any) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    response = await house.talk(one * 3 + last, responses=4)
    assert response.count(b"HTTP/1.1 200") == 3
    assert response.rindex(b"HTTP/1.1 404") > response.rindex(b"HTTP/1.1 200")


async def test_a_broken_http2_request_ends_only_its_own_connection(house: Any) -> None:
    """A path that is not ASCII raises in the middle of Hypercorn's HTTP/2."""
    client = h2.connection.H2Connection(
        h2.config.H2Configuration(
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    client.initiate_connection()
    client.send_headers(
        1,
        [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"x"),
            (b":path", b"/\xff"),
        ],
        end_stream=True,
    )
    async with await house.connect() as other:
        await house.talk(client.data_to_send())
        await other.send_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await other.receive_some()).startswith(b"HTTP/1.1 200 ")
