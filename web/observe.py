"""What the broker says about itself."""

import functools
import importlib.metadata

from actors.broker import StorageView
from web.call import Answer, Call, Desk, answer_json
from web.parameters import check_names

__all__ = ["health", "livez", "metrics", "readyz", "status", "version"]

DISTRIBUTION = "trio-event-broker"


@functools.cache
def version() -> str:
    """Return the version of what is installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "0+unknown"


async def health(desk: Desk, call: Call) -> Answer:
    """Tell whether the log accepts facts."""
    check_names(call)
    state = desk.broker.health()
    body: dict[str, object] = {"status": "healthy", "timestamp": desk.now_ms()}
    if state.healthy:
        return answer_json(body)
    return answer_json({**body, "status": "unhealthy", "reason": state.reason}, 503)


async def livez(desk: Desk, call: Call) -> Answer:
    """Tell that the process answers."""
    check_names(call)
    return answer_json({"status": "alive", "timestamp": desk.now_ms()})


async def readyz(desk: Desk, call: Call) -> Answer:
    """Tell whether new work is taken."""
    check_names(call)
    state = desk.broker.health()
    body: dict[str, object] = {"status": "ready", "timestamp": desk.now_ms()}
    if state.ready:
        return answer_json(body)
    return answer_json({**body, "status": "not ready", "reason": state.reason}, 503)


async def status(desk: Desk, call: Call) -> Answer:
    """Tell where the events are."""
    check_names(call)
    now = await desk.broker.status()
    pool = desk.pool
    return answer_json(
        {
            "queue": {
                "size": now.queue_size,
                "maxSize": now.queue_max_size,
                "utilizationPercent": round(100 * now.queue_size / max(1, now.queue_max_size), 2),
            },
            "inflight": {
                "count": now.leases,
                "events": [
                    {"id": lease.id, "deadline": lease.deadline, "retries": lease.retries}
                    for lease in now.lease_list
                ],
            },
            "committed": {"count": now.acknowledged},
            "dlq": {"count": now.dead_letters},
            "workers": {
                "active": pool.active if pool else 0,
                "total": pool.total if pool else 0,
            },
            "uptime": now.uptime_ms,
            "topics": [
                {"topic": view.topic or None, "ready": view.ready, "delayed": view.delayed}
                for view in now.topics
            ],
            "mailboxes": [
                {"actor": box.actor, "waiting": box.waiting, "capacity": box.capacity}
                for box in now.mailboxes
            ],
            "parkedPolls": now.parked_polls,
            "storage": _storage(now.storage),
            "version": version(),
        }
    )


def _storage(storage: StorageView | None) -> dict[str, object] | None:
    """Show what the log takes on the disk, bytes; None if there is no log."""
    if storage is None:
        return None
    return {
        "segments": storage.segments,
        "size": storage.size,
        "live": storage.live,
        "written": storage.written,
        "reserved": storage.reserved,
        "full": storage.full is not None,
    }


async def metrics(desk: Desk, call: Call) -> Answer:
    """Tell what has happened."""
    check_names(call)
    now = await desk.broker.metrics()
    counters = now.counters
    return answer_json(
        {
            "events": {
                "enqueued": counters.enqueued,
                "consumed": counters.consumed,
                "acknowledged": counters.acknowledged,
                "failed": counters.failed,
                "dlq": counters.dead,
            },
            "latency": {
                "avgProcessingMs": now.processing_ms_avg,
                "maxProcessingMs": now.processing_ms_max,
            },
            "timestamps": {"startTime": now.started_at, "lastEventTime": now.last_event_at},
        }
    )
