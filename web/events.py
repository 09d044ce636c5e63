"""Publishing, consuming and settling events."""

import msgspec

from actors.broker import (
    Consumer,
    Delivery,
    NewEvent,
    NoSuchLease,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from web.call import Answer, Call, Desk, answer_json
from web.parameters import boolean, check_names, durability, integer, topic_name
from web.payload import one_object, receipt_list, split_batch
from web.problems import Code, ProblemError, trouble_error
from web.settings import LEASE_MS_MAX

__all__ = ["acknowledge", "consume", "extend", "nack", "publish", "publish_batch"]

EVENTS_PER_POLL_MAX = 100
TROUBLE = (Rejected, Unavailable, OutcomeUnknown)

_encode = msgspec.json.Encoder().encode


async def publish(desk: Desk, call: Call) -> Answer:
    """Accept one event; answered when it is as durable as was asked for."""
    check_names(call, "topic", "durability")
    topic, wanted = topic_name(call) or "", durability(call)
    event = NewEvent(one_object(call), topic)
    result = await desk.broker.enqueue((event,), durability=wanted)
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    accepted = result[0]
    return answer_json(
        {
            "id": accepted.id,
            "timestamp": accepted.timestamp,
            "status": "queued",
            "durability": accepted.durability,
        },
        202,
    )


async def publish_batch(desk: Desk, call: Call) -> Answer:
    """Accept a batch, all of it or nothing; answered when it is as durable as was asked for."""
    check_names(call, "topic", "durability")
    topic, wanted = topic_name(call) or "", durability(call)
    payloads = split_batch(call, desk.settings.queue_max_size)
    batch = [NewEvent(payload, topic) for payload in payloads]
    result = await desk.broker.enqueue(batch, durability=wanted)
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    events = [{"id": accepted.id, "timestamp": accepted.timestamp} for accepted in result]
    # It is one record of the log: what holds for the first event holds for all.
    done = result[0].durability
    return answer_json({"events": events, "count": len(events), "durability": done}, 202)


async def consume(desk: Desk, call: Call) -> Answer:
    """Hand out events, waiting for the first one as long as the client wants."""
    check_names(call, "maxEvents", "timeoutMs", "topic")
    topic = topic_name(call)
    settings = desk.settings
    max_events = integer(call, "maxEvents", 1, EVENTS_PER_POLL_MAX, clamp=True)
    timeout_ms = integer(call, "timeoutMs", 0, settings.max_poll_timeout_ms, clamp=True)
    if timeout_ms is None:
        timeout_ms = min(settings.default_poll_timeout_ms, settings.max_poll_timeout_ms)
    result = await desk.broker.consume(
        topic=topic,
        max_events=max_events or settings.max_events_per_poll,
        timeout_ms=timeout_ms,
        consumer=Consumer(name=call.client),
    )
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    # From here to the return there is no checkpoint: see `Handler`.
    parts: list[bytes] = [b'{"events":[']
    for delivery in result:
        _write_event(parts, delivery)
    if result:
        parts.pop()  # the comma after the last event
    parts.append(b'],"count":%d}' % len(result))
    return Answer(200, b"".join(parts), receipts=tuple(d.receipt for d in result))


def _write_event(parts: list[bytes], event: Delivery) -> None:
    """Append the event and a comma; the payload is spliced in as it is."""
    parts += (
        b'{"id":',
        _encode(event.id),
        b',"payload":',
        event.payload,
        b',"timestamp":%d,"retries":%d,"receiptId":' % (event.timestamp, event.retries),
        _encode(event.receipt),
        b',"topic":',
        _encode(event.topic or None),
        b"}",
        b",",
    )


async def acknowledge(desk: Desk, call: Call) -> Answer:
    """Settle deliveries for good; answered when that is on disk."""
    check_names(call)
    result = await desk.broker.acknowledge(receipt_list(call))
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    return answer_json(
        {
            "acknowledged": [a.receipt for a in result if a.reason is None],
            "failed": [
                {"receiptId": a.receipt, "reason": a.reason} for a in result if a.reason is not None
            ],
        }
    )


async def nack(desk: Desk, call: Call) -> Answer:
    """Say that a delivery failed: it is tried again, or becomes a dead letter."""
    check_names(call, "requeue", "delayMs")
    receipt = call.params["receipt"]
    requeue = boolean(call, "requeue", default=True)
    delay_ms = integer(call, "delayMs", 0, LEASE_MS_MAX, empty_is_absent=True)
    result = await desk.broker.nack(
        (receipt,), requeue=requeue, delay_ms=delay_ms if requeue else None
    )
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    if isinstance(result[0], NoSuchLease):
        raise _no_such_lease()
    return answer_json({"success": True, "receiptId": receipt})


async def extend(desk: Desk, call: Call) -> Answer:
    """Give a consumer more time with its event."""
    check_names(call, "visibilityTimeoutMs")
    receipt = call.params["receipt"]
    timeout_ms = integer(call, "visibilityTimeoutMs", 1, LEASE_MS_MAX, empty_is_absent=True)
    result = await desk.broker.extend((receipt,), visibility_timeout_ms=timeout_ms)
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    if isinstance(result[0], NoSuchLease):
        raise _no_such_lease()
    return answer_json({"success": True, "receiptId": receipt, "deadline": result[0].deadline})


def _no_such_lease() -> ProblemError:
    return ProblemError.of(
        Code.EVENT_NOT_FOUND,
        "No event is held under this receipt: it is unknown, its time ran out, or it was settled.",
    )
