"""Reading a request's target: the path and the query, percent-decoded and strict."""

import unicodedata
from urllib.parse import unquote_to_bytes

from web.problems import Code, ProblemError

__all__ = ["read_path", "read_query"]


def read_path(raw: bytes) -> str:
    """Return the decoded path.

    Args:
        raw: as it came; the absolute form (http://host/path) is allowed.

    Raises:
        ProblemError: it is not UTF-8, has control characters or does not start with a slash.
    """
    lower = raw[:8].lower()
    if lower.startswith((b"http://", b"https://")):
        raw = b"/" + raw.split(b"://", 1)[1].partition(b"/")[2]
    try:
        path = (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError:
        raise ProblemError.of(Code.INVALID_REQUEST, "The path is not valid UTF-8.") from None
    if not path.startswith("/"):
        raise ProblemError.of(Code.INVALID_REQUEST, "The path does not start with a slash.")
    if not path.isprintable() and any(unicodedata.category(char) == "Cc" for char in path):
        raise ProblemError.of(Code.INVALID_REQUEST, "The path has control characters.")
    return path


def read_query(raw: bytes) -> dict[str, str]:
    """Return the decoded parameters.

    Raises:
        ProblemError: a name or a value is not UTF-8, or a parameter came twice.
    """
    query: dict[str, str] = {}
    for pair in raw.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        try:
            key, text = _decoded(name), _decoded(value)
        except UnicodeDecodeError:
            raise ProblemError.of(
                Code.INVALID_PARAMETER, "The query string is not valid UTF-8."
            ) from None
        if key in query:
            raise ProblemError.of(
                Code.INVALID_PARAMETER, f"Query parameter {key[:60]!a} was given more than once."
            )
        query[key] = text
    return query


def _decoded(part: bytes) -> str:
    return unquote_to_bytes(part.replace(b"+", b" ")).decode()
