"""How long a failed event waits before its next try."""

import attrs


@attrs.frozen
class Backoff:
    """Exponential backoff with a ceiling; no jitter, so that a delay can be predicted and tested.

    Attributes:
        base_ms: delay before the first retry, milliseconds.
        max_ms: the longest delay, milliseconds.
        multiplier: growth from one retry to the next, at least 1.
    """

    base_ms: int = 1000
    max_ms: int = 30_000
    multiplier: float = 2.0

    def delay_ms(self, retry: int) -> int:
        """Return the delay before retry number `retry` (1 is the first), in milliseconds."""
        try:
            delay = self.base_ms * self.multiplier ** (retry - 1)
        except OverflowError:
            return self.max_ms if self.base_ms else 0
        return int(min(self.max_ms, delay))
