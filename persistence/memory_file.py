"""A file's bytes as the page cache has them, and as the platter has them."""

from random import Random

import attrs

SECTOR = 512
"""Bytes that a disk writes as one; even these can tear."""

_DROPPED = 0
_KEPT = SECTOR
_TORN = None
_FATES = (_DROPPED, _KEPT, _TORN)
"""How many bytes of a new sector there are."""


@attrs.define(eq=False)
class Content:
    """The bytes of one file, by whatever name.

    Attributes:
        cache: what reading gives.
        durable: what a power cut leaves at least.
        dirty: numbers of the sectors written since the last sync.
        cut: the least length that the file had since the last sync; bytes of `durable` from here
            on are no longer part of it.
    """

    cache: bytearray = attrs.field(factory=bytearray)
    durable: bytearray = attrs.field(factory=bytearray)
    dirty: set[int] = attrs.field(factory=set)
    cut: int = 0

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write into the cache."""
        if not len(data):
            return
        end = offset + len(data)
        if len(self.cache) < offset:
            self.cache.extend(bytes(offset - len(self.cache)))
        self.cache[offset:end] = data
        self.dirty.update(range(offset // SECTOR, (end - 1) // SECTOR + 1))

    def truncate(self, size: int) -> None:
        """Cut or lengthen the cache."""
        if size >= len(self.cache):
            self.cache.extend(bytes(size - len(self.cache)))
            return
        del self.cache[size:]
        self.cut = min(self.cut, size)
        self.dirty = {sector for sector in self.dirty if sector * SECTOR < size}

    def sync(self) -> None:
        """Make the dirty sectors, and the length, durable.

        Sectors that a failed sync turned clean stay as the platter has them, or zeros.
        """
        size = len(self.cache)
        del self.durable[min(self.cut, size) :]
        self.durable.extend(bytes(size - len(self.durable)))
        for sector in self.dirty:
            start = sector * SECTOR
            self.durable[start : start + SECTOR] = self.cache[start : start + SECTOR]
        self.forget_dirty()

    def forget_dirty(self) -> None:
        """Believe that all is durable, as a kernel does after a failed sync."""
        self.dirty.clear()
        self.cut = len(self.durable)

    def after_power_cut(self, random: Random) -> "Content":
        """Give what the platter may hold when the power comes back."""
        image = bytearray(self.durable)
        if self.cut < len(image) and random.random() < 0.5:
            del image[self.cut :]
        size, grown = len(image), len(self.cache)
        if self.dirty and grown > size:
            # Length and bytes reach the platter apart: a length without its bytes reads as zeros.
            size = random.choice((size, grown, random.randint(size, grown)))
            image.extend(bytes(size - len(image)))
        # Sector by sector a large write would never be there or gone as a whole, so that half of
        # all power cuts treat a file's sectors alike.
        fates = random.choice((_FATES, _FATES, (_DROPPED,), (_KEPT,)))
        for sector in sorted(self.dirty):
            start = sector * SECTOR
            fate = random.choice(fates)
            kept = random.randrange(SECTOR) if fate is None else fate
            new = self.cache[start : min(start + kept, size)]
            image[start : start + len(new)] = new
        return Content(cache=image, durable=bytearray(image), cut=len(image))
