"""Ids lead to events and back, whether they are our own or another broker's."""

from actors.ids import EventIds
from actors.naming import Naming
from persistence.facts import Settled
from tests.actors.samples import KEY, NOW, Past

IDS = EventIds(KEY)


def test_an_event_of_our_own_has_an_id_of_our_own_also_when_it_is_gone() -> None:
    past = Past()
    past.event(3)
    naming = Naming(IDS, past.register)
    event_id = naming.id_of(3, past.row(3))
    assert event_id == naming.new_id(3, NOW) == IDS.write(3, NOW)
    past.append(Settled(3))
    assert naming.number_of(event_id) == 3


def test_an_imported_event_keeps_its_id_while_it_is_there() -> None:
    past = Past()
    past.event(3, foreign_id="order-17")
    naming = Naming(IDS, past.register)
    assert naming.id_of(3, past.row(3)) == "order-17"
    assert naming.number_of("order-17") == 3
    past.append(Settled(3))
    assert naming.number_of("order-17") is None


def test_nonsense_names_nothing() -> None:
    naming = Naming(IDS, Past().register)
    assert naming.number_of("") is None
    assert naming.number_of("nonsense") is None
