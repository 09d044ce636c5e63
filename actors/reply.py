"""The answer to one request, from the actor that serves it to the task that waits."""

from typing import Generic, TypeVar, cast

import trio

from actors.credits import Credits

T = TypeVar("T")


class Reply(Generic[T]):
    """A one-shot answer.

    `set` never raises and never waits, so an actor can always answer, also somebody who went away.
    The credit that the request holds, if any, comes back with the answer, however it ends.

        reply = Reply[int](credits)
        mailbox.put(Count(reply))
        total = await reply.wait()

    Attributes:
        abandoned: the requester was cancelled before the answer came; nobody will read it.
    """

    __slots__ = ("_credits", "_event", "_value", "abandoned")

    def __init__(self, held: Credits | None = None) -> None:
        self._event = trio.Event()
        self._value: T | None = None
        self._credits = held
        self.abandoned = False

    @property
    def is_set(self) -> bool:
        """Whether the answer is there."""
        return self._event.is_set()

    def set(self, value: T) -> bool:
        """Give the answer; only the first one counts.

        Returns:
            Whether somebody will read it: False if the requester was cancelled or an answer was
            given before.
        """
        if self._event.is_set():
            return False
        self._value = value
        self._event.set()
        if self._credits is not None:
            self._credits.give_back()
        return not self.abandoned

    def get(self) -> T:
        """Return the answer that is there."""
        return cast("T", self._value)

    async def wait(self) -> T:
        """Wait for the answer.

        Cancellation marks the reply as abandoned, unless the answer had come in the same instant:
        then `is_set` is true and `get` has it.
        """
        # An Event that is set still raises Cancelled: an answer that is there is worth more.
        if not self._event.is_set():
            try:
                await self._event.wait()
            except trio.Cancelled:
                self.abandoned = not self._event.is_set()
                raise
        return self.get()

    async def wait_until(self, deadline: float) -> bool:
        """Wait for the answer at most until `deadline` on trio's clock; return whether it came.

        A deadline that passes does not abandon the reply; a cancellation from outside does.
        """
        if self._event.is_set():
            return True
        try:
            with trio.move_on_at(deadline):
                await self._event.wait()
        except trio.Cancelled:
            self.abandoned = not self._event.is_set()
            raise
        return self._event.is_set()
