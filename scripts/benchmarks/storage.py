"""`scripts/bench storage`: what the log costs in disk, memory and time.

Each figure is taken in a process of its own, so that none carries the memory of another.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

Figures = dict[str, float]
Note = Callable[[str, str], None]
"""Takes down what was measured, and the figure."""

_MIB = 1024 * 1024


def measure(name: str, directory: Path, **options: float | str) -> Figures:
    """Run one measurement in a process of its own.

    Args:
        name: a function in `scripts.benchmarks.measurements`.
        directory: a data directory.
        options: its further arguments.
    """
    command = [sys.executable, "-m", "scripts.benchmarks.measurements", name, str(directory)]
    command += [f"{key}={value}" for key, value in options.items()]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    # The broker's own log lines come before.
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Give a directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield directory / "data"
    finally:
        shutil.rmtree(directory)


@click.command()
@click.option("--events", type=click.IntRange(1000), default=1_000_000, help="In each backlog.")
@click.option("--passing", type=click.IntRange(1000), default=300_000, help="To pass through.")
@click.option("--alive", type=click.IntRange(0), default=10_000, help="Left of these.")
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory on the disk to measure; the system's temporary one by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def storage(
    events: int, passing: int, alive: int, directory: Path | None, *, as_json: bool
) -> None:
    """Disk use, memory for each event, recovery and cold consumption."""
    console = Console(stderr=as_json)
    rows: list[tuple[str, str]] = []

    def note(what: str, figure: str) -> None:
        rows.append((what, figure))
        console.print(f"  {what}: [bold]{figure}[/bold]", highlight=False)

    with scratch(directory) as data:
        rate = measure("sync_rate", data)
    note("syncs of 4 KiB a second (median)", f"{rate['per_second']:,.0f}")
    _passing(note, directory, passing, min(alive, passing))
    for place, topics in (("ready", 1), ("ready", 10_000), ("delayed", 1), ("dead", 1)):
        with scratch(directory) as data:
            _backlog(note, data, events, place, topics)
    if as_json:
        click.echo(json.dumps(dict(rows), indent=2))
    else:
        table = Table("measured", "figure", title="Storage")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _passing(note: Note, directory: Path | None, passing: int, alive: int) -> None:
    with scratch(directory) as data:
        found = measure("pass_through", data, events=passing, alive=alive)
    note(f"{passing:,} events through the engine, a second", f"{found['per_second']:,.0f}")
    note("  segments left", f"{found['segments']:.0f}")
    note("  disk use", f"{found['bytes'] / _MIB:.1f} MiB, live {found['live'] / _MIB:.1f} MiB")
    note("  written in all", f"{found['written'] / _MIB:.1f} MiB")


def _backlog(note: Note, data: Path, events: int, place: str, topics: int) -> None:
    what = f"{events:,} {place} events in {topics:,} topics"
    measure("fill", data, events=events, place=place, topics=topics)
    empty = measure("open_engine", data.with_name("empty"))
    cold = measure("open_engine", data)
    note(f"{what}: bytes of memory each", f"{(cold['rss'] - empty['rss']) / events:.1f}")
    note("  full garbage collection", f"{cold['gc_ms']:.1f} ms")
    note("  recovery from the log", f"{cold['open_s']:.2f} s")
    kept = measure("take_snapshot", data)
    note("  taking a snapshot", f"{kept['seconds']:.2f} s, {kept['extra'] / _MIB:.1f} MiB more")
    note("  longest stall meanwhile", f"{kept['stall_ms']:.1f} ms")
    warm = measure("open_engine", data)
    note("  recovery with the snapshot", f"{warm['open_s']:.2f} s")
    if place == "ready":
        found = measure("consume_cold", data, events=min(events, 200_000))
        note("  cold, consumed and acknowledged a second", f"{found['per_second']:,.0f}")
