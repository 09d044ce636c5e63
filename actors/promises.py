"""What the inflight tracker answers when the facts of one step are in the log. Pure."""

from collections.abc import Sequence

import attrs

from actors.broker import Delivery, Extension, NoSuchLease, OutcomeUnknown
from actors.inflight_port import ExtendReply, NackReply
from actors.polls import Poll
from actors.settlement import Settlement, Settlements


@attrs.define(eq=False)
class Promises:
    """Answers that wait for one commit.

    Attributes:
        granted: deliveries for polls.
        cold: deliveries whose payloads are read with the commit, and their events' numbers.
        settled: settlements that have come to their end.
        nacked: answers to rejections.
        extended: answers to extensions.
    """

    granted: list[tuple[Poll, tuple[Delivery, ...]]] = attrs.field(factory=list)
    cold: list[tuple[Delivery, int]] = attrs.field(factory=list)
    settled: list[Settlement] = attrs.field(factory=list)
    nacked: list[tuple[NackReply, tuple[str | NoSuchLease, ...]]] = attrs.field(factory=list)
    extended: list[tuple[ExtendReply, tuple[Extension | NoSuchLease, ...]]] = attrs.field(
        factory=list
    )

    @property
    def durable(self) -> bool:
        """Whether an answer promises something that should outlive a power cut."""
        return bool(self.settled or self.nacked)

    def __bool__(self) -> bool:
        return bool(self.granted or self.settled or self.nacked or self.extended)

    def keep(self, payloads: Sequence[bytes], settlements: Settlements) -> list[Delivery]:
        """Answer everybody.

        Args:
            payloads: of the cold deliveries.
            settlements: where those that end here are under way.

        Returns:
            Deliveries that nobody reads any more: their events never reached their consumer.
        """
        for settlement in self.settled:
            settlements.end(settlement, None)
        for nack_reply, nack_answers in self.nacked:
            nack_reply.set(nack_answers)
        for extend_reply, extend_answers in self.extended:
            extend_reply.set(extend_answers)
        for (delivery, _), payload in zip(self.cold, payloads, strict=True):
            delivery.payload = payload
        unread: list[Delivery] = []
        for poll, deliveries in self.granted:
            if not poll.reply.set(deliveries):
                unread += deliveries
        return unread

    def fail(self, failure: str, settlements: Settlements) -> None:
        """Tell everybody that nobody knows."""
        unknown = OutcomeUnknown(failure)
        for settlement in self.settled:
            settlements.fail(settlement, failure)
        for nack_reply, _ in self.nacked:
            nack_reply.set(unknown)
        for extend_reply, _ in self.extended:
            extend_reply.set(unknown)
        for poll, _ in self.granted:
            poll.reply.set(unknown)
