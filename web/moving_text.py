"""What an import, a backup or a restore did, as text for people."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.moving import BackupReport, Imported, ImportReport, Outcome, RestoreReport, Skip
from web.terminal import printable

__all__ = ["SKIPS_SHOWN_MAX", "backup_text", "import_text", "restore_text"]

SKIPS_SHOWN_MAX = 20

OUTCOMES = {
    Outcome.TAKEN: "taken over",
    Outcome.EARLIER: "dealt with by an earlier import",
    Outcome.COMMITTED: "done with, so not taken",
    Outcome.DEAD: "dead letters, taken from dlq.log",
    Outcome.HERE: "not taken: there is an event with this id",
    Outcome.FAULTY: "not taken: not valid",
}


def import_text(result: Imported, skips: Sequence[Skip], skips_total: int) -> RenderableType:
    """Return what came of each record, and the lines that were left out and should not be.

    Args:
        result: of the import.
        skips: the first of these lines.
        skips_total: how many there are.
    """
    report = result.report
    events = _count(report.events[Outcome.TAKEN], "event")
    dead = _count(report.dead[Outcome.TAKEN], "dead letter")
    headline = f"{events} and {dead} have been taken over."
    parts: list[RenderableType] = [Text(headline, style="bold"), _outcomes(report)]
    if report.finished_since:
        parts.append(
            Text(
                "Taken over by an earlier import, committed there since, and still here to be"
                f" delivered: {_count(report.finished_since, 'event')}.",
                style="yellow",
            )
        )
    if skips_total:
        parts += [Text(), Text("Lines that were left out:"), _skips(skips[:SKIPS_SHOWN_MAX])]
        rest = skips_total - SKIPS_SHOWN_MAX
        if rest > 0:
            parts.append(Text(f"... and {rest:,} more; --skipped FILE writes them all to a file"))
    parts += [Text(f"The log was repaired first: {printable(text)}.") for text in result.repairs]
    return Group(*parts)


def _outcomes(report: ImportReport) -> Table:
    table = _table()
    table.add_column("")
    for name in ("events.log", "dlq.log"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome, label in OUTCOMES.items():
        events, dead = report.events[outcome], report.dead[outcome]
        if events or dead or outcome is Outcome.TAKEN:
            table.add_row(label, f"{events:,}", f"{dead:,}")
    return table


def _skips(skips: Sequence[Skip]) -> Table:
    table = _table()
    table.add_column("file", no_wrap=True)
    table.add_column("line", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for skip in skips:
        table.add_row(skip.file, f"{skip.line:,}", Text(printable(skip.reason)))
    return table


def backup_text(report: BackupReport, target: str) -> RenderableType:
    """Return what was copied."""
    parts: list[RenderableType] = [
        Text(f"The backup is in {printable(target)}.", style="bold"),
        _rows(
            {
                "segments": f"{report.segments:,}",
                "size": f"{report.size:,} bytes",
                "up to log position": str(report.end),
            }
        ),
    ]
    if not report.synced:
        parts.append(
            Text(
                "The original did not say that all of this is on its own disk: its broker does not"
                " run, or does not sync. What was written is in the backup, and that is synced."
            )
        )
    return Group(*parts)


def restore_text(report: RestoreReport, data_dir: str) -> RenderableType:
    """Return what was put in place."""
    rows = {
        "segments": f"{report.segments:,}",
        "size": f"{report.size:,} bytes",
        "waiting": _count(report.waiting, "event"),
        "with consumers": _count(report.leased, "event"),
        "dead letters": f"{report.dead:,}",
    }
    if report.left_out:
        rows["left out"] = f"{report.left_out:,} bytes of a write that was cut short"
    headline = f"The backup is whole, and is now the log in {printable(data_dir)}."
    return Group(Text(headline, style="bold"), _rows(rows))


def _rows(rows: dict[str, str]) -> Table:
    table = _table()
    table.show_header = False
    table.add_column("", style="dim", no_wrap=True)
    table.add_column("")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="dim")


def _count(count: int, one: str) -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {one}s"
