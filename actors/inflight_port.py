"""What can be asked of the inflight tracker: its messages, and the handle that sends them."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from actors.broker import Extension, LeaseView, MailboxView, NoSuchLease, Trouble
from actors.mailbox import Mailbox
from actors.polls import Poll
from actors.reply import Reply
from actors.settlement import AcknowledgeRequest, Settlement
from actors.stopped import stopped
from actors.wal_writer import Committed
from persistence.entry import Entry

NackReply: TypeAlias = Reply[tuple[str | NoSuchLease, ...] | Trouble]
ExtendReply: TypeAlias = Reply[tuple[Extension | NoSuchLease, ...] | Trouble]


@attrs.define(eq=False)
class Grant:
    """From the queue: lease these events to the poll's consumer."""

    poll: Poll
    entries: Sequence[Entry]


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
    """From the queue: the events that were asked for, or None where there was none."""

    settlements: Sequence[Settlement]
    entries: Sequence[Entry | None]


@attrs.define(eq=False)
class Expire:
    """From the reaper: some lease may have run out."""


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

    def grant(self, poll: Poll, entries: Sequence[Entry]) -> None:
        """Lease events to a poll's consumer and answer the poll when that is written."""
        if not self._mailbox.put(Grant(poll, entries)):
            poll.reply.set(stopped())

    def withdrawn(self, settlements: Sequence[Settlement], entries: Sequence[Entry | None]) -> None:
        """Bring the events that `QueuePort.withdraw` asked for."""
        self._mailbox.put(Withdrawn(settlements, entries))

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
