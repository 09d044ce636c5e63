"""The command line: `event-broker serve` and `event-broker config`."""

import os
import sys
import threading
from typing import NoReturn

import click
import structlog
import trio

from actors.engine import LogFailed, StartError
from actors.handler import HandlerError
from web.flags import SettingsCommand, setting_flags
from web.logs import set_up_logs
from web.observe import version
from web.serve import serve
from web.settings import Settings
from web.show import settings_toml
from web.sockets import ListenError
from web.sources import SettingsError, read_settings

__all__ = ["main"]

NAME = "event-broker"
OK, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130
# How long a stop at once may take before the process is ended from outside of trio.
LAST_RESORT_S = 2.0

log = structlog.get_logger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version(), "--version", prog_name=NAME, message="%(prog)s %(version)s")
def cli() -> None:
    """A durable event broker over HTTP: one process, a write-ahead log, leases and retries.

    Start it with `event-broker serve`. Settings come from flags, from environment variables and
    from a TOML file; flags win over the environment, the environment over the file.
    """


@cli.command(name="serve", cls=SettingsCommand)
@setting_flags
def serve_command(**flags: str | None) -> int:
    """Start the broker and serve its API until Ctrl-C or SIGTERM."""
    return run_broker(read_settings(flags, os.environ))


@cli.command(name="config", cls=SettingsCommand)
@click.option("--check", is_flag=True, help="Print nothing but whether the settings are valid.")
@setting_flags
def config_command(*, check: bool, **flags: str | None) -> int:
    """Print the effective settings, as a file that --config-file takes."""
    settings = read_settings(flags, os.environ)
    click.echo("The settings are valid." if check else settings_toml(settings), nl=check)
    return OK


def run_broker(settings: Settings) -> int:
    """Run the broker to its end and return the exit code; every failure is one line in the log."""
    set_up_logs(settings.log_level, settings.log_format)
    code = FAILED
    try:
        code = trio.run(serve, settings, _end_soon)
    except* HandlerError as group:
        log.error("cannot start", reason=f"EVENT_HANDLER: {_sentence(group)}")  # noqa: TRY400 - the reason is all
    except* (ListenError, StartError) as group:
        log.error("cannot start", reason=_sentence(group))  # noqa: TRY400 - the reason is all
    except* LogFailed as group:
        log.critical("the log failed, stopping", reason=_sentence(group))
    except* Exception as group:
        log.critical("crashed", exc_info=_first(group))
    return code


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _sentence(error: BaseException) -> str:
    return " ".join(str(_first(error)).split())


def _end_soon(code: int) -> None:
    """End the process in a moment, even if a thread hangs in a broken disk."""
    timer = threading.Timer(LAST_RESORT_S, os._exit, (code,))
    timer.daemon = True
    timer.start()


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
