"""Serving: accepts connections until it is told to stop, and then ends them in good order."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
from hypercorn.config import Config

from web.asgi import App
from web.call import Desk
from web.connections import Connections
from web.sockets import BACKLOG, connections_max, socket_url

__all__ = ["Server", "open_server"]

GRACE_S = 3.0
IDLE_S = 5.0
# Larger than what the guard allows, so that it is the guard who refuses, and in words.
INCOMPLETE_BYTES_MAX = 64 * 1024
REQUESTS_PER_CONNECTION_MAX = 2**62


@attrs.frozen(eq=False)
class Server:
    """A server that accepts connections.

    Attributes:
        urls: where, one for each socket.
        connections: those that are open.
    """

    urls: tuple[str, ...]
    connections: Connections


@asynccontextmanager
async def open_server(
    app: App,
    desk: Desk,
    sockets: list[socket.socket],
    *,
    grace_s: float = GRACE_S,
    idle_s: float = IDLE_S,
) -> AsyncIterator[Server]:
    """Serve the application until the block ends.

    Then nothing new is accepted, idle connections are closed, the others may finish their current
    response for `grace_s` seconds, and what is left is cut. A cancellation cuts at once.

    Args:
        app: the ASGI application.
        desk: for the form of errors that the protocol itself answers.
        sockets: bound; owned by the server from now on.
        grace_s: seconds.
        idle_s: seconds after which a connection without a request is closed.
    """
    connections = Connections(app, _config(idle_s), desk, connections_max())
    urls = tuple(socket_url(sock) for sock in sockets)
    try:
        for sock in sockets:
            sock.listen(BACKLOG)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(s)) for s in sockets]
        async with trio.open_nursery() as serving, trio.open_nursery() as accepting:
            try:
                await accepting.start(
                    partial(trio.serve_listeners, connections, listeners, handler_nursery=serving)
                )
                yield Server(urls, connections)
                accepting.cancel_scope.cancel()
                await connections.finish()
                serving.start_soon(_end, serving, connections, grace_s)
            except BaseException:
                connections.cut()
                raise
    finally:
        for sock in sockets:
            sock.close()


async def _end(serving: trio.Nursery, connections: Connections, grace_s: float) -> None:
    """Give connections their time, then cancel them, then cut those that a cancel cannot reach."""
    try:
        with trio.move_on_after(grace_s):
            await connections.wait_all_gone()
    finally:
        serving.cancel_scope.cancel()
        connections.cut()


def _config(idle_s: float) -> Config:
    config = Config()
    config.keep_alive_timeout = idle_s
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.h11_max_incomplete_size = INCOMPLETE_BYTES_MAX
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION_MAX
    return config
