"""Explaining one event: where it is and how it came there, as the API says it.

The schema serves both ends: the handler here and the command that asks a running broker.
"""

import attrs
import msgspec

from actors.broker import Explanation, NoSuchEvent, OutcomeUnknown, Rejected, Unavailable
from web.call import Answer, Call, Desk, answer_json
from web.parameters import check_names, shown
from web.problems import Code, ProblemError, trouble_error

__all__ = ["NOT_IDS", "ExplanationBody", "HappeningBody", "explain"]

NOT_IDS = ("acknowledge", "batch", "consume")
"""Words that stand where an id would, at `/api/events/...`, and mean something else."""

TROUBLE = (Rejected, Unavailable, OutcomeUnknown)


class HappeningBody(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, frozen=True):
    """One fact of an event's history; see `actors.broker.Happening`. What is empty is left out."""

    what: str
    at: int | None = None
    position: int
    consumer: str = ""
    receipt: str = ""
    retries: int | None = None
    due: int | None = None
    deadline: int | None = None
    reason: str = ""
    error: str = ""


class ExplanationBody(msgspec.Struct, rename="camel", frozen=True):
    """See `actors.broker.Explanation`; `topic` is None for none."""

    id: str
    place: str
    topic: str | None
    timestamp: int
    retries: int
    payload_size: int
    due: int | None
    deadline: int | None
    folded: bool
    timeline: tuple[HappeningBody, ...]


async def explain(desk: Desk, call: Call) -> Answer:
    """Tell where an event is and what happened to it."""
    check_names(call)
    event_id = call.params["event_id"]
    result = await desk.broker.explain(event_id)
    if isinstance(result, TROUBLE):
        raise trouble_error(result)
    if isinstance(result, NoSuchEvent):
        raise ProblemError.of(
            Code.EVENT_NOT_FOUND,
            f"The log has no event {shown(event_id)}: there never was one with this id,"
            " or it is done with and its records are gone.",
        )
    return answer_json(explanation_body(result))


def explanation_body(explanation: Explanation) -> ExplanationBody:
    """Return the explanation as it is sent."""
    return ExplanationBody(
        id=explanation.id,
        place=explanation.place,
        topic=explanation.topic or None,
        timestamp=explanation.timestamp,
        retries=explanation.retries,
        payload_size=explanation.payload_size,
        due=explanation.due,
        deadline=explanation.deadline,
        folded=explanation.folded,
        timeline=tuple(
            HappeningBody(**attrs.asdict(happening)) for happening in explanation.timeline
        ),
    )
