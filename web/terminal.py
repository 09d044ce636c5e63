"""What commands print for people: one way to write a time, and nothing that drives a terminal."""

import datetime as dt
import sys

from rich.console import Console

__all__ = ["open_console", "printable", "wall_time"]

# A file has no width of its own; lines are folded only where they get very long.
FILE_COLUMNS = 160


def open_console() -> Console:
    """Return standard output with colours on a terminal, and plain text elsewhere."""
    width = None if sys.stdout.isatty() else FILE_COLUMNS
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def printable(text: str) -> str:
    """Return the text with everything escaped that is not a visible character or a space.

    What clients wrote may hold control sequences, and a terminal would obey them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def wall_time(ms: int) -> str:
    """Return a wall time in milliseconds since the epoch as UTC, to the millisecond."""
    try:
        moment = dt.datetime.fromtimestamp(ms // 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):  # further away than the calendar goes
        return f"{ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}Z"
