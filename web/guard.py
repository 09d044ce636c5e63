"""The outermost layer: it turns what came from the socket into a `Call`, or refuses it.

What passes has a decoded path and query, headers of a bounded size and a whole body of a bounded
size. Everything else is refused here, so that nothing behind has to think of it.
"""

import math

import trio

from web.asgi import CALL, App, Message, Receive, Scope, Send, body_message, is_last, start_message
from web.body import BodyReader, ClientLeftError, Held
from web.call import Answer, Call, Desk
from web.dispatch import answer_crash
from web.problems import Code, Problem, ProblemError, answer_problem
from web.target import read_path, read_query

__all__ = ["Guard"]

HEADER_BYTES_MAX = 16 * 1024
BODY_S_MAX = 60.0
LINGER_S_MAX = 2.0
# Bodies of all requests together, or a few thousand slow clients could fill the memory.
HELD_BYTES_MIN = 256 * 1024 * 1024


class Guard:
    """An ASGI application in front of another."""

    def __init__(self, app: App, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._body_max = desk.settings.max_payload_bytes
        self._held = Held(max(HELD_BYTES_MIN, 4 * self._body_max))

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
        reader = BodyReader(receive, self._held)
        try:
            try:
                call = await self._read_call(scope, reader)
            except ClientLeftError:
                return
            except ProblemError as error:
                await self._refuse(error.problem, scope, reader, send)
                return
            await self._pass_on(call, scope, reader, send)
        finally:
            reader.let_go()

    async def _pass_on(self, call: Call, scope: Scope, reader: BodyReader, send: Send) -> None:
        """Let the application answer; answer in its place when it fails before it began."""
        scope[CALL] = call
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            if not started:
                self._part_if_ending(scope, message)
            started = True
            # With the last message the server reports a disconnect, by which Quart cancels this
            # very task: then the connection would neither be closed nor time out when idle.
            with trio.CancelScope(shield=is_last(message)):
                await send(message)

        try:
            await self._app(scope, reader.replay(call.body), watch)
        except Exception as error:
            answer = answer_crash(self._desk, error, call.method, call.path)
            if started:  # nothing to be said any more
                raise
            await _send_all(answer, send)

    def _part_if_ending(self, scope: Scope, start: Message) -> None:
        """Say with a response of a broker that ends that it is the last on its connection.

        A client that keeps sending learns it from the response, and not from a connection that is
        closed under its next request, of which it could not know whether it was served.
        """
        if scope["http_version"].startswith("1") and not self._desk.broker.health().ready:
            start["headers"] = [*start["headers"], (b"connection", b"close")]

    async def _read_call(self, scope: Scope, reader: BodyReader) -> Call:
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
            body = await reader.read(self._body_max)
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
        client = (scope.get("client") or ("",))[0]
        return Call(scope["method"], path, query, headers, body, client=client)

    def _too_large(self) -> ProblemError:
        return ProblemError.of(
            Code.PAYLOAD_TOO_LARGE,
            f"The body is larger than {self._body_max} bytes (MAX_PAYLOAD_BYTES).",
        )

    async def _refuse(self, problem: Problem, scope: Scope, reader: BodyReader, send: Send) -> None:
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
