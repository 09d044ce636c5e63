"""A receipt names one delivery of one event; nobody can make one up or change one."""

import string

from hypothesis import assume, given
from hypothesis import strategies as st

from actors.receipts import Receipts
from persistence.entry import Stamp
from tests.actors.samples import KEY

RECEIPTS = Receipts(KEY)
CLAIMS = st.tuples(
    st.integers(0, 2**64 - 1),
    st.builds(Stamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)
ALPHABET = string.ascii_letters + string.digits + "-_"


@given(CLAIMS)
def test_a_receipt_is_read_as_it_was_written(claim: tuple[int, Stamp]) -> None:
    receipt = RECEIPTS.write(*claim)
    assert len(receipt) == 32
    assert set(receipt) <= set(ALPHABET)
    assert RECEIPTS.read(receipt) == claim
    assert Receipts(KEY).read(receipt) == claim


@given(CLAIMS, st.integers(0, 31), st.sampled_from(ALPHABET + "=!. é\0"))
def test_a_changed_receipt_is_not_read(
    claim: tuple[int, Stamp], index: int, character: str
) -> None:
    receipt = RECEIPTS.write(*claim)
    assume(receipt[index] != character)
    assert RECEIPTS.read(receipt[:index] + character + receipt[index + 1 :]) is None


@given(CLAIMS, CLAIMS)
def test_a_tag_does_not_fit_another_delivery(
    mine: tuple[int, Stamp], other: tuple[int, Stamp]
) -> None:
    assume(mine != other)
    receipts = RECEIPTS.write(*mine), RECEIPTS.write(*other)
    # 16 bytes of claim end inside the 22nd character; the last ten hold nothing but the tag.
    assume(receipts[0][:22] != receipts[1][:22] and receipts[0][22:] != receipts[1][22:])
    assert RECEIPTS.read(receipts[0][:22] + receipts[1][22:]) is None


@given(CLAIMS, st.binary(min_size=16, max_size=16))
def test_a_receipt_of_another_log_is_not_read(claim: tuple[int, Stamp], key: bytes) -> None:
    assume(key != KEY)
    assert RECEIPTS.read(Receipts(key).write(*claim)) is None


@given(CLAIMS, st.integers(0, 64))
def test_a_receipt_of_another_length_is_not_read(claim: tuple[int, Stamp], length: int) -> None:
    assume(length != 32)
    assert RECEIPTS.read((RECEIPTS.write(*claim) * 2)[:length]) is None


@given(st.text(min_size=32, max_size=32))
def test_any_other_text_is_not_read(text: str) -> None:
    assert RECEIPTS.read(text) is None


def test_receipts_are_stable_over_versions_of_this_program() -> None:
    assert RECEIPTS.write(7, Stamp(2, 3)) == "AAAAAAAAAAcAAAACAAAAAwwx9qMYbKL-"
