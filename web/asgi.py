"""The few words of ASGI that the layers share, and how an `Answer` is said in it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

import attrs

from web.call import Answer

__all__ = [
    "CALL",
    "RECEIPTS",
    "WIRE",
    "App",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "Wire",
    "body_message",
    "header_list",
    "is_last",
    "start_message",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

CALL = "event_broker.call"
"""Where the scope carries the `Call`."""
RECEIPTS = "event_broker.receipts"
"""Where the scope carries the receipts of the deliveries in the response."""

WIRE = "event_broker.wire"
"""Where the scope's `state` carries the `Wire`, when the connection is one of ours."""

# Answers are of the moment, and their type is what they say.
ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


@attrs.define
class Wire:
    """What a connection tells the layers above it.

    Attributes:
        broken: whether a write has failed; the server itself swallows that.
    """

    broken: bool = False


class App(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection in the sense of ASGI: one request."""
        ...


def header_list(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return all the headers of an answer."""
    return [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        *ALWAYS,
        *answer.headers,
    ]


def start_message(answer: Answer) -> Message:
    """Return the message that starts the response."""
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": header_list(answer),
    }


def body_message(body: bytes, *, more: bool) -> Message:
    """Return a message with a piece of the response's body."""
    return {"type": "http.response.body", "body": body, "more_body": more}


def is_last(message: Message) -> bool:
    """Tell whether the message ends the response."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)
