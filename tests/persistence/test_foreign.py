"""Foreign ids lead from an event to its name elsewhere and back, as two plain dicts would."""

from hypothesis import given
from hypothesis import strategies as st

from persistence.foreign import ForeignIds

numbers = st.integers(1, 5)
steps = st.lists(st.tuples(numbers, st.none() | st.sampled_from("abc")), max_size=30)


def test_an_id_leads_to_its_event_and_back() -> None:
    foreign = ForeignIds()
    foreign.add(7, "a7")
    foreign.add(9, "a9")
    assert foreign.id_of(7) == "a7"
    assert foreign.number_of("a9") == 9
    assert list(foreign.items()) == [(7, "a7"), (9, "a9")]


def test_what_is_unknown_is_none() -> None:
    foreign = ForeignIds()
    assert foreign.id_of(7) is None
    assert foreign.number_of("a7") is None
    foreign.remove(7)
    assert len(foreign) == 0


def test_adding_the_same_again_changes_nothing() -> None:
    foreign = ForeignIds()
    foreign.add(7, "a")
    foreign.add(7, "a")
    assert len(foreign) == 1
    foreign.remove(7)
    assert foreign.number_of("a") is None


def test_removing_an_older_event_of_an_id_leaves_the_newer_one() -> None:
    foreign = ForeignIds()
    foreign.add(7, "a")
    foreign.add(8, "a")
    foreign.remove(7)
    assert foreign.number_of("a") == 8
    assert foreign.id_of(7) is None


def test_a_name_can_come_back_without_leading_to_its_event() -> None:
    foreign = ForeignIds()
    foreign.add(8, "a")
    foreign.add(7, "a", found=False)
    assert (foreign.id_of(7), foreign.number_of("a")) == ("a", 8)


@given(steps)
def test_any_history_agrees_with_a_list_of_who_came(history: list[tuple[int, str | None]]) -> None:
    foreign = ForeignIds()
    came: list[tuple[int, str]] = []
    newest: dict[str, int] = {}
    for number, name in history:
        came = [pair for pair in came if pair[0] != number]
        newest = {known: holder for known, holder in newest.items() if holder != number}
        if name is None:
            foreign.remove(number)
        else:
            foreign.add(number, name)
            came.append((number, name))
            newest[name] = number
        assert list(foreign.items()) == came
        assert len(foreign) == len(came)
        assert [foreign.id_of(known) for known in range(6)] == [dict(came).get(n) for n in range(6)]
        assert [foreign.number_of(known) for known in "abc"] == [newest.get(n) for n in "abc"]
