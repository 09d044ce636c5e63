"""Connections begin, idle, end and are cut as they should."""

import resource
import socket
from typing import Any

import pytest
import trio

from web.sockets import ListenError, bind_sockets, connections_max, socket_url

LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


async def read_to_end(stream: trio.SocketStream) -> bytes:
    received = b""
    with trio.fail_after(10):
        async for chunk in stream:
            received += chunk
    return received


async def test_a_connection_that_wants_to_be_closed_is_closed(house: Any) -> None:
    for path in (b"/livez", b"/nowhere", b"/%00"):
        for _ in range(10):
            stream = await house.connect(
                b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            assert b"\r\n\r\n{" in await read_to_end(stream)
            await stream.aclose()


async def test_an_idle_connection_is_closed_after_its_time(open_house: Any) -> None:
    async with open_house(idle_s=0.02) as house:
        for requests in (0, 1, 2, 1, 2, 1, 2):
            stream = await house.connect(LIVEZ * requests)
            assert (await read_to_end(stream)).count(b"HTTP/1.1 200 ") == requests
            await stream.aclose()


async def test_the_end_does_not_wait_for_a_pipelined_request_that_gets_no_turn(
    open_house: Any,
) -> None:
    with trio.fail_after(30):
        async with open_house(grace_s=3600) as house:
            stream = await house.connect(
                b"GET /api/events/consume?timeoutMs=30000 HTTP/1.1\r\nHost: x\r\n\r\n" + LIVEZ
            )
            await house.until(lambda status: status.parked_polls == 1)
            house.broker.close_intake()
    assert b'{"events":[],"count":0}' in await read_to_end(stream)
    await stream.aclose()


async def test_a_broker_that_ends_says_with_each_response_that_it_is_the_last(house: Any) -> None:
    async with await house.connect(LIVEZ) as stream:
        first = b""
        while not first.endswith(b"}"):
            first += await stream.receive_some()
        assert b"connection: close" not in first
        house.broker.close_intake()
        await stream.send_all(
            b"POST /api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        )
        answer = await read_to_end(stream)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer
    assert b"retry-after: " in answer


async def test_the_end_closes_idle_connections_and_waits_for_the_others(open_house: Any) -> None:
    async with trio.open_nursery() as nursery:
        async with open_house() as house:
            idle = await house.connect()
            busy = await house.connect(
                b"GET /api/events/consume?timeoutMs=30000 HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            await house.until(lambda status: status.parked_polls == 1)
            answers: list[bytes] = []

            async def read() -> None:
                answers.append(await read_to_end(busy))

            nursery.start_soon(read)
            house.broker.close_intake()
        assert await read_to_end(idle) == b""
    assert b'{"events":[],"count":0}' in answers[0]
    for stream in (idle, busy):
        await stream.aclose()


async def test_a_client_that_does_not_read_cannot_hold_up_the_end(open_house: Any) -> None:
    with trio.fail_after(5):
        async with open_house(grace_s=0) as house:
            await house.publish('{"a":"' + "x" * 8_000_000 + '"}')
            stream = await house.connect(
                b"GET /api/events/consume?timeoutMs=0 HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            await house.until(lambda status: status.leases == 1)
            await stream.receive_some(10)
    await stream.aclose()


async def test_a_cancellation_cuts_every_connection(open_house: Any) -> None:
    with trio.fail_after(5), trio.CancelScope() as scope:
        async with open_house() as house:
            await house.publish('{"a":"' + "x" * 8_000_000 + '"}')
            stream = await house.connect(
                b"GET /api/events/consume?timeoutMs=0 HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            await stream.receive_some(10)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    await stream.aclose()


async def test_too_many_connections_are_turned_away_in_words(house: Any) -> None:
    house.server.connections._most = len(house.server.connections) + 1
    async with await house.connect(LIVEZ) as first:
        assert (await first.receive_some()).startswith(b"HTTP/1.1 200 ")
        response = await house.talk(b"")
        assert response.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b'"code":"BUSY"' in response
        assert b"retry-after: 1\r\n" in response


def test_a_taken_port_is_one_sentence() -> None:
    (taken,) = bind_sockets("127.0.0.1", 0)
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(ListenError, match=f"^Cannot listen on 127.0.0.1:{port}: the port is in"):
        bind_sockets("127.0.0.1", port)
    taken.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_has_brackets_in_its_url() -> None:
    (sock,) = bind_sockets("::1", 0)
    assert socket_url(sock) == f"http://[::1]:{sock.getsockname()[1]}"
    assert sock.family == socket.AF_INET6
    sock.close()


def test_a_name_is_bound_at_all_its_addresses_with_one_port() -> None:
    socks = bind_sockets("localhost", 0)
    assert len({sock.getsockname()[1] for sock in socks}) == 1
    for sock in socks:
        sock.close()


def test_descriptors_are_left_for_the_log() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = connections_max()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert most > 0
    assert soft == resource.RLIM_INFINITY or most < soft
