"""Payloads that are kept at hand for their first delivery. Pure."""

OVERHEAD = 200
"""Bytes that keeping one payload costs beside its own: objects, and its place in a table."""


class PayloadCache:
    """Payloads by event number, within a bound. What it has no room for is read from the log.

    Args:
        limit: bytes, `OVERHEAD` for each payload included.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._payloads: dict[int, bytes] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes are taken."""
        return self._size

    def keep(self, number: int, payload: bytes) -> None:
        """Keep a payload if there is room for it."""
        cost = len(payload) + OVERHEAD
        if self._size + cost <= self._limit:
            self._size += cost
            self._payloads[number] = payload

    def take(self, number: int) -> bytes | None:
        """Give a payload away, None if it is not here."""
        payload = self._payloads.pop(number, None)
        if payload is not None:
            self._size -= len(payload) + OVERHEAD
        return payload
