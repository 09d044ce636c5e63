"""The disk as the log sees it: a flat directory of files, and what may be relied upon.

Nothing is on disk until it is synced: bytes by `File.sync`, and names (created, renamed, removed)
by `Disk.sync_directory`. Every operation may raise `OSError`. One thread at a time.
"""

from collections.abc import Iterable
from typing import Protocol, TypeAlias

Bytes: TypeAlias = bytes | bytearray | memoryview
"""What can be written."""

LOCK_NAME = "lock"
"""The file that is locked; never among a disk's names."""


class File(Protocol):
    """An open file."""

    @property
    def name(self) -> str:
        """Its name in the directory when it was opened."""
        ...

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
        """Take the directory for this process; comes before anything else.

        Raises:
            DataDirectoryLocked: somebody has it.
            DataDirectoryUnusable: it cannot be created, entered or written.
        """
        ...

    def names(self) -> list[str]:
        """Tell the files' names in sorted order, without the lock's."""
        ...

    def open(self, name: str) -> File:
        """Open an existing file for reading and writing."""
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
        """Release the lock. Idempotent; files stay open until they are closed themselves."""
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
    on_the_way = temporary(name)
    if on_the_way in disk.names():
        disk.remove(on_the_way)
    file = disk.create(on_the_way)
    try:
        at = 0
        for piece in pieces:
            file.write(at, piece)
            at += len(piece)
        file.sync()
    finally:
        file.close()
    disk.rename(on_the_way, name)
    disk.sync_directory()


def temporary(name: str) -> str:
    """Tell the name under which `name` is written before it is whole."""
    return f"{name}.new"
