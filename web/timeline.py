"""An event's explanation as text for people."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from web.explanation import ExplanationBody, HappeningBody
from web.terminal import printable, wall_time

__all__ = ["explanation_text"]

PLACES = {
    "ready": "waits for a consumer",
    "delayed": "waits for its time",
    "leased": "is with a consumer",
    "dead": "is a dead letter",
    "acknowledged": "was acknowledged and is done with",
    "discarded": "was dead and dropped for good",
}


def explanation_text(event: ExplanationBody) -> RenderableType:
    """Return where the event is, and below that how it came there, oldest first."""
    parts: list[RenderableType] = [Text(_headline(event), style="bold"), Text(_facts(event))]
    if event.timeline:
        parts += [Text(), _table(event.timeline)]
    if event.folded:
        parts += [Text(), Text("Older history was folded when the log was compacted.")]
    return Group(*parts)


def _headline(event: ExplanationBody) -> str:
    # A newer broker may know more places.
    where = PLACES.get(event.place, f"is {printable(event.place)}")
    until = event.deadline if event.due is None else event.due
    return f"{printable(event.id)} {where}{'' if until is None else f' until {wall_time(until)}'}"


def _facts(event: ExplanationBody) -> str:
    topic = "without a topic" if event.topic is None else f"topic {printable(event.topic)}"
    retries = "1 retry" if event.retries == 1 else f"{event.retries} retries"
    return (
        f"{topic}, {event.payload_size:,} bytes, {retries}, accepted {wall_time(event.timestamp)}"
    )


def _table(timeline: tuple[HappeningBody, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("when", no_wrap=True)
    table.add_column("later by", justify="right", no_wrap=True)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("details", overflow="fold")
    table.add_column("log position", justify="right", style="dim", no_wrap=True)
    before: HappeningBody | None = None
    for entry in timeline:
        table.add_row(
            Text("" if entry.at is None else wall_time(entry.at)),
            Text(_later_by(before, entry)),
            Text(printable(entry.what)),
            Text(_details(entry)),
            Text(str(entry.position)),
        )
        before = entry
    return table


def _later_by(before: HappeningBody | None, entry: HappeningBody) -> str:
    if before is None or before.at is None or entry.at is None:
        return ""
    return f"{(entry.at - before.at) / 1000:,.3f} s"


def _details(entry: HappeningBody) -> str:
    said = {
        "consumer": entry.consumer,
        "receipt": entry.receipt,
        "retries": "" if entry.retries is None else str(entry.retries),
        "due": "" if entry.due is None else wall_time(entry.due),
        "lease ends": "" if entry.deadline is None else wall_time(entry.deadline),
        "reason": entry.reason,
        "error": entry.error,
    }
    return ", ".join(f"{name} {printable(text)}" for name, text in said.items() if text)
