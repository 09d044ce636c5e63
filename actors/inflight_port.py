"""What can be asked of the inflight tracker: its messages, and the handle that sends them."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from actors.broker import Extension, LeaseView, MailboxView, NoSuchLease, Trouble
from actors.inbox import STEP_MAX
from actors.mailbox import Mailbox
from actors.polls import Poll
from actors.reply import Reply
from actors.settlement import AcknowledgeRequest, Settlement
from actors.stopped import stopped
from actors.waiting import Waiting
from actors.wal_port import Committed

NackReply: TypeAlias = Reply[tuple[str | NoSuchLease, ...] | Trouble]
ExtendReply: TypeAlias = Reply[tuple[Extension | NoSuchLease, ...] | Trouble]


@attrs.define(eq=False)
class Grant:
    """From the queue: lease these events to the poll's consumer.

    Attributes:
        poll: who gets them.
        events: in their order.
        payloads: of each event; None if it has to be read from the log.
    """

    poll: Poll
    events: Sequence[Waiting]
    payloads: Sequence[bytes | None]


@attrs.define(eq=False)
class Acknowledge:
    """From outside: these deliveries succeeded."""

    request: AcknowledgeRequest


@attrs.define(eq=False)
class Nack:
    """From outside: these deliveries failed."""

    receipts: Sequence[str]
    requeue: bool
    delay_ms: int | None
    error: str
    reply: NackReply


@attrs.define(eq=False)
class Extend:
    """From outside: these deliveries need more time."""

    receipts: Sequence[str]
    length_ms: int | None
    reply: ExtendReply


@attrs.define(eq=False)
class Release:
    """From outside: these deliveries never reached their consumer. Cannot be refused."""

    receipts: Sequence[str]


@attrs.define(eq=False)
class Withdrawn:
    """From the queue: for each settlement whether the queue gave the event up for it."""

    settlements: Sequence[Settlement]
    given_up: Sequence[bool]


@attrs.define(eq=False)
class Expire:
    """From the reaper, or the tracker itself: some lease may have run out."""


@attrs.define(eq=False)
class Inspect:
    """From outside: how do you stand?"""

    reply: Reply["InflightView"]


@attrs.define(eq=False)
class Stop:
    """Finish what is under way and end."""


InflightMessage: TypeAlias = (
    Grant | Acknowledge | Nack | Extend | Release | Withdrawn | Expire | Inspect | Stop | Committed
)


def weight(message: InflightMessage) -> int:
    """Tell about how many events a message means work for."""
    match message:
        case Grant(events=events):
            return max(1, len(events))
        case Acknowledge(request):
            return max(1, len(request.receipts))
        case Nack() | Extend() | Release():
            return max(1, len(message.receipts))
        case Withdrawn(settlements):
            return len(settlements)
        case Committed():
            return STEP_MAX // 8  # it is about all that was submitted in one step
        case _:
            return 1


@attrs.frozen
class InflightView:
    """Figures for people; times in milliseconds."""

    leases: tuple[LeaseView, ...]
    count: int
    processing_ms_avg: float
    processing_ms_max: float


class InflightPort:
    """How to talk to the inflight tracker. Nothing here waits, but `inspect`."""

    def __init__(self, mailbox: Mailbox[InflightMessage]) -> None:
        self._mailbox = mailbox

    def grant(
        self, poll: Poll, events: Sequence[Waiting], payloads: Sequence[bytes | None]
    ) -> None:
        """Lease events to a poll's consumer and answer the poll when that is written."""
        if not self._mailbox.put(Grant(poll, events, payloads)):
            poll.reply.set(stopped())

    def withdrawn(self, settlements: Sequence[Settlement], given_up: Sequence[bool]) -> None:
        """Answer `QueuePort.withdraw`: these events are to be settled, or there is none."""
        self._mailbox.put(Withdrawn(settlements, given_up))

    def acknowledge(self, request: AcknowledgeRequest) -> None:
        """Settle deliveries."""
        if not self._mailbox.put(Acknowledge(request)):
            request.reply.set(stopped())

    def nack(
        self,
        receipts: Sequence[str],
        reply: NackReply,
        *,
        requeue: bool,
        delay_ms: int | None,
        error: str,
    ) -> None:
        """Take deliveries back that failed."""
        if not self._mailbox.put(Nack(receipts, requeue, delay_ms, error, reply)):
            reply.set(stopped())

    def extend(self, receipts: Sequence[str], reply: ExtendReply, *, length_ms: int | None) -> None:
        """Give deliveries more time."""
        if not self._mailbox.put(Extend(receipts, length_ms, reply)):
            reply.set(stopped())

    def release(self, receipts: Sequence[str]) -> None:
        """Take deliveries back that never reached their consumer."""
        self._mailbox.put(Release(receipts))

    def expire(self) -> None:
        """Look for leases that have run out."""
        self._mailbox.put(Expire())

    async def inspect(self) -> InflightView:
        """Return figures for people."""
        reply = Reply[InflightView]()
        if not self._mailbox.put(Inspect(reply)):
            return InflightView((), 0, 0.0, 0.0)
        return await reply.wait()

    def mailbox_view(self) -> MailboxView:
        """Tell how many messages wait."""
        return self._mailbox.view()

    def stop(self) -> None:
        """Finish what is under way, and end."""
        self._mailbox.put(Stop())
