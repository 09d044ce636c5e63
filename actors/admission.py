"""Whether new events may come in. Pure."""

import attrs

from actors.broker import Rejected, Trouble, Unavailable


@attrs.define
class Admission:
    """Counts what is admitted but not yet on disk, and holds it within bounds.

    Attributes:
        queue_size: ready, delayed and admitted events at most.
        open_bytes: payload bytes admitted and not yet on disk at most; a slow disk slows producers
            down instead of filling memory. One request is always let through.
        admitted: events under way to the disk.
        admitted_bytes: their payload bytes.
    """

    queue_size: int
    open_bytes: int
    admitted: int = 0
    admitted_bytes: int = 0

    def admit(self, count: int, size: int, *, waiting: int) -> Trouble | None:
        """Count `count` events of `size` bytes in, or say why not: then nothing is counted.

        Args:
            count: how many events, all or none.
            size: their payload bytes.
            waiting: ready and delayed events.
        """
        if count > self.queue_size:
            detail = f"{count} events never fit in a queue of {self.queue_size}; send fewer."
            return Rejected("BATCH_TOO_LARGE", detail)
        if waiting + self.admitted + count > self.queue_size:
            detail = f"The queue holds {self.queue_size} events at most; try again later."
            return Unavailable("QUEUE_FULL", detail)
        if self.admitted and self.admitted_bytes + size > self.open_bytes:
            detail = "The disk is behind with writing what was accepted; try again later."
            return Unavailable("BUSY", detail)
        self.admitted += count
        self.admitted_bytes += size
        return None

    def over(self, count: int, size: int) -> None:
        """Count events out that are on disk, or were refused by it."""
        self.admitted -= count
        self.admitted_bytes -= size
