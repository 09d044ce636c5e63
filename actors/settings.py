"""What an engine can be told. Values only: reading them from somewhere is the caller's business."""

from pathlib import Path

import attrs

from actors.backoff import Backoff


@attrs.frozen
class FsyncPolicy:
    """When written facts are forced to the disk.

    Attributes:
        before_answer: whether an answer waits for the sync of what it promises.
        interval_ms: otherwise, how long written facts may wait for a sync, milliseconds;
            None leaves it to the operating system.
    """

    before_answer: bool = True
    interval_ms: int | None = None


@attrs.frozen
class BrokerSettings:
    """Settings of the engine. Durations are in milliseconds, sizes in bytes.

    Attributes:
        data_dir: where the log lives; one process at a time.
        queue_max_size: ready and delayed events above which new ones are refused.
        visibility_timeout_ms: how long a consumer holds an event unless it asks for longer.
        max_retries: failed deliveries after the first before an event becomes a dead letter.
        backoff: the delay before each retry.
        reaper_interval_ms: the longest that the reaper sleeps.
        fsync: when written facts are forced to the disk, unless a request says so itself.
        segment_max_bytes: size above which the log's active segment is sealed and the next begun;
            a single larger batch gets a segment of its own.
        compaction_ratio: share of the log's bytes, between 0 and 1, that may be dead before
            the poorest segments are copied forward and deleted.
        reserved_bytes: space held back on the disk, so that what is no new event can still be
            written when the disk is full; 0 holds none back.
        snapshot_after_bytes: bytes of log after which a new snapshot of the index is taken
            while the engine runs; 0 takes one at an orderly stop only.
        payload_cache_bytes: payloads of waiting events kept in memory; the rest is read back from
            the log at delivery.
        leases_max: leases at a time; consumers wait while there are as many.
        open_requests_max: requests of each kind (new events, deliveries, settlements) that may
            wait inside the engine at once; one more is refused.
        open_bytes_max: payload bytes accepted but not yet on disk; more is refused.
        delivery_bytes_max: payload bytes after which one delivery takes no further event.
    """

    data_dir: Path = Path("data")
    queue_max_size: int = 1000
    visibility_timeout_ms: int = 10_000
    max_retries: int = 5
    backoff: Backoff = attrs.field(factory=Backoff)
    reaper_interval_ms: int = 1000
    fsync: FsyncPolicy = attrs.field(factory=FsyncPolicy)
    segment_max_bytes: int = 64 * 1024 * 1024
    compaction_ratio: float = 0.5
    reserved_bytes: int = 16 * 1024 * 1024
    snapshot_after_bytes: int = 256 * 1024 * 1024
    payload_cache_bytes: int = 64 * 1024 * 1024
    leases_max: int = 100_000
    open_requests_max: int = 10_000
    open_bytes_max: int = 64 * 1024 * 1024
    delivery_bytes_max: int = 16 * 1024 * 1024
