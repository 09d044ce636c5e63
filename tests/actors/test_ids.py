"""Event ids lead back to their event number, look like UUIDs, and only the log's own are read."""

from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from actors.ids import EventIds
from tests.actors.samples import KEY, NOW

NUMBERS = st.integers(1, 2**62 - 1)
TIMESTAMPS = st.integers(0, 2**48 - 1)
IDS = EventIds(KEY)


@given(NUMBERS, TIMESTAMPS, st.binary(min_size=16, max_size=16))
def test_an_id_leads_back_to_its_number(number: int, timestamp: int, key: bytes) -> None:
    ids = EventIds(key)
    assert ids.number(ids.write(number, timestamp)) == number


@given(NUMBERS, TIMESTAMPS)
def test_an_id_is_a_version_7_uuid_of_the_timestamp(number: int, timestamp: int) -> None:
    text = IDS.write(number, timestamp)
    uuid = UUID(text)
    assert str(uuid) == text
    assert uuid.version == 7
    assert uuid.variant == "specified in RFC 4122"
    assert uuid.int >> 80 == timestamp


@given(st.uuids(version=4).map(str) | st.text(max_size=40))
def test_foreign_ids_are_not_read(text: str) -> None:
    assert IDS.number(text) is None


def test_ids_of_another_log_are_not_read() -> None:
    # The check has 12 bits, so one in 4096 foreign ids passes; these do not.
    other = EventIds(bytes(16))
    assert [IDS.number(other.write(number, NOW)) for number in range(1, 30)] == [None] * 29


@given(NUMBERS, TIMESTAMPS)
def test_another_spelling_of_an_id_is_not_the_id(number: int, timestamp: int) -> None:
    text = IDS.write(number, timestamp)
    assert IDS.number(text.replace("-", "")) is None
    assert IDS.number(f" {text[1:]}") is None
    assert IDS.number(text.replace("-", "_")) is None
    assert IDS.number(f"{{{text}}}") is None
    if text != text.upper():
        assert IDS.number(text.upper()) is None


def test_ids_of_neighbours_do_not_show_how_many_events_there_are() -> None:
    low = [UUID(IDS.write(number, NOW)).int & (2**62 - 1) for number in range(1, 1001)]
    assert len(set(low)) == 1000
    steps = {second - first for first, second in pairwise(low)}
    assert len(steps) > 990
    assert sum(value >= 2**61 for value in low) in range(400, 600)


def test_ids_are_stable_over_versions_of_this_program() -> None:
    assert IDS.write(1, NOW) == "018bcfe5-6800-70b1-a7f5-2dce8302544a"
