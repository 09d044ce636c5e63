"""What a broker says about itself and its events, for people and for programs that watch."""

import attrs


@attrs.frozen
class NoSuchEvent:
    """The log has no record of an event of this id, or no longer."""

    id: str


@attrs.frozen
class Happening:
    """One fact of an event's history. Times are wall time in milliseconds.

    Attributes:
        what: `accepted`, `copied` (its older history was folded into this one fact), `delivered`,
            `extended`, `rejected`, `timed_out`, `released`, `worker_lost`, `dead`, `reprocessed`,
            `acknowledged` or `discarded`.
        at: when it was written to the log, None if that is not known.
        position: log position of the fact.
        consumer: who had the event; empty if nobody said.
        receipt: of the delivery, masked; empty if the fact is about none.
        retries: failed deliveries after it, None if it does not change them.
        due: when it may be delivered again, or None.
        deadline: when the lease ends, or None.
        reason: why it became a dead letter; empty otherwise.
        error: what the consumer said; may be empty.
    """

    what: str
    at: int | None
    position: int
    consumer: str = ""
    receipt: str = ""
    retries: int | None = None
    due: int | None = None
    deadline: int | None = None
    reason: str = ""
    error: str = ""


@attrs.frozen
class Explanation:
    """Where one event is, and how it came there.

    Attributes:
        id: the event.
        place: `ready`, `delayed`, `leased`, `dead`, `acknowledged` or `discarded`.
        topic: the topic, or the empty string.
        timestamp: when it was accepted, wall time in milliseconds.
        retries: failed deliveries so far.
        payload_size: in bytes.
        due: when a delayed event may be delivered, else None.
        deadline: when a leased event's lease ends, else None.
        timeline: its history, oldest first.
        folded: whether older history was folded when the log was compacted.
    """

    id: str
    place: str
    topic: str
    timestamp: int
    retries: int
    payload_size: int
    due: int | None
    deadline: int | None
    timeline: tuple[Happening, ...]
    folded: bool


@attrs.frozen
class LeaseView:
    """One lease, for people. `deadline` is wall time in milliseconds."""

    id: str
    deadline: int
    retries: int


@attrs.frozen
class TopicView:
    """How many events of one topic wait: ready for a consumer, and delayed."""

    topic: str
    ready: int
    delayed: int


@attrs.frozen
class MailboxView:
    """How many messages wait for one actor, and how many could."""

    actor: str
    waiting: int
    capacity: int


@attrs.frozen
class Counters:
    """What has happened since the log was created; they go on over restarts.

    Attributes:
        enqueued: events accepted.
        consumed: deliveries.
        acknowledged: events settled.
        failed: failed deliveries (rejected, timed out or lost with a worker).
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


@attrs.frozen
class StorageView:
    """What the log takes on the disk, bytes.

    Attributes:
        segments: how many files it is in.
        size: their length.
        live: how much of that is still needed.
        written: log position of its end: all that was ever written to it.
        reserved: set aside for when the disk is full.
        full: why new events are refused for want of room; None while they are not.
    """

    segments: int
    size: int
    live: int
    written: int
    reserved: int
    full: str | None = None


@attrs.frozen
class Status:
    """Where the events are. Lists are capped: leases at 100, topics at 1000.

    `storage` is None for an engine that keeps its events elsewhere.
    """

    queue_size: int
    queue_max_size: int
    leases: int
    lease_list: tuple[LeaseView, ...]
    acknowledged: int
    dead_letters: int
    topics: tuple[TopicView, ...]
    mailboxes: tuple[MailboxView, ...]
    parked_polls: int
    uptime_ms: int
    storage: StorageView | None = None


@attrs.frozen
class Metrics:
    """Counters over the log's life, latencies since this start.

    Attributes:
        counters: see `Counters`.
        processing_ms_avg: mean time from delivery to acknowledgement; 0.0 before the first.
        processing_ms_max: the longest.
        started_at: wall time of this start, milliseconds.
        last_event_at: wall time of the newest accepted event, or None.
    """

    counters: Counters
    processing_ms_avg: float
    processing_ms_max: float
    started_at: int
    last_event_at: int | None


@attrs.frozen
class Health:
    """Whether the log accepts facts (`healthy`) and new work is taken (`ready`).

    `reason` says why not; empty when all is well.
    """

    healthy: bool
    ready: bool
    reason: str = ""
