"""What the earlier broker's files look like, for the tests that read and import them."""

import json
from collections.abc import Iterable
from typing import Any

from persistence.memory_disk import MemoryDisk
from persistence.old_broker import DEAD_NAME, DONE_NAME, EVENTS_NAME, Rules
from tests.persistence.samples import NOW, disk_with


def record(one: str, **more: Any) -> dict[str, Any]:
    """Return what a line of events.log says of an event."""
    return {"id": one, "ts": NOW, "payload": {"name": one}, "retries": 0, **more}


def letter(one: str, **more: Any) -> dict[str, Any]:
    """Return what a line of dlq.log says of a dead letter."""
    return {
        "receiptId": f"receipt of {one}",
        "timestamp": NOW + 5,
        "reason": "max_retries_exceeded",
        "record": record(one, retries=5),
        **more,
    }


def json_lines(values: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def old_disk(
    events: Iterable[Any] | bytes | None = None,
    dead: Iterable[Any] | bytes | None = None,
    done: Iterable[str] | bytes | None = None,
) -> MemoryDisk:
    """Return a directory of the earlier broker, attached to for reading."""
    files = {}
    if events is not None:
        files[EVENTS_NAME] = events if isinstance(events, bytes) else json_lines(events)
    if dead is not None:
        files[DEAD_NAME] = dead if isinstance(dead, bytes) else json_lines(dead)
    if done is not None:
        data = done if isinstance(done, bytes) else "".join(f"{one}\n" for one in done).encode()
        files[DONE_NAME] = data
    disk = disk_with(files).another()
    disk.look()
    return disk


def _payload_fault(raw: bytes) -> str | None:
    return None if raw.startswith(b"{") else "it is no object"


def _topic_fault(topic: str) -> str | None:
    return "it has a space in it" if " " in topic else None


RULES = Rules(_payload_fault, _topic_fault)
"""Rules that are easy to break."""
