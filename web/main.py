"""The command line: which commands there are, and how each of them may end."""

import os
import sys
from typing import NoReturn

import click

from web.commands.config import config
from web.commands.events import events
from web.commands.failure import FAILED, CommandFailed
from web.commands.log import log
from web.commands.moving import backup, import_, restore
from web.commands.serve import serve
from web.observe import version
from web.sources import SettingsError

__all__ = ["main"]

NAME = "event-broker"
OK, BAD_USAGE, INTERRUPTED = 0, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version(), "--version", prog_name=NAME, message="%(prog)s %(version)s")
def cli() -> None:
    """A durable event broker over HTTP: one process, a write-ahead log, leases and retries.

    Start it with `event-broker serve`. Settings come from flags, from environment variables and
    from a TOML file; flags win over the environment, the environment over the file.
    """


for _command in (serve, config, events, log, import_, backup, restore):
    cli.add_command(_command)


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code; every failure is one line on standard error."""
    try:
        result = cli.main(arguments, prog_name=NAME, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return BAD_USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else NAME
        _complain(f"{error.format_message()} See '{command} --help'.")
        return BAD_USAGE
    except (click.ClickException, SettingsError) as error:
        _complain(str(error))
        return BAD_USAGE
    except CommandFailed as error:
        _complain(str(error))
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return result if isinstance(result, int) else OK


def _complain(text: str) -> None:
    click.echo(f"{NAME}: {' '.join(text.split())}", err=True)


def main() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(run_command())
