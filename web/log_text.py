"""What the tools for the log print for people."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.log_tools import Finding, Mended, Remedy, Repair, Statistics, Verification
from web.terminal import printable, wall_time

__all__ = ["mended_text", "plan_text", "statistics_text", "verification_text"]

SHOWN_MAX = 100
"""Lines of one kind that are printed; the rest is counted."""

ADVICE = (
    "The broker does not start with it. Check the disk; then restore a backup, or see what"
    " 'event-broker log repair' can keep: it changes nothing before you have chosen."
)
NEWER = "A newer version wrote some of it: use that version."


def verification_text(found: Verification) -> RenderableType:
    """Return what a check of the log has found."""
    state = "is sound" if found.sound else "is damaged"
    style = "bold" if found.sound else "bold red"
    parts: list[RenderableType] = [
        Text(f"The log in {printable(found.path)} {state}.", style=style),
        Text(
            f"{_count(len(found.catalog.segments), 'segment')}, {_count(found.facts, 'fact')} in"
            f" {_count(found.batches, 'batch', 'batches')}, {found.size:,} bytes, up to log"
            f" position {found.end}"
        ),
    ]
    damage = found.damage
    if damage:
        parts += [Text(), _findings(damage), Text(), Text(_advice(damage))]
    notes = [finding for finding in found.findings if not finding.is_damage]
    if notes:
        parts += [Text(), Text("No damage, but worth knowing:"), _findings(notes)]
    return Group(*parts)


def _advice(damage: Sequence[Finding]) -> str:
    return NEWER if all(finding.what.value == "newer" for finding in damage) else ADVICE


def _findings(findings: Sequence[Finding]) -> RenderableType:
    table = _table()
    table.add_column("file", overflow="fold")
    table.add_column("offset", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for finding in findings[:SHOWN_MAX]:
        size = "" if finding.size is None else f"{finding.size:,}"
        table.add_row(
            Text(printable(finding.file)),
            Text(str(finding.offset)),
            Text(size),
            Text(printable(finding.detail)),
        )
    return _with_rest(table, len(findings))


def statistics_text(found: Statistics) -> RenderableType:
    """Return what a log holds and takes."""
    segments = _table()
    segments.add_column("segment", justify="right")
    segments.add_column("file", no_wrap=True)
    for name in ("bytes", "live facts", "live bytes", "dead"):
        segments.add_column(name, justify="right", no_wrap=True)
    for one in found.segments:
        segments.add_row(
            str(one.number),
            Text(one.file),
            f"{one.size:,}",
            f"{one.live_facts:,}",
            f"{one.live_bytes:,}",
            f"{one.dead_share:.0%}",
        )
    segments.add_row(
        "", "all", f"{found.size:,}", "", f"{found.live_bytes:,}", f"{found.dead_share:.0%}"
    )
    totals = _table()
    totals.show_header = False
    totals.add_column(style="dim")
    totals.add_column()
    for name, value in _totals(found).items():
        totals.add_row(name, Text(value))
    parts: list[RenderableType] = [
        Text(f"The log in {printable(found.path)}", style="bold"),
        totals,
        Text(),
        segments,
    ]
    if found.damage:
        told = f"It is damaged in {_count(len(found.damage), 'place')}; these are the figures of"
        told += " what is left. 'event-broker log verify' says more."
        parts += [Text(), Text(told, style="bold red")]
    return Group(*parts)


def _totals(found: Statistics) -> dict[str, str]:
    snapshot = found.snapshot
    counters = ", ".join(f"{value:,} {name}" for name, value in found.counters.items())
    return {
        "events": f"{found.ready:,} ready, {found.delayed:,} delayed, {found.leased:,} leased,"
        f" {found.dead:,} dead",
        "topics": f"{found.topics:,}",
        "ever": counters,
        "processes": f"{found.boots:,}",
        "log position": f"{found.end}, on disk up to {found.synced}",
        "reserve": f"{found.reserve_size:,} bytes",
        "snapshot": "none"
        if snapshot is None
        else f"{snapshot.size:,} bytes of {wall_time(snapshot.created)}, at log position"
        f" {snapshot.end}",
    }


def plan_text(repair: Repair, path: str, remedy: Remedy | None) -> RenderableType:
    """Return what a repair would do, or is going to, and which choice there is if none is made."""
    plan = repair.plan
    where = printable(path)
    if plan.idle:
        return Text(f"The log in {where} is sound: there is nothing to mend.")
    parts: list[RenderableType] = []
    if plan.remarks:
        parts += [Text("What can be put right without losing anything:", style="bold")]
        parts += [Text(f"- {printable(remark)}") for remark in plan.remarks]
    if plan.torn:
        parts.append(Text(_torn(plan.torn_batches)))
    if plan.losses:
        parts += [
            Text(f"The log in {where} has lost something:", style="bold red"),
            _losses(repair),
            Text(),
        ]
        if remedy is None:
            parts.append(_choice(repair))
        if remedy is not Remedy.TRUNCATE:
            parts += _affected(repair)
    return Group(*parts)


def _torn(batches: int) -> str:
    told = "The log ends with a write that was cut short; nobody was promised it."
    if batches:
        whole = _count(batches, "whole batch", "whole batches")
        told += (
            f" Behind the place where that begins there are {whole}, which a start drops as well;"
            " --skip-damage keeps them."
        )
    return told


def _losses(repair: Repair) -> RenderableType:
    losses = repair.plan.losses
    table = _table()
    table.add_column("file", overflow="fold")
    for name in ("offset", "bytes", "log position"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for loss in losses[:SHOWN_MAX]:
        table.add_row(
            Text(printable(loss.file)),
            str(loss.offset),
            "?" if loss.size is None else f"{loss.size:,}",
            str(loss.position),
            Text(printable(loss.detail)),
        )
    return _with_rest(table, len(losses))


def _choice(repair: Repair) -> RenderableType:
    plan = repair.plan
    skip, cut = plan.skip, plan.truncate
    table = _table()
    table.add_column("choose", no_wrap=True, style="bold")
    table.add_column("what it does", overflow="fold")
    table.add_column("events left", justify="right", no_wrap=True)
    table.add_row(
        "--skip-damage",
        f"gives up {skip.size:,} bytes that are damaged or gone, and keeps what is before and"
        " behind; events that were done with may come back",
        f"{skip.events:,}",
    )
    if cut is not None:
        table.add_row(
            "--truncate",
            f"gives up everything from log position {plan.losses[0].position} on:"
            f" {cut.size:,} bytes, {_count(cut.facts, 'sound fact')} among them; the log is as it"
            " was at that time",
            f"{cut.events:,}",
        )
    return Group(table, Text("Either keeps the files as they are under other names."))


def _affected(repair: Repair) -> list[RenderableType]:
    affected = repair.plan.affected
    if not affected:
        return []
    parts: list[RenderableType] = [
        Text(),
        Text(
            f"{_count(len(affected), 'event')} can be told to be concerned by what"
            " --skip-damage gives up; there may be others:"
        ),
    ]
    table = _table()
    table.add_column("event", no_wrap=True)
    table.add_column("afterwards", overflow="fold")
    for event in affected[:SHOWN_MAX]:
        fate = "stays; its newest changes may be forgotten" if event.there else "lost"
        table.add_row(Text(printable(repair.name_of(event))), fate)
    return [*parts, _with_rest(table, len(affected))]


def mended_text(mended: Mended, path: str) -> RenderableType:
    """Return what a repair has done."""
    found = mended.verification
    state = "is mended, and sound" if found.sound else "is still damaged"
    parts: list[RenderableType] = [
        Text(f"The log in {printable(path)} {state}.", style="bold" if found.sound else "bold red")
    ]
    parts += [Text(f"- {printable(repair)}") for repair in mended.repairs]
    if mended.kept:
        parts.append(Text("Kept as it was, until you delete it:"))
        parts += [Text(f"- {printable(name)}") for name in mended.kept]
    if not found.sound:
        parts += [Text(), _findings(found.damage)]
    return Group(*parts)


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="dim")


def _with_rest(table: Table, count: int) -> RenderableType:
    if count <= SHOWN_MAX:
        return table
    return Group(table, Text(f"... and {count - SHOWN_MAX:,} more"))


def _count(count: int, one: str, more: str | None = None) -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {more or one + 's'}"
