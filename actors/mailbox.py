"""Where messages for one actor wait: a bounded memory channel, drained many at a time."""

from typing import Generic, Protocol, TypeVar

import trio

from actors.broker import MailboxView

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

DRAIN_MAX = 1024
"""Messages taken in one wake-up; bounds how long one actor keeps the others waiting."""


class MailboxFull(AssertionError):
    """A mailbox had no room although every message in it is covered by a credit: a bug."""


class Address(Protocol[T_contra]):
    """Where a message of some kind can be left: any mailbox whose actor understands it."""

    def put(self, message: T_contra) -> bool:
        """Leave a message; see `Mailbox.put`."""
        ...


class Mailbox(Generic[T]):
    """A bounded memory channel with one reader.

    `put` never waits. Its capacity covers every credit that lets a message in, so there is always
    room. A wake-up of the reader costs as much as twenty messages: `drain` takes all that wait.

    Attributes:
        actor: the reader's name, for people.
        capacity: messages that may wait at once.
    """

    def __init__(self, actor: str, capacity: int) -> None:
        self.actor = actor
        self.capacity = capacity
        self._send, self._receive = trio.open_memory_channel[T](capacity)
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many messages wait now."""
        return self._receive.statistics().current_buffer_used

    def view(self) -> MailboxView:
        """Tell how full it is."""
        return MailboxView(self.actor, self.waiting, self.capacity)

    def put(self, message: T) -> bool:
        """Leave a message; return False if the actor has stopped and will not read it.

        Raises:
            MailboxFull: if there is no room, which is a bug.
        """
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            raise MailboxFull(f"{self.actor}: {self.capacity} messages wait") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def drain(self, limit: int = DRAIN_MAX) -> list[T]:
        """Wait for a message and return it with all the others that wait, at most `limit`.

        Cancellation takes no message. There is no checkpoint after the first was taken, so what
        was taken is returned.
        """
        messages = [await self._receive.receive()]
        receive = self._receive.receive_nowait
        try:
            while len(messages) < limit:
                messages.append(receive())
        except trio.WouldBlock:
            pass
        return messages

    def take(self) -> T | None:
        """Take one message if one waits."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            return None

    def close(self) -> list[T]:
        """Refuse messages from now on and return those that nobody will read. Idempotent."""
        left: list[T] = []
        if not self._closed:
            while (message := self.take()) is not None:
                left.append(message)
            self._closed = True
            self._receive.close()
        return left
