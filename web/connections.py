"""Connections: Hypercorn's protocol engine on each, in a nursery of ours.

Hypercorn's own accept loop ends the whole server when one connection fails in a way that it did
not foresee (an HTTP/2 path that is not ASCII is enough), and waits without limit for a client
that does not read. So each connection is contained here, and can be cut.
"""

import http
import re
import socket
from contextlib import suppress

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState

from web.asgi import WIRE, App, Wire, header_list
from web.call import Desk
from web.problems import Code, Problem, answer_problem

__all__ = ["Connections"]

log = structlog.get_logger(__name__)

# What Hypercorn says, bare, to what is not HTTP.
BARE_ERROR = re.compile(rb"HTTP/1\.1 ([45][0-9]{2}) \r\ncontent-length: 0\r\nconnection: close\r\n")
BARE_ERROR_BYTES_MAX = 256


class Connections:
    """All the open connections.

    Called with a stream it serves it to its end, and no failure of one stream leaves it.
    """

    def __init__(self, app: App, config: Config, desk: Desk, most: int) -> None:
        self._app = ASGIWrapper(_framework(app))
        self._config = config
        self._desk = desk
        self._most = most
        self._context = WorkerContext(None)
        self._streams: set[trio.SocketStream] = set()
        self._all_gone = trio.Event()
        self._all_gone.set()

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._streams)

    async def __call__(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        if len(self._streams) >= self._most:
            await self._turn_away(stream)
            return
        if not self._streams:
            self._all_gone = trio.Event()
        self._streams.add(stream)
        try:
            await Connection(self, stream).run()
        except* Exception as group:  # noqa: BLE001 - contained: the other connections go on
            log.warning("connection failed", reason=repr(_first(group)))
        finally:
            self._streams.discard(stream)
            if not self._streams:
                self._all_gone.set()
            await trio.aclose_forcefully(stream)

    async def finish(self) -> None:
        """Close idle connections now and the others after their current response."""
        await self._context.terminated.set()

    async def wait_all_gone(self) -> None:
        """Return when no connection is open."""
        while self._streams:
            await self._all_gone.wait()

    def cut(self) -> None:
        """Break every connection, even one whose client does not read."""
        for stream in self._streams:
            with suppress(OSError):
                stream.socket.shutdown(socket.SHUT_RDWR)

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        problem = Problem(
            503, Code.BUSY.value, "Too many connections are open.", ((b"retry-after", b"1"),)
        )
        async with stream:
            with trio.move_on_after(1), suppress(trio.BrokenResourceError):
                await stream.send_all(self.raw_problem(problem))

    def raw_problem(self, problem: Problem) -> bytes:
        """Return a whole HTTP/1.1 response that ends the connection."""
        answer = answer_problem(problem, self._desk.now_ms())
        phrase = http.HTTPStatus(answer.status).phrase
        lines = [f"HTTP/1.1 {answer.status} {phrase}".encode()]
        lines += [name + b": " + value for name, value in header_list(answer)]
        return b"\r\n".join([*lines, b"connection: close", b"", answer.body])

    def parts(self) -> tuple[ASGIWrapper, Config, WorkerContext]:
        """Return what Hypercorn wants to know."""
        return self._app, self._config, self._context


class Connection(TCPServer):
    """One connection; what Hypercorn answers by itself gets the form of our errors."""

    def __init__(self, connections: Connections, stream: trio.SocketStream) -> None:
        app, config, context = connections.parts()
        self._wire = Wire()
        state = ConnectionState({WIRE: self._wire})
        # Hypercorn wants TLS here and tries without when it is not.
        super().__init__(app, config, context, state, stream)  # type: ignore[arg-type]
        self._connections = connections
        self._reading = trio.CancelScope()

    async def _read_data(self) -> None:
        """Read until the client ends it, or until we close.

        While a pipelined request waits for its turn, Hypercorn's reader does not look at the
        socket, and would not notice that the turn never comes because the server is closing.
        """
        with self._reading:
            await super()._read_data()
        if self._reading.cancelled_caught:
            await self.protocol.handle(Closed())

    async def _close(self) -> None:
        """Close the stream, and with it the reading from it."""
        await super()._close()
        self._reading.cancel()

    async def protocol_send(self, event: Event) -> None:
        """Send what the protocol wants to be sent."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        data = event.data
        if len(data) < BARE_ERROR_BYTES_MAX and (match := BARE_ERROR.match(data)):
            data = self._connections.raw_problem(_not_http(int(match[1])))
        async with self.send_lock:
            try:
                # A response that is half written would leave the connection useless.
                with trio.CancelScope(shield=True):
                    await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._wire.broken = True
                await self.protocol.handle(Closed())


def _not_http(status: int) -> Problem:
    if status == http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return Problem(status, Code.HEADERS_TOO_LARGE.value, "The headers are too large.")
    if status == http.HTTPStatus.NOT_IMPLEMENTED:
        detail = "This transfer coding is not known here; send the body plain or chunked."
        return Problem(status, Code.INVALID_REQUEST.value, detail)
    detail = (
        "This is not a valid HTTP request. Common causes: characters in the URL that are not"
        " percent-encoded, no Host header, lengths of the body that contradict each other."
    )
    return Problem(status, Code.INVALID_REQUEST.value, detail)


def _framework(app: App) -> ASGIFramework:
    return app  # type: ignore[return-value]  # the same protocol in other words


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
