"""What a client hears of the engine's trouble: status, code, sentence and when to come back."""

import json

import pytest

from actors.broker import OutcomeUnknown, Rejected, Trouble, Unavailable
from web.problems import answer_problem, trouble_error


@pytest.mark.parametrize(
    ("trouble", "status", "title", "retry_after"),
    [
        (Unavailable("STORAGE_FULL", "No room."), 507, "Insufficient Storage", b"1"),
        (Unavailable("STORAGE_FULL", "No room.", 2500), 507, "Insufficient Storage", b"3"),
        (Unavailable("QUEUE_FULL", "Later.", 0), 503, "Service Unavailable", b"1"),
        (Unavailable("SOMETHING_NEW", "Later.", 10**9), 503, "Service Unavailable", b"3600"),
        (Rejected("BATCH_TOO_LARGE", "Too many."), 413, "Request Entity Too Large", None),
        (Rejected("SOMETHING_NEW", "Wrong."), 400, "Bad Request", None),
    ],
)
def test_the_status_follows_from_the_code(
    trouble: Rejected | Unavailable, status: int, title: str, retry_after: bytes | None
) -> None:
    answer = answer_problem(trouble_error(trouble).problem, 7)
    assert answer.status == status
    assert answer.content_type == b"application/problem+json"
    assert dict(answer.headers).get(b"retry-after") == retry_after
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": trouble.detail,
        "error": trouble.detail,
        "code": trouble.code,
        "timestamp": 7,
    }


def test_an_unknown_outcome_is_not_called_a_failure() -> None:
    trouble: Trouble = OutcomeUnknown("the log failed.")
    problem = trouble_error(trouble).problem
    assert (problem.status, problem.code, problem.headers) == (503, "OUTCOME_UNKNOWN", ())
    assert "may have been applied" in problem.detail
