"""How far a command has come: a bar for each step on a terminal, a line for each elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from actors.moving import Steps
from web.terminal import printable

__all__ = ["shown_steps"]

Tell: TypeAlias = Callable[[int, int], None]


@contextmanager
def shown_steps() -> Iterator[Steps]:
    """Show steps on standard error for a block's time; standard output is for the result."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def __call__(self, what: str, /) -> Tell:
        task: TaskID = self._bars.add_task(printable(what), total=None)

        def tell(done: int, total: int, /) -> None:
            # A bar whose total is nothing is never full.
            self._bars.update(task, completed=done or not total, total=total or 1)

        return tell


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, what: str, /) -> Tell:
        told = False

        def tell(_done: int, total: int, /) -> None:
            nonlocal told
            if not told:  # only the first call: now it is known how much it will be
                told = True
                self._console.print(f"{printable(what)}: {total:,} bytes", soft_wrap=True)

        return tell
