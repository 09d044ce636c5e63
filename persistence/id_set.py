"""A set of ids that only has to tell whether it has one: some 20 bytes each, whatever their length.

A Python set of ten million short texts takes more than a gigabyte. Here an id is a digest of 16
bytes: the first two choose a bucket, the others are appended to it. For two ids out of ten million
and ten million to have one digest is as likely as 3 in 10**25.
"""

from hashlib import blake2b

_KEY_SIZE = 2
_REST_SIZE = 14


class IdSet:
    """A set of ids. None can be removed or listed."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, bytearray] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many different ids there are."""
        return self._count

    def add(self, one: str) -> bool:
        """Put an id in; return whether it is new."""
        key, rest = _split(one)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = bytearray()
        if _has(bucket, rest):
            return False
        bucket += rest
        self._count += 1
        return True

    def __contains__(self, one: str) -> bool:
        """Tell whether an id is there."""
        key, rest = _split(one)
        bucket = self._buckets.get(key)
        return bucket is not None and _has(bucket, rest)


def _split(one: str) -> tuple[bytes, bytes]:
    digest = blake2b(one.encode(), digest_size=_KEY_SIZE + _REST_SIZE).digest()
    return digest[:_KEY_SIZE], digest[_KEY_SIZE:]


def _has(bucket: bytearray, rest: bytes) -> bool:
    """Tell whether an id is in its bucket: two kilobytes of ten million, searched by C."""
    at = bucket.find(rest)
    while at % _REST_SIZE and at >= 0:  # it may occur across two
        at = bucket.find(rest, at + 1)
    return at >= 0
