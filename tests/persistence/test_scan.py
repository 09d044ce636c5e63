"""Scanning a segment: the whole batches before the first flaw, and a judgement of the rest."""

import struct
import zlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.errors import NewerFormat
from persistence.scan import End, Image, Scan, Verdict, scan
from persistence.segment import FRAME_HEADER_SIZE, HEADER_SIZE, SegmentHeader, encode_frame
from tests.persistence.samples import KEY, NOW

HEADER = SegmentHeader(2, 10_000, NOW, KEY)
BASE = HEADER.base


@attrs.define
class Writer:
    """Builds a segment's image; `synced` is what the next headers will name."""

    image: bytearray = attrs.field(factory=lambda: bytearray(HEADER.encode()))
    synced: int = BASE + HEADER_SIZE
    starts: list[int] = attrs.field(factory=list)

    def add(self, body: bytes) -> None:
        position = BASE + len(self.image)
        self.starts.append(len(self.image))
        self.image += encode_frame(
            [body], position=position, count=1, synced=self.synced, time=NOW, salt=HEADER.salt
        )

    def sync(self) -> None:
        self.synced = BASE + len(self.image)


def read(image: bytes | bytearray, chunk_size: int = 64) -> tuple[list[bytes], Verdict]:
    found = Scan(Image(image), HEADER, chunk_size=chunk_size)
    bodies = [bytes(frame.body) for frame in found]
    return bodies, found.verdict


def three(*, synced: bool) -> Writer:
    writer = Writer()
    for body in (b"first", b"second" * 20, b"third"):
        writer.add(body)
        if synced:
            writer.sync()
    return writer


@given(st.lists(st.binary(max_size=200), max_size=8), st.integers(1, 400))
def test_every_batch_is_found_whatever_the_chunks(bodies: list[bytes], chunk_size: int) -> None:
    writer = Writer()
    for body in bodies:
        writer.add(body)
    found, verdict = read(writer.image, chunk_size)
    assert found == bodies
    assert verdict == Verdict(End.CLEAN, BASE + len(writer.image), BASE + HEADER_SIZE, 0, "")


def test_an_image_in_memory_is_scanned_with_its_own_header() -> None:
    writer = three(synced=True)
    found = scan(memoryview(writer.image))
    assert [bytes(frame.body) for frame in found] == [b"first", b"second" * 20, b"third"]
    assert found.header == HEADER
    assert found.verdict.synced == BASE + writer.starts[2]


@given(st.integers(0, 3), st.integers(30, 400))
def test_a_scan_from_a_later_batch_on_sees_nothing_before_it(batch: int, chunk_size: int) -> None:
    writer = three(synced=True)
    offsets = [*writer.starts, len(writer.image)]
    start = offsets[batch]
    writer.image[HEADER_SIZE:start] = bytes(start - HEADER_SIZE)
    scanned = Scan(Image(writer.image), HEADER, start=start, chunk_size=chunk_size)
    found = [bytes(frame.body) for frame in scanned]
    assert found == [b"first", b"second" * 20, b"third"][batch:]
    # What is before the start was on disk, and the last header vouches for all before itself.
    known = BASE + max(start, writer.starts[2] if batch < 3 else 0)
    assert scanned.verdict == Verdict(End.CLEAN, BASE + len(writer.image), known, 0, "")


@pytest.mark.parametrize("start", [0, 1, HEADER_SIZE])
def test_no_scan_starts_within_the_header(start: int) -> None:
    scanned = Scan(Image(three(synced=True).image), HEADER, start=start)
    assert len(list(scanned)) == 3


@pytest.mark.parametrize(("offset", "end"), [(2, End.DAMAGED), (60, End.DAMAGED), (-1, End.TORN)])
def test_damage_behind_the_start_is_judged_as_ever(offset: int, end: End) -> None:
    writer = three(synced=True)
    start = writer.starts[1]
    writer.image[start + offset if offset > 0 else offset] ^= 1
    scanned = Scan(Image(writer.image), HEADER, start=start, chunk_size=64)
    list(scanned)
    assert scanned.verdict.end is end


def test_a_tail_that_begins_where_the_scan_starts_is_torn() -> None:
    writer = three(synced=True)
    start = len(writer.image)
    scanned = Scan(Image(writer.image + b"\0half a batch"), HEADER, start=start)
    assert list(scanned) == []
    verdict = scanned.verdict
    assert (verdict.end, verdict.valid, verdict.size) == (End.TORN, BASE + start, 13)
    assert verdict.synced == BASE + start


def test_a_verdict_is_not_given_before_the_end() -> None:
    with pytest.raises(RuntimeError, match="not come to its end"):
        _ = scan(three(synced=True).image).verdict


@pytest.mark.parametrize("chunk_size", [50, 200, 4096])
def test_damage_before_what_a_later_header_calls_synced_is_no_torn_tail(chunk_size: int) -> None:
    writer = three(synced=True)
    writer.image[writer.starts[1] + FRAME_HEADER_SIZE] ^= 1
    found, verdict = read(writer.image, chunk_size)
    assert found == [b"first"]
    assert verdict.end is End.DAMAGED
    assert verdict.valid == BASE + writer.starts[1]
    assert verdict.synced == BASE + writer.starts[2]


@pytest.mark.parametrize("chunk_size", [50, 200, 4096])
def test_a_valid_batch_alone_after_the_damage_proves_nothing(chunk_size: int) -> None:
    # Without syncs a power cut may keep the third write and lose the second.
    writer = three(synced=False)
    writer.image[writer.starts[1] + FRAME_HEADER_SIZE] ^= 1
    found, verdict = read(writer.image, chunk_size)
    assert found == [b"first"]
    assert verdict.end is End.TORN
    assert verdict.size == len(writer.image) - writer.starts[1]
    assert verdict.detail == "the checksum of a batch is wrong"


def test_a_header_beyond_the_damage_counts_wherever_it_stands() -> None:
    # Somebody cut bytes out of the middle: what follows stands at the wrong place.
    writer = three(synced=True)
    del writer.image[writer.starts[1] + 10 : writer.starts[1] + 20]
    _, verdict = read(writer.image)
    assert verdict.end is End.DAMAGED


def test_a_tail_of_zeros_is_torn_and_called_by_its_name() -> None:
    writer = three(synced=True)
    size = len(writer.image)
    writer.image += bytes(1000)
    found, verdict = read(writer.image)
    assert len(found) == 3
    assert verdict == Verdict(
        End.TORN, BASE + size, BASE + writer.starts[2], 1000, "nothing but zeros"
    )


def test_a_payload_that_imitates_a_batch_is_not_taken_for_one() -> None:
    # The forger knows the format and guesses positions, but not the key.
    stranger = SegmentHeader(0, 0, NOW, b"a guess at a key")
    writer = Writer()
    writer.add(b"first")
    at = BASE + len(writer.image) + FRAME_HEADER_SIZE
    forged = encode_frame(
        [b"forged"], position=at, count=1, synced=at, time=NOW, salt=stranger.salt
    )
    writer.add(bytes(forged))
    writer.image[writer.starts[1]] ^= 1  # now only a search finds it
    found, verdict = read(writer.image)
    assert found == [b"first"]
    assert verdict.end is End.TORN


def test_an_old_batch_at_a_new_place_is_none() -> None:
    writer = Writer()
    writer.add(b"first")
    writer.image += writer.image[HEADER_SIZE:]
    found, verdict = read(writer.image)
    assert found == [b"first"]
    assert verdict.end is End.TORN
    assert "belongs at log position 10136" in verdict.detail


def test_unknown_flags_of_a_batch_are_of_a_newer_format() -> None:
    writer = Writer()
    writer.add(b"first")
    struct.pack_into("<I", writer.image, HEADER_SIZE + 20, 4)
    covered = writer.image[HEADER_SIZE + 8 : HEADER_SIZE + FRAME_HEADER_SIZE]
    struct.pack_into("<I", writer.image, HEADER_SIZE + 4, zlib.crc32(covered, HEADER.salt))
    with pytest.raises(NewerFormat, match="unknown flags 0x4"):
        read(writer.image)


@given(st.data())
def test_no_change_ever_invents_a_batch(data: st.DataObject) -> None:
    writer = Writer()
    bodies = data.draw(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5))
    for body in bodies:
        writer.add(body)
        if data.draw(st.booleans()):
            writer.sync()
    image = writer.image
    start = data.draw(st.integers(HEADER_SIZE, len(image) - 1))
    change = data.draw(st.binary(min_size=1, max_size=40))
    before = bytes(image)
    image[start : start + len(change)] = change
    hit = next((at for at in range(start, len(before)) if image[at] != before[at]), None)
    found, verdict = read(image)
    if hit is None:
        assert found == bodies
        return
    whole = sum(1 for at in writer.starts if at <= hit) - 1
    assert found == bodies[:whole]
    known = max([BASE + HEADER_SIZE, *synced_named_in(before, bytes(image), writer.starts)])
    damaged = BASE + writer.starts[whole] < known
    assert verdict.end is (End.DAMAGED if damaged else End.TORN)


def synced_named_in(before: bytes, after: bytes, starts: list[int]) -> list[int]:
    """The synced positions that the headers which a change left alone name."""
    return [
        struct.unpack_from("<q", before, at + 32)[0]
        for at in starts
        if before[at : at + FRAME_HEADER_SIZE] == after[at : at + FRAME_HEADER_SIZE]
    ]
