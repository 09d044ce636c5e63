"""The command behind scripts/demo."""

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import attrs
import click
import trio
from rich.console import Console

from scripts.demonstration.client import DeadLetter, Numbers
from scripts.demonstration.payloads import fetch, load
from scripts.demonstration.play import Play
from scripts.demonstration.process import BrokerProcess, free_port
from scripts.demonstration.report import books_agree, follow, progress_bars, table

CACHE = Path(__file__).resolve().parents[2] / ".cache"

BROKER_SETTINGS = {
    # Short times, so that failures and forgotten leases show within the demonstration.
    "VISIBILITY_TIMEOUT_MS": "2000",
    "BASE_BACKOFF_MS": "50",
    "MAX_BACKOFF_MS": "1000",
    "MAX_RETRIES": "5",
}


@attrs.frozen
class Options:
    """What the command line says."""

    events: int
    publishers: int
    consumers: int
    seed: int
    payloads: Path | None
    port: int
    queue_max_size: int


@click.command(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    }
)
@click.option("--events", type=click.IntRange(2), default=5000, help="How many to publish.")
@click.option("--publishers", type=click.IntRange(1, 100), default=8, help="Side by side.")
@click.option("--consumers", type=click.IntRange(1, 100), default=6, help="Side by side.")
@click.option("--seed", type=int, default=1, help="Decides which deliveries fail.")
@click.option(
    "--payloads",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The webhooks: the npm package's .tgz or its index.json. Default: fetched with npm.",
)
@click.option("--keep", is_flag=True, help="Keep the data directory and the broker's log.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free one.")
@click.option(
    "--queue-max-size",
    type=click.IntRange(1),
    default=10_000,
    help="The broker's QUEUE_MAX_SIZE; a small one shows how publishers are held back.",
)
def main(*, keep: bool, **options: object) -> None:
    """Publish real webhooks, consume them with failures, kill the broker half way, keep the books.

    Exits with 1 if an event was lost, changed, invented, or delivered after its acknowledgement.
    """
    console = Console(highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="event-broker-demo-"))
    with ExitStack() as stack:
        if keep:
            console.print(f"Data and the broker's log stay in {directory}")
        else:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            good = trio.run(_demonstrate, console, directory, Options(**options))  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            raise _first(group) from None
    sys.exit(0 if good else 1)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _demonstrate(console: Console, directory: Path, options: Options) -> bool:
    webhooks = load(options.payloads or fetch(CACHE))
    topics = {webhook.name for webhook in webhooks}
    console.print(
        f"{options.events:,} events out of {len(webhooks)} webhooks on {len(topics)} topics, "
        f"{options.publishers} publishers, {options.consumers} consumers."
    )
    broker = BrokerProcess(
        directory,
        options.port or free_port(),
        {**BROKER_SETTINGS, "QUEUE_MAX_SIZE": str(options.queue_max_size)},
    )
    play = Play(
        broker=broker,
        webhooks=webhooks,
        events=options.events,
        publishers=options.publishers,
        consumers=options.consumers,
        seed=options.seed,
    )
    await broker.start()
    try:
        with progress_bars(console) as progress:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, progress, play)
                nursery.start_soon(broker.must_live)
                finished = await play.run()
                letters, numbers = await _look_back(play)
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            exit_code = await broker.stop()
    balance = play.ledger.balance()
    console.print(table(balance, numbers, letters, play.times, play.refusals))
    if not finished:
        console.print("[bold red]Nothing happened for a minute; what is missing counts as lost.[/]")
    if exit_code != 0:
        console.print(f"[bold red]The broker did not stop cleanly: exit code {exit_code}.[/]")
    return (
        balance.clean
        and balance.published == play.events
        and books_agree(balance, numbers)
        and finished
        and exit_code == 0
    )


async def _look_back(play: Play) -> tuple[list[DeadLetter], Numbers]:
    """Fetch the dead letters and the broker's own count, and enter the dead in the ledger."""
    async with play.connect() as client:
        letters = await client.dead_letters()
        for letter in letters:
            record = letter.record
            play.ledger.dead(record.id, record.topic, bytes(record.payload))
        return letters, await client.numbers()


if __name__ == "__main__":
    main(prog_name="scripts/demo")
