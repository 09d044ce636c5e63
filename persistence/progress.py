"""How far a long piece of work has come."""

from typing import Protocol


class Progress(Protocol):
    """Is told how far a long piece of work has come; called often, must be quick."""

    def __call__(self, done: int, total: int, /) -> None:
        """Take note: `done` of `total` bytes."""
        ...


def no_progress(_done: int, _total: int, /) -> None:
    """Take no note."""
