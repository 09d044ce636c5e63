"""The broker's API as a client uses it, one that lives through the broker's death."""

import enum
import http
import ssl
from collections.abc import Sequence
from typing import Self, TypeAlias

import attrs
import click
import httpx
import msgspec
import trio

__all__ = ["Client", "DeadLetter", "Event", "NoAnswer", "Numbers"]

RETRY_SECONDS = 0.05
"""Between two tries while the broker is away."""
PAGE = 1000
TIMEOUT_SECONDS = 30.0
_TLS = ssl.create_default_context()  # made once: httpx would make one for every client


class Event(msgspec.Struct, rename="camel"):
    """One delivery. The payload stays the bytes that came."""

    id: str
    payload: msgspec.Raw
    retries: int
    receipt_id: str
    topic: str | None = None


class _Consumed(msgspec.Struct):
    events: list[Event]


class _Accepted(msgspec.Struct):
    id: str


class _Failure(msgspec.Struct, rename="camel"):
    receipt_id: str
    reason: str


class _Acknowledged(msgspec.Struct):
    acknowledged: list[str]
    failed: list[_Failure]


class DeadLetterRecord(msgspec.Struct):
    """The event inside a dead letter."""

    id: str
    payload: msgspec.Raw
    topic: str | None = None


class DeadLetter(msgspec.Struct):
    """One dead letter: why it died, and the event."""

    reason: str
    record: DeadLetterRecord


class _DeadLetters(msgspec.Struct):
    entries: list[DeadLetter]
    total: int


class _Count(msgspec.Struct):
    count: int


class _Queue(msgspec.Struct):
    size: int


class _Status(msgspec.Struct):
    queue: _Queue
    inflight: _Count
    committed: _Count
    dlq: _Count


class _EventCounters(msgspec.Struct):
    enqueued: int


class _Metrics(msgspec.Struct):
    events: _EventCounters


@attrs.frozen
class Numbers:
    """The broker's own count."""

    enqueued: int
    waiting: int
    leased: int
    acknowledged: int
    dead: int


class NoAnswer(enum.Enum):
    """Why a request has no answer."""

    NOT_SENT = "the broker took no connection, or refused the request whole"
    REPLY_LOST = "the connection broke: perhaps the broker did it, perhaps not"


Outcome: TypeAlias = httpx.Response | NoAnswer


@attrs.define
class Client:
    """Speaks HTTP to the broker, over one connection. An async context manager.

    Attributes:
        url: where the broker answers.
        refusals: how often the broker said 503 with Retry-After, which was then waited for.
    """

    url: str
    refusals: int = 0
    _http: httpx.AsyncClient = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._http = httpx.AsyncClient(
            base_url=self.url,
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=1),
            verify=_TLS,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def publish(self, topic: str, payload: bytes) -> str | NoAnswer:
        """Publish once; return the event's id if the broker said that it is on disk."""
        answer = await self._once("POST", "/api/events", params={"topic": topic}, content=payload)
        if isinstance(answer, NoAnswer):
            return answer
        return msgspec.json.decode(answer.content, type=_Accepted).id

    async def consume(self, max_events: int, timeout_ms: int) -> list[Event]:
        """Take events; nothing while the broker is away."""
        answer = await self._once(
            "GET",
            "/api/events/consume",
            params={"maxEvents": str(max_events), "timeoutMs": str(timeout_ms)},
        )
        if isinstance(answer, NoAnswer):
            return []
        return msgspec.json.decode(answer.content, type=_Consumed).events

    async def acknowledge(self, receipts: Sequence[str]) -> tuple[set[str], bool]:
        """Acknowledge until there is an answer.

        Returns:
            The receipts that the broker confirmed, and whether an earlier try lost its answer: it
            may have settled receipts that the answered try then found settled.
        """
        body = msgspec.json.encode({"receiptIds": receipts})
        answer, reply_lost = await self._until_answered(
            "POST", "/api/events/acknowledge", content=body
        )
        confirmed = msgspec.json.decode(answer.content, type=_Acknowledged).acknowledged
        return set(confirmed), reply_lost

    async def nack(self, receipt: str, *, requeue: bool) -> None:
        """Say that a delivery failed, until there is an answer."""
        await self._until_answered(
            "POST", f"/api/events/{receipt}/nack", params={"requeue": str(requeue).lower()}
        )

    async def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters."""
        letters: list[DeadLetter] = []
        while True:
            answer, _ = await self._until_answered(
                "GET", "/api/dlq", params={"limit": str(PAGE), "offset": str(len(letters))}
            )
            page = msgspec.json.decode(answer.content, type=_DeadLetters)
            letters += page.entries
            if not page.entries or len(letters) >= page.total:
                return letters

    async def numbers(self) -> Numbers:
        """Return the broker's own count."""
        answer, _ = await self._until_answered("GET", "/api/status")
        status = msgspec.json.decode(answer.content, type=_Status)
        answer, _ = await self._until_answered("GET", "/api/metrics")
        metrics = msgspec.json.decode(answer.content, type=_Metrics)
        return Numbers(
            enqueued=metrics.events.enqueued,
            waiting=status.queue.size,
            leased=status.inflight.count,
            acknowledged=status.committed.count,
            dead=status.dlq.count,
        )

    async def _until_answered(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> tuple[httpx.Response, bool]:
        reply_lost = False
        while True:
            answer = await self._once(method, path, params=params, content=content)
            if not isinstance(answer, NoAnswer):
                return answer, reply_lost
            reply_lost |= answer is NoAnswer.REPLY_LOST

    async def _once(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> Outcome:
        """Send the request once; wait a little when it went wrong, so that callers may repeat it.

        Raises:
            click.ClickException: the broker answered with something that repeating cannot mend.
        """
        headers = {} if content is None else {"content-type": "application/json"}
        try:
            answer = await self._http.request(
                method, path, params=params, content=content, headers=headers
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            await trio.sleep(RETRY_SECONDS)
            return NoAnswer.NOT_SENT
        except httpx.TransportError:
            await trio.sleep(RETRY_SECONDS)
            return NoAnswer.REPLY_LOST
        if answer.is_success:
            return answer
        if answer.status_code == http.HTTPStatus.NOT_FOUND and "/nack" in path:
            # An earlier try got through although its answer was lost, or the lease ran out.
            return answer
        if answer.status_code == http.HTTPStatus.SERVICE_UNAVAILABLE:
            if "retry-after" not in answer.headers:
                await trio.sleep(RETRY_SECONDS)
                return NoAnswer.REPLY_LOST
            self.refusals += 1
            await trio.sleep(float(answer.headers["retry-after"]))
            return NoAnswer.NOT_SENT
        raise click.ClickException(
            f"{method} {path} was answered with {answer.status_code}: {answer.text}"
        )
