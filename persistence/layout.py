"""The fixed parts of facts, as the package's docstring describes them.

Each struct but `HEAD` begins with the fields of `HEAD`: kind, flags, size, event number, position
of the previous fact.
"""

from struct import Struct

HEAD = Struct("<BBIQq")
OPENED = Struct("<BBIQqQq")
ENQUEUED = Struct("<BBIQqqqHI")
LEASED = Struct("<BBIQqQQqqBI")
EXTENDED = Struct("<BBIQqqq")
RETURNED = Struct("<BBIQqqIBI")
DEAD = Struct("<BBIQqqIHI")
REPROCESSED = Struct("<BBIQqq")
