"""An actor's messages, step by step, so that it never keeps all the others waiting for long."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from actors.mailbox import Mailbox

T = TypeVar("T")

STEP_MAX = 512
"""How much work there is in one step: events, receipts, or messages about no more than one."""


class Inbox(Generic[T]):
    """What an actor reads its mailbox through.

    A wake-up takes all messages that wait, but one message may mean a thousand events. So they
    are handed over in steps, with a turn for everybody else between two of them.

    Args:
        mailbox: where the messages wait.
        weight: tells how much work a message means, at least 1.
    """

    def __init__(self, mailbox: Mailbox[T], weight: Callable[[T], int]) -> None:
        self._mailbox = mailbox
        self._weight = weight
        self._unread: deque[T] = deque()

    async def next(self) -> list[T]:
        """Wait for messages and return those of the next step, at least one.

        Cancellation takes no message.
        """
        if self._unread:
            await trio.lowlevel.checkpoint()
        else:
            self._unread.extend(await self._mailbox.drain())
        step: list[T] = []
        left = STEP_MAX
        while self._unread and left > 0:
            message = self._unread.popleft()
            left -= self._weight(message)
            step.append(message)
        return step

    def close(self) -> list[T]:
        """Refuse messages from now on and return those that nobody will read. Idempotent."""
        left = [*self._unread, *self._mailbox.close()]
        self._unread.clear()
        return left
