"""The ids that imported events bring from another broker."""

from collections.abc import ItemsView


class ForeignIds:
    """Which event has which id elsewhere. Few events have one, so two plain dicts will do.

    Ids need not be unique, so that a log with two events of one id can still be read: `number_of`
    then gives the one that came last, and none once that one is gone.
    """

    __slots__ = ("_ids", "_numbers")

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        """How many events have a foreign id."""
        return len(self._ids)

    def add(self, number: int, foreign_id: str, *, found: bool = True) -> None:
        """Name an event; a name that it had before is forgotten.

        Args:
            number: of the event.
            foreign_id: its name.
            found: whether the name leads to it from now on.
        """
        self.remove(number)
        self._ids[number] = foreign_id
        if found:
            self._numbers[foreign_id] = number

    def id_of(self, number: int) -> str | None:
        """Give the foreign id of an event, None if it has none."""
        return self._ids.get(number)

    def number_of(self, foreign_id: str) -> int | None:
        """Give the number of the event with a foreign id, None if there is none."""
        return self._numbers.get(foreign_id)

    def remove(self, number: int) -> None:
        """Forget the foreign id of an event, if it has one."""
        foreign_id = self._ids.pop(number, None)
        if foreign_id is not None and self._numbers.get(foreign_id) == number:
            del self._numbers[foreign_id]

    def items(self) -> ItemsView[int, str]:
        """Give (event number, foreign id) of all, in the order of coming."""
        return self._ids.items()
