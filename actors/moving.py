"""Bringing events in from elsewhere, and logs out and back: the tools, without an engine.

Plain synchronous code: each of these may take minutes.
"""

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from actors.clock import system_wall
from actors.settings import BrokerSettings
from persistence import backup, restore
from persistence.backup import BackupReport
from persistence.errors import StorageError, reason
from persistence.importing import Import, ImportReport, Outcome, Skip
from persistence.log import EventLog, LogOptions
from persistence.old_broker import OldFiles, Rules
from persistence.posix_disk import PosixDisk
from persistence.restore import RestoreReport
from persistence.steps import Steps

__all__ = [
    "BackupReport",
    "ImportReport",
    "Imported",
    "MoveFailed",
    "Outcome",
    "RestoreReport",
    "Rules",
    "Skip",
    "Steps",
    "back_up",
    "import_old",
    "put_back",
]

_FILES_MAX = 65_536
"""Segments that a backup can have open, unless the system allows fewer."""


class MoveFailed(Exception):
    """It could not be done. The text is one sentence that says why and what to do."""


@attrs.frozen
class Imported:
    """What an import did.

    Attributes:
        report: with the records of the earlier broker.
        repairs: with the log when it was opened, in sentences for the operator.
    """

    report: ImportReport
    repairs: tuple[str, ...]


def import_old(
    directory: Path,
    settings: BrokerSettings,
    rules: Rules,
    *,
    skipped: Callable[[Skip], None],
    steps: Steps,
) -> Imported:
    """Take over what the earlier broker left in its data directory.

    Args:
        directory: of the earlier broker; it is only read.
        settings: of the broker that gets it; it must not be running.
        rules: what is accepted.
        skipped: is told of every line that is left out and should not be.
        steps: is told how far it comes.

    Raises:
        MoveFailed: it could not be done, or only in part. Another call goes on from there.
    """
    with _telling(directory):
        _check_directory(directory)
        if settings.data_dir.exists() and settings.data_dir.samefile(directory):
            raise MoveFailed(
                f"{directory} is the data directory of the broker itself: choose another one"
                " with --data-dir for it to begin in"
            )
        old = PosixDisk(directory)
        try:
            old.look()
            files = OldFiles.open(old)
            try:
                return _import(files, settings, rules, skipped, steps)
            finally:
                files.close()
        finally:
            old.close()


def _import(
    files: OldFiles,
    settings: BrokerSettings,
    rules: Rules,
    skipped: Callable[[Skip], None],
    steps: Steps,
) -> Imported:
    log = EventLog.open(
        PosixDisk(settings.data_dir),
        now=system_wall(),
        options=LogOptions(
            segment_max_bytes=settings.segment_max_bytes,
            compaction_ratio=settings.compaction_ratio,
            reserved_bytes=settings.reserved_bytes,
        ),
        progress=steps(f"opening {settings.data_dir}"),
    )
    try:
        work = Import(log, files, rules, wall=system_wall, skipped=skipped, steps=steps)
        return Imported(work.run(), tuple(log.repairs))
    finally:
        log.close()


def back_up(data_dir: Path, target: Path, *, steps: Steps) -> BackupReport:
    """Copy a log consistently, whether a broker uses it or not.

    Args:
        data_dir: where the log lies; it is only read.
        target: an empty directory, or none yet.
        steps: is told how far it comes.

    Raises:
        MoveFailed: it could not be done.
    """
    _allow_many_files()
    with _telling(target):
        _check_directory(data_dir)
        return backup.backup(PosixDisk(data_dir), PosixDisk(target), steps=steps)


def put_back(source: Path, data_dir: Path, *, steps: Steps) -> RestoreReport:
    """Check a backup, and make it the log of a data directory.

    Args:
        source: the backup; it is only read.
        data_dir: an empty directory, or none yet.
        steps: is told how far it comes.

    Raises:
        MoveFailed: it could not be done.
    """
    with _telling(data_dir):
        _check_directory(source)
        return restore.restore(
            PosixDisk(source), PosixDisk(data_dir), now=system_wall(), steps=steps
        )


def _check_directory(path: Path) -> None:
    if not path.is_dir():
        what = "is no directory" if path.exists() else "does not exist"
        raise MoveFailed(f"{path} {what}: nothing was done")


def _allow_many_files() -> None:
    """Allow this process as many open files as it may have: a backup holds each segment open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if most == resource.RLIM_INFINITY else min(most, _FILES_MAX)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turn what goes wrong into a sentence."""
    try:
        yield
    except StorageError as error:
        raise MoveFailed(str(error)) from error
    except OSError as error:
        where = os.fsdecode(error.filename) if error.filename else path
        raise MoveFailed(f"{where} could not be used ({reason(error)})") from error
