"""Bounds on what may be under way inside the engine at once."""


class Credits:
    """A number of places. A request takes one on its way in and gives it back with its answer.

    Because every message between actors belongs to somebody who holds a credit, mailboxes sized
    by these bounds can never be full, and no actor ever waits for another one's mailbox.

    Attributes:
        limit: how many there are.
        wanted: somebody found none and wants to be told when one comes back; who gives it back
            looks here.
    """

    __slots__ = ("_free", "limit", "wanted")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.wanted = False
        self._free = limit

    @property
    def free(self) -> int:
        """How many can still be taken."""
        return max(0, self._free)

    @property
    def taken(self) -> int:
        """How many are out."""
        return self.limit - self._free

    def take(self, count: int = 1) -> bool:
        """Take `count` credits, or none and return False if fewer are free."""
        if count > max(0, self._free):
            return False
        self._free -= count
        return True

    def force(self, count: int) -> None:
        """Take `count` credits whatever is free: what a restart restores is never refused."""
        self._free -= count

    def give_back(self, count: int = 1) -> None:
        """Return `count` credits that were taken.

        Raises:
            AssertionError: if more came back than went out, which is a bug.
        """
        self._free += count
        if self._free > self.limit:
            raise AssertionError(f"{self._free} credits free of {self.limit}")
