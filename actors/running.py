"""Runs an actor beside a block of code, and ends it with the block."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def running(
    actor: Callable[[], Awaitable[None]], stop: Callable[[], object]
) -> AsyncIterator[None]:
    """Run `actor` in a nursery around the block.

    At the end of the block `stop` asks the actor to finish, and the nursery waits until it has. An
    exception or cancellation of the block cancels the actor; a crash of the actor cancels the
    block. Either comes out as itself, not as a group, when it comes alone.
    """
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(actor)
            try:
                yield
            finally:
                stop()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        (alone,) = group.exceptions
        raise alone from alone.__cause__
