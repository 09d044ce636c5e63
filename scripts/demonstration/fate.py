"""What a consumer does with a delivery: mostly its work, sometimes not.

The fate hangs on the seed, the event's number and its retries alone, so that a seed gives the same
failures whoever consumes the event and whenever.
"""

import enum
import hashlib

__all__ = ["Fate", "decide", "seconds_to_the_blow"]


class Fate(enum.Enum):
    """What becomes of one delivery."""

    ACKNOWLEDGE = "done"
    FAIL = "negative acknowledgement: to be tried again"
    REJECT = "negative acknowledgement without requeue: a dead letter"
    FORGET = "no word: the lease runs out"


POISON = 0.004
"""Share of events that fail at every delivery until they are dead letters."""
REJECTED = 0.002
"""Share of events that are rejected at their first delivery."""
FORGOTTEN = 0.01
FAILED = 0.05


def decide(seed: int, number: int, retries: int) -> Fate:
    """Return the fate of event `number` at its delivery after so many failures."""
    nature = _chance(f"{seed}:{number}")
    if nature < POISON:
        return Fate.FAIL
    if nature < POISON + REJECTED:
        return Fate.REJECT
    luck = _chance(f"{seed}:{number}:{retries}")
    if luck < FORGOTTEN:
        return Fate.FORGET
    if luck < FORGOTTEN + FAILED:
        return Fate.FAIL
    return Fate.ACKNOWLEDGE


def seconds_to_the_blow(seed: int) -> float:
    """Return how long after the half-way mark the broker is killed.

    That mark is an answer, and answers come right after a sync. The blow should fall anywhere:
    while a batch is being gathered, written, synced, or answered.
    """
    return 0.02 * _chance(f"{seed}:blow")


def _chance(of: str) -> float:
    """Return a number from 0 to 1 that looks random and is always the same."""
    return int.from_bytes(hashlib.sha256(of.encode()).digest()[:8], "big") / 2**64
