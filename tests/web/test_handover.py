"""Deliveries that did not reach their consumer go back, those that did stay with it."""

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from web.asgi import RECEIPTS, WIRE, Message, Receive, Scope, Send, Wire
from web.handover import Handover

POLL = b"GET /api/events/consume?timeoutMs=30000 HTTP/1.1\r\nHost: x\r\n\r\n"
TAKE = b"GET /api/events/consume?timeoutMs=0&maxEvents=100 HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_poll_whose_client_left_takes_nothing(house: Any) -> None:
    stream = await house.connect(POLL)
    await house.until(lambda status: status.parked_polls == 1)
    await stream.aclose()
    await house.until(lambda status: status.parked_polls == 0)
    await house.publish("{}")
    status = await house.broker.status()
    assert (status.queue_size, status.leases) == (1, 0)


async def test_a_client_that_reads_and_leaves_keeps_its_lease(house: Any) -> None:
    for _ in range(20):
        await house.publish("{}")
        response = await house.talk(TAKE.replace(b"Host", b"Connection: close\r\nHost"))
        assert b'"count":1' in response
    status = await house.broker.status()
    assert (status.queue_size, status.leases) == (0, 20)


async def test_a_reply_that_cannot_be_written_gives_its_events_back(open_house: Any) -> None:
    """The reply is larger than what the sockets hold, and the client leaves without reading."""
    async with open_house(visibility_timeout_ms=3_600_000) as house:
        await house.publish('{"a":"' + "x" * 8_000_000 + '"}')
        for _ in range(5):
            stream = await house.connect(TAKE)
            await house.until(lambda status: status.leases == 1)
            await stream.aclose()
            await house.until(lambda status: status.leases == 0)
        (event,) = await house.take()
        assert event["retries"] == 0


async def test_many_clients_that_leave_at_any_time_lose_nothing(house: Any) -> None:
    await house.client.post("/api/events/batch", json=[{"n": n} for n in range(100)])
    for checkpoints in range(60):
        stream = await house.connect(TAKE.replace(b"=100", b"=1"))
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        stream.setsockopt(*RESET)
        await stream.aclose()
    await house.until(lambda status: status.queue_size + status.leases == 100)


RESET = (1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of zero: closing resets the connection


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("body", [b"", b"x"])
@pytest.mark.parametrize("leaves", ["never", "before", "breaks", "after"])
async def test_what_counts_is_how_things_stand_after_the_last_write(
    version: str, body: bytes, leaves: str
) -> None:
    """A server that reports the end of a response as a disconnect, as ours does."""
    released: list[str] = []
    wire = Wire()
    send_report, receive_report = trio.open_memory_channel[Message](10)

    class Broker:
        def release(self, receipts: tuple[str, ...]) -> None:
            released.extend(receipts)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await receive()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await wait_all_tasks_blocked()
            scope[RECEIPTS] = ("r1", "r2")
            await send({"type": "http.response.start", "headers": [(b"content-length", b"1")]})
            if not body:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await send({"type": "http.response.body", "body": body, "more_body": False})
            nursery.cancel_scope.cancel()

    async def server_send(message: Message) -> None:
        with trio.CancelScope(shield="more_body" in message and not message["more_body"]):
            if message["type"] == "http.response.start":
                if leaves == "before":
                    await send_report.send({"type": "http.disconnect"})
            elif message["more_body"]:
                wire.broken = leaves == "breaks"
                if wire.broken:
                    await send_report.send({"type": "http.disconnect"})
                elif leaves == "after" and version == "1.1":
                    send_report.send_nowait({"type": "http.disconnect"})
                    return
            else:
                await send_report.send({"type": "http.disconnect"})
                await wait_all_tasks_blocked()
            await trio.lowlevel.checkpoint()

    scope = {"type": "http", "http_version": version, "state": {WIRE: wire}}
    await Handover(app, Broker())(scope, receive_report.receive, server_send)  # type: ignore[arg-type]
    assert released == ([] if leaves in {"never", "after"} else ["r1", "r2"])


async def test_a_reply_that_never_begins_gives_its_events_back() -> None:
    released: list[str] = []

    class Broker:
        def release(self, receipts: tuple[str, ...]) -> None:
            released.extend(receipts)

    async def app(scope: Scope, *_: object) -> None:
        scope[RECEIPTS] = ("r",)
        raise RuntimeError

    async def nothing(*_: object) -> Any:
        return None

    with pytest.raises(RuntimeError):
        await Handover(app, Broker())({"type": "http"}, nothing, nothing)  # type: ignore[arg-type]
    assert released == ["r"]
