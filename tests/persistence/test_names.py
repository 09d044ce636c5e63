"""The names of the log's files: what a name says, and which are the log's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.disk import temporary
from persistence.names import (
    ACTIVE_NAME,
    MANIFEST_NAME,
    RESERVE_NAME,
    SNAPSHOT_NAME,
    is_own,
    is_segment,
    is_temporary,
    is_torn_copy,
    number_in,
    sealed_name,
    torn_name,
)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_the_names_of_sealed_segments_tell_their_numbers_and_sort_like_them(
    one: int, other: int
) -> None:
    assert number_in(sealed_name(one)) == one
    assert (sealed_name(one) < sealed_name(other)) == (one < other)


def test_the_documented_names_are_the_real_ones() -> None:
    assert (ACTIVE_NAME, MANIFEST_NAME, RESERVE_NAME, SNAPSHOT_NAME) == (
        "events.log",
        "events.manifest",
        "events.reserve",
        "events.snapshot",
    )
    assert sealed_name(42) == "events-0000000042.log"
    assert torn_name(ACTIVE_NAME, 128) == "events.log.torn-128"
    assert temporary(ACTIVE_NAME) == "events.log.new"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (ACTIVE_NAME, {is_own, is_segment}),
        (sealed_name(7), {is_own, is_segment, number_in}),
        (MANIFEST_NAME, {is_own}),
        (RESERVE_NAME, {is_own}),
        (SNAPSHOT_NAME, {is_own}),
        (temporary(SNAPSHOT_NAME), {is_temporary}),
        (torn_name(ACTIVE_NAME, 9), {is_own, is_torn_copy}),
        (torn_name(sealed_name(7), 9) + ".2", {is_own, is_torn_copy}),
        (temporary(ACTIVE_NAME), {is_temporary}),
        (temporary(sealed_name(7)), {is_temporary}),
        (temporary(MANIFEST_NAME), {is_temporary}),
        (temporary(torn_name(ACTIVE_NAME, 9)), {is_temporary}),
        ("events-7.log", set()),
        ("events-00000000007.log", set()),
        ("events-000000000\u0667.log", set()),
        ("events-0000000007.log\n", set()),
        ("Events.log", set()),
        ("notes.torn-9", set()),
        ("notes.new", set()),
        (".new", set()),
        ("", set()),
    ],
)
def test_a_name_says_what_a_file_is(name: str, what: set[object]) -> None:
    questions = (is_own, is_segment, number_in, is_torn_copy, is_temporary)
    assert {question for question in questions if question(name)} == what
