"""Logs with several segments for tests of the tools, and the accidents that befall them."""

import struct
from collections.abc import Callable
from functools import cache

from persistence.entry import Stamp
from persistence.facts import Dead, Fact, Leased, ReturnCause, Returned, Settled
from persistence.log import EventLog, LogOptions
from persistence.memory_disk import MemoryDisk
from persistence.salvage import Salvage
from persistence.scan import Frame, Image
from persistence.segment import decode_header
from tests.persistence.samples import NOW, disk_with, enqueued, files_of

Files = dict[str, bytes]
Accident = Callable[[Files], None]

OPTIONS = LogOptions(segment_max_bytes=1024)
ONE = "events-0000000001.log"
TWO = "events-0000000002.log"
ACTIVE = "events.log"
MANIFEST = "events.manifest"


def life() -> list[list[Fact]]:
    """Batches about 24 events: some are settled, some come back, some die, most stay."""
    batches: list[list[Fact]] = []
    for number in range(1, 25):
        topic = "orders" if number % 2 else "bills"
        batches.append([enqueued(number, b'{"number":%d}' % number, topic)])
        if number % 3 == 0:
            stamp = Stamp(1, number)
            batches.append([Leased(number, NOW, 0, stamp, NOW + 9, 9, consumer=f"c-{number}")])
            match number % 4:
                case 0:
                    batches.append([Settled(number)])
                case 1:
                    cause = ReturnCause.REJECTED
                    batches.append([Returned(number, NOW + 5, 1, stamp, cause, "no")])
                case 2:
                    batches.append([Dead(number, NOW + 5, 1, stamp, "rejected", "no")])
    return batches


@cache
def _written(*, closed: bool) -> tuple[tuple[str, bytes], ...]:
    disk = MemoryDisk()
    log = EventLog.open(
        disk, now=NOW, options=OPTIONS, random_bytes=lambda size: bytes(range(size))
    )
    for batch in life():
        log.append(batch, now=NOW + 1)
        log.write()
        log.sync()
    if closed:
        log.close()
        return tuple(files_of(disk).items())
    return tuple(files_of(disk.kill()).items())


def written(*, closed: bool = True) -> Files:
    """The files of a log with several segments, each batch of which was synced."""
    return dict(_written(closed=closed))


def frames_in(data: bytes) -> list[Frame]:
    """The valid batches of a segment's file."""
    pieces = Salvage(Image(data), decode_header(data), end=None, past_torn=True).pieces()
    return [piece for piece in pieces if isinstance(piece, Frame)]


def bodies_of(files: Files) -> dict[int, bytes]:
    """The facts of each valid batch of a log, by log position."""
    return {
        frame.header.position: bytes(frame.body)
        for name, data in files.items()
        if name == ACTIVE or (name.startswith("events-") and name.endswith(".log"))
        for frame in frames_in(data)
        if frame.header.count
    }


def state_of(log: EventLog) -> dict[int, tuple[object, ...]]:
    """What a log says of each event, payload included."""
    rows = dict(log.register.rows())
    payloads = log.read(log.spans(rows))
    return {
        number: (row.timestamp, row.due, row.place, row.retries, row.stamp, payload)
        for (number, row), payload in zip(rows.items(), payloads, strict=True)
    }


def state_in(files: Files) -> dict[int, tuple[object, ...]]:
    """What opening a log gives; it must open."""
    log = EventLog.open(disk_with(files), now=NOW, options=OPTIONS)
    state = state_of(log)
    log.close()
    return state


# Accidents


def flip(name: str, offset: int, mask: int = 1) -> Accident:
    def befall(files: Files) -> None:
        data = bytearray(files[name])
        data[offset] ^= mask
        files[name] = bytes(data)

    return befall


def change(name: str, edit: Callable[[bytes], bytes]) -> Accident:
    def befall(files: Files) -> None:
        files[name] = edit(files[name])

    return befall


def lose(name: str) -> Accident:
    def befall(files: Files) -> None:
        del files[name]

    return befall


def rename(old: str, new: str) -> Accident:
    def befall(files: Files) -> None:
        files[new] = files.pop(old)

    return befall


def copy(old: str, new: str) -> Accident:
    def befall(files: Files) -> None:
        files[new] = files[old]

    return befall


def add(name: str, data: bytes) -> Accident:
    def befall(files: Files) -> None:
        files[name] = data

    return befall


def swap(one: str, other: str) -> Accident:
    def befall(files: Files) -> None:
        files[one], files[other] = files[other], files[one]

    return befall


def together(*accidents: Accident) -> Accident:
    def befall(files: Files) -> None:
        for accident in accidents:
            accident(files)

    return befall


def from_version(version: int) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        return data[:8] + struct.pack("<H", version) + data[10:]

    return edit


def body_at(name: str, index: int) -> int:
    """The offset of the first fact of a batch."""
    data = written()[name]
    return frames_in(data)[index].body_position - decode_header(data).base
