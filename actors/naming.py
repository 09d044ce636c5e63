"""What callers call an event, and which event they mean. Pure."""

from actors.ids import EventIds
from persistence.entry import Row
from persistence.register import Register


class Naming:
    """Ids of events: our own, or the one that an imported event brought from another broker.

    Args:
        ids: writes and reads our own.
        register: knows the others; read only.
    """

    def __init__(self, ids: EventIds, register: Register) -> None:
        self._ids = ids
        self._foreign = register.foreign

    def id_of(self, number: int, row: Row) -> str:
        """Return the id of an event that has this row."""
        foreign = self._foreign.id_of(number) if row.named else None
        return self._ids.write(number, row.timestamp) if foreign is None else foreign

    def new_id(self, number: int, timestamp: int) -> str:
        """Return the id of a new event, accepted at `timestamp` (wall, milliseconds)."""
        return self._ids.write(number, timestamp)

    def number_of(self, event_id: str) -> int | None:
        """Return the number of the event that an id names, None if the id names none.

        An id of our own leads back to its number also when the event is done with.
        """
        number = self._foreign.number_of(event_id)
        return self._ids.number(event_id) if number is None else number
