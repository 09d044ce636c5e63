"""How far a long piece of work has come that is done in several steps."""

from typing import Protocol

from persistence.progress import Progress, no_progress


class Steps(Protocol):
    """Is told of each step as it begins."""

    def __call__(self, what: str, /) -> Progress:
        """Take note that a step begins; return who is told how far it comes.

        Args:
            what: the step in a few words, for people.
        """
        ...


def no_steps(_what: str, /) -> Progress:
    """Take no note."""
    return no_progress
