"""The client of the command line: one sentence for each way in which a broker does not answer."""

import socket
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from web.client import RemoteBroker, RemoteError


class Named(msgspec.Struct):
    name: str


Listen = Callable[[bytes], str]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Open a socket that answers the first request with these bytes; return its URL."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        thread.join(10)
    for listener in sockets:
        listener.close()


def http_answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def test_an_answer_is_read_by_its_schema(listen: Listen) -> None:
    url = listen(http_answer(b'{"name":"x","more":1}'))
    assert RemoteBroker(url + "/").get("/api/x", Named) == Named("x")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            http_answer(b'{"detail":"No such thing.","code":"X"}', b"404 Not Found"),
            "No such thing.",
        ),
        (
            http_answer(b"<html>", b"502 Bad Gateway"),
            "URL answered 502 Bad Gateway, not as a broker does.",
        ),
        (http_answer(b'{"detail":1}', b"499 "), "URL answered 499, not as a broker does."),
        (
            http_answer(b"", b"301 Moved Permanently"),
            "URL answered 301 Moved Permanently, not as a broker does.",
        ),
        (http_answer(b"<html>"), "What listens at URL answered with something that is not a"),
        (http_answer(b'{"name":1}'), "What listens at URL answered with something that is not a"),
        (http_answer(b'{"name":"\xff"}'), "What listens at URL answered with something that is"),
        (http_answer(b"[" * 100_000), "What listens at URL answered with something that is not a"),
        (b"SSH-2.0-OpenSSH\r\n", "What listens at URL does not speak HTTP."),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", "What listens at URL does not speak"),
        (b"", "No broker answers at URL: "),
    ],
)
def test_what_is_no_brokers_answer_is_one_sentence(
    listen: Listen, answer: bytes, sentence: str
) -> None:
    url = listen(answer)
    with pytest.raises(RemoteError) as caught:
        RemoteBroker(url).get("/api/x", Named)
    assert str(caught.value).startswith(sentence.replace("URL", url))
    assert str(caught.value).endswith((".", "?"))


def test_a_broker_that_is_not_there_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RemoteError, match=f"^No broker answers at {url}: Connection refused. Is"):
        RemoteBroker(url).get("/", Named)


def test_a_broker_that_says_nothing_is_not_waited_for_without_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RemoteError, match=r"did not answer within 0\.01 seconds\.$"):
            RemoteBroker(url, timeout_s=0.01).get("/", Named)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "127.0.0.1:3000",
        "ftp://host",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        "http://user:secret@host",
        "http://host?x=1",
        "http://a b",
        "http://hö",
        "http://a\x01b",
    ],
)
def test_what_is_no_address_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(RemoteError, match="is not the address of a broker") as caught:
        RemoteBroker(url)
    assert "secret" not in str(caught.value)


def test_the_last_group_of_an_address_is_not_taken_for_a_port() -> None:
    assert [RemoteBroker(f"{name}://[fe80::1]")._port for name in ("http", "https")] == [80, 443]
    assert RemoteBroker("http://[::1]:3000")._port == 3000
