"""How the WAL writer runs blocking work: in a thread, or at once when the disk is memory."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Blocking(Protocol):
    """Runs a blocking function and returns what it returns.

    Cancellation does not interrupt work that has begun.
    """

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run `work`."""
        ...


class InThread:
    """Runs work in a worker thread, one piece at a time."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Run `work` in the thread."""
        with trio.CancelScope(shield=True):
            result = await trio.to_thread.run_sync(work, limiter=self._limiter)
        return result  # noqa: RET504 -- inside the block mypy sees a path without it


async def inline(work: Callable[[], T], /) -> T:
    """Run `work` here and now. For disks in memory: threads and virtual time do not go together."""
    with trio.CancelScope(shield=True):
        await trio.lowlevel.checkpoint()
    return work()
