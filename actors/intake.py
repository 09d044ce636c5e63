"""New events on their way from their requests through the log into the backlog."""

from collections import deque
from collections.abc import Iterable

import attrs

from actors.admission import Admission
from actors.backlog import Backlog
from actors.broker import Accepted, Durability, OutcomeUnknown, Trouble, Unavailable
from actors.clock import Clock
from actors.mailbox import Address
from actors.naming import Naming
from actors.payload_cache import PayloadCache
from actors.queue_port import Enqueue
from actors.stopped import stopped
from actors.wal_port import Committed, WalWriter
from persistence.facts import Enqueued

_FULL = "The disk is full; nothing of this was accepted."


@attrs.define(eq=False)
class _Submission:
    """New events that were admitted together and are on their way to the disk.

    Attributes:
        requests: which brought them.
        first: number of the first one; the others follow.
        due: when they were accepted, engine time.
        timestamp: the same, wall time.
    """

    requests: list[Enqueue]
    first: int
    due: int
    timestamp: int


class Intake:
    """The queue's part for new events: refuses or numbers them, and answers when they are in.

    Args:
        wal: where they become durable.
        admission: bounds what is under way.
        clock: the engine's time.
        naming: knows event ids.
        sync_default: whether they are forced to the disk before the answer unless their request
            says otherwise.
        backlog: where they wait afterwards.
        cache: keeps their payloads at hand.
        next_number: the number of the next one.

    Attributes:
        settled_below: every lower number's event is in the log, or never will be.
        last_event_at: when the newest event was accepted, wall time; None if there was none.
    """

    def __init__(
        self,
        *,
        wal: WalWriter,
        admission: Admission,
        clock: Clock,
        naming: Naming,
        sync_default: bool,
        backlog: Backlog,
        cache: PayloadCache,
        next_number: int,
        last_event_at: int | None,
    ) -> None:
        self.settled_below = next_number
        self.last_event_at = last_event_at
        self._wal = wal
        self._admission = admission
        self._clock = clock
        self._naming = naming
        self._sync_default = sync_default
        self._backlog = backlog
        self._cache = cache
        self._next_number = next_number
        self._admitted: list[Enqueue] = []
        self._in_log: deque[_Submission] = deque()

    @property
    def under_way(self) -> bool:
        """Whether the log has yet to answer."""
        return bool(self._in_log)

    @property
    def admitted(self) -> int:
        """How many events are under way."""
        return self._admission.admitted

    def admit(self, request: Enqueue) -> None:
        """Take events in for the next submission, or refuse them: then nothing is kept of them."""
        trouble = self._refusal(request)
        if trouble is None:
            self._admitted.append(request)
        else:
            request.reply.set(trouble)

    def _refusal(self, request: Enqueue) -> Trouble | None:
        if self._wal.full is not None:
            return Unavailable("STORAGE_FULL", self._wal.full)
        return self._admission.admit(len(request.events), request.size, waiting=len(self._backlog))

    def submit(self, to: Address[Committed]) -> None:
        """Send all that was admitted to the log together.

        Args:
            to: who passes the log's answer on to `committed`.
        """
        if not self._admitted:
            return
        requests, self._admitted = self._admitted, []
        due, timestamp = self._clock.moment()
        first = number = self._next_number
        facts: list[Enqueued] = []
        for request in requests:
            for event in request.events:
                facts.append(Enqueued(number, timestamp, timestamp, event.topic, event.payload))
                number += 1
        self._next_number = number
        self._in_log.append(_Submission(requests, first, due, timestamp))
        sync = any(map(self._wants_sync, requests))
        self._wal.append(facts, sync=sync, to=to, new_events=True)

    def _wants_sync(self, request: Enqueue) -> bool:
        if request.durability is None:
            return self._sync_default
        return request.durability is Durability.FSYNC

    def committed(self, message: Committed) -> Iterable[str]:
        """Make ready what is in the log now, then answer; return the topics that gained events."""
        submission = self._in_log.popleft()  # commits end in the order of their submission
        for request in submission.requests:
            self._admission.over(len(request.events), request.size)
        if message.failure is not None:
            _refuse(submission, OutcomeUnknown(message.failure))
            return ()
        if message.full:
            # Their numbers are not used again.
            _refuse(submission, Unavailable("STORAGE_FULL", self._wal.full or _FULL))
            return ()
        durability = Durability.FSYNC if message.synced else Durability.OS
        topics: dict[str, None] = {}
        number = submission.first
        for request in submission.requests:
            accepted: list[Accepted] = []
            for event in request.events:
                self._cache.keep(number, event.payload)
                self._backlog.add_fresh(event.topic, submission.due, number)
                topics[event.topic] = None
                event_id = self._naming.new_id(number, submission.timestamp)
                accepted.append(Accepted(event_id, submission.timestamp, durability))
                number += 1
            request.reply.set(tuple(accepted))
        self.settled_below = number
        self.last_event_at = submission.timestamp
        return topics

    def end(self) -> None:
        """Answer everybody who still waits."""
        for request in self._admitted:
            request.reply.set(stopped())
        for submission in self._in_log:
            _refuse(submission, OutcomeUnknown("The broker ended before the disk answered."))


def _refuse(submission: _Submission, trouble: Trouble) -> None:
    for request in submission.requests:
        request.reply.set(trouble)
