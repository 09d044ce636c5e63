"""Asking a running broker over HTTP, with the standard library alone.

No proxy is asked and no redirect followed: whoever names a broker means that one.
"""

import http.client
import re
from contextlib import closing
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

__all__ = ["RemoteBroker", "RemoteError"]

TIMEOUT_S = 30.0
"""How long the broker may take to accept a connection, and for each piece of its answer."""

USER = re.compile(r"//[^/]*@")
URL = re.compile(r"https?://[^/?#@\s]+(?:/[^?#\s]*)?", re.ASCII | re.IGNORECASE)

T = TypeVar("T")


class RemoteError(Exception):
    """The broker did not answer with what it was asked for; the message is one sentence."""


class _Problem(msgspec.Struct):
    """The members of a broker's error that are for people and for programs."""

    detail: str
    code: str


class RemoteBroker:
    """A broker that listens somewhere.

    Args:
        url: where, for instance `http://127.0.0.1:3000`; a path is put before those of the API.
        timeout_s: seconds; see `TIMEOUT_S`.

    Raises:
        RemoteError: it is no such URL.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        try:
            parts = urlsplit(self._url)
            port = parts.port
        except ValueError:
            raise _bad_url(url) from None
        known = url.isascii() and url.isprintable() and URL.fullmatch(url) is not None
        if not known or not parts.hostname:
            raise _bad_url(url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname
        # Said in any case: without it the last group of an IPv6 address would be taken for it.
        usual = http.client.HTTPS_PORT if self._is_tls else http.client.HTTP_PORT
        self._port = usual if port is None else port
        self._base = parts.path

    def get(self, path: str, schema: type[T]) -> T:
        """Return what a GET of the path answers.

        Args:
            path: of the API, percent-encoded.
            schema: what the answer's JSON is; members that it does not know are ignored.

        Raises:
            RemoteError: nobody answers, or something else than that.
        """
        status, body = self._fetch(path)
        if status != http.HTTPStatus.OK:
            raise RemoteError(self._refusal(status, body))
        try:
            return msgspec.json.decode(body, type=schema)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RemoteError(
                f"What listens at {self._url} answered with something that is not a broker's JSON."
            ) from None

    def _fetch(self, path: str) -> tuple[int, bytes]:
        make = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        try:
            with closing(make(self._host, self._port, timeout=self._timeout_s)) as connection:
                connection.request("GET", self._base + path, headers={"accept": "application/json"})
                response = connection.getresponse()
                return response.status, response.read()
        except TimeoutError:
            raise RemoteError(
                f"The broker at {self._url} did not answer within {self._timeout_s:g} seconds."
            ) from None
        except OSError as error:
            reason = (error.strerror or str(error)).rstrip(".")
            raise RemoteError(
                f"No broker answers at {self._url}: {reason}. Is it running, and is that its --url?"
            ) from None
        except (http.client.HTTPException, ValueError):
            raise RemoteError(f"What listens at {self._url} does not speak HTTP.") from None

    def _refusal(self, status: int, body: bytes) -> str:
        """Return what the broker said when it said no, if it was one."""
        try:
            return msgspec.json.decode(body, type=_Problem).detail
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            phrase = http.client.responses.get(status, "")
            return f"{self._url} answered {status} {phrase}".rstrip() + ", not as a broker does."


def _bad_url(url: str) -> RemoteError:
    shown = USER.sub("//***@", url)  # a password is not repeated
    return RemoteError(
        f"{shown!a} is not the address of a broker, which is for instance http://127.0.0.1:3000."
    )
