"""`event-broker import`, `backup` and `restore`: events from elsewhere, the log out and back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import attrs
import click
import msgspec

from actors.moving import (
    Imported,
    ImportReport,
    MoveFailed,
    Outcome,
    Rules,
    Skip,
    back_up,
    import_old,
    put_back,
)
from web.commands.failure import CommandFailed
from web.flags import flags_for
from web.moving_text import backup_text, import_text, restore_text
from web.parameters import TOPIC, shown
from web.payload import object_fault
from web.sources import read_settings
from web.steps import shown_steps
from web.terminal import open_console

__all__ = ["backup", "import_", "restore"]

SKIPS_KEPT_MAX = 1000
"""Lines that the report itself names; there may be millions."""

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
DIRECTORY = click.Path(path_type=Path)


@click.command("import")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option(
    "--skipped",
    "skipped_file",
    metavar="FILE",
    type=DIRECTORY,
    help="Write every line that is left out to this file, as JSON lines.",
)
@flags_for("data_dir", "segment_max_bytes", "reserved_bytes")
@AS_JSON
def import_(
    *, directory: Path, skipped_file: Path | None, as_json: bool, **flags: str | None
) -> None:
    """Take over the events of the earlier broker.

    DIR is the data directory of the one that was written in TypeScript. Taken over are the events
    in its events.log that are neither in committed.log nor dead, and the dead letters in dlq.log,
    with their ids, times, topics and retries. This broker must be stopped. Run again, it takes what
    has come since and doubles nothing; also after it was interrupted.
    """
    settings = read_settings(flags, os.environ).broker_settings()
    rules = Rules(object_fault, topic_fault)
    with _failing(), _skips(skipped_file) as skips, shown_steps() as steps:
        result = import_old(directory, settings, rules, skipped=skips.add, steps=steps)
    if as_json:
        _print_json(_import_json(result, skips))
    else:
        open_console().print(import_text(result, skips.first, skips.count))


@click.command()
@click.argument("target", metavar="DEST", type=DIRECTORY)
@flags_for("data_dir")
@AS_JSON
def backup(*, target: Path, as_json: bool, **flags: str | None) -> None:
    """Copy the log of a broker, running or not.

    DEST is a directory that is empty or does not exist. Everything that the broker had accepted
    when the backup began is in it; the broker is not held up. The copy is a data directory, and
    `restore` checks it and puts it in place.
    """
    data_dir = read_settings(flags, os.environ).data_dir
    with _failing(), shown_steps() as steps:
        report = back_up(data_dir, target, steps=steps)
    if as_json:
        _print_json({"target": str(target), **attrs.asdict(report)})
    else:
        open_console().print(backup_text(report, str(target)))


@click.command()
@click.argument("source", metavar="SOURCE", type=DIRECTORY)
@flags_for("data_dir")
@AS_JSON
def restore(*, source: Path, as_json: bool, **flags: str | None) -> None:
    """Check a backup, and put it in place.

    SOURCE is what `backup` made. The data directory must be empty or not exist: nothing is ever
    overwritten. All of the backup is checked before anything is copied. Receipts that were handed
    out after the backup was made are not valid afterwards.
    """
    data_dir = read_settings(flags, os.environ).data_dir
    with _failing(), shown_steps() as steps:
        report = put_back(source, data_dir, steps=steps)
    if as_json:
        _print_json({"data_dir": str(data_dir), **attrs.asdict(report)})
    else:
        open_console().print(restore_text(report, str(data_dir)))


def topic_fault(topic: str) -> str | None:
    """Say what is wrong with a topic; None if nothing is."""
    if TOPIC.fullmatch(topic) is not None:
        return None
    return f"{shown(topic)} is not 1 to 255 of the characters A-Z a-z 0-9 . _ - : and /"


@attrs.define
class _Skips:
    """The lines that were left out and should not be.

    Attributes:
        first: some of them.
        count: how many there are.
    """

    file: TextIO | None
    first: list[Skip] = attrs.field(factory=list)
    count: int = 0

    def add(self, skip: Skip) -> None:
        self.count += 1
        if len(self.first) < SKIPS_KEPT_MAX:
            self.first.append(skip)
        if self.file is not None:
            self.file.write(msgspec.json.encode(attrs.asdict(skip)).decode() + "\n")


@contextmanager
def _skips(path: Path | None) -> Iterator[_Skips]:
    if path is None:
        yield _Skips(None)
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror or error}.") from error
    with file:
        yield _Skips(file)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except MoveFailed as error:
        raise CommandFailed(str(error)) from error


def _import_json(result: Imported, skips: _Skips) -> dict[str, Any]:
    report: ImportReport = result.report
    return {
        "events": {str(outcome): report.events[outcome] for outcome in Outcome},
        "dead_letters": {str(outcome): report.dead[outcome] for outcome in Outcome},
        "committed_ids": report.committed,
        "finished_since": report.finished_since,
        "skipped_total": skips.count,
        "skipped": [attrs.asdict(skip) for skip in skips.first],
        "repairs": list(result.repairs),
    }


def _print_json(value: dict[str, Any]) -> None:
    click.echo(msgspec.json.encode(value))
