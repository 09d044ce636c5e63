"""The manifest: what was written is read, what could not be true is refused."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.errors import NewerFormat, Undecodable
from persistence.faults import PowerCut
from persistence.manifest import (
    Manifest,
    ManifestSegment,
    decode_manifest,
    read_manifest,
    write_manifest,
)
from persistence.memory_disk import MemoryDisk
from persistence.names import ACTIVE_NAME, MANIFEST_NAME, sealed_name
from tests.persistence.directories import header, manifest_of, old_manifest
from tests.persistence.samples import KEY, files_of, seeded

TEXT = f"""event-broker manifest 2
key {KEY.hex()}
next 7
segment 2 4096 events-0000000002.log 5000
segment 5 9000 events-0000000005.log 9200
segment 6 9200 events.log
"""
LISTED = Manifest(
    KEY,
    7,
    (
        ManifestSegment(2, 4096, sealed_name(2), 5000),
        ManifestSegment(5, 9000, sealed_name(5), 9200),
        ManifestSegment(6, 9200, ACTIVE_NAME),
    ),
)


def with_checksum(text: str) -> bytes:
    data = text.encode()
    return data + f"crc {zlib.crc32(data):08x}\n".encode()


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    sizes = draw(st.lists(st.integers(200, 10**8), max_size=8))
    deleted = draw(st.sets(st.integers(0, 7)))
    return manifest_of(sizes, deleted)


@given(manifests())
def test_a_manifest_comes_back_as_it_went(manifest: Manifest) -> None:
    assert decode_manifest(manifest.encode()) == manifest


def test_the_documented_lines_are_the_real_ones() -> None:
    assert LISTED.encode() == with_checksum(TEXT)


def test_a_manifest_of_release_0_1_0_is_read() -> None:
    expected = Manifest(KEY, 1, (ManifestSegment(0, 0, ACTIVE_NAME),))
    assert decode_manifest(old_manifest()) == expected


def test_a_flipped_bit_or_a_missing_byte_is_noticed() -> None:
    data = LISTED.encode()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Undecodable):
            decode_manifest(bytes(changed))
    for size in range(len(data)):
        with pytest.raises(Undecodable):
            decode_manifest(data[:size])


@pytest.mark.parametrize(
    ("old", "new"), [("manifest 2", "manifest 3"), ("next 7", "next 7\nshape round")]
)
def test_what_a_later_version_wrote_is_told_from_damage(old: str, new: str) -> None:
    with pytest.raises(NewerFormat):
        decode_manifest(with_checksum(TEXT.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("next 7", "next 6"),
        ("next 7", "next x"),
        (KEY.hex(), KEY.hex()[2:]),
        (f"key {KEY.hex()}\n", ""),
        ("segment 5", "segment 2"),
        ("segment 2", "segment -2"),
        ("9000 events", "4999 events"),
        ("9200 events", "9100 events"),
        ("0000000002.log", "0000000003.log"),
        ("events-0000000005.log", "events.log"),
        ("events.log", "../events.log"),
        ("events.log", "évents.log"),
    ],
)
def test_a_list_that_cannot_be_true_is_refused_although_its_checksum_is_right(
    old: str, new: str
) -> None:
    changed = TEXT.replace(old, new)
    assert changed != TEXT
    with pytest.raises(Undecodable) as caught:
        decode_manifest(with_checksum(changed))
    assert not isinstance(caught.value, NewerFormat)


def test_a_segment_that_begins_seals_the_one_before_it() -> None:
    rolled = LISTED.begin(header(7, 9999))
    assert rolled.next_segment == 8
    assert rolled.segments == (
        *LISTED.segments[:2],
        ManifestSegment(6, 9200, sealed_name(6), 9999),
        ManifestSegment(7, 9999, ACTIVE_NAME),
    )


def test_a_manifest_is_the_old_or_the_new_one_whenever_the_power_goes() -> None:
    old, new = manifest_of([200]), manifest_of([200, 300])
    cut = 0
    while True:
        disk = MemoryDisk()
        write_manifest(disk, old)
        cut += 1
        disk.faults.cut_power(cut)
        try:
            write_manifest(disk, new)
        except PowerCut:
            found = [read_manifest(disk.crash(seeded(seed))) for seed in range(40)]
            assert all(one in (old, new) for one in found)
        else:
            break
    assert cut > 5
    assert all(read_manifest(disk.crash(seeded(seed))) == new for seed in range(40))


def test_a_manifest_that_does_not_fit_leaves_the_old_one_and_no_trace() -> None:
    disk = MemoryDisk()
    write_manifest(disk, manifest_of([200]))
    before = files_of(disk)
    disk.capacity = len(before[MANIFEST_NAME]) + 10
    with pytest.raises(OSError, match="No space left"):
        write_manifest(disk, manifest_of([200, 300]))
    assert files_of(disk) == before
