"""What can go wrong with the data directory. Every message is a sentence for the operator."""

import errno
import os


class StorageError(Exception):
    """The log cannot do what was asked. The message says what happened, where, and what to do."""


class DataDirectoryLocked(StorageError):
    """Another process, or another log in this one, has the data directory."""

    def __init__(self, path: str, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"data directory {path} is in use by {holder}:"
            " stop that one, or choose another directory"
        )
        self.path = path
        self.pid = pid


class DataDirectoryUnusable(StorageError):
    """The data directory cannot be created, entered or written."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(
            f"data directory {path} cannot be used ({detail}):"
            " make it a directory that this user may write, or choose another one"
        )
        self.path = path


_TOOLS = (
    "'event-broker log verify' finds all that is wrong,"
    " 'event-broker log repair' mends what can be mended"
)


class LogDamaged(StorageError):
    """Bytes that were safely on disk are not what was written. Nothing has been changed.

    Attributes:
        file: path of the damaged file.
        offset: of the first byte that cannot be trusted.
        detail: what is wrong with it.
    """

    def __init__(
        self,
        file: str,
        offset: int,
        detail: str,
        advice: str = "restore the file from a backup; nothing was changed",
    ) -> None:
        super().__init__(f"{file} is damaged at offset {offset} ({detail}): {advice}; {_TOOLS}")
        self.file = file
        self.offset = offset
        self.detail = detail


class NoLog(StorageError):
    """There is no log in the directory."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no log in {path}: is that the right data directory?")
        self.path = path


class CannotMend(StorageError):
    """A repair does not know what to do."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(
            f"the log in {path} cannot be mended ({detail}):"
            " restore the whole directory from a backup; nothing was changed"
        )


class FormatTooNew(StorageError):
    """The file was written by a later version of this program."""

    def __init__(self, file: str, offset: int, detail: str) -> None:
        super().__init__(
            f"{file} was written by a newer version ({detail} at offset {offset}):"
            " start that version instead; nothing was changed"
        )
        self.file = file
        self.offset = offset


class ReadFailed(StorageError):
    """The operating system could not read."""

    def __init__(self, file: str, cause: OSError | str) -> None:
        super().__init__(
            f"reading {file} failed ({reason(cause)}): check the disk, then start again"
        )
        self.file = file


class WriteFailed(StorageError):
    """The operating system could not write. No part of what was to be written counts.

    Attributes:
        errno: the operating system's number for the reason (`errno.ENOSPC` for a full disk), or
            None if the log itself refused.
    """

    def __init__(self, file: str, offset: int, cause: OSError | str) -> None:
        super().__init__(
            f"writing {file} at offset {offset} failed ({reason(cause)}):"
            " free space or check the disk"
        )
        self.file = file
        self.offset = offset
        self.errno = cause.errno if isinstance(cause, OSError) else None

    @property
    def full(self) -> bool:
        """Whether there was no room, on the disk or within a quota."""
        return self.errno in {errno.ENOSPC, errno.EDQUOT}


class SyncFailed(StorageError):
    """The operating system could not force bytes to the disk; which of them are there is unknown.

    It is never tried again: after a failure Linux file systems forget which pages were at fault,
    and a second attempt succeeds without writing them.
    """

    def __init__(self, file: str, cause: OSError | str) -> None:
        super().__init__(
            f"syncing {file} failed ({reason(cause)}):"
            " the log accepts nothing more; check the disk, then start again"
        )
        self.file = file


class Undecodable(Exception):
    """Bytes that pass their checksum and still mean nothing. Never leaves this room.

    `persistence.log` knows the file and turns it into `LogDamaged`.

    Attributes:
        position: log position of the first byte that makes no sense.
        detail: why.
    """

    def __init__(self, position: int, detail: str) -> None:
        super().__init__(f"{detail} at log position {position}")
        self.position = position
        self.detail = detail


class NewerFormat(Undecodable):
    """Bytes that a later version would understand. Becomes `FormatTooNew`."""


def reason(cause: OSError | str) -> str:
    """Say in a few words why the operating system refused."""
    if isinstance(cause, str):
        return cause
    if cause.strerror:
        return cause.strerror.lower()
    return os.strerror(cause.errno).lower() if cause.errno else type(cause).__name__
