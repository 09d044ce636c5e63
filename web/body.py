"""Reading the body of a request, within bounds."""

import attrs

from web.asgi import Message, Receive

__all__ = ["BodyReader", "ClientLeftError", "Held"]


class ClientLeftError(Exception):
    """The client went away before its request was whole."""


@attrs.define
class Held:
    """How many bytes of bodies are in memory, and how many may be."""

    most: int
    now: int = 0


class BodyReader:
    """Reads a request's body from ASGI messages.

    Attributes:
        size: bytes seen so far.
        whole: whether the end was seen.
        left: whether the client was seen to leave.
    """

    def __init__(self, receive: Receive, held: Held) -> None:
        self._receive = receive
        self._held = held
        self._kept = 0
        self.size = 0
        self.whole = False
        self.left = False

    async def read(self, most: int) -> bytes | None:
        """Return the body, or None when it is larger than `most` bytes or memory is short.

        Raises:
            ClientLeftError: the client disconnected.
        """
        chunks: list[bytes] = []
        while not self.whole:
            chunk = await self._next()
            if self.size > most or self._held.now + len(chunk) > self._held.most:
                return None
            self._held.now += len(chunk)
            self._kept += len(chunk)
            if chunk:
                chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def let_go(self) -> None:
        """Say that the body is no longer held in memory."""
        self._held.now -= self._kept
        self._kept = 0

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
            raise ClientLeftError
        chunk: bytes = message.get("body", b"")
        self.size += len(chunk)
        self.whole = not message.get("more_body", False)
        return chunk

    async def skip(self) -> None:
        """Throw away the rest of the body; returns at its end or when the client leaves."""
        try:
            while not self.whole:
                await self._next()
        except ClientLeftError:
            return

    async def skip_to_disconnect(self) -> None:
        """Throw away everything until the server says that the connection is done with."""
        while not self.left:
            message = await self._receive()
            self.left = message["type"] == "http.disconnect"

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
