"""What the demonstration prints: a progress bar while it runs, a table at the end."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scripts.demonstration.client import DeadLetter, Numbers
from scripts.demonstration.ledger import Balance
from scripts.demonstration.play import Play, Times

__all__ = ["books_agree", "follow", "progress_bars", "table"]

REFRESH_SECONDS = 0.1


@contextmanager
def progress_bars(console: Console) -> Iterator[Progress]:
    """Show bars while the block runs."""
    with Progress(
        TextColumn("{task.description}", justify="right"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        yield progress


async def follow(progress: Progress, play: Play) -> None:
    """Keep the bars where the play is, until cancelled."""
    published = progress.add_task("published", total=play.events)
    settled = progress.add_task("settled", total=play.events)
    said_killed = said_again = False
    try:
        while True:
            progress.update(published, completed=play.ledger.published)
            progress.update(settled, completed=play.ledger.settled)
            if play.times.killed and not said_killed:
                said_killed = True
                progress.print("[red]The broker was killed (SIGKILL).[/]")
            if play.times.ready_again and not said_again:
                said_again = True
                away = play.times.ready_again - play.times.killed
                progress.print(f"[green]It is back on the same data after {away:.1f} s.[/]")
            await trio.sleep(REFRESH_SECONDS)
    finally:
        progress.update(published, completed=play.ledger.published)
        progress.update(settled, completed=play.ledger.settled)


def books_agree(balance: Balance, numbers: Numbers) -> bool:
    """Whether the broker's own count is that of the ledger."""
    return (
        numbers.enqueued == balance.published + balance.stored_unanswered
        and numbers.acknowledged == balance.acknowledged + balance.perhaps_acknowledged
        and numbers.dead == balance.dead
        and numbers.waiting == numbers.leased == 0
    )


def table(
    balance: Balance, numbers: Numbers, letters: Sequence[DeadLetter], times: Times, refusals: int
) -> Table:
    """Return the result as a table."""
    reasons = Counter(letter.reason for letter in letters)
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    elapsed = max(times.settled - times.begun, 1e-9)
    publishing = max(times.published - times.begun, 1e-9)

    result = Table(title="What became of the events", title_justify="left")
    result.add_column("")
    result.add_column("count", justify="right")
    result.add_column("remarks", overflow="fold")

    def row(name: str, count: float, remark: str = "", *, wanted: int | None = None) -> None:
        style = "" if wanted is None else ("green" if count == wanted else "bold red")
        result.add_row(name, f"{count:,.0f}", remark, style=style)

    row("published", balance.published, "each answered with 202")
    row(
        "sent again",
        balance.lost_replies,
        f"the crash took the answer; {balance.stored_unanswered} of them were stored all the same",
    )
    row("refused for now", refusals, "answered with 503 and repeated")
    row("delivered", balance.delivered)
    row("redelivered", balance.redelivered, "after failures, forgotten leases and the crash")
    remark = ""
    if balance.perhaps_acknowledged:
        remark = f"and {balance.perhaps_acknowledged} whose confirmation the crash took"
    row("acknowledged", balance.acknowledged, remark)
    row("dead-lettered", balance.dead, why)
    result.add_section()
    row("lost", balance.lost, "neither acknowledged nor dead-lettered", wanted=0)
    row("payload mismatches", balance.mismatches, "byte for byte, topic included", wanted=0)
    row("delivered after acknowledgement", balance.resurrected, wanted=0)
    row("never sent, yet delivered", balance.strangers, wanted=0)
    row("both acknowledged and dead", balance.doubly_settled, wanted=0)
    agree = books_agree(balance, numbers)
    result.add_row(
        "the broker's own count",
        "agrees" if agree else "DIFFERS",
        f"enqueued {numbers.enqueued:,}, acknowledged {numbers.acknowledged:,}, "
        f"dead {numbers.dead:,}, waiting {numbers.waiting:,}, leased {numbers.leased:,}",
        style="green" if agree else "bold red",
    )
    result.add_section()
    row(
        "events per second",
        balance.published / elapsed,
        f"published, consumed, settled: {elapsed:.1f} s, the crash included",
    )
    row("published per second", balance.published / publishing, "each on disk before its answer")
    return result
