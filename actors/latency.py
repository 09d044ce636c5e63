"""How long consumers take. Pure."""


class Latency:
    """Time from delivery to acknowledgement, milliseconds.

    Attributes:
        longest: the longest so far.
    """

    def __init__(self) -> None:
        self._count = 0
        self._total = 0
        self.longest = 0

    def add(self, since: int, now: int) -> None:
        """Count one delivery, handed out at `since` and acknowledged `now`."""
        self._count += 1
        self._total += now - since
        self.longest = max(self.longest, now - since)

    @property
    def mean(self) -> float:
        """The mean; 0.0 before the first."""
        return self._total / self._count if self._count else 0.0
