"""The bytes of a snapshot. The layout is in the package's docstring.

Pure functions on bytes. Whatever is read may be damaged: everything that is wrong with it comes out
as `SnapshotUnusable`.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from typing import NamedTuple

import attrs

from persistence.block import ROW_SIZE
from persistence.columns import little_endian
from persistence.segment import FRAME_HEADER_SIZE, KEY_SIZE

VERSION = 1
HEADER_SIZE = 128
SECTION_SIZE = 24
PIECE = b"\xffPC\x01"
"""Begins a section with rows."""
TRAILER = b"\xffTR\x01"
"""Begins the section with everything else."""

_MAGIC = b"\x89EVSNP\r\n"
_PREFIX = Struct("<8sH")
_HEADER = Struct(f"<8sHHIII{KEY_SIZE}sqqqQQ{FRAME_HEADER_SIZE}s")
_SECTION = Struct("<4sIQQ")
_CRC = Struct("<I")
_HEADER_CRC_AT = 12
_SALTED = slice(24, 56)
_COVERED_AT = 8
_PIECE = Struct("<QQqIIII")
_TRAILER = Struct("<QQq7QII")
_TOPIC = Struct("<IH")
_FOREIGN = Struct("<QH")
_IMPORT = Struct("<qqIH")
_SEGMENT = Struct("<IIqqqq")
_NEED = Struct("<Iq")
_NUMBER_SIZE = 8
_NO_TIME = -1
_NO_END = 0


class SnapshotUnusable(Exception):
    """A snapshot that cannot be believed. The text says why, to follow upon its name."""


@attrs.frozen
class Header:
    """What stands at the beginning of a snapshot.

    Attributes:
        key: the log's.
        created: wall time in milliseconds.
        start: log position from which on facts must be read to bring the rows up to date.
        end: log position at which the trailer holds.
        rows: how many there are in all pieces.
        pieces: how many there are.
        trailer_at: offset of the trailer's section.
        mark: header of the batch that ends at `end`, as it stands in the log.
    """

    key: bytes
    created: int
    start: int
    end: int = 0
    rows: int = 0
    pieces: int = 0
    trailer_at: int = 0
    mark: bytes = bytes(FRAME_HEADER_SIZE)

    @property
    def salt(self) -> int:
        """What the sections' CRCs start from; another for each snapshot."""
        return zlib.crc32(self._packed()[_SALTED])

    def encode(self) -> bytes:
        """Give its bytes."""
        data = bytearray(self._packed())
        _CRC.pack_into(data, _HEADER_CRC_AT, zlib.crc32(data))
        return bytes(data)

    def _packed(self) -> bytes:
        return _HEADER.pack(
            _MAGIC,
            VERSION,
            HEADER_SIZE,
            0,
            0,
            self.pieces,
            self.key,
            self.created,
            self.start,
            self.end,
            self.rows,
            self.trailer_at,
            self.mark,
        )


def decode_header(data: bytes) -> Header:
    """Read a snapshot's first `HEADER_SIZE` bytes.

    Raises:
        SnapshotUnusable: they are none, or a later version's.
    """
    if len(data) < HEADER_SIZE:
        raise SnapshotUnusable("it is cut short")
    magic, version = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise SnapshotUnusable("it does not begin like a snapshot")
    if version > VERSION:
        raise SnapshotUnusable("a newer version wrote it")
    header = bytearray(data[:HEADER_SIZE])
    _, _, size, crc, flags, pieces, key, created, start, end, rows, trailer_at, mark = (
        _HEADER.unpack(header)
    )
    _CRC.pack_into(header, _HEADER_CRC_AT, 0)
    if zlib.crc32(header) != crc:
        raise SnapshotUnusable("the checksum of its header is wrong")
    if version != VERSION or size != HEADER_SIZE or flags:
        raise SnapshotUnusable("a newer version wrote it")
    return Header(key, created, start, end, rows, pieces, trailer_at, mark)


def encode_section(kind: bytes, offset: int, salt: int, parts: Iterable[bytes]) -> bytearray:
    """Put a body into its section.

    Args:
        kind: `PIECE` or `TRAILER`.
        offset: where in the file it will stand.
        salt: `Header.salt`.
        parts: the body in pieces.
    """
    data = bytearray().join((bytes(SECTION_SIZE), *parts))
    _SECTION.pack_into(data, 0, kind, 0, len(data) - SECTION_SIZE, offset)
    with memoryview(data) as view:
        crc = zlib.crc32(view[_COVERED_AT:], salt)
    _CRC.pack_into(data, len(kind), crc)
    return data


def decode_section_head(data: bytes, kind: bytes, offset: int) -> tuple[int, int]:
    """Read a section's first `SECTION_SIZE` bytes.

    Returns:
        The body's size in bytes, and the section's CRC.

    Raises:
        SnapshotUnusable: no section of this kind can stand there.
    """
    if len(data) < SECTION_SIZE:
        raise SnapshotUnusable("it is cut short")
    found, crc, size, at = _SECTION.unpack_from(data)
    if found != kind or at != offset:
        raise SnapshotUnusable(f"there is no section at offset {offset}")
    return size, crc


def check_section(head: bytes, body: bytes, crc: int, salt: int, offset: int) -> None:
    """Check a section against its CRC.

    Raises:
        SnapshotUnusable: it is another.
    """
    if zlib.crc32(body, zlib.crc32(head[_COVERED_AT:SECTION_SIZE], salt)) != crc:
        raise SnapshotUnusable(f"the checksum of the section at offset {offset} is wrong")


@attrs.frozen
class Piece:
    """The rows of a range of event numbers, as they stood at one moment.

    Attributes:
        first: least number of the range.
        upper: least number behind it; None if it goes on for ever.
        position: the facts before this log position are in the rows, and no others.
        numbers: the events' numbers, ascending, in the byte order of this machine.
        rows: as `persistence.block.ROW` packs them.
        topics: (id, name) of topics that had another name, or none, in the pieces before.
        foreign: (event number, foreign id) of the rows that are named.
    """

    first: int
    upper: int | None
    position: int
    numbers: bytes
    rows: bytes
    topics: tuple[tuple[int, str], ...] = ()
    foreign: tuple[tuple[int, str], ...] = ()

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.numbers) // _NUMBER_SIZE


def encode_piece(piece: Piece) -> Iterator[bytes]:
    """Give the body of a piece's section."""
    yield _PIECE.pack(
        piece.first,
        _NO_END if piece.upper is None else piece.upper,
        piece.position,
        piece.count,
        len(piece.topics),
        len(piece.foreign),
        0,
    )
    yield little_endian(piece.numbers)
    yield piece.rows
    for topic, name in piece.topics:
        text = name.encode()
        yield _TOPIC.pack(topic, len(text)) + text
    for number, foreign_id in piece.foreign:
        text = foreign_id.encode()
        yield _FOREIGN.pack(number, len(text)) + text


def decode_piece(body: bytes) -> Piece:
    """Read the body of a piece's section.

    Raises:
        SnapshotUnusable: it is none.
    """
    reader = _Reader(body)
    first, upper, position, count, topics, foreign, _ = reader.take(_PIECE)
    numbers = reader.bytes(count * _NUMBER_SIZE)
    rows = reader.bytes(count * ROW_SIZE)
    piece = Piece(
        first,
        None if upper == _NO_END else upper,
        position,
        little_endian(numbers),
        rows,
        tuple(_named(reader, _TOPIC) for _ in range(topics)),
        tuple(_named(reader, _FOREIGN) for _ in range(foreign)),
    )
    reader.end()
    return piece


class SegmentState(NamedTuple):
    """What `persistence.holdings.Holding` says of one segment."""

    number: int
    base: int
    size: int
    live: int
    live_bytes: int
    needs: Mapping[int, int]


class ImportState(NamedTuple):
    """How far an import has come, and where the log says so."""

    source: str
    offset: int
    position: int
    size: int


@attrs.frozen
class Trailer:
    """What `persistence.fold.Fold` has beside the register.

    Attributes:
        boot: see `Fold`.
        next_number: see `Fold`.
        last_event_at: see `Fold`.
        counters: `Counters.values()`.
        imports: how far each import has come.
        segments: in order; the last one is active.
    """

    boot: int
    next_number: int
    last_event_at: int | None
    counters: tuple[int, ...]
    imports: tuple[ImportState, ...]
    segments: tuple[SegmentState, ...]


def encode_trailer(trailer: Trailer) -> Iterator[bytes]:
    """Give the body of the trailer's section."""
    yield _TRAILER.pack(
        trailer.boot,
        trailer.next_number,
        _NO_TIME if trailer.last_event_at is None else trailer.last_event_at,
        *trailer.counters,
        len(trailer.imports),
        len(trailer.segments),
    )
    for one in trailer.imports:
        text = one.source.encode()
        yield _IMPORT.pack(one.offset, one.position, one.size, len(text)) + text
    for segment in trailer.segments:
        number, base, size, live, live_bytes, needs = segment
        yield _SEGMENT.pack(number, len(needs), base, size, live, live_bytes)
        for older, count in needs.items():
            yield _NEED.pack(older, count)


def decode_trailer(body: bytes) -> Trailer:
    """Read the body of the trailer's section.

    Raises:
        SnapshotUnusable: it is none.
    """
    reader = _Reader(body)
    boot, next_number, last_event_at, *counters, imports, segments = reader.take(_TRAILER)
    trailer = Trailer(
        boot,
        next_number,
        None if last_event_at == _NO_TIME else last_event_at,
        tuple(counters),
        tuple(_import(reader) for _ in range(imports)),
        tuple(_segment(reader) for _ in range(segments)),
    )
    reader.end()
    return trailer


def _named(reader: "_Reader", layout: Struct) -> tuple[int, str]:
    number, size = reader.take(layout)
    return number, reader.text(size)


def _import(reader: "_Reader") -> ImportState:
    offset, position, size, text_size = reader.take(_IMPORT)
    return ImportState(reader.text(text_size), offset, position, size)


def _segment(reader: "_Reader") -> SegmentState:
    number, count, base, size, live, live_bytes = reader.take(_SEGMENT)
    needs: dict[int, int] = {}
    for _ in range(count):
        older, facts = reader.take(_NEED)
        needs[older] = facts
    return SegmentState(number, base, size, live, live_bytes, needs)


class _Reader:
    """Reads a body from its beginning to its end."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, layout: Struct) -> tuple[int, ...]:
        try:
            fields = layout.unpack_from(self._body, self._at)
        except struct.error:
            raise _misfit() from None
        self._at += layout.size
        return fields

    def bytes(self, size: int) -> bytes:
        data = self._body[self._at : self._at + size]
        if len(data) < size:
            raise _misfit()
        self._at += size
        return data

    def text(self, size: int) -> str:
        try:
            return self.bytes(size).decode()
        except UnicodeDecodeError:
            raise SnapshotUnusable("a text in it is no UTF-8") from None

    def end(self) -> None:
        if self._at != len(self._body):
            raise _misfit()


def _misfit() -> SnapshotUnusable:
    return SnapshotUnusable("a section does not have the size of its parts")
