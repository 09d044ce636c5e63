"""Says how far the recovery of a large log has come, so that nobody takes it for hanging."""

import time

import structlog

TELL_EVERY_S = 1.0
"""How long it is silent between two lines, and before the first, seconds."""

_MIB = 1024 * 1024

_log = structlog.get_logger(__name__)


class RecoveryProgress:
    """Writes a line to the operator's log now and then. Called from the thread that reads."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: int, total: int, /) -> None:
        """Take note: `done` of `total` bytes were read."""
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_S:
            self._told = now
            _log.info(
                "reading the log",
                percent=round(100 * done / max(1, total)),
                mib=round(done / _MIB),
                of_mib=round(total / _MIB),
            )
