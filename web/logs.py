"""Logging: structlog for us and for the standard library, to standard error.

A terminal gets readable lines, everything else one JSON object a line.
"""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

__all__ = ["set_up_logs"]

# What only matters to those who debug them.
QUIET = ("hypercorn.error", "hypercorn.access", "quart.app", "quart.serving", "hpack")


def set_up_logs(level: str, style: str, stream: TextIO | None = None) -> None:
    """Route structlog and the standard library's logging to one place.

    Args:
        level: the least level that is logged.
        style: `json`, `console`, or `auto`: console on a terminal.
        stream: standard error unless given.
    """
    out = stream or sys.stderr
    console = style == "console" or (style == "auto" and out.isatty())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(console=console, colors=console and out.isatty()),
        ],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _renderers(*, console: bool, colors: bool) -> list[Processor]:
    if console:
        return [
            structlog.dev.ConsoleRenderer(
                colors=colors, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _important_first,
        structlog.processors.JSONRenderer(),
    ]


def _important_first(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Put what every line has before what only this one has."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "message") if name in event}
    return {**first, **event}
