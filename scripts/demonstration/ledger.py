"""The books of a demonstration: what was sent, what came back, and whether they agree.

No clock and no network in here. A publication is identified by its number; the broker gives it an
event id with its answer. When the answer is lost in a crash nobody knows that id: the event may be
stored or not, and the publisher sends the same bytes again. If such an event is delivered after
all, its bytes tell which publication it was; it is counted apart, as "stored though unanswered".
"""

import hashlib

import attrs

__all__ = ["Balance", "Ledger"]


def fingerprint(topic: str | None, payload: bytes) -> bytes:
    """Return what stands for an event's topic and exact bytes."""
    return hashlib.sha256((topic or "").encode() + b"\0" + payload).digest()


@attrs.define
class Publication:
    """What was sent under one number.

    Attributes:
        digest: stands for the topic and the bytes.
        lost_replies: how often nobody knows whether the broker took it.
    """

    digest: bytes
    lost_replies: int = 0


@attrs.define
class Record:
    """What is known of one event id.

    Attributes:
        number: the publication that was answered with this id, if one was.
        deliveries: how often consumers received it.
        digests: what they received, and how often; one entry unless something is very wrong.
        acknowledged_at: the retries of the delivery whose acknowledgement was confirmed.
        perhaps_acknowledged: an acknowledgement was sent and its reply lost.
        dead: it is in the dead letter queue.
    """

    number: int | None = None
    deliveries: int = 0
    digests: dict[bytes, int] = attrs.field(factory=dict)
    acknowledged_at: int | None = None
    perhaps_acknowledged: bool = False
    dead: bool = False

    @property
    def settled(self) -> bool:
        """Whether the consumers or the dead letter queue can answer for it."""
        return self.acknowledged_at is not None or self.perhaps_acknowledged or self.dead


@attrs.frozen
class Balance:
    """The sums. The last five must be zero, else the broker (or this ledger) is wrong.

    Attributes:
        published: events whose publication was answered.
        lost_replies: publications whose answer was lost, and which were sent again.
        stored_unanswered: of those, how many turned out to be stored.
        delivered: deliveries that reached a consumer.
        redelivered: those of events that had been delivered before.
        acknowledged: events whose acknowledgement was confirmed.
        perhaps_acknowledged: events whose only trace is an acknowledgement without an answer.
        dead: events in the dead letter queue.
        lost: published events that nobody can account for.
        mismatches: deliveries and dead letters whose topic or bytes were not those sent.
        resurrected: deliveries of events after their acknowledgement was confirmed.
        strangers: events that nobody sent.
        doubly_settled: events both acknowledged and dead.
    """

    published: int
    lost_replies: int
    stored_unanswered: int
    delivered: int
    redelivered: int
    acknowledged: int
    perhaps_acknowledged: int
    dead: int
    lost: int
    mismatches: int
    resurrected: int
    strangers: int
    doubly_settled: int

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, changed, invented or brought back."""
        return not (
            self.lost
            or self.mismatches
            or self.resurrected
            or self.strangers
            or self.doubly_settled
        )


@attrs.define
class Ledger:
    """Takes down what publishers and consumers see."""

    _publications: dict[int, Publication] = attrs.field(factory=dict)
    _records: dict[str, Record] = attrs.field(factory=dict)
    _published: int = 0
    _resurrected: int = 0

    def sending(self, number: int, topic: str, payload: bytes) -> None:
        """Publication `number` is about to be sent, perhaps not for the first time."""
        publication = Publication(fingerprint(topic, payload))
        self._publications.setdefault(number, publication)

    def accepted(self, number: int, event_id: str) -> None:
        """The broker answered the publication: it is on disk, under this id."""
        record = self._record(event_id)
        self._published += record.number is None
        record.number = number

    def reply_lost(self, number: int) -> None:
        """The publication was sent, but no answer came."""
        self._publications[number].lost_replies += 1

    def delivered(self, event_id: str, topic: str | None, payload: bytes, retries: int) -> None:
        """A consumer received the event, perhaps before its publisher got the answer."""
        record = self._record(event_id)
        record.deliveries += 1
        self._saw(record, topic, payload)
        # A delivery that was under way when a later one was acknowledged has fewer retries.
        if record.acknowledged_at is not None and retries >= record.acknowledged_at:
            self._resurrected += 1

    def acknowledged(self, event_id: str, retries: int) -> None:
        """The broker confirmed the acknowledgement of the delivery with so many retries."""
        self._record(event_id).acknowledged_at = retries

    def perhaps_acknowledged(self, event_id: str) -> None:
        """An acknowledgement was sent, its answer lost, and a repetition found nothing to do."""
        self._record(event_id).perhaps_acknowledged = True

    def dead(self, event_id: str, topic: str | None, payload: bytes) -> None:
        """The event is in the dead letter queue."""
        record = self._record(event_id)
        record.dead = True
        self._saw(record, topic, payload)

    @property
    def published(self) -> int:
        """How many events were accepted so far."""
        return self._published

    @property
    def settled(self) -> int:
        """How many accepted events are accounted for so far."""
        return sum(
            record.number is not None and record.settled for record in self._records.values()
        )

    def balance(self) -> Balance:
        """Add it all up. Call it when the broker has nothing left to deliver."""
        records = self._records.values()
        mismatches = strangers = stored_unanswered = 0
        unanswered = self._unanswered()
        for record in records:
            if record.number is not None:
                wanted = self._publications[record.number].digest
                mismatches += sum(n for seen, n in record.digests.items() if seen != wanted)
                continue
            # Nobody knows this id: an unanswered publication, or something that nobody sent.
            first, *others = record.digests or {b"": 0}
            mismatches += sum(record.digests[seen] for seen in others)
            if unanswered.get(first, 0):
                unanswered[first] -= 1
                stored_unanswered += 1
            else:
                strangers += 1
        return Balance(
            published=self._published,
            lost_replies=sum(p.lost_replies for p in self._publications.values()),
            stored_unanswered=stored_unanswered,
            delivered=sum(r.deliveries for r in records),
            redelivered=sum(max(0, r.deliveries - 1) for r in records),
            acknowledged=sum(r.acknowledged_at is not None for r in records),
            perhaps_acknowledged=sum(
                r.perhaps_acknowledged and r.acknowledged_at is None and not r.dead for r in records
            ),
            dead=sum(r.dead for r in records),
            lost=self._published - self.settled,
            mismatches=mismatches,
            resurrected=self._resurrected,
            strangers=strangers,
            doubly_settled=sum(r.dead and r.acknowledged_at is not None for r in records),
        )

    def _record(self, event_id: str) -> Record:
        return self._records.setdefault(event_id, Record())

    def _saw(self, record: Record, topic: str | None, payload: bytes) -> None:
        seen = fingerprint(topic, payload)
        record.digests[seen] = record.digests.get(seen, 0) + 1

    def _unanswered(self) -> dict[bytes, int]:
        """Return how many events of each digest may be stored without anyone knowing their id."""
        counts: dict[bytes, int] = {}
        for publication in self._publications.values():
            if publication.lost_replies:
                counts[publication.digest] = (
                    counts.get(publication.digest, 0) + publication.lost_replies
                )
        return counts
