"""Tools for the log in a data directory, whether a broker has it or not. No engine is started.

Plain synchronous code: each of these may take minutes for a large log.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs

from actors.clock import system_wall
from actors.ids import EventIds
from persistence import dumping
from persistence.affected import Affected
from persistence.disk import Disk
from persistence.dumping import KINDS, Dump
from persistence.errors import StorageError, reason
from persistence.mending import Mended, mend
from persistence.mending_plan import Loss, Outlook, Plan, Remedy, make_plan
from persistence.posix_disk import PosixDisk
from persistence.progress import Progress, no_progress
from persistence.statistics import Statistics, statistics
from persistence.verifying import Finding, Verification, What, verify

__all__ = [
    "KINDS",
    "Finding",
    "LogDump",
    "LogToolError",
    "Loss",
    "Mended",
    "Outlook",
    "Plan",
    "Progress",
    "Remedy",
    "Repair",
    "Selection",
    "Statistics",
    "Verification",
    "What",
    "measure_log",
    "open_dump",
    "open_repair",
    "verify_log",
]

T = TypeVar("T")


class LogToolError(Exception):
    """The log could not be worked on. The text is one sentence that says why and what to do."""


@attrs.frozen
class Selection:
    """Which facts are wanted; all by default, and only those that fit everything that is given.

    Attributes:
        event_id: about this event.
        topic: about events of this topic, as far as the log still says which those are.
        kinds: of these kinds, see `KINDS`; none means all.
        start: from this log position on.
        payloads: with the payloads of events.
    """

    event_id: str | None = None
    topic: str | None = None
    kinds: frozenset[str] = frozenset()
    start: int = 0
    payloads: bool = True


def verify_log(data_dir: Path, progress: Progress = no_progress) -> Verification:
    """Check a log; a broker may be using it.

    Raises:
        LogToolError: there is none, or it could not be read.
    """
    return _looking(data_dir, lambda disk: verify(disk, progress))


def measure_log(data_dir: Path, progress: Progress = no_progress) -> Statistics:
    """Tell what a log holds; a broker may be using it.

    Raises:
        LogToolError: there is none, or it could not be read.
    """
    return _looking(data_dir, lambda disk: statistics(disk, now=system_wall(), progress=progress))


class LogDump:
    """The facts of a log: iterate over records.

    A record is what JSON has, but for `payload`: those are the bytes that were published.

    Attributes:
        skipped: what could not be given; complete after the last record.
    """

    def __init__(self, disk: Disk, selection: Selection) -> None:
        wanted = dumping.Selection(
            topic=selection.topic,
            kinds=selection.kinds,
            start=selection.start,
            payloads=selection.payloads,
        )
        dump = Dump(disk, wanted)
        self._ids = EventIds(dump.key)
        if selection.event_id is not None:
            number = self._ids.number(selection.event_id)
            foreign_id = selection.event_id if number is None else None
            dump = Dump(disk, attrs.evolve(wanted, number=number, foreign_id=foreign_id))
        self._dump = dump
        self.skipped: list[Finding] = dump.skipped

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            for dumped in self._dump:
                record = dumped.record
                if dumped.timestamp is not None and record["id"] is None:
                    record["id"] = self._ids.write(dumped.number, dumped.timestamp)
                yield record
        except StorageError as error:
            raise LogToolError(str(error)) from error


@contextmanager
def open_dump(data_dir: Path, selection: Selection) -> Iterator[LogDump]:
    """Read the facts of a log; a broker may be using it.

    Raises:
        LogToolError: there is none, or it could not be read; perhaps under way.
    """
    disk = PosixDisk(data_dir)
    try:
        with _telling(data_dir):
            disk.look()
            dump = LogDump(disk, selection)
        yield dump
    finally:
        disk.close()


class Repair:
    """A log that nobody else has, and what a repair of it would do.

    Attributes:
        plan: what there is to do.
    """

    def __init__(self, disk: Disk, data_dir: Path, plan: Plan) -> None:
        self.plan = plan
        self._disk = disk
        self._data_dir = data_dir
        self._ids = EventIds(plan.tidied.catalog.key)

    def carry_out(self, remedy: Remedy | None) -> Mended:
        """Do it.

        Raises:
            LogToolError: it could not be done.
        """
        with _telling(self._data_dir):
            return mend(self._disk, self.plan, remedy, now=system_wall())

    def name_of(self, event: Affected) -> str:
        """Give what to call an event: its id, if that is known."""
        if event.foreign_id is not None:
            return event.foreign_id
        if event.timestamp is None:
            return f"number {event.number}"
        return self._ids.write(event.number, event.timestamp)


@contextmanager
def open_repair(data_dir: Path, progress: Progress = no_progress) -> Iterator[Repair]:
    """Take a log that no broker has, and look what there is to repair.

    Raises:
        LogToolError: somebody has it, it could not be read, or nobody knows what to do.
    """
    disk = PosixDisk(data_dir)
    try:
        with _telling(data_dir):
            disk.look()  # a lock would create the directory
            disk.lock()
            plan = make_plan(disk, progress)
        yield Repair(disk, data_dir, plan)
    finally:
        disk.close()


def _looking(data_dir: Path, work: Callable[[Disk], T]) -> T:
    disk = PosixDisk(data_dir)
    try:
        with _telling(data_dir):
            disk.look()
            return work(disk)
    finally:
        disk.close()


@contextmanager
def _telling(data_dir: Path) -> Iterator[None]:
    """Turn what goes wrong into a sentence."""
    try:
        yield
    except StorageError as error:
        raise LogToolError(str(error)) from error
    except OSError as error:
        raise LogToolError(f"the log in {data_dir} could not be read ({reason(error)})") from error
