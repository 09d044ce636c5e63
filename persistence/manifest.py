"""A small file that says that there is a log, so that a lost one is not taken for a new start.

The layout is in the package's docstring.
"""

import zlib

import attrs

from persistence.errors import NewerFormat, Undecodable

MANIFEST_NAME = "events.manifest"

_TITLE = "event-broker manifest"
_VERSION = 1


@attrs.frozen
class Manifest:
    """What belongs to the log.

    Attributes:
        key: the log's key.
        segments: number and file name of each segment, in order.
    """

    key: bytes
    segments: tuple[tuple[int, str], ...]

    def encode(self) -> bytes:
        """Give the file's content."""
        lines = [f"{_TITLE} {_VERSION}", f"key {self.key.hex()}"]
        lines += [f"segment {number} {name}" for number, name in self.segments]
        text = "".join(f"{line}\n" for line in lines).encode("ascii")
        return text + f"crc {zlib.crc32(text):08x}\n".encode("ascii")


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest.

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
    key = b""
    segments: list[tuple[int, str]] = []
    for line in text.decode("ascii").splitlines()[1:]:
        word, _, rest = line.partition(" ")
        if word == "key":
            key = bytes.fromhex(rest)
        elif word == "segment":
            number, _, file = rest.partition(" ")
            segments.append((int(number), file))
        else:
            raise NewerFormat(0, f"unknown line {word!r} in a manifest")
    return Manifest(key, tuple(segments))
