"""A worker: the actor that consumes like anyone else and runs the user's handler."""

from enum import Enum, auto

import attrs
import structlog
import trio

from actors.broker import (
    Acknowledgement,
    Broker,
    Consumer,
    ConsumerKind,
    Delivery,
    Extension,
    NoSuchLease,
    OutcomeUnknown,
    Rejected,
    Trouble,
    Unavailable,
)
from actors.error_text import error_text
from actors.handler import Handler
from actors.mailbox import Mailbox

POLL_MS = 30_000
_MARGIN_MAX_S = 0.25
_MARGIN_SHARE = 0.05
_MAILBOX_ROOM = 4

# What passes through a handler and is not its failure: cancelled, closed, interrupted.
_OURS = (trio.Cancelled, GeneratorExit, KeyboardInterrupt)

_log = structlog.get_logger(__name__)


@attrs.frozen
class Stop:
    """Take no further event; end when the handler that runs has ended."""


class ConsumeError(Exception):
    """The broker did not understand the worker, or does not know what it did: start anew."""


class _Verdict(Enum):
    SUCCEEDED = auto()
    LEASE_ENDED = auto()


@attrs.frozen
class WorkerTimes:
    """How long a handler may take, milliseconds.

    Attributes:
        visibility_timeout_ms: the length of a lease.
        handler_timeout_ms: how long a handler may run. Above the visibility timeout the lease is
            renewed meanwhile; None means as long as the lease.
    """

    visibility_timeout_ms: int
    handler_timeout_ms: int | None = None

    @property
    def renews(self) -> bool:
        """Whether leases are renewed while a handler runs."""
        timeout = self.handler_timeout_ms
        return timeout is not None and timeout > self.visibility_timeout_ms


class Worker:
    """Consumes one event at a time, runs the handler, and says how it went.

    A handler that returns acknowledges the event; one that raises rejects it, with the exception
    as the error. It runs in a cancel scope that ends a little before its lease does, so that it
    has unwound when the event is handed out again. Cancelling the worker gives the event back
    without a retry counted.

    Attributes:
        name: for people.
        delivery: what is being handled now, or None.
    """

    def __init__(self, name: str, broker: Broker, handler: Handler, times: WorkerTimes) -> None:
        self.name = name
        self.delivery: Delivery | None = None
        self._broker = broker
        self._handler = handler
        self._times = times
        self._mailbox = Mailbox[Stop](name, _MAILBOX_ROOM)
        self._consumer = Consumer(ConsumerKind.WORKER, name)
        self._poll_scope = trio.CancelScope()
        self._stopping = False

    def stop(self) -> None:
        """Ask the worker to end after the event that it handles now. Idempotent."""
        if not self._stopping and self._mailbox.waiting == 0:
            self._mailbox.put(Stop())

    async def run(self) -> None:
        """Work until told to stop, or until the broker shuts down."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            while not self._stopping and await self._work():
                pass
            nursery.cancel_scope.cancel()

    async def _listen(self) -> None:
        await self._mailbox.drain()
        self._stopping = True
        self._poll_scope.cancel()

    async def _work(self) -> bool:
        """Handle one event, if one comes; return whether to go on."""
        with trio.CancelScope() as self._poll_scope:
            answer = await self._broker.consume(
                max_events=1, timeout_ms=POLL_MS, consumer=self._consumer
            )
        if self._poll_scope.cancelled_caught:
            return False
        if isinstance(answer, Unavailable):
            if answer.code == "SHUTTING_DOWN":
                return False
            await trio.sleep(answer.retry_after_ms / 1000)
        elif isinstance(answer, Rejected | OutcomeUnknown):
            raise ConsumeError(answer.detail)
        else:
            for delivery in answer:
                await self._handle(delivery)
        return True

    async def _handle(self, delivery: Delivery) -> None:
        self.delivery = delivery
        try:
            verdict = await self._attempt(delivery)
        except BaseException:
            self._broker.release([delivery.receipt])
            raise
        finally:
            self.delivery = None
        log = _log.bind(
            worker=self.name, id=delivery.id, topic=delivery.topic, retries=delivery.retries
        )
        if verdict is _Verdict.LEASE_ENDED:
            # Nothing to say: the lease runs out by itself, and that counts as the failure.
            log.warning("handler did not end within its lease")
            return
        if verdict is not _Verdict.SUCCEEDED:
            log.warning("handler failed", error=verdict)
        trouble = await self._report(delivery, verdict)
        if trouble is not None:
            log.warning("the event comes again: its end could not be reported", detail=trouble)

    async def _report(self, delivery: Delivery, verdict: _Verdict | str) -> str | None:
        """Acknowledge or reject, again while the broker is busy; return why it did not work."""
        while True:
            answer: tuple[Acknowledgement | str | NoSuchLease, ...] | Trouble
            if isinstance(verdict, str):
                answer = await self._broker.nack([delivery.receipt], error=verdict)
            else:
                answer = await self._broker.acknowledge([delivery.receipt])
            match answer:
                case Unavailable() if trio.current_time() < delivery.expires_at:
                    await trio.sleep(answer.retry_after_ms / 1000)
                case Unavailable() | Rejected() | OutcomeUnknown():
                    return answer.detail
                case (Acknowledgement(reason=reason),):
                    return reason
                case (NoSuchLease(),):
                    return "its lease had ended"
                case _:
                    return None

    async def _attempt(self, delivery: Delivery) -> _Verdict | str:
        """Run the handler; return how it went, an error as its text."""
        timeout = self._times.handler_timeout_ms
        give_up_at = float("inf") if timeout is None else trio.current_time() + timeout / 1000
        verdict: _Verdict | str = _Verdict.LEASE_ENDED
        with trio.CancelScope(deadline=min(give_up_at, _before(delivery.expires_at))) as scope:
            async with trio.open_nursery() as nursery:
                if self._times.renews:
                    nursery.start_soon(self._renew, delivery, scope, give_up_at)
                verdict = await self._call(delivery)
                nursery.cancel_scope.cancel()
        if not scope.cancelled_caught:
            return verdict
        if trio.current_time() >= give_up_at:
            return f"the handler ran longer than HANDLER_TIMEOUT_MS={timeout}"
        return _Verdict.LEASE_ENDED

    async def _call(self, delivery: Delivery) -> _Verdict | str:
        """Call the handler; whatever it raises is its failure, but for a cancellation of ours."""
        try:
            await self._handler(delivery)
        except _OURS:
            raise
        except BaseExceptionGroup as group:
            # Out of a nursery of the handler's own: a cancellation passes on alone, or an error
            # beside it would crash the worker and no retry would be counted.
            ours = group.subgroup(_OURS)
            if ours is not None:
                raise ours from None
            return describe(group)
        except BaseException as error:  # noqa: BLE001 -- the user's own code, whatever it raises
            return describe(error)
        return _Verdict.SUCCEEDED

    async def _renew(self, delivery: Delivery, scope: trio.CancelScope, give_up_at: float) -> None:
        """Keep the lease ahead of the handler; when that fails, the handler ends with it."""
        expires_at = delivery.expires_at
        length = self._times.visibility_timeout_ms
        while True:
            now = trio.current_time()
            await trio.sleep(max(0.0, expires_at - now) / 2)
            asked_at = trio.current_time()
            answer = await self._broker.extend([delivery.receipt], visibility_timeout_ms=length)
            if not isinstance(answer, tuple) or not isinstance(answer[0], Extension):
                return
            expires_at = asked_at + length / 1000
            scope.deadline = min(give_up_at, _before(expires_at))


def _before(expires_at: float) -> float:
    """Return when to cancel a handler so that it has unwound when its lease ends."""
    left = max(0.0, expires_at - trio.current_time())
    return expires_at - min(_MARGIN_MAX_S, left * _MARGIN_SHARE)


def describe(error: BaseException) -> str:
    """Return an exception as one short text; a group as the texts of what is in it."""
    if isinstance(error, BaseExceptionGroup):
        text = "; ".join(describe(inner) for inner in error.exceptions)
    else:
        try:
            message = str(error)
        except Exception as broken:  # noqa: BLE001 -- the user's own code
            message = f"(its text could not be read: {type(broken).__name__})"
        text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return error_text(text)
