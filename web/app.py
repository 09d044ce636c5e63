"""The Quart application: which function answers which path, and one adapter for all of them."""

import functools
from collections.abc import Awaitable, Callable
from typing import cast

from quart import Blueprint, request
from quart.wrappers import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter

from web import dead_letters, events, explanation, home, observe
from web.asgi import CALL, RECEIPTS, App, Scope, header_list
from web.call import Answer, Call, Desk, Handler
from web.dispatch import answer_call, answer_crash
from web.guard import Guard
from web.handover import Handover
from web.problems import Code, Problem, ProblemError, answer_problem

__all__ = ["ROUTES", "open_doors"]

GET, POST, DELETE = "GET", "POST", "DELETE"

# By concern. Taking events is the one GET that changes something: it has no HEAD.
ROUTES: dict[str, tuple[tuple[str, str, Handler], ...]] = {
    "events": (
        (POST, "/api/events", events.publish),
        (POST, "/api/events/batch", events.publish_batch),
        (GET, "/api/events/consume", events.consume),
        (POST, "/api/events/acknowledge", events.acknowledge),
        (POST, "/api/events/<receipt>/nack", events.nack),
        (POST, "/api/events/<receipt>/extend", events.extend),
        (GET, "/api/events/<event_id:event_id>", explanation.explain),
    ),
    "dead_letters": (
        (GET, "/api/dlq", dead_letters.list_dead_letters),
        (POST, "/api/dlq/<receipt>/reprocess", dead_letters.reprocess_dead_letter),
        (DELETE, "/api/dlq/<receipt>", dead_letters.discard_dead_letter),
    ),
    "observe": (
        (GET, "/api/health", observe.health),
        (GET, "/api/status", observe.status),
        (GET, "/api/metrics", observe.metrics),
        (GET, "/livez", observe.livez),
        (GET, "/readyz", observe.readyz),
    ),
    "home": ((GET, "/", home.home),),
}
NO_HEAD = {"events.consume"}


class EventId(BaseConverter):
    """Takes what can be an event's id, and leaves the words that are calls to themselves.

    Otherwise `HEAD /api/events/consume` would explain an event called consume, instead of being
    told which method that call has.
    """

    regex = rf"(?!(?:{'|'.join(explanation.NOT_IDS)})\Z)[^/]+"
    part_isolating = True


def open_doors(desk: Desk) -> App:
    """Return the whole ASGI application: guard, handover, Quart."""
    return Guard(Handover(_quart(desk), desk.broker), desk)


def _quart(desk: Desk) -> App:
    app = QuartTrio("web", static_folder=None)
    # The body is whole before Quart sees the request, and the server minds slow readers.
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    app.url_map.merge_slashes = False
    app.url_map.converters["event_id"] = EventId
    for concern, routes in ROUTES.items():
        blueprint = Blueprint(concern, __name__)
        for method, path, handler in routes:
            blueprint.add_url_rule(
                path,
                endpoint=handler.__name__,
                view_func=_view(desk, handler),
                methods=[method],
                provide_automatic_options=False,
            )
        app.register_blueprint(blueprint)
    for rule in app.url_map.iter_rules():
        if rule.endpoint in NO_HEAD and rule.methods is not None:
            rule.methods.discard("HEAD")
    app.register_error_handler(HTTPException, functools.partial(_http_error, desk))
    app.register_error_handler(Exception, functools.partial(_crash, desk))
    return cast("App", app)


def _view(desk: Desk, handler: Handler) -> Callable[..., Awaitable[Response]]:
    async def view(**params: str) -> Response:
        scope = cast("Scope", request.scope)
        call: Call = scope[CALL]
        call.params = params
        answer = await answer_call(desk, handler, call)
        # Before anything else: see `Handover`.
        scope[RECEIPTS] = answer.receipts
        return _response(answer)

    return view


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.headers.clear()
    for name, value in header_list(answer):
        response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return response


async def _http_error(desk: Desk, error: HTTPException) -> Response:
    """Answer what Quart itself found wrong."""
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        problem = ProblemError.of(
            Code.METHOD_NOT_ALLOWED,
            f"This path does not know {request.method}; it knows {allowed}.",
            (b"allow", allowed.encode()),
        ).problem
    elif error.code == 404:
        problem = ProblemError.of(
            Code.NOT_FOUND, "There is nothing at this path; GET / lists the endpoints."
        ).problem
    else:
        status = error.code or 500
        problem = Problem(status, Code.INVALID_REQUEST.value, error.description or error.name)
    return _response(answer_problem(problem, desk.now_ms()))


async def _crash(desk: Desk, error: Exception) -> Response:
    return _response(answer_crash(desk, error, request.method, request.path))
