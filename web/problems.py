"""Errors as clients see them: RFC 9457 problems with three members that older clients read.

`error` repeats the sentence, `code` is a constant for programs and `timestamp` is when it was
said. All the codes of the API are in the table below.
"""

import enum
import http
import math

import attrs

from actors.broker import OutcomeUnknown, Rejected, Trouble, Unavailable
from web.call import Answer, answer_json

__all__ = ["Code", "Problem", "ProblemError", "answer_problem", "trouble_error"]

PROBLEM_JSON = b"application/problem+json"


class Code(enum.StrEnum):
    """Constants for programs. The engine has a few more of its own; they are passed on."""

    INVALID_REQUEST = "INVALID_REQUEST"
    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    INVALID_TOPIC = "INVALID_TOPIC"
    INVALID_PARAMETER = "INVALID_PARAMETER"
    NOT_FOUND = "NOT_FOUND"
    EVENT_NOT_FOUND = "EVENT_NOT_FOUND"
    DLQ_ENTRY_NOT_FOUND = "DLQ_ENTRY_NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    BATCH_TOO_LARGE = "BATCH_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    BUSY = "BUSY"
    STORAGE_FULL = "STORAGE_FULL"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"


STATUS = {
    Code.INVALID_REQUEST: 400,
    Code.INVALID_PAYLOAD: 400,
    Code.INVALID_TOPIC: 400,
    Code.INVALID_PARAMETER: 400,
    Code.NOT_FOUND: 404,
    Code.EVENT_NOT_FOUND: 404,
    Code.DLQ_ENTRY_NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.REQUEST_TIMEOUT: 408,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.BATCH_TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.HEADERS_TOO_LARGE: 431,
    Code.INTERNAL_ERROR: 500,
    Code.BUSY: 503,
    # Not mended by the patience of clients: somebody has to make room.
    Code.STORAGE_FULL: 507,
    Code.OUTCOME_UNKNOWN: 503,
}

RETRY_AFTER_S_MAX = 3600


@attrs.frozen
class Problem:
    """Why a request was not served.

    Attributes:
        status: the HTTP status.
        code: a constant for programs.
        detail: a sentence for people.
        headers: more headers.
    """

    status: int
    code: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ProblemError(Exception):
    """Carries a problem to the place that answers with it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem

    @classmethod
    def of(cls, code: Code, detail: str, *headers: tuple[bytes, bytes]) -> "ProblemError":
        """Return the error for a code of the table above."""
        return cls(Problem(STATUS[code], code.value, detail, headers))


def trouble_error(trouble: Trouble) -> ProblemError:
    """Return what a client hears of the engine's trouble."""
    match trouble:
        case Rejected(code=code, detail=detail):
            return ProblemError(Problem(_status(code, http.HTTPStatus.BAD_REQUEST), code, detail))
        case Unavailable(code=code, detail=detail, retry_after_ms=retry_after_ms):
            seconds = min(RETRY_AFTER_S_MAX, max(1, math.ceil(retry_after_ms / 1000)))
            status = _status(code, http.HTTPStatus.SERVICE_UNAVAILABLE)
            return ProblemError(
                Problem(status, code, detail, ((b"retry-after", str(seconds).encode()),))
            )
        case OutcomeUnknown(detail=detail):
            text = f"The request may have been applied: {detail}"
            return ProblemError(Problem(503, Code.OUTCOME_UNKNOWN.value, text))


def _status(code: str, otherwise: int) -> int:
    """Return the status of a code of the table, or the other one for a code of the engine's own."""
    return STATUS[Code(code)] if code in Code.__members__ else otherwise


def answer_problem(problem: Problem, timestamp: int) -> Answer:
    """Return the problem as an answer.

    Args:
        problem: what went wrong.
        timestamp: wall time, milliseconds.
    """
    answer = answer_json(
        {
            "type": "about:blank",
            "title": http.HTTPStatus(problem.status).phrase,
            "status": problem.status,
            "detail": problem.detail,
            "error": problem.detail,
            "code": problem.code,
            "timestamp": timestamp,
        },
        problem.status,
    )
    answer.content_type = PROBLEM_JSON
    answer.headers = problem.headers
    return answer
