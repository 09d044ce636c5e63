"""The outermost layer: it turns what came from the socket into a `Call`, or refuses it.

What passes has a decoded path and query, headers of a bounded size and a whole body of a bounded
size. Everything else is refused here, so that nothing behind has to think of it.
"""

import math

import structlog
import trio

from web.asgi import CALL, App, Message, Receive, Scope, Send, body_message, start_message
from web.call import Answer, Call, Desk
from web.dispatch import answer_crash
from web.problems import Code, Problem, ProblemError, answer_problem
from web.target import read_path, read_query

__all__ = ["Guard"]

log = structlog.get_logger()

HEADER_BYTES_MAX = 16 * 1024
BODY_S_MAX = 60.0
LINGER_S_MAX = 2.0
# Bodies of all requests together, or a few thousand slow clients could fill the memory.
HELD_BYTES_MIN = 256 * 1024 * 1024


class ClientLeftError(Exception):
    """The client went away before its request was whole."""


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: App, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._body_max = desk.settings.max_payload_bytes
        self._held = 0
        self._held_max = max(HELD_BYTES_MIN, 4 * self._body_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = BodyReader(receive)
        try:
            scope[CALL] = await self._read_call(scope, reader)
        except ClientLeftError:
            return
        except ProblemError as error:
            await self._refuse(error.problem, scope, reader, send)
            return
        held = len(scope[CALL].body)
        self._held += held
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, reader.replay(scope[CALL].body), watch)
        except Exception as error:
            answer = answer_crash(self._desk, error, scope["method"], scope["path"])
            if started:  # nothing to be said any more
                raise
            await _send_all(answer, send)
        finally:
            self._held -= held

    async def _read_call(self, scope: Scope, reader: "BodyReader") -> Call:
        """Return the request as a call. Raises `ProblemError` and `ClientLeftError`."""
        raw_path = scope.get("raw_path") or scope["path"].encode()
        headers = _read_headers(scope, raw_path)
        declared = _declared_length(headers)
        if declared is not None and declared > self._body_max:
            raise self._too_large()
        path = read_path(raw_path)
        query = read_query(scope["query_string"]) if scope["query_string"] else {}
        scope["path"] = path
        with trio.move_on_after(BODY_S_MAX) as patience:
            body = await reader.read(self._body_max, self._held_max - self._held)
        if patience.cancelled_caught:
            raise ProblemError.of(
                Code.REQUEST_TIMEOUT, f"The body did not arrive within {BODY_S_MAX:g} seconds."
            )
        if body is None:
            if reader.size > self._body_max:
                raise self._too_large()
            raise ProblemError(
                Problem(
                    503,
                    Code.BUSY.value,
                    "Too many bodies are being received at once.",
                    ((b"retry-after", b"1"),),
                )
            )
        return Call(scope["method"], path, query, headers, body)

    def _too_large(self) -> ProblemError:
        return ProblemError.of(
            Code.PAYLOAD_TOO_LARGE,
            f"The body is larger than {self._body_max} bytes (MAX_PAYLOAD_BYTES).",
        )

    async def _refuse(
        self, problem: Problem, scope: Scope, reader: "BodyReader", send: Send
    ) -> None:
        """Answer with the problem, and swallow what the client still sends.

        A connection that is closed while data arrives is reset, and the answer with it. And a
        server that waits to hand over the body would wait for ever.
        """
        answer = answer_problem(problem, self._desk.now_ms())
        if reader.whole:
            await _send_all(answer, send)
            return
        if scope["http_version"].startswith("1"):
            answer.headers = (*answer.headers, (b"connection", b"close"))
        await send(start_message(answer))
        await send(body_message(answer.body, more=True))
        with trio.move_on_after(LINGER_S_MAX):
            await reader.skip()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.skip_to_disconnect)
            await send(body_message(b"", more=False))


class BodyReader:
    """Reads a request's body from ASGI messages.

    Attributes:
        size: bytes seen so far.
        whole: whether the end was seen.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0
        self.whole = False

    async def read(self, body_max: int, room: int) -> bytes | None:
        """Return the body, or None when it is larger than either limit, in bytes.

        Raises:
            ClientLeftError: the client disconnected.
        """
        limit = min(body_max, room)
        chunks: list[bytes] = []
        while not self.whole:
            chunk = await self._next()
            if self.size > limit:
                return None
            if chunk:
                chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        chunk: bytes = message.get("body", b"")
        self.size += len(chunk)
        self.whole = not message.get("more_body", False)
        return chunk

    async def skip(self) -> None:
        """Throw away the rest of the body; returns at its end or when the client leaves."""
        try:
            await self.read(0, 0) if self.whole else await self._skip_rest()
        except ClientLeftError:
            return

    async def _skip_rest(self) -> None:
        while not self.whole:
            await self._next()

    async def skip_to_disconnect(self) -> None:
        """Throw away everything until the server says that the connection is done with."""
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self._receive()

    def replay(self, body: bytes) -> Receive:
        """Return a `receive` that gives the body at once and then whatever comes."""
        waiting = True

        async def receive() -> Message:
            nonlocal waiting
            if waiting:
                waiting = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await self._receive()

        return receive


def _read_headers(scope: Scope, raw_path: bytes) -> dict[bytes, bytes]:
    """Return the headers by name. Raises `ProblemError` when they are too large or contradict."""
    size = len(raw_path) + len(scope["query_string"])
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
        headers[name.lower()] = value
    if size > HEADER_BYTES_MAX:
        raise ProblemError.of(
            Code.HEADERS_TOO_LARGE,
            f"The request line and headers are larger than {HEADER_BYTES_MAX} bytes.",
        )
    if b"content-length" in headers and b"transfer-encoding" in headers:
        raise ProblemError.of(
            Code.INVALID_REQUEST, "Content-Length and Transfer-Encoding contradict each other."
        )
    return headers


def _declared_length(headers: dict[bytes, bytes]) -> float | None:
    """Return the declared length of the body. Raises `ProblemError` when it is no number."""
    value = headers.get(b"content-length")
    if value is None:
        return None
    if not value.isdigit():
        raise ProblemError.of(Code.INVALID_REQUEST, "Content-Length is not a number.")
    return int(value) if len(value) < 18 else math.inf


async def _send_all(answer: Answer, send: Send) -> None:
    await send(start_message(answer))
    await send(body_message(answer.body, more=False))
