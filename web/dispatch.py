"""From a call to an answer, whatever happens in between."""

import structlog

from web.call import Answer, Call, Desk, Handler
from web.problems import Code, ProblemError, answer_problem

__all__ = ["answer_call"]

log = structlog.get_logger()


async def answer_call(desk: Desk, handler: Handler, call: Call) -> Answer:
    """Run the handler; what it raises becomes an answer.

    The client hears nothing of an unexpected exception but that there was one; the log has it.
    """
    try:
        return await handler(desk, call)
    except ProblemError as error:
        return answer_problem(error.problem, desk.now_ms())
    except Exception as error:  # noqa: BLE001 - the last line before the client
        return answer_crash(desk, error, call.method, call.path)


def answer_crash(desk: Desk, error: BaseException, method: str, path: str) -> Answer:
    """Log an unexpected exception and return what the client hears of it."""
    log.error("request failed", method=method, path=path, exc_info=error)
    problem = ProblemError.of(Code.INTERNAL_ERROR, "The broker failed to serve this request.")
    return answer_problem(problem.problem, desk.now_ms())
