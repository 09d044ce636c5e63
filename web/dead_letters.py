"""Looking at dead letters, and bringing them back or dropping them."""

import msgspec

from actors.broker import DeadLetterView, NoSuchDeadLetter, OutcomeUnknown, Rejected, Unavailable
from web.call import Answer, Call, Desk, answer_json
from web.parameters import check_names, integer, topic_name
from web.problems import Code, ProblemError, trouble_error

__all__ = ["discard_dead_letter", "list_dead_letters", "reprocess_dead_letter"]

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
OFFSET_MAX = 10**15
TROUBLE = (Rejected, Unavailable, OutcomeUnknown)

_encode = msgspec.json.Encoder().encode


async def list_dead_letters(desk: Desk, call: Call) -> Answer:
    """List dead letters, oldest death first."""
    check_names(call, "limit", "offset", "topic")
    limit = integer(call, "limit", 1, LIMIT_MAX, clamp=True) or LIMIT_DEFAULT
    offset = integer(call, "offset", 0, OFFSET_MAX, clamp=True) or 0
    # `topic=` asks for no topic in particular.
    topic = topic_name(call) if call.query.get("topic") else None
    page = await desk.broker.dead_letters(limit=limit, offset=offset, topic=topic)
    if isinstance(page, TROUBLE):
        raise trouble_error(page)
    body = b'{"entries":[%b],"count":%d,"total":%d,"limit":%d,"offset":%d}' % (
        b",".join(_entry(letter) for letter in page.entries),
        len(page.entries),
        page.total,
        limit,
        offset,
    )
    return Answer(200, body)


def _entry(letter: DeadLetterView) -> bytes:
    """Return one entry; the payload is spliced in as it is."""
    return b"".join(
        (
            b'{"receiptId":',
            _encode(letter.receipt),
            b',"timestamp":%d,"reason":' % letter.timestamp,
            _encode(letter.reason),
            b',"error":',
            _encode(letter.error),
            b',"record":{"id":',
            _encode(letter.id),
            b',"ts":%d,"topic":' % letter.event_timestamp,
            _encode(letter.topic or None),
            b',"payload":',
            letter.payload,
            b',"retries":%d}}' % letter.retries,
        )
    )


async def reprocess_dead_letter(desk: Desk, call: Call) -> Answer:
    """Put a dead letter back in the queue: the same event, no retries counted."""
    check_names(call)
    result = await desk.broker.reprocess((call.params["receipt"],))
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    return _done(result[0], "The event is back in the queue.")


async def discard_dead_letter(desk: Desk, call: Call) -> Answer:
    """Drop a dead letter for good."""
    check_names(call)
    result = await desk.broker.discard((call.params["receipt"],))
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    return _done(result[0], "The dead letter is gone for good.")


def _done(event_id: str | NoSuchDeadLetter, message: str) -> Answer:
    if isinstance(event_id, NoSuchDeadLetter):
        raise ProblemError.of(
            Code.DLQ_ENTRY_NOT_FOUND, "No dead letter has this receipt: it is unknown or was moved."
        )
    return answer_json({"success": True, "message": message, "eventId": event_id})
