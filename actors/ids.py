"""Event ids: UUIDs in the version 7 layout that lead back to their event without a table."""

from hashlib import blake2b

_BITS = 62
_MASK = (1 << _BITS) - 1
_SHIFT = 31
_TAG_MASK = 0xFFF
_VERSION = 7 << 12
_VARIANT = 2 << _BITS


class EventIds:
    """Writes and reads event ids.

    Layout as in RFC 9562, section 5.7: 48 bits of milliseconds since the epoch, the version, 12
    bits, the variant, 62 bits. The 62 bits carry the event number through a keyed permutation
    (multiply, xor-shift, multiply, all invertible), so that ids do not show how many events there
    were; the 12 bits are a check over both. It hides and checks; it does not protect, and nothing
    trusts an id.

    Args:
        key: the log's key, 16 bytes.
    """

    def __init__(self, key: bytes) -> None:
        derived = blake2b(key, digest_size=40, person=b"event ids").digest()
        words = [int.from_bytes(derived[i : i + 8], "big") for i in range(0, 40, 8)]
        # Odd factors are invertible modulo a power of two.
        self._first, self._second = (words[0] & _MASK) | 1, (words[1] & _MASK) | 1
        self._offset = words[2] & _MASK
        self._check, self._check_time = words[3] | 1, words[4] | 1
        self._first_inverse = pow(self._first, -1, 1 << _BITS)
        self._second_inverse = pow(self._second, -1, 1 << _BITS)

    def write(self, number: int, timestamp: int) -> str:
        """Return the id of event `number`, accepted at `timestamp` (wall, milliseconds)."""
        mixed = ((number + self._offset) * self._first) & _MASK
        mixed ^= mixed >> _SHIFT
        mixed = (mixed * self._second) & _MASK
        tag = self._tag(mixed, timestamp)
        text = f"{(timestamp << 80) | ((_VERSION | tag) << 64) | _VARIANT | mixed:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def number(self, event_id: str) -> int | None:
        """Return the number of the event that an id names, or None if the id is not ours."""
        text = event_id.replace("-", "")
        try:
            value = int(text, 16) if len(text) == 32 and len(event_id) == 36 else 0
        except ValueError:
            return None
        mixed, timestamp = value & _MASK, value >> 80
        number = mixed * self._second_inverse & _MASK
        number ^= number >> _SHIFT
        number = (number * self._first_inverse - self._offset) & _MASK
        return number if self.write(number, timestamp) == event_id else None

    def _tag(self, mixed: int, timestamp: int) -> int:
        return ((mixed * self._check + timestamp * self._check_time) >> 50) & _TAG_MASK
