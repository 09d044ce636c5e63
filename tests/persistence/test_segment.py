"""A segment's header and its frames: what was written is read, and nothing else is."""

import struct
import zlib

import pytest

from persistence.errors import NewerFormat, Undecodable
from persistence.segment import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    SegmentHeader,
    decode_frame_header,
    decode_header,
    encode_frame,
)
from tests.persistence.samples import KEY, NOW

HEADER = SegmentHeader(3, 4096, NOW, KEY, 7, 1001, (1, 2, 3, 4, 5, 6, 7))


def test_a_header_comes_back_as_it_went() -> None:
    data = HEADER.encode()
    assert len(data) == HEADER_SIZE
    assert decode_header(data + b"more") == HEADER


def test_the_documented_offsets_are_the_real_ones() -> None:
    data = HEADER.encode()
    assert data[:8] == bytes.fromhex("89 45 56 4C 4F 47 0D 0A")
    assert struct.unpack_from("<HH", data, 8) == (1, 128)
    assert struct.unpack_from("<I", data, 12)[0] == zlib.crc32(data[:12] + bytes(4) + data[16:])
    assert struct.unpack_from("<IIqq", data, 16) == (3, 0, 4096, NOW)
    assert data[40:56] == KEY
    assert struct.unpack_from("<9Q", data, 56) == (7, 1001, 1, 2, 3, 4, 5, 6, 7)

    frame = encode_frame([b"ab", b"c"], position=9, count=2, synced=8, time=5, salt=HEADER.salt)
    salt = zlib.crc32(KEY)
    assert frame[:4] == bytes.fromhex("FF 42 54 01")
    assert struct.unpack_from("<II", frame, 4) == (
        zlib.crc32(frame[8:48], salt),
        zlib.crc32(b"abc", salt),
    )
    assert struct.unpack_from("<IIIqqq", frame, 12) == (3, 2, 0, 9, 8, 5)
    assert frame[48:] == b"abc"


def test_a_header_with_a_flipped_bit_is_refused() -> None:
    for bit in range(HEADER_SIZE * 8):
        data = bytearray(HEADER.encode())
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Undecodable):
            decode_header(data)


@pytest.mark.parametrize("size", [0, 1, 8, HEADER_SIZE - 1])
def test_a_header_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(Undecodable, match="cut short"):
        decode_header(HEADER.encode()[:size])


def test_a_later_version_is_told_from_damage_before_its_checksum_is_believed() -> None:
    data = bytearray(HEADER.encode())
    struct.pack_into("<H", data, 8, 2)
    with pytest.raises(NewerFormat, match="format version 2"):
        decode_header(data)


def test_unknown_flags_in_a_header_are_of_a_newer_format() -> None:
    data = bytearray(HEADER.encode())
    struct.pack_into("<I", data, 20, 1)
    struct.pack_into("<I", data, 12, 0)
    struct.pack_into("<I", data, 12, zlib.crc32(data))
    with pytest.raises(NewerFormat, match="flags 0x1"):
        decode_header(data)


def test_a_frame_header_with_a_flipped_bit_is_none() -> None:
    frame = encode_frame([b"body"], position=128, count=1, synced=128, time=NOW, salt=HEADER.salt)
    header = decode_frame_header(frame, 0, HEADER.salt)
    assert header is not None
    assert header.end == 128 + len(frame)
    for bit in range(32, FRAME_HEADER_SIZE * 8):
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        assert decode_frame_header(changed, 0, HEADER.salt) is None


def test_a_frame_of_another_log_is_none() -> None:
    frame = encode_frame([b"body"], position=128, count=1, synced=128, time=NOW, salt=HEADER.salt)
    other = SegmentHeader(0, 0, NOW, bytes(16))
    assert decode_frame_header(frame, 0, other.salt) is None
