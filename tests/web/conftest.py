"""A whole broker behind real sockets: engine on a disk in memory, guard, Quart, connections."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import attrs
import httpx
import pytest
import trio

from actors.blocking import inline
from actors.broker import Status
from actors.embedded import EmbeddedBroker
from actors.engine import open_broker
from persistence.memory_disk import MemoryDisk
from web.app import open_doors
from web.call import Desk
from web.server import Server, open_server
from web.settings import Settings
from web.sockets import bind_sockets

NOW_MS = 1_700_000_000_000


@attrs.define(eq=False)
class House:
    """What a test can reach: the client in front, the engine and its disk behind."""

    broker: EmbeddedBroker
    disk: MemoryDisk
    client: httpx.AsyncClient
    server: Server
    port: int

    async def publish(self, *bodies: str, topic: str | None = None) -> list[str]:
        """Publish events and return their ids."""
        params = {} if topic is None else {"topic": topic}
        ids = []
        for body in bodies:
            answer = await self.client.post("/api/events", content=body, params=params)
            assert answer.status_code == 202, answer.text
            ids.append(answer.json()["id"])
        return ids

    async def take(self, count: int = 1, **params: Any) -> list[dict[str, Any]]:
        """Take events without waiting."""
        answer = await self.client.get(
            "/api/events/consume", params={"maxEvents": count, "timeoutMs": 0, **params}
        )
        assert answer.status_code == 200, answer.text
        events: list[dict[str, Any]] = answer.json()["events"]
        return events

    async def acknowledge(self, *receipts: str) -> dict[str, Any]:
        """Acknowledge, and return what the broker said."""
        answer = await self.client.post(
            "/api/events/acknowledge", json={"receiptIds": list(receipts)}
        )
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def connect(self, data: bytes = b"") -> trio.SocketStream:
        """Open a raw connection and send something."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(data)
        return stream

    async def until(self, holds: Callable[[Status], bool]) -> None:
        """Ask the broker until its status is as it should be; sockets take their time."""
        with trio.fail_after(10):
            while not holds(await self.broker.status()):
                await trio.lowlevel.checkpoint()

    async def talk(self, data: bytes, *, responses: int = 1) -> bytes:
        """Send bytes on a connection of their own; return so many responses, or what came."""
        async with await self.connect(data) as stream:
            received = b""
            with trio.fail_after(10):
                async for chunk in stream:
                    received += chunk
                    if responses_in(received) == responses:
                        break
            return received


def responses_in(received: bytes) -> int:
    """Return how many whole responses these bytes are."""
    count = 0
    while (match := re.search(rb"content-length: (\d+)\r\n(?s:.*?)\r\n\r\n", received)) is not None:
        received = received[match.end() :]
        length = int(match[1])
        if len(received) < length:
            break
        received = received[length:]
        count += 1
    return count


OpenHouse: TypeAlias = Callable[..., AbstractAsyncContextManager[House]]


@asynccontextmanager
async def _open_house(
    *, grace_s: float = 3.0, idle_s: float = 5.0, **settings: Any
) -> AsyncIterator[House]:
    chosen, disk = Settings(port=0, **settings), MemoryDisk()
    async with open_broker(chosen.broker_settings(), disk=disk, blocking=inline) as broker:
        desk = Desk(broker, chosen, lambda: NOW_MS)
        sockets = bind_sockets(chosen.host, 0)
        port = sockets[0].getsockname()[1]
        async with (
            open_server(open_doors(desk), desk, sockets, grace_s=grace_s, idle_s=idle_s) as server,
            httpx.AsyncClient(base_url=server.urls[0], timeout=10, trust_env=False) as client,
        ):
            yield House(broker, disk, client, server, port)


@pytest.fixture
def open_house() -> OpenHouse:
    return _open_house


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with _open_house() as house:
        yield house
