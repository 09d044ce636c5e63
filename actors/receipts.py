"""Receipts: opaque strings that name one delivery of one event and cannot be made up."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import blake2b
from hmac import compare_digest

from persistence.entry import Stamp

_BODY = struct.Struct(">QII")
_TAG_BYTES = 8
_TEXT_LENGTH = 32
_PERSON = b"receipt"


class Receipts:
    """Writes and reads receipts.

    A receipt is 24 bytes in URL-safe base64: event number (8), boot number (4), delivery number
    (4), and a keyed BLAKE2b tag (8; RFC 7693). It therefore holds over restarts without a table.

    Args:
        key: the log's key, 16 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._hash = blake2b(key=key, digest_size=_TAG_BYTES, person=_PERSON)

    def _tag(self, body: bytes) -> bytes:
        tag = self._hash.copy()
        tag.update(body)
        return tag.digest()

    def write(self, number: int, stamp: Stamp) -> str:
        """Return the receipt of the delivery `stamp` of event `number`."""
        body = _BODY.pack(number, *stamp)
        return urlsafe_b64encode(body + self._tag(body)).decode("ascii")

    def read(self, receipt: str) -> tuple[int, Stamp] | None:
        """Return the event number and delivery that a receipt names, or None if it is not ours."""
        if len(receipt) != _TEXT_LENGTH:
            return None
        try:
            raw = urlsafe_b64decode(receipt.encode("ascii"))
        except (UnicodeEncodeError, Base64Error):
            return None
        body, tag = raw[: _BODY.size], raw[_BODY.size :]
        if not compare_digest(tag, self._tag(body)):
            return None
        number, boot, delivery = _BODY.unpack(body)
        return number, Stamp(boot, delivery)
