"""What can be asked of the dead letters: their messages, and the handle that sends them."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from actors.broker import DeadLetterPage, MailboxView, NoSuchDeadLetter, Trouble
from actors.mailbox import Mailbox
from actors.reply import Reply
from actors.stopped import stopped
from actors.wal_port import Committed

PageReply: TypeAlias = Reply[DeadLetterPage | Trouble]
ResolveReply: TypeAlias = Reply[tuple[str | NoSuchDeadLetter, ...] | Trouble]


@attrs.define(eq=False)
class Bury:
    """From the inflight tracker: events of these numbers have died; the log has been told."""

    numbers: Sequence[int]


@attrs.define(eq=False)
class ListPage:
    """From outside: show some of them."""

    limit: int
    offset: int
    topic: str | None
    reply: PageReply


@attrs.define(eq=False)
class Resolve:
    """From outside: these leave, back to the queue (`reprocess`) or for good."""

    receipts: Sequence[str]
    reprocess: bool
    reply: ResolveReply


@attrs.define(eq=False)
class Count:
    """From outside: how many are there?"""

    reply: Reply[int]


@attrs.define(eq=False)
class Stop:
    """Finish what is under way and end."""


DeadLettersMessage: TypeAlias = Bury | ListPage | Resolve | Count | Stop | Committed


def weight(message: DeadLettersMessage) -> int:
    """Tell about how many events a message means work for."""
    return max(1, len(message.receipts)) if isinstance(message, Resolve) else 1


class DeadLettersPort:
    """How to talk to the dead letters. Nothing here waits, but `count`."""

    def __init__(self, mailbox: Mailbox[DeadLettersMessage]) -> None:
        self._mailbox = mailbox

    def bury(self, numbers: Sequence[int]) -> None:
        """Keep dead letters, once the log has been told of their death."""
        self._mailbox.put(Bury(numbers))

    def page(self, reply: PageReply, *, limit: int, offset: int, topic: str | None) -> None:
        """Show some of them, payloads included."""
        if not self._mailbox.put(ListPage(limit, offset, topic, reply)):
            reply.set(stopped())

    def resolve(self, receipts: Sequence[str], reply: ResolveReply, *, reprocess: bool) -> None:
        """Send dead letters back to the queue, or drop them."""
        if not self._mailbox.put(Resolve(receipts, reprocess, reply)):
            reply.set(stopped())

    async def count(self) -> int:
        """Return how many there are."""
        reply = Reply[int]()
        if not self._mailbox.put(Count(reply)):
            return 0
        return await reply.wait()

    def mailbox_view(self) -> MailboxView:
        """Tell how many messages wait."""
        return self._mailbox.view()

    def stop(self) -> None:
        """Finish what is under way, and end."""
        self._mailbox.put(Stop())
