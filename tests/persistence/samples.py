"""What the tests of this room share: facts of every kind, their bytes, disks as plain files."""

from collections.abc import Mapping
from random import Random
from typing import Any

import attrs

from persistence import legacy
from persistence.encode import encode
from persistence.entry import NEVER_DELIVERED, NOT_WRITTEN, ConsumerKind, Stamp
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Imported,
    Leased,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.memory_disk import MemoryDisk

NOW = 1_700_000_000_000
KEY = bytes(range(16))
WORKER = ConsumerKind.WORKER


def enqueued(
    number: int,
    payload: bytes | None = None,
    topic: str = "orders",
    *,
    due: int = NOW,
    foreign_id: str = "",
) -> Enqueued:
    content = b'{"n":%d}' % number if payload is None else payload
    return Enqueued(number, NOW + number, due, topic, content, foreign_id=foreign_id)


def content(fact: Fact) -> tuple[Any, ...]:
    """What a fact says. Its payload counts by its size, since a fact that was read has none."""
    names = (field.name for field in attrs.fields(type(fact)) if field.name != "payload")
    return (type(fact), *((name, getattr(fact, name)) for name in names))


def bytes_of(fact: Fact, previous: int = NOT_WRITTEN) -> bytes:
    parts: list[bytes] = []
    size = encode(fact, previous, parts)
    data = b"".join(parts)
    assert size == len(data)
    return data


def history() -> list[list[Fact]]:
    """Batches that follow from each other, with every kind of fact but `Opened`.

    In the end event 3 is leased, 4 and 5 are waiting, 7 is dead, and the others are gone.
    """
    two = ConsumerKind.CLIENT, "x"
    return [
        [enqueued(1), enqueued(2, due=NOW + 5000), enqueued(3)],
        [
            Leased(1, NOW, 0, Stamp(1, 1), NOW + 10_000, 10_000),
            Leased(3, NOW, 0, Stamp(1, 1), NOW + 9, 9, WORKER, "w-1"),
        ],
        [
            Extended(1, NOW, 0, Stamp(1, 1), NOW + 20_000, 15_000),
            enqueued(4),
            enqueued(5),
            enqueued(6),
        ],
        [
            Returned(3, NOW + 1000, 1, Stamp(1, 1), ReturnCause.REJECTED, "no"),
            Leased(4, NOW, 0, Stamp(1, 1), NOW, 1),
        ],
        [
            Dead(4, NOW + 7, 5, Stamp(1, 1), "max_retries_exceeded", "bäd"),
            Leased(5, NOW, 0, Stamp(1, 1), NOW + 5, 5),
        ],
        [Settled(1), Returned(5, NOW, 0, Stamp(1, 1), ReturnCause.RELEASED)],
        [
            Reprocessed(4, NOW + 3, Stamp(1, 1)),
            Leased(6, NOW, 0, Stamp(1, 1), NOW + 6, 6, *two),
            enqueued(7, foreign_id="1526919030474-55"),
            Imported("stream", 1234),
        ],
        [
            Dead(6, NOW + 8, 0, Stamp(1, 1), "rejected"),
            Leased(2, NOW + 5000, 0, Stamp(1, 1), NOW + 9, 9),
            Dead(7, NOW + 8, 3, NEVER_DELIVERED, "max_retries_exceeded", "elsewhere"),
        ],
        [
            Discarded(6),
            Settled(2),
            Leased(3, NOW + 1000, 1, Stamp(1, 2), NOW + 30, 30),
            Imported("stream", 5678),
        ],
    ]


def every_kind() -> list[Fact]:
    """A fact of every kind, with each flag and each optional part somewhere."""
    stamp = Stamp(3, 4)
    return [
        Opened(2, NOW),
        enqueued(1),
        attrs.evolve(enqueued(2, b"", "", foreign_id="a-1"), copied=True),
        Leased(3, NOW, 1, stamp, NOW + 5, 5, WORKER, "wörker"),
        Extended(4, NOW, 1, stamp, NOW + 9, 9, copied=True),
        Settled(5),
        Returned(6, NOW + 1, 2, stamp, ReturnCause.TIMED_OUT, "läte"),
        Dead(7, NOW + 2, 3, stamp, "rejected", "nö", copied=True),
        Reprocessed(8, NOW + 3, stamp),
        Discarded(9),
        Imported("sträam", 77, copied=True),
    ]


# Facts as release 0.1.0 wrote them.


def old_leased(
    number: int,
    previous: int,
    stamp: tuple[int, int],
    deadline: int,
    length: int,
    kind: int = 0,
    consumer: bytes = b"",
) -> bytes:
    size = legacy.LEASED.size + len(consumer)
    rest = *stamp, deadline, length, kind, len(consumer)
    return legacy.LEASED.pack(3, 0, size, number, previous, *rest) + consumer


def old_extended(number: int, previous: int, deadline: int, length: int) -> bytes:
    size = legacy.EXTENDED.size
    return legacy.EXTENDED.pack(4, 0, size, number, previous, deadline, length)


def old_returned(
    number: int, previous: int, due: int, retries: int, cause: int, error: bytes = b""
) -> bytes:
    size = legacy.RETURNED.size + len(error)
    rest = due, retries, cause, len(error)
    return legacy.RETURNED.pack(6, 0, size, number, previous, *rest) + error


def old_dead(
    number: int, previous: int, time: int, retries: int, reason: bytes, error: bytes = b""
) -> bytes:
    size = legacy.DEAD.size + len(reason) + len(error)
    rest = time, retries, len(reason), len(error)
    return legacy.DEAD.pack(7, 0, size, number, previous, *rest) + reason + error


def old_reprocessed(number: int, previous: int, due: int) -> bytes:
    size = legacy.REPROCESSED.size
    return legacy.REPROCESSED.pack(8, 0, size, number, previous, due)


def old_facts() -> list[bytes]:
    """A fact of every kind that only release 0.1.0 wrote."""
    return [
        old_leased(1, 7, (1, 2), NOW, 5, 1, b"w"),
        old_extended(1, 7, NOW, 5),
        old_returned(1, 7, NOW, 1, 1, b"no"),
        old_dead(1, 7, NOW, 1, b"rejected", b"no"),
        old_reprocessed(1, 7, NOW),
    ]


def disk_with(files: Mapping[str, bytes]) -> MemoryDisk:
    disk = MemoryDisk()
    for name, data in files.items():
        file = disk.create(name)
        file.write(0, data)
        file.sync()
    disk.sync_directory()
    return disk


def seeded(seed: int) -> Random:
    return Random(seed)


def files_of(disk: MemoryDisk) -> dict[str, bytes]:
    files = {}
    for name in disk.names():
        file = disk.open(name)
        files[name] = file.read(0, file.size())
    return files
