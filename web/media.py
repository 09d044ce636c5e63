"""What a body is declared to be, and whether that is read here."""

import functools

from web.call import Call
from web.problems import Code, ProblemError

__all__ = ["NDJSON", "check_media_type"]

NDJSON = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonlines", "application/jsonl"}
)
FORM = "application/x-www-form-urlencoded"
SHOWN_MAX = 80


@functools.lru_cache(maxsize=256)
def _media_type(header: bytes) -> tuple[str, str]:
    """Return the media type and the charset of a content-type header, both in lower case."""
    media_type, *parameters = header.decode("latin-1").lower().split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            charset = value.strip().strip('"')
    return media_type.strip(), charset


def check_media_type(call: Call, more: frozenset[str] = frozenset()) -> str:
    """Return the declared media type, or the empty string when none was.

    Raises:
        ProblemError: the body is declared to be what is not read here.
    """
    encoding = call.headers.get(b"content-encoding", b"").strip().lower()
    if encoding not in {b"", b"identity"}:
        raise ProblemError.of(
            Code.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not supported; send the body plain."
        )
    header = call.headers.get(b"content-type", b"")
    if not header.strip():
        return ""
    media_type, charset = _media_type(header)
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    if (is_json or media_type in more) and charset in {"utf-8", "utf8"}:
        return media_type
    allowed = " or ".join(["application/json", *(sorted(more)[-1:])])
    hint = " (curl sends this one unless told otherwise with -H)" if media_type == FORM else ""
    raise ProblemError.of(
        Code.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Type {header[:SHOWN_MAX].decode('latin-1')!a} is not supported{hint};"
        f" send {allowed} in UTF-8.",
    )
