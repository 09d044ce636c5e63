"""The command behind scripts/bench."""

import click

from scripts.benchmarks.storage import storage


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def bench() -> None:
    """Measure the broker on this machine. Figures are for comparing, not for promising."""


bench.add_command(storage)

if __name__ == "__main__":
    bench(prog_name="scripts/bench")
