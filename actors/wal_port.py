"""What can be asked of the WAL writer: its messages, and the handle that sends them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from actors.broker import MailboxView
from actors.mailbox import Address, Mailbox
from persistence.errors import StorageError
from persistence.facts import Fact
from persistence.log import EventLog
from persistence.segment_files import Span

if TYPE_CHECKING:
    from persistence.register import Register


@attrs.define(eq=False)
class Committed:
    """An `Append` was written, and synced if it had to be; or it was not.

    These come in the order of the appends.

    Attributes:
        payloads: what `load` asked for, in order.
        facts: what `look` asked for, in order; `Discarded` for an event that is gone.
        synced: whether the facts outlive a power cut.
        full: the disk was full, and the new events were taken back: they never were.
        failure: why it is not known whether the facts are in the log; None if it is.
    """

    payloads: Sequence[bytes] = ()
    facts: Sequence[Fact] = ()
    synced: bool = False
    full: bool = False
    failure: str | None = None


@attrs.define(eq=False)
class Append:
    """Write these facts, next to each other and in this order, all or none.

    Attributes:
        facts: perhaps none.
        sync: whether `Committed` waits until they are forced to the disk.
        load: numbers of events whose payloads to read back.
        look: numbers of events whose newest facts to read back.
        to: who wants to know; None if nobody.
        new_events: whether the facts are new events, which are refused when the disk is full.
        spans: where all that lies that is to be read back, as it stood at submission.
        end: log position behind the facts, and behind all that was submitted before them.
        refused: they were.
    """

    facts: Sequence[Fact]
    sync: bool
    load: Sequence[int]
    look: Sequence[int]
    to: Address[Committed] | None
    new_events: bool
    spans: list[Span] = attrs.field(factory=list)
    end: int = 0
    refused: bool = False

    def submit(self, log: EventLog, now: int) -> None:
        """Let the facts count, and note where all that lies that is to be read back.

        Args:
            log: they get their place in it.
            now: wall time in milliseconds.

        Raises:
            StorageError: the log has failed, and accepts nothing more.
        """
        if self.facts:
            log.append(self.facts, now=now)
        self.spans = log.spans(self.load) + log.newest_facts(self.look)
        self.end = log.next

    def answer(self, committed: Committed) -> None:
        """Tell who wants to know. An actor that has stopped does not."""
        if self.to is not None:
            self.to.put(committed)


@attrs.define(eq=False)
class DropDead:
    """Delete segments that nobody needs any more.

    The WAL writer leaves this in its own mailbox: what was submitted before may still want to read
    from those segments, and is served first.
    """


@attrs.define(eq=False)
class Stop:
    """Write what came before this, sync, and end."""


WalMessage: TypeAlias = Append | DropDead | Stop


class WalWriter:
    """Handle of the WAL writer.

    Attributes:
        register: where every event is, after all that was submitted so far. To be read only: it
            changes when facts are submitted, and by nothing else.
        failed: set when the log fails; `failure` then says why.
        failure: why the log accepts nothing more; None while it does.
        full: why new events are refused for now; None while they are not.
    """

    def __init__(
        self, mailbox: Mailbox[WalMessage], log: EventLog, wall: Callable[[], int]
    ) -> None:
        self._mailbox = mailbox
        self._log = log
        self._wall = wall
        self.register: Register = log.register
        self.failed = trio.Event()
        self.failure: str | None = None
        self.full: str | None = None

    def append(
        self,
        facts: Sequence[Fact],
        *,
        sync: bool = False,
        load: Sequence[int] = (),
        look: Sequence[int] = (),
        to: Address[Committed] | None = None,
        new_events: bool = False,
    ) -> None:
        """Submit facts; see `Append`. They count at once, and are written in this order.

        Args:
            facts: they and the list belong to the log from now on.
            sync: see `Append`.
            load: see `Append`; events that are there after these facts.
            look: see `Append`; events that are there after these facts.
            to: see `Append`.
            new_events: see `Append`.
        """
        append = Append(facts, sync, load, look, to, new_events)
        with suppress(StorageError):  # the WAL writer is about to say so to everybody
            append.submit(self._log, self._wall())
        self._mailbox.put(append)

    def stop(self) -> None:
        """Write what came before this, sync, and end."""
        self._mailbox.put(Stop())

    def mailbox_view(self) -> MailboxView:
        """Tell how many messages wait."""
        return self._mailbox.view()
