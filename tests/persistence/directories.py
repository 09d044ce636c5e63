"""Whole data directories for tests: segments that follow from each other, and their manifest.

What is behind the headers is no batch, since nothing that is tested with these looks there.
"""

import struct
import zlib
from collections.abc import Collection, Sequence

import attrs

from persistence.manifest import Manifest
from persistence.names import ACTIVE_NAME, MANIFEST_NAME, sealed_name
from persistence.segment import HEADER_SIZE, SegmentHeader
from tests.persistence.samples import KEY, NOW

SIZES = (HEADER_SIZE + 100, HEADER_SIZE + 1000, HEADER_SIZE + 10, HEADER_SIZE + 50)
"""Sizes of the segments of the usual log; the last one is the active segment."""


def header(number: int, base: int, key: bytes = KEY) -> SegmentHeader:
    return SegmentHeader(number, base, NOW, key)


def segment(number: int, base: int, size: int, key: bytes = KEY) -> bytes:
    """A segment's file; its bytes tell which one it is."""
    content = header(number, base, key).encode()
    return content + bytes([number + 1]) * (size - len(content))


def old_header(
    number: int = 0, base: int = 0, key: bytes = KEY, *, boot: int = 3, next_number: int = 9
) -> bytes:
    """A header as release 0.1.0 wrote it."""
    layout = struct.Struct("<8sHHIIIqq16sQQ7Q")
    counters = (1, 2, 3, 4, 5, 6, 7) if boot else (0,) * 7
    fields = (number, 0, base, NOW, key, boot, next_number, *counters)
    data = bytearray(layout.pack(b"\x89EVLOG\r\n", 1, 128, 0, *fields))
    struct.pack_into("<I", data, 12, zlib.crc32(data))
    return bytes(data)


def old_manifest(name: str = ACTIVE_NAME) -> bytes:
    """A manifest as release 0.1.0 wrote it."""
    text = f"event-broker manifest 1\nkey {KEY.hex()}\nsegment 0 {name}\n".encode()
    return text + f"crc {zlib.crc32(text):08x}\n".encode()


def manifest_of(sizes: Sequence[int] = SIZES, deleted: Collection[int] = ()) -> Manifest:
    manifest = Manifest(KEY, 0, ())
    base = 0
    for number, size in enumerate(sizes):
        manifest = manifest.begin(header(number, base))
        base += size
    kept = tuple(one for one in manifest.segments if one.number not in deleted)
    return attrs.evolve(manifest, segments=kept)


def a_log(sizes: Sequence[int] = SIZES, deleted: Collection[int] = ()) -> dict[str, bytes]:
    """The files of a log with segments of these sizes, some of which have been deleted."""
    files: dict[str, bytes] = {}
    base = 0
    for number, size in enumerate(sizes):
        name = ACTIVE_NAME if number == len(sizes) - 1 else sealed_name(number)
        if number not in deleted:
            files[name] = segment(number, base, size)
        base += size
    return {**files, MANIFEST_NAME: manifest_of(sizes, deleted).encode()}
