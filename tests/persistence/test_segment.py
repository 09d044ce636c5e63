"""A segment's header and its frames: what was written is read, and nothing else is."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.errors import NewerFormat, Undecodable
from persistence.segment import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    SEGMENT_HEADER_SIZE_MAX,
    SegmentHeader,
    decode_frame_header,
    decode_header,
    encode_frame,
)
from tests.persistence.directories import old_header
from tests.persistence.samples import KEY, NOW

HEADER = SegmentHeader(3, 4096, NOW, KEY, 7, 1001, (1, 2, 3, 4, 5, 6, 7), NOW - 1)
U64 = st.integers(0, 2**64 - 1)
TIMES = st.integers(0, 2**63 - 1)


@given(
    st.builds(
        SegmentHeader,
        number=st.integers(0, 2**32 - 1),
        base=TIMES,
        created=TIMES,
        key=st.binary(min_size=16, max_size=16),
        boot=U64,
        next_number=U64,
        counters=st.tuples(*[U64] * 7),
        last_event_at=st.none() | TIMES,
    )
)
def test_a_header_comes_back_as_it_went(header: SegmentHeader) -> None:
    data = header.encode()
    assert len(data) == header.size == HEADER_SIZE <= SEGMENT_HEADER_SIZE_MAX
    assert decode_header(data + b"more") == header
    assert decode_header(memoryview(data)) == header


def test_the_documented_offsets_are_the_real_ones() -> None:
    data = HEADER.encode()
    assert data[:8] == bytes.fromhex("89 45 56 4C 4F 47 0D 0A")
    assert struct.unpack_from("<HH", data, 8) == (2, 136)
    assert struct.unpack_from("<I", data, 12)[0] == zlib.crc32(data[:12] + bytes(4) + data[16:])
    assert struct.unpack_from("<IIqq", data, 16) == (3, 0, 4096, NOW)
    assert data[40:56] == KEY
    assert struct.unpack_from("<9Q", data, 56) == (7, 1001, 1, 2, 3, 4, 5, 6, 7)
    assert struct.unpack_from("<q", data, 128) == (NOW - 1,)
    assert struct.unpack_from("<q", SegmentHeader(0, 0, NOW, KEY).encode(), 128) == (-1,)

    frame = encode_frame([b"ab", b"c"], position=9, count=2, synced=8, time=5, salt=HEADER.salt)
    salt = zlib.crc32(KEY)
    assert frame[:4] == bytes.fromhex("FF 42 54 01")
    assert struct.unpack_from("<II", frame, 4) == (
        zlib.crc32(frame[8:48], salt),
        zlib.crc32(b"abc", salt),
    )
    assert struct.unpack_from("<IIIqqq", frame, 12) == (3, 2, 0, 9, 8, 5)
    assert frame[48:] == b"abc"


def test_a_header_of_release_0_1_0_is_read_and_its_batches_begin_where_they_did() -> None:
    data = old_header(number=0, base=0)
    found = decode_header(data)
    assert found == SegmentHeader(0, 0, NOW, KEY, 3, 9, (1, 2, 3, 4, 5, 6, 7), None, 128)
    assert decode_header(data + b"a batch" * 10) == found


def test_a_header_of_an_older_version_is_not_written() -> None:
    with pytest.raises(ValueError, match="128 bytes is only read"):
        decode_header(old_header()).encode()


@pytest.mark.parametrize("data", [HEADER.encode(), old_header()], ids=["now", "0.1.0"])
def test_a_header_with_a_flipped_bit_is_refused(data: bytes) -> None:
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Undecodable):
            decode_header(changed + bytes(8))


@pytest.mark.parametrize("data", [HEADER.encode(), old_header()], ids=["now", "0.1.0"])
def test_a_header_that_is_cut_short_is_refused(data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(Undecodable, match="cut short") as caught:
            decode_header(data[:size])
        assert caught.value.position == size


@pytest.mark.parametrize(
    ("version", "size", "what"), [(0, 136, "version 0 and 136"), (2, 128, "version 2 and 128")]
)
def test_a_header_of_no_version_there_is_is_refused(version: int, size: int, what: str) -> None:
    data = bytearray(HEADER.encode())
    struct.pack_into("<HHI", data, 8, version, size, 0)
    struct.pack_into("<I", data, 12, zlib.crc32(data))
    with pytest.raises(Undecodable, match=what):
        decode_header(data)


def test_a_later_version_is_told_from_damage_before_its_checksum_is_believed() -> None:
    data = bytearray(HEADER.encode())
    struct.pack_into("<H", data, 8, 3)
    with pytest.raises(NewerFormat, match="format version 3"):
        decode_header(data)
    with pytest.raises(NewerFormat, match="format version 3"):
        decode_header(data[:40])


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
