"""The fixed parts of facts, as the package's docstring describes them.

Each struct from `HEAD` on begins with the fields of `HEAD`: kind, flags, size, event number,
position of the previous fact. What only release 0.1.0 wrote is in `persistence.legacy`.
"""

from struct import Struct

COPIED = 0x01
"""Flag: the fact repeats one whose segment is going away."""
FOREIGN = 0x02
"""Flag: an id of another broker follows the payload, behind its size in `FOREIGN_SIZE`."""

HEAD = Struct("<BBIQq")
OPENED = Struct("<BBIQqQq")
ENQUEUED = Struct("<BBIQqqqHI")
LEASED = Struct("<BBIQqqIIIqqBH")
RETURNED = Struct("<BBIQqqIIIBI")
DEAD = Struct("<BBIQqqIIIHI")
REPROCESSED = Struct("<BBIQqqII")
IMPORTED = Struct("<BBIQqqH")

FOREIGN_SIZE = Struct("<H")
