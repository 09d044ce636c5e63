"""The list of the segments that belong to the log, so that a lost one is known for lost.

The layout is in the package's docstring. The manifest never names what is not on disk yet: a new
segment is safely there before it is listed, and a segment is taken off the list before its file is
removed.
"""

import zlib

import attrs

from persistence.disk import Disk, create_whole, read_whole
from persistence.errors import NewerFormat, Undecodable
from persistence.names import ACTIVE_NAME, MANIFEST_NAME, sealed_name
from persistence.segment import KEY_SIZE, SegmentHeader

_TITLE = "event-broker manifest"
_VERSION = 2


@attrs.frozen
class ManifestSegment:
    """One line of the list.

    Attributes:
        number: the segment's number.
        base: log position of the file's first byte.
        name: of the file. Where this is `ACTIVE_NAME`, the file may have been sealed, and so have
            its other name, just before the process ended.
        end: log position after the file's last byte; None for a file that grows, and where it is
            not known.
    """

    number: int
    base: int
    name: str
    end: int | None = None


@attrs.frozen
class Manifest:
    """What belongs to the log.

    Attributes:
        key: the log's key.
        next_segment: the least segment number that was never used. A segment below it that is not
            listed has been deleted.
        segments: in order.
    """

    key: bytes
    next_segment: int
    segments: tuple[ManifestSegment, ...]

    def begin(self, header: SegmentHeader) -> "Manifest":
        """Give the list after a segment was begun, and the active one, if there is one, sealed."""
        segments = list(self.segments)
        if segments and segments[-1].name == ACTIVE_NAME:
            sealed = segments[-1]
            segments[-1] = attrs.evolve(sealed, name=sealed_name(sealed.number), end=header.base)
        segments.append(ManifestSegment(header.number, header.base, ACTIVE_NAME))
        return Manifest(header.key, header.number + 1, tuple(segments))

    def encode(self) -> bytes:
        """Give the file's content."""
        lines = [
            f"{_TITLE} {_VERSION}",
            f"key {self.key.hex()}",
            f"next {self.next_segment}",
            *map(_line, self.segments),
        ]
        text = "".join(f"{line}\n" for line in lines).encode("ascii")
        return text + f"crc {zlib.crc32(text):08x}\n".encode("ascii")


def write_manifest(disk: Disk, manifest: Manifest) -> None:
    """Put a manifest in the place of the one before; after a crash one of the two is there whole.

    Raises:
        OSError: the old one still counts, unless it was the directory's sync that failed.
    """
    create_whole(disk, MANIFEST_NAME, [manifest.encode()])


def read_manifest(disk: Disk) -> Manifest:
    """Read the manifest.

    Raises:
        FileNotFoundError: there is none.
        NewerFormat: a later version of this program wrote it.
        Undecodable: it is damaged; positions are offsets here.
    """
    return decode_manifest(read_whole(disk, MANIFEST_NAME))


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest of any version.

    Raises:
        NewerFormat: a later version of this program wrote it.
        Undecodable: it is damaged; positions are offsets here.
    """
    title, _, _ = data.partition(b"\n")
    name, _, version = title.decode("ascii", "replace").rpartition(" ")
    if name != _TITLE or not version.isdecimal():
        raise Undecodable(0, "this is not a manifest")
    if int(version) > _VERSION:
        raise NewerFormat(len(_TITLE) + 1, f"manifest version {version}")
    text, mark, crc = data.rpartition(b"crc ")
    if not mark or crc != f"{zlib.crc32(text):08x}\n".encode("ascii"):
        raise Undecodable(0, "the checksum is wrong")
    try:
        manifest = _parse(text.decode("ascii").splitlines()[1:], int(version))
    except ValueError as error:
        raise Undecodable(0, f"it makes no sense: {error}") from None
    _check(manifest)
    return manifest


def _line(segment: ManifestSegment) -> str:
    end = "" if segment.end is None else f" {segment.end}"
    return f"segment {segment.number} {segment.base} {segment.name}{end}"


def _parse(lines: list[str], version: int) -> Manifest:
    key = b""
    next_segment = 1
    segments: list[ManifestSegment] = []
    for line in lines:
        word, *values = line.split(" ")
        match word, values:
            case "key", [digits]:
                key = bytes.fromhex(digits)
            case "next", [number] if version > 1:
                next_segment = int(number)
            case "segment", [number, name] if version == 1:
                # Release 0.1.0 knew one segment, which never ended.
                segments.append(ManifestSegment(int(number), 0, name))
            case "segment", [number, base, name] if version > 1:
                segments.append(ManifestSegment(int(number), int(base), name))
            case "segment", [number, base, name, end] if version > 1:
                segments.append(ManifestSegment(int(number), int(base), name, int(end)))
            case _:
                raise NewerFormat(0, f"unknown line {line!r} in a manifest")
    return Manifest(key, next_segment, tuple(segments))


def _check(manifest: Manifest) -> None:
    """Refuse a list that passes its checksum and cannot be true.

    Raises:
        Undecodable: it cannot.
    """
    if len(manifest.key) != KEY_SIZE:
        raise Undecodable(0, f"a key of {len(manifest.key)} bytes")
    number, position = -1, 0
    for segment in manifest.segments:
        active = segment is manifest.segments[-1] and segment.name == ACTIVE_NAME
        if (
            not number < segment.number < manifest.next_segment
            or segment.base < position
            or not (active or segment.name == sealed_name(segment.number))
        ):
            raise Undecodable(0, f"it lists segment {segment.number} where that cannot be")
        number = segment.number
        position = segment.base if segment.end is None else segment.end
