"""The disk as the log sees it: a flat directory of files, and what may be relied upon.

Nothing is on disk until it is synced: bytes by `File.sync`, and names (created, renamed, removed)
by `Disk.sync_directory`. Every operation may raise `OSError`. Several threads may use one disk
at the same time, each changing files of its own; any number may read meanwhile, also from the same
open file. Who closes a file sees to it that nobody reads it any more.
"""

import contextlib
import errno
from collections.abc import Iterable
from typing import Protocol, TypeAlias

Bytes: TypeAlias = bytes | bytearray | memoryview
"""What can be written."""

LOCK_NAME = "lock"
"""The file that is locked; never among a disk's names."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The numbers of errors that say that there is no room, on the disk or for this user."""


class File(Protocol):
    """An open file.

    Attributes:
        name: its name in the directory when it was opened, for people. Who renames an open file
            sets it anew.
    """

    name: str

    def size(self) -> int:
        """Tell its length in bytes."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset`; fewer only where the file ends."""
        ...

    def write(self, offset: int, data: Bytes) -> None:
        """Write all of `data` at `offset`, with zeros in a gap before it.

        Raises:
            OSError: perhaps after a part was written.
        """
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes, or lengthen it with zeros."""
        ...

    def sync(self) -> None:
        """Force its bytes and length to the disk; its name is the directory's business.

        Raises:
            OSError: what was written since the last sync may or may not be on disk, and another
                sync would not tell.
        """
        ...

    def close(self) -> None:
        """Let go of it, without a sync. Idempotent."""
        ...


class Disk(Protocol):
    """One directory, used by one process at a time."""

    @property
    def path(self) -> str:
        """What to call it in front of people."""
        ...

    def lock(self) -> None:
        """Take the directory for this process; this or `look` comes before anything else.

        Raises:
            DataDirectoryLocked: somebody has it.
            DataDirectoryUnusable: it cannot be created, entered or written.
        """
        ...

    def look(self) -> None:
        """Attach to the directory for reading, whoever has it; nothing is locked or created.

        Whatever could change something then raises `OSError`, `open` included. The process that
        has the directory may change it at any moment.

        Raises:
            DataDirectoryUnusable: it does not exist, or cannot be read.
        """
        ...

    def names(self) -> list[str]:
        """Tell the files' names in sorted order, without the lock's."""
        ...

    def free(self) -> int | None:
        """Tell how many bytes more fit, None if there is no limit. Quotas do not show here."""
        ...

    def open(self, name: str) -> File:
        """Open an existing file for reading and writing.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def open_to_read(self, name: str) -> File:
        """Open an existing file for reading alone: whatever would change it raises `OSError`.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def create(self, name: str) -> File:
        """Create an empty file.

        Raises:
            FileExistsError: the name is taken.
        """
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what bore it, at once."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file's name."""
        ...

    def sync_directory(self) -> None:
        """Force the names to the disk."""
        ...

    def close(self) -> None:
        """Let go of the directory. Idempotent; files stay open until they are closed themselves."""
        ...


def create_whole(disk: Disk, name: str, pieces: Iterable[Bytes]) -> None:
    """Create or replace a file so that after a crash it is whole, or as it was.

    The order is what counts: the bytes are synced before they get the name, and the name is synced
    before anybody is told (ALICE, OSDI 2014, lists what breaks otherwise).

    Args:
        disk: a locked disk.
        name: the file's name; `temporary(name)` is used on the way.
        pieces: the whole content, in order.
    """
    create_aside(disk, name, pieces).close()
    disk.rename(temporary(name), name)
    disk.sync_directory()


def create_aside(disk: Disk, name: str, pieces: Iterable[Bytes]) -> File:
    """Write and sync the whole content of a file under its temporary name.

    If there is no room the space is given back, and nothing has changed.

    Args:
        disk: a locked disk.
        name: the name that the file will get.
        pieces: the whole content, in order.

    Returns:
        The open file; the caller renames it from `temporary(name)`, and closes it.
    """
    aside = temporary(name)
    if aside in disk.names():
        disk.remove(aside)
    file = disk.create(aside)
    try:
        at = 0
        for piece in pieces:
            file.write(at, piece)
            at += len(piece)
        file.sync()
    except BaseException:
        file.close()
        with contextlib.suppress(OSError):  # what stays is removed by the next who comes here
            disk.remove(aside)
        raise
    return file


def read_whole(disk: Disk, name: str) -> bytes:
    """Give the content of a small file.

    Raises:
        FileNotFoundError: there is none.
    """
    file = disk.open_to_read(name)
    try:
        return file.read(0, file.size())
    finally:
        file.close()


def temporary(name: str) -> str:
    """Tell the name under which `name` is written before it is whole."""
    return f"{name}.new"
