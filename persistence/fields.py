"""Bytes to the texts and enumerations in facts.

Every function raises ValueError for bytes that mean nothing. A text that is cut short by the end
of the body is not noticed here: whoever asks compares the fact's size with what there is.
"""

from persistence.entry import ConsumerKind
from persistence.facts import ReturnCause

_TOPICS_MAX = 1024

_topics: dict[bytes, str] = {}
_kinds = tuple(ConsumerKind)
_causes: dict[int, ReturnCause] = {int(cause): cause for cause in ReturnCause}


def text_at(body: memoryview, start: int, size: int) -> str:
    """Read a text."""
    return str(body[start : start + size], "utf-8") if size else ""


def topic_at(body: memoryview, start: int, size: int) -> str:
    """Read a topic. The same one gives the same object, as a rule, and is soon found in a dict."""
    data = body[start : start + size].tobytes()
    topic = _topics.get(data)
    if topic is None:
        topic = str(data, "utf-8")
        if len(_topics) >= _TOPICS_MAX:
            _topics.clear()
        _topics[data] = topic
    return topic


def consumer_kind(value: int) -> ConsumerKind:
    """Read who holds a lease. Calling the enumeration takes ten times as long."""
    return _kinds[value] if value < len(_kinds) else ConsumerKind(value)


def return_cause(value: int) -> ReturnCause:
    """Read why an event came back."""
    return _causes.get(value) or ReturnCause(value)


def misfit(size: int) -> ValueError:
    """Say that a fact's size is not the sum of its parts."""
    return ValueError(f"a fact's size of {size} bytes does not fit its content")
