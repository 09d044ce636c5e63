"""What can be asked of the queue: its messages, and the handle that sends them."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from actors.broker import Accepted, Durability, MailboxView, NewEvent, TopicView, Trouble
from actors.inbox import STEP_MAX
from actors.mailbox import Mailbox
from actors.polls import Poll
from actors.reply import Reply
from actors.settlement import Settlement
from actors.stopped import stopped
from actors.waiting import Waiting
from actors.wal_port import Committed


@attrs.define(eq=False)
class Enqueue:
    """From outside: admit these events, all or none.

    Attributes:
        events: in their order.
        size: of their payloads, bytes.
        durability: how far they must have come before the answer; None leaves it to the settings.
        reply: where the answer goes.
    """

    events: Sequence[NewEvent]
    size: int
    durability: Durability | None
    reply: Reply[tuple[Accepted, ...] | Trouble]


@attrs.define(eq=False)
class Take:
    """From outside: events for this poll."""

    poll: Poll


@attrs.define(eq=False)
class Forget:
    """The poll's requester has gone or waited long enough."""

    poll: Poll


@attrs.define(eq=False)
class GiveBack:
    """From another place: these events wait from now on; the log has been told."""

    events: Sequence[Waiting]


@attrs.define(eq=False)
class Withdraw:
    """From the inflight tracker: give up the events whose open receipt was acknowledged."""

    settlements: Sequence[Settlement]


@attrs.define(eq=False)
class Promote:
    """From the reaper: something may have become due."""


@attrs.define(eq=False)
class CloseIntake:
    """Admit and hand out nothing from now on; answer those who wait."""


@attrs.define(eq=False)
class Inspect:
    """From outside: how do you stand?"""

    reply: Reply["QueueView"]


@attrs.define(eq=False)
class Stop:
    """Finish what is under way and end."""


QueueMessage: TypeAlias = (
    Enqueue
    | Take
    | Forget
    | GiveBack
    | Withdraw
    | Promote
    | CloseIntake
    | Inspect
    | Stop
    | Committed
)


def weight(message: QueueMessage) -> int:
    """Tell about how many events a message means work for."""
    match message:
        case Enqueue() | GiveBack():
            return max(1, len(message.events))
        case Take(poll):
            return poll.max_events
        case Withdraw(settlements):
            return len(settlements)
        case Committed():
            return STEP_MAX // 2  # it is about all that was submitted in one step
        case _:
            return 1


@attrs.frozen
class QueueView:
    """Figures for people."""

    ready: int
    delayed: int
    admitted: int
    topics: tuple[TopicView, ...]
    parked_polls: int
    last_event_at: int | None


class QueuePort:
    """How to talk to the queue. Nothing here waits, but `inspect`."""

    def __init__(self, mailbox: Mailbox[QueueMessage]) -> None:
        self._mailbox = mailbox

    def enqueue(
        self,
        events: Sequence[NewEvent],
        reply: Reply[tuple[Accepted, ...] | Trouble],
        *,
        durability: Durability | None = None,
    ) -> None:
        """Admit events, all or none; the reply comes when they have come as far as they must."""
        size = sum(len(event.payload) for event in events)
        if not self._mailbox.put(Enqueue(events, size, durability, reply)):
            reply.set(stopped())

    def take(self, poll: Poll) -> None:
        """Serve a poll."""
        if not self._mailbox.put(Take(poll)):
            poll.reply.set(stopped())

    def forget(self, poll: Poll) -> None:
        """Serve a poll no longer, if it was not granted anything yet."""
        poll.give_up()
        self._mailbox.put(Forget(poll))

    def give_back(self, events: Sequence[Waiting]) -> None:
        """Put events here that were leased or dead, once the log has been told."""
        self._mailbox.put(GiveBack(events))

    def withdraw(self, settlements: Sequence[Settlement]) -> bool:
        """Ask to give up the events of these settlements whose receipt is still open.

        To be asked only about events that wait, as the register stands now.

        Returns:
            Whether `InflightPort.withdrawn` will be called; False if the queue has stopped.
        """
        return self._mailbox.put(Withdraw(settlements))

    def promote(self) -> None:
        """Look for delayed events that are due."""
        self._mailbox.put(Promote())

    def close_intake(self) -> None:
        """Refuse enqueues and polls from now on; answer parked polls with nothing."""
        self._mailbox.put(CloseIntake())

    async def inspect(self) -> QueueView:
        """Return figures for people."""
        reply = Reply[QueueView]()
        if not self._mailbox.put(Inspect(reply)):
            return QueueView(0, 0, 0, (), 0, None)
        return await reply.wait()

    def mailbox_view(self) -> MailboxView:
        """Tell how many messages wait."""
        return self._mailbox.view()

    def stop(self) -> None:
        """Close the intake, finish what is under way, and end."""
        self._mailbox.put(Stop())
