"""Signals: the first asks for an orderly stop, the second ends everything, the third kills."""

import signal
from collections.abc import Callable

import structlog
import trio

__all__ = ["Stopping"]

log = structlog.get_logger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """What the process was asked to do.

    Attributes:
        asked: set by the first signal.
        everything: the scope that the second one cancels.
        exit_code: of the process.
    """

    def __init__(self, last_resort: Callable[[int], None]) -> None:
        self._last_resort = last_resort
        self._orderly = False
        self.asked = trio.Event()
        self.everything = trio.CancelScope()
        self.exit_code = 0

    def be_orderly(self) -> None:
        """From now on the first signal is answered by whoever waits for `asked`."""
        self._orderly = True

    async def watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Receive signals until the second one.

        After it signals have their default effect, and `last_resort` was called with the exit
        code: it sees to it that the process ends even if something cannot be cancelled.
        """
        with trio.open_signal_receiver(*SIGNALS) as received:
            task_status.started()
            async for number in received:
                name = signal.Signals(number).name
                if self.asked.is_set():
                    log.warning("stopping at once", signal=name)
                    self.exit_code = 128 + number
                    break
                log.info("stopping", signal=name)
                self.asked.set()
                if not self._orderly:  # nothing has begun that would have to finish
                    self.everything.cancel()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._last_resort(self.exit_code)
        self.everything.cancel()
