"""`event-broker log`: checking, printing, measuring and mending the log in a data directory."""

import base64
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from actors import log_tools
from actors.log_tools import (
    KINDS,
    Finding,
    LogToolError,
    Remedy,
    Selection,
    Statistics,
    Verification,
    measure_log,
    open_dump,
    open_repair,
    verify_log,
)
from web.commands.failure import FAILED, CommandFailed
from web.flags import flags_for
from web.log_text import mended_text, plan_text, statistics_text, verification_text
from web.sources import read_settings
from web.terminal import open_console

__all__ = ["log"]

OK = 0
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")

data_dir_flags = flags_for("data_dir")


@click.group()
def log() -> None:
    """Check, print, measure or mend the log in a data directory.

    verify, dump and stat change nothing, and a broker may be using the directory meanwhile; repair
    needs it for itself.
    """


@log.command()
@data_dir_flags
@AS_JSON
def verify(*, as_json: bool, **flags: str | None) -> int:
    """Check every file, every batch and every fact; exit code 1 means damage.

    What is found is named with file and offset. A write that was cut short at the very end is no
    damage: the next start cuts it off.
    """
    with _failing(), _progress("checking") as progress:
        found = verify_log(_data_dir(flags), progress)
    if as_json:
        _print_json(_verification_json(found))
    else:
        open_console().print(verification_text(found))
    return OK if found.sound else FAILED


@log.command()
@click.option("--id", "event_id", metavar="ID", help="Only facts about this event.")
@click.option("--topic", metavar="TOPIC", help="Only facts about events of this topic.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Only facts of this kind; may be given several times.",
)
@click.option(
    "--from",
    "start",
    type=click.IntRange(0),
    default=0,
    metavar="POSITION",
    help="Only facts from this log position on.",
)
@click.option("--no-payloads", is_flag=True, help="Print only how large payloads are.")
@data_dir_flags
def dump(
    *,
    event_id: str | None,
    topic: str | None,
    kinds: tuple[str, ...],
    start: int,
    no_payloads: bool,
    **flags: str | None,
) -> int:
    """Print the facts in the log, oldest first, each as one line of JSON.

    Facts that are damaged are left out, which is said at the end; then the exit code is 1.
    """
    selection = Selection(event_id, topic, frozenset(kinds), start, payloads=not no_payloads)
    encode = msgspec.json.Encoder().encode
    out = sys.stdout.buffer
    with _failing(), open_dump(_data_dir(flags), selection) as found:
        for record in found:
            _inline_payload(record)
            out.write(encode(record) + b"\n")
        out.flush()
        skipped = found.skipped
    if skipped:
        first = skipped[0]
        others = "" if len(skipped) == 1 else f" and {len(skipped) - 1} other places"
        raise CommandFailed(
            f"What is damaged was left out: {first.file} at offset {first.offset} ({first.detail})"
            f"{others}. 'event-broker log verify' tells all of it."
        )
    return OK


@log.command()
@data_dir_flags
@AS_JSON
def stat(*, as_json: bool, **flags: str | None) -> None:
    """Tell what the log holds and what it takes, segment by segment."""
    with _failing(), _progress("reading") as progress:
        found = measure_log(_data_dir(flags), progress)
    if as_json:
        _print_json(_statistics_json(found))
    else:
        open_console().print(statistics_text(found))


@log.command()
@click.option(
    "--skip-damage", is_flag=True, help="Give up what is damaged; keep what is before and behind."
)
@click.option(
    "--truncate", is_flag=True, help="Give up everything from the first damage on, to the end."
)
@data_dir_flags
def repair(*, skip_damage: bool, truncate: bool, **flags: str | None) -> int:
    """Mend the log of a stopped broker, and keep what is changed as it was.

    Files with wrong names, a lost manifest and the like are put right. If something is lost, it
    says what either choice costs, and changes nothing until one of them is given; exit code 1
    means that, or that the log is still damaged.
    """
    if skip_damage and truncate:
        raise click.UsageError("--skip-damage and --truncate exclude each other.")
    remedy = Remedy.SKIP if skip_damage else Remedy.TRUNCATE if truncate else None
    data_dir = _data_dir(flags)
    console = open_console()
    with _failing(), ExitStack() as stack:
        with _progress("reading") as progress:
            found = stack.enter_context(open_repair(data_dir, progress))
        console.print(plan_text(found, str(data_dir), remedy))
        if found.plan.idle:
            return OK
        if found.plan.losses and remedy is None:
            console.print("Nothing was changed.")
            return FAILED
        mended = found.carry_out(remedy)
    console.print(mended_text(mended, str(data_dir)))
    return OK if mended.verification.sound else FAILED


def _data_dir(flags: dict[str, str | None]) -> Path:
    return read_settings(flags, os.environ).data_dir


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except LogToolError as error:
        raise CommandFailed(str(error)) from error


@contextmanager
def _progress(what: str) -> Iterator[log_tools.Progress]:
    """Show how far it has come, if somebody sits before a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    shown = console.is_terminal and sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, total: int, /) -> None:
            bar.update(task, completed=done, total=total)

        yield tell


def _print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON has
    click.echo(msgspec.json.encode(value))


def _inline_payload(record: dict[str, Any]) -> None:
    """Put a payload in the place of its bytes, as the JSON that it is, on one line."""
    payload = record.get("payload")
    if payload is None:
        return
    try:
        payload.decode()
        # Numbers stay as they were written, however many digits they have.
        record["payload"] = msgspec.Raw(msgspec.json.format(payload, indent=-1))
    except (UnicodeDecodeError, msgspec.DecodeError):
        del record["payload"]
        record["payload_base64"] = base64.b64encode(payload).decode()


def _finding_json(finding: Finding) -> dict[str, Any]:
    # A name in the directory need not be text.
    file = finding.file.encode(errors="backslashreplace").decode()
    return {**attrs.asdict(finding), "what": finding.what.value, "file": file}


def _verification_json(found: Verification) -> dict[str, Any]:
    return {
        "path": found.path,
        "sound": found.sound,
        "segments": len(found.catalog.segments),
        "batches": found.batches,
        "facts": found.facts,
        "size": found.size,
        "end": found.end,
        "synced": found.synced,
        "findings": [_finding_json(finding) for finding in found.findings],
    }


def _statistics_json(found: Statistics) -> dict[str, Any]:
    return {
        **attrs.asdict(found, recurse=False),
        "segments": [
            {**attrs.asdict(one), "dead_share": round(one.dead_share, 4)} for one in found.segments
        ],
        "snapshot": None if found.snapshot is None else attrs.asdict(found.snapshot),
        "damage": [_finding_json(finding) for finding in found.damage],
        "size": found.size,
        "live_bytes": found.live_bytes,
        "dead_share": round(found.dead_share, 4),
    }
