"""One request and one answer as plain values, and what the functions between them may use."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

import attrs
import msgspec

from actors.broker import Broker
from web.settings import Settings

__all__ = ["Answer", "Call", "Desk", "Handler", "Pool", "answer_json"]

JSON = b"application/json"


@attrs.define(eq=False)
class Call:
    """A request whose text is known to be valid UTF-8 and whose body is whole.

    Attributes:
        method: upper case.
        path: decoded.
        query: decoded; each parameter came once.
        headers: names in lower case; of a repeated one the last.
        body: all of it.
        params: what the route's pattern took from the path.
        client: the address of whoever is at the other end of the connection, perhaps a proxy's;
            empty if it is not known.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    params: Mapping[str, str] = attrs.field(factory=dict)
    client: str = ""


@attrs.define(eq=False)
class Answer:
    """A response, whole.

    Attributes:
        status: the HTTP status.
        body: its bytes.
        content_type: of the body.
        headers: more headers.
        receipts: deliveries that travel in the body; they go back if it never leaves.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    receipts: tuple[str, ...] = ()


class Pool(Protocol):
    """The worker pool as the status page sees it."""

    @property
    def active(self) -> int:
        """How many workers run the handler now."""
        ...

    @property
    def total(self) -> int:
        """How many workers there are."""
        ...


@attrs.frozen(eq=False)
class Desk:
    """What every handler has within reach.

    Attributes:
        broker: the engine.
        settings: the effective settings.
        now_ms: the wall clock, milliseconds since the epoch.
        pool: the workers of this process, if there are any.
    """

    broker: Broker
    settings: Settings
    now_ms: Callable[[], int]
    pool: Pool | None = None


Handler: TypeAlias = Callable[[Desk, Call], Awaitable[Answer]]
"""Answers one call. Raises `problems.ProblemError` for what the client should hear.

Between the delivery of events and the return of the answer that carries them there is no
checkpoint, so that no cancellation can fall between.
"""

_encoder = msgspec.json.Encoder()


def answer_json(value: object, status: int = 200) -> Answer:
    """Return the value as JSON."""
    return Answer(status, _encoder.encode(value))
