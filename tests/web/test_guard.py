"""The guard over a tiny application: bodies, limits and clients that leave, in virtual time."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from actors.blocking import inline
from actors.engine import open_broker
from persistence.memory_disk import MemoryDisk
from web.asgi import CALL, Message, Receive, Scope, Send
from web.call import Desk
from web.guard import Guard
from web.settings import Settings

DISCONNECT: Message = {"type": "http.disconnect"}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_broker(disk=MemoryDisk(), blocking=inline) as broker:
        yield Desk(broker, Settings(max_payload_bytes=10), lambda: 1)


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Visit:
    """One request whose messages are known beforehand; silence comes after the last."""

    def __init__(self, *messages: Message, **scope: Any) -> None:
        self.scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [],
            **scope,
        }
        self._messages = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        await trio.lowlevel.checkpoint()
        if not self._messages:
            await trio.sleep_forever()
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message["more_body"]:
            self._messages.append(DISCONNECT)
        await trio.lowlevel.checkpoint()

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def problem(self) -> dict[str, Any]:
        problem: dict[str, Any] = json.loads(b"".join(m["body"] for m in self.sent[1:]))
        return problem


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    assert message == piece(scope[CALL].body, more=False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"], "more_body": False})


async def visit(desk: Desk, visit: Visit, app: Any = echo) -> Visit:
    await Guard(app, desk)(visit.scope, visit.receive, visit.send)
    return visit


async def test_the_body_comes_whole_in_one_piece(desk: Desk) -> None:
    done = await visit(desk, Visit(piece(b"01234"), piece(b"56789"), piece(b"", more=False)))
    assert done.status == 200
    assert done.sent[1]["body"] == b"0123456789"


@pytest.mark.parametrize(
    ("client", "address"), [(("10.0.0.7", 4711), "10.0.0.7"), (None, ""), (("::1", 1), "::1")]
)
async def test_a_call_knows_who_is_at_the_other_end(
    desk: Desk, client: tuple[str, int] | None, address: str
) -> None:
    done = await visit(desk, Visit(piece(b"", more=False), client=client))
    assert done.scope[CALL].client == address


async def test_one_byte_over_the_limit_is_too_large(desk: Desk) -> None:
    done = await visit(desk, Visit(piece(b"01234"), piece(b"567890"), piece(b"", more=False)))
    assert done.status == 413
    assert done.problem["code"] == "PAYLOAD_TOO_LARGE"


async def test_a_body_that_does_not_come_is_waited_for_a_minute(
    desk: Desk,
    autojump_clock: MockClock,  # noqa: ARG001 - time flies
) -> None:
    start = trio.current_time()
    done = await visit(desk, Visit(piece(b"0")))
    assert done.status == 408
    assert done.problem["code"] == "REQUEST_TIMEOUT"
    assert 60 <= trio.current_time() - start <= 63


async def test_a_client_that_never_ends_its_refused_body_is_let_go(
    desk: Desk,
    autojump_clock: MockClock,  # noqa: ARG001 - time flies
) -> None:
    class Endless(Visit):
        async def receive(self) -> Message:
            await trio.sleep(0.01)
            closed = self.sent and not self.sent[-1].get("more_body", True)
            return DISCONNECT if closed else piece(b"x" * 1000)

    start = trio.current_time()
    done = await visit(desk, Endless())
    assert done.status == 413
    assert (b"connection", b"close") in done.sent[0]["headers"]
    assert trio.current_time() - start < 5


@pytest.mark.parametrize("before", [[], [piece(b"0")]])
async def test_a_client_that_leaves_gets_no_answer(desk: Desk, before: list[Message]) -> None:
    done = await visit(desk, Visit(*before, DISCONNECT))
    assert done.sent == []


async def test_a_client_that_leaves_while_it_is_refused_holds_nothing_up(desk: Desk) -> None:
    done = await visit(desk, Visit(piece(b"x" * 11), DISCONNECT))
    assert done.status == 413


async def test_a_crash_is_a_problem_and_a_line_in_the_log(desk: Desk) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("a secret")

    with capture_logs() as lines:
        done = await visit(desk, Visit(piece(b"", more=False)), crash)
    assert done.status == 500
    assert done.problem["code"] == "INTERNAL_ERROR"
    assert "secret" not in json.dumps(done.problem)
    assert [line["event"] for line in lines] == ["request failed"]


async def test_http2_is_not_told_to_close_its_connection(desk: Desk) -> None:
    done = await visit(desk, Visit(piece(b"x" * 11), piece(b"", more=False), http_version="2"))
    assert done.status == 413
    assert (b"connection", b"close") not in done.sent[0]["headers"]


async def test_bodies_of_all_requests_together_are_bounded(desk: Desk) -> None:
    entered = trio.Event()

    async def hold(_scope: Scope, _receive: Receive, _send: Send) -> None:
        entered.set()
        await trio.sleep_forever()

    guard = Guard(hold, desk)  # type: ignore[arg-type]  # other names for its arguments
    guard._held.most = 15
    async with trio.open_nursery() as nursery:
        first = Visit(piece(b"x" * 10, more=False))
        nursery.start_soon(guard, first.scope, first.receive, first.send)
        await entered.wait()
        second = Visit(piece(b"x" * 6, more=False))
        await guard(second.scope, second.receive, second.send)
        assert second.status == 503
        assert second.problem["code"] == "BUSY"
        nursery.cancel_scope.cancel()
    assert guard._held.now == 0
