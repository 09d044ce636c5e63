"""`event-broker events`: asking a running broker about single events."""

from urllib.parse import quote

import click
import msgspec

from web.client import RemoteBroker, RemoteError
from web.commands.failure import CommandFailed
from web.explanation import NOT_IDS, ExplanationBody
from web.terminal import open_console
from web.timeline import explanation_text

__all__ = ["events"]

URL = "http://127.0.0.1:3000"


@click.group()
def events() -> None:
    """Ask a running broker about single events."""


@events.command()
@click.argument("event_id", metavar="ID")
@click.option(
    "--url", default=URL, metavar="URL", show_default=True, help="Where the broker listens."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def explain(*, event_id: str, url: str, as_json: bool) -> None:
    """Tell where the event ID is and how it came there.

    The broker answers from its log. An event that is done with is explained while the log still
    has its records.
    """
    # They would call something else, and one of these calls takes events away from consumers.
    if not event_id or event_id in NOT_IDS:
        raise click.BadParameter(f"{event_id!a} is no event's id.", param_hint="ID")
    path = f"/api/events/{quote(event_id, safe='', errors='surrogateescape')}"
    try:
        found = RemoteBroker(url).get(path, ExplanationBody)
    except RemoteError as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        open_console().print(explanation_text(found))
