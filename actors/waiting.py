"""An event on its way out of the backlog."""

from typing import NamedTuple


class Waiting(NamedTuple):
    """What whoever takes an event over has to know to put it back into its place.

    Attributes:
        number: of the event.
        due: its place in the order together with the number; the engine's time, milliseconds.
        topic: of the event.
    """

    number: int
    due: int
    topic: str
