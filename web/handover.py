"""Handing deliveries over: what did not reach the socket goes back to the broker.

An event is leased before its reply is sent. If the client is gone by then, nobody holds the
event, and it should not wait for its lease to run out.
"""

import trio

from actors.broker import Broker
from web.asgi import RECEIPTS, App, Message, Receive, Scope, Send, body_message

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
        self._client_left = False
        self.arrived = False

    async def receive(self) -> Message:
        """Pass a message on, and note a disconnect."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._client_left = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on, and note whether the last byte got out."""
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not is_last or not self._scope.get(RECEIPTS):
            await self._send(message)
            return
        # The end of a response makes the server report a disconnect too, so look before it. A
        # failed write has put its report in the queue by the time the write returns: one more
        # turn of the scheduler, and whoever waits in `receive` has it.
        if message.get("body"):
            await self._send(body_message(message["body"], more=True))
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.arrived = not self._client_left
        await self._send(body_message(b"", more=False))
