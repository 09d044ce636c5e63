"""How often what has happened since the log was created.

One function advances the counters, when a fact is appended and when it is replayed, so that a
restart cannot change them. A copied fact has been counted before.
"""

from collections.abc import Callable
from typing import Any

import attrs

from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Imported,
    Leased,
    Lost,
    Opened,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)


@attrs.define
class Counters:
    """Totals over the log's life.

    Attributes:
        enqueued: events accepted.
        consumed: deliveries.
        acknowledged: events settled.
        failed: deliveries that failed: rejected, timed out or lost with a worker, the last one
            before death included. Releases do not count.
        dead: events that became dead letters.
        reprocessed: dead letters that went back to the queue.
        discarded: dead letters dropped for good.
    """

    enqueued: int = 0
    consumed: int = 0
    acknowledged: int = 0
    failed: int = 0
    dead: int = 0
    reprocessed: int = 0
    discarded: int = 0

    def advance(self, fact: Fact) -> None:
        """Count one fact."""
        _COUNT[type(fact)](self, fact)

    def values(self) -> tuple[int, int, int, int, int, int, int]:
        """Give the totals in the order of the segment header."""
        return (
            self.enqueued,
            self.consumed,
            self.acknowledged,
            self.failed,
            self.dead,
            self.reprocessed,
            self.discarded,
        )

    def reset(self, values: tuple[int, ...]) -> None:
        """Put back totals that `values` gave."""
        (
            self.enqueued,
            self.consumed,
            self.acknowledged,
            self.failed,
            self.dead,
            self.reprocessed,
            self.discarded,
        ) = values


def _nothing(_counters: Counters, _fact: Fact) -> None:
    pass


def _enqueued(counters: Counters, fact: Enqueued) -> None:
    if not fact.copied:
        counters.enqueued += 1


def _leased(counters: Counters, fact: Leased) -> None:
    if not fact.copied:
        counters.consumed += 1


def _settled(counters: Counters, _fact: Settled) -> None:
    counters.acknowledged += 1


def _returned(counters: Counters, fact: Returned) -> None:
    if fact.cause is not ReturnCause.RELEASED and not fact.copied:
        counters.failed += 1


def _dead(counters: Counters, fact: Dead) -> None:
    if not fact.copied:
        counters.failed += 1
        counters.dead += 1


def _reprocessed(counters: Counters, fact: Reprocessed) -> None:
    if not fact.copied:
        counters.reprocessed += 1


def _discarded(counters: Counters, _fact: Discarded) -> None:
    counters.discarded += 1


_COUNT: dict[type, Callable[[Counters, Any], None]] = {
    Opened: _nothing,
    Enqueued: _enqueued,
    Leased: _leased,
    Extended: _nothing,
    Settled: _settled,
    Returned: _returned,
    Dead: _dead,
    Reprocessed: _reprocessed,
    Discarded: _discarded,
    Imported: _nothing,
    Lost: _nothing,
}
