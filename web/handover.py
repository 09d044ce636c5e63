"""Handing deliveries over: what did not reach the socket goes back to the broker.

An event is leased before its reply is sent. If the client is gone by then, nobody holds the
event, and it should not wait for its lease to run out.
"""

from actors.broker import Broker
from web.asgi import (
    RECEIPTS,
    WIRE,
    App,
    Message,
    Receive,
    Scope,
    Send,
    Wire,
    body_message,
    is_last,
)

__all__ = ["Handover"]


class Handover:
    """An ASGI layer that watches responses with deliveries in them.

    The application behind it puts the receipts into the scope before its first checkpoint after
    it got the deliveries.
    """

    def __init__(self, app: App, broker: Broker) -> None:
        self._app = app
        self._broker = broker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever ends it, deliveries that did not leave are released."""
        passage = Passage(scope, receive, send)
        try:
            await self._app(scope, passage.receive, passage.send)
        finally:
            receipts: tuple[str, ...] = scope.get(RECEIPTS, ())
            if receipts and not passage.arrived:
                self._broker.release(receipts)


class Passage:
    """One response on its way.

    Attributes:
        arrived: whether the socket took all of it before the client was seen to leave.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._wire: Wire = scope.get("state", {}).get(WIRE) or Wire()
        # HTTP/2 writes when its windows allow; that all is written is known at the end.
        self._writes_at_once = scope.get("http_version", "").startswith("1")
        self._client_left = False
        self._bytes_left = 0
        self.arrived = False

    async def receive(self) -> Message:
        """Pass a message on, and note a disconnect."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._client_left = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on, and note when the last byte got out.

        The end of a response makes the server report a disconnect too, and a client that has all
        it wants may leave before that. So what counts is how things stand right after the write.
        """
        if not self._scope.get(RECEIPTS):
            await self._send(message)
            return
        if message["type"] == "http.response.start":
            self._bytes_left = int(dict(message["headers"])[b"content-length"])
        ends = is_last(message)
        if ends and message.get("body"):
            await self._pass_on(body_message(message["body"], more=True))
            message = body_message(b"", more=False)
        left_before = self._client_left
        await self._pass_on(message)
        if ends and not self._writes_at_once:
            self.arrived = not left_before and not self._wire.broken

    async def _pass_on(self, message: Message) -> None:
        await self._send(message)
        self._bytes_left -= len(message.get("body", b""))
        if self._writes_at_once and self._bytes_left == 0 and message.get("body"):
            self.arrived = not self._client_left and not self._wire.broken
