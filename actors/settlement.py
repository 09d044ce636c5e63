"""Acknowledgements on their way: many requests may wait for the end of one event. Pure."""

from collections.abc import Sequence

import attrs

from actors.broker import Acknowledgement, OutcomeUnknown, Trouble
from actors.reply import Reply
from persistence.entry import Row, Stamp

NOT_HELD = "unknown, stale or already settled"

Claim = tuple[int, Stamp]
"""What a receipt says: event number and delivery."""


def may_settle(stamp: Stamp, row: Row, boot: int) -> bool:
    """Tell whether the receipt of delivery `stamp` may acknowledge an event that waits.

    A receipt holds unless a later delivery of its event exists. One that is later than what the
    log knows was written by an earlier process, before a power cut that took its lease, which is
    not synced, away.

    Args:
        stamp: of the receipt.
        row: of the event.
        boot: this process's boot number.
    """
    if stamp == row.stamp:
        return bool(row.receipt_open)
    return row.stamp < stamp and stamp.boot < boot


class AcknowledgeRequest:
    """A request to settle some receipts, answered when each of them is decided."""

    def __init__(
        self, receipts: Sequence[str], reply: Reply[tuple[Acknowledgement, ...] | Trouble]
    ) -> None:
        self.receipts = receipts
        self.reply = reply
        self._reasons: dict[str, str | None] = {}
        self._undecided = len(set(receipts))

    def decide(self, receipt: str, reason: str | None) -> None:
        """Note what became of one receipt: None for settled."""
        self._reasons[receipt] = reason
        self._undecided -= 1
        if self._undecided == 0:
            self.reply.set(tuple(Acknowledgement(r, self._reasons[r]) for r in self.receipts))


@attrs.define(eq=False)
class Settlement:
    """The settling of one delivery, and all who wait for it: they share one result."""

    claim: Claim
    waiting: list[tuple[AcknowledgeRequest, str]] = attrs.field(factory=list)


class Settlements:
    """The settlements under way."""

    def __init__(self) -> None:
        self._open: dict[Claim, Settlement] = {}

    def __len__(self) -> int:
        return len(self._open)

    def join(self, claim: Claim, request: AcknowledgeRequest, receipt: str) -> Settlement | None:
        """Let a request wait for a settlement; return it if it is new and has to be begun."""
        settlement = self._open.get(claim)
        begun = settlement is not None
        if settlement is None:
            settlement = self._open[claim] = Settlement(claim)
        settlement.waiting.append((request, receipt))
        return None if begun else settlement

    def end(self, settlement: Settlement, reason: str | None) -> None:
        """Tell all who wait: settled if `reason` is None."""
        del self._open[settlement.claim]
        for request, receipt in settlement.waiting:
            request.decide(receipt, reason)

    def fail(self, settlement: Settlement, failure: str) -> None:
        """Tell all who wait that nobody knows."""
        self._open.pop(settlement.claim, None)
        for request, _ in settlement.waiting:
            request.reply.set(OutcomeUnknown(failure))

    def fail_all(self, failure: str) -> None:
        """Tell everybody that nobody knows."""
        for settlement in list(self._open.values()):
            self.fail(settlement, failure)
