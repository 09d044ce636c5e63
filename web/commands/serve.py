"""`event-broker serve`: one broker process, and what is said of its end."""

import os
import threading

import click
import structlog
import trio

from actors.engine import LogFailed, StartError
from actors.handler import HandlerError
from web.commands.failure import FAILED
from web.flags import SettingsCommand, setting_flags
from web.logs import set_up_logs
from web.serve import serve as serve_broker
from web.settings import Settings
from web.sockets import ListenError
from web.sources import read_settings

__all__ = ["serve"]

# How long a stop at once may take before the process is ended from outside of trio.
LAST_RESORT_S = 2.0

log = structlog.get_logger(__name__)


@click.command(cls=SettingsCommand)
@setting_flags
def serve(**flags: str | None) -> int:
    """Start the broker and serve its API until Ctrl-C or SIGTERM."""
    return run_broker(read_settings(flags, os.environ))


def run_broker(settings: Settings) -> int:
    """Run the broker to its end and return the exit code; every failure is one line in the log."""
    set_up_logs(settings.log_level, settings.log_format)
    code = FAILED
    try:
        code = trio.run(serve_broker, settings, _end_soon)
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
