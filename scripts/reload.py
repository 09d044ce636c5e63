"""Runs a command, and runs it anew whenever the broker's code changes: `reload.py COMMAND ...`."""

import shlex
import sys
from pathlib import Path

from watchfiles import PythonFilter, run_process

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("actors", "persistence", "web")

STOP_SECONDS_MAX = 35
"""How long the broker may take to stop: its own limit is 30 seconds unless told otherwise."""


def main() -> None:
    """Start the command and watch, until a signal ends both."""
    run_process(
        *(ROOT / room for room in ROOMS),
        target=shlex.join(sys.argv[1:]),
        target_type="command",
        watch_filter=PythonFilter(),
        callback=lambda changes: print(
            "Changed:", ", ".join(sorted({Path(path).name for _, path in changes})), file=sys.stderr
        ),
        sigint_timeout=STOP_SECONDS_MAX,
    )


if __name__ == "__main__":
    main()
