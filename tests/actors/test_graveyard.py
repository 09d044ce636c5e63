"""Dead letters in the order of their death, by page and by topic."""

from actors.graveyard import Graveyard
from persistence.entry import Stamp
from tests.actors.samples import letter, numbers


def filled() -> Graveyard:
    graveyard = Graveyard()
    for number, topic in ((5, "a"), (3, "b"), (9, "a"), (1, "")):
        graveyard.add(letter(number, topic))
    return graveyard


def page(graveyard: Graveyard, **options: object) -> list[int]:
    asked = {"topic": None, "offset": 0, "limit": 10, "payload_bytes": 1000, **options}
    return numbers(dead.entry for dead in graveyard.page(**asked))  # type: ignore[arg-type]


def test_letters_are_listed_in_the_order_of_their_death() -> None:
    assert page(filled()) == [5, 3, 9, 1]


def test_a_page_begins_at_the_offset_and_ends_at_the_limit() -> None:
    graveyard = filled()
    assert page(graveyard, offset=1, limit=2) == [3, 9]
    assert page(graveyard, offset=3, limit=2) == [1]
    assert page(graveyard, offset=4) == []
    assert page(graveyard, limit=0) == []


def test_a_page_of_a_topic_counts_its_letters_alone() -> None:
    graveyard = filled()
    assert page(graveyard, topic="a") == [5, 9]
    assert page(graveyard, topic="a", offset=1) == [9]
    assert page(graveyard, topic="") == [1]
    assert page(graveyard, topic="nobody") == []


def test_counts_by_topic_and_over_all() -> None:
    graveyard = filled()
    assert len(graveyard) == 4
    assert [graveyard.count(topic) for topic in (None, "a", "b", "", "c")] == [4, 2, 1, 1, 0]
    graveyard.remove(3, Stamp(1, 1))
    assert [graveyard.count(topic) for topic in (None, "a", "b")] == [3, 2, 0]


def test_a_page_stops_before_the_byte_limit_but_not_before_its_first_letter() -> None:
    graveyard = Graveyard()
    for number, size in ((1, 100), (2, 10), (3, 10), (4, 1)):
        graveyard.add(letter(number, payload=bytes(size)))
    assert page(graveyard, payload_bytes=50) == [1]
    assert page(graveyard, payload_bytes=20, offset=1) == [2, 3]
    assert page(graveyard, payload_bytes=0, offset=3) == [4]


def test_only_the_last_deliverys_stamp_removes_a_letter() -> None:
    graveyard = Graveyard()
    dead = letter(1, delivery=6)
    graveyard.add(dead)
    assert graveyard.remove(1, Stamp(1, 5)) is None
    assert graveyard.remove(2, Stamp(1, 6)) is None
    assert graveyard.remove(1, Stamp(1, 6)) is dead
    assert graveyard.remove(1, Stamp(1, 6)) is None
    assert len(graveyard) == 0


def test_a_letter_that_died_again_is_listed_last() -> None:
    graveyard = filled()
    graveyard.remove(5, Stamp(1, 1))
    graveyard.add(letter(5, "a", delivery=2))
    assert page(graveyard) == [3, 9, 1, 5]
    assert list(graveyard)[-1].entry.stamp == Stamp(1, 2)
