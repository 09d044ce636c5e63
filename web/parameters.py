"""Reading query parameters: every one is known, comes once and is in its range."""

import re

from actors.broker import Durability
from web.call import Call
from web.problems import Code, ProblemError

__all__ = ["boolean", "check_names", "durability", "integer", "shown", "topic_name"]

TOPIC = re.compile(r"[A-Za-z0-9._:/-]{1,255}")
INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
DIGITS_MAX = 18
SHOWN_MAX = 60


def check_names(call: Call, *allowed: str) -> None:
    """Refuse a parameter that the call does not have.

    Raises:
        ProblemError: it names the parameter and those allowed.
    """
    for name in call.query:
        if name not in allowed:
            known = f"allowed are {', '.join(allowed)}" if allowed else "this call has none"
            raise ProblemError.of(
                Code.INVALID_PARAMETER, f"Unknown query parameter {shown(name)}; {known}."
            )


def integer(
    call: Call,
    name: str,
    low: int,
    high: int,
    *,
    clamp: bool = False,
    empty_is_absent: bool = False,
) -> int | None:
    """Return a whole number, or None when it was not given.

    Args:
        call: the request.
        name: the parameter.
        low: the least that is allowed.
        high: the most that is allowed.
        clamp: whether more than `high` means `high` instead of a refusal.
        empty_is_absent: whether `name=` counts as not given.

    Raises:
        ProblemError: it is no whole number or out of range.
    """
    text = call.query.get(name)
    if text is None or (not text and empty_is_absent):
        return None
    if INTEGER.fullmatch(text) is not None:
        # Longer than any limit of ours, and Python refuses to read the longest.
        short = text if len(text) <= DIGITS_MAX else text[0].replace("0", "1") + "9" * DIGITS_MAX
        value = min(int(short), high) if clamp else int(short)
        if low <= value <= high:
            return value
    allowed = f"at least {low}" if clamp else f"from {low} to {high}"
    raise ProblemError.of(
        Code.INVALID_PARAMETER,
        f"Query parameter {name} is {shown(text)}; it must be a whole number, {allowed}.",
    )


def boolean(call: Call, name: str, *, default: bool) -> bool:
    """Return `true` or `false` as a bool, or the default when it was not given.

    Raises:
        ProblemError: it is neither.
    """
    text = call.query.get(name)
    if text is None:
        return default
    word = text.lower()
    if word not in {"true", "false"}:
        raise ProblemError.of(
            Code.INVALID_PARAMETER,
            f"Query parameter {name} is {shown(text)}; it must be true or false.",
        )
    return word == "true"


def durability(call: Call) -> Durability | None:
    """Return how far events must have come before the answer, or None when it was not given.

    Raises:
        ProblemError: it is no word for that.
    """
    text = call.query.get("durability")
    if text is None:
        return None
    try:
        return Durability(text.lower())
    except ValueError:
        raise ProblemError.of(
            Code.INVALID_PARAMETER,
            f"Query parameter durability is {shown(text)}; it must be {' or '.join(Durability)}.",
        ) from None


def topic_name(call: Call) -> str | None:
    """Return the topic, or None when it was not given.

    Raises:
        ProblemError: it breaks the rule for topics.
    """
    topic = call.query.get("topic")
    if topic is not None and TOPIC.fullmatch(topic) is None:
        raise ProblemError.of(
            Code.INVALID_TOPIC,
            f"The topic {shown(topic)} is not 1 to 255 of the characters"
            " A-Z a-z 0-9 . _ - : and /.",
        )
    return topic


def shown(text: str) -> str:
    """Return the text in quotes, printable, cut when it is long."""
    return ascii(text) if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]!a}..."
