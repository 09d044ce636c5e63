"""A directory on a real file system."""

import contextlib
import errno
import fcntl
import os
import sys
from pathlib import Path

from persistence.disk import LOCK_NAME, Bytes
from persistence.errors import DataDirectoryLocked, DataDirectoryUnusable, reason

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600


class PosixFile:
    """An open file, read and written by position: threads share no offset.

    Attributes:
        name: its name in the directory when it was opened, unless it was set anew.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._descriptor = descriptor

    def size(self) -> int:
        """Tell its length in bytes."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset`; fewer only where the file ends."""
        data = os.pread(self._descriptor, size, offset)
        if len(data) == size or not data:
            return data
        # A single call may stop short, for instance at 2 GiB.
        parts = [data]
        missing = size - len(data)
        while missing:
            data = os.pread(self._descriptor, missing, offset + size - missing)
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def write(self, offset: int, data: Bytes) -> None:
        """Write all of `data` at `offset`."""
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.pwrite(self._descriptor, view[written:], offset + written)

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes, or lengthen it with zeros."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Force its bytes and length to the disk."""
        sync_descriptor(self._descriptor)

    def close(self) -> None:
        """Let go of it, without a sync. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class PosixDisk:
    """A directory, created when it is locked (mode 0700, files 0600).

    Names are looked up below a descriptor of the directory, so that renaming the directory under
    a running process does no harm.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._directory = -1
        self._lock = -1
        self._looks = False

    @property
    def path(self) -> str:
        """The directory's path."""
        return str(self._path)

    def lock(self) -> None:
        """Create the directory if need be, and take it for this process.

        Raises:
            DataDirectoryLocked: somebody has it, perhaps this very object.
            DataDirectoryUnusable: it cannot be created, entered or written.
        """
        if self._lock >= 0:
            raise DataDirectoryLocked(self.path, os.getpid())
        self.close()
        try:
            _make_directory(self._path)
            self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            self._lock = self._open(LOCK_NAME, os.O_CREAT)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid_in(self._lock)
            self.close()
            raise DataDirectoryLocked(self.path, pid) from None
        except OSError as error:
            self.close()
            raise DataDirectoryUnusable(self.path, reason(error)) from error
        # The pid is for people only; a full disk must not stop a start here.
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def look(self) -> None:
        """Attach to the directory for reading, whoever has it; nothing is locked or created.

        Raises:
            DataDirectoryUnusable: it does not exist, or cannot be read.
        """
        self.close()
        try:
            self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise DataDirectoryUnusable(self.path, reason(error)) from error
        self._looks = True

    def names(self) -> list[str]:
        """Tell the names in sorted order, without the lock's."""
        found = os.listdir(self._directory)  # noqa: PTH208 - pathlib knows no descriptors
        return sorted(name for name in found if name != LOCK_NAME)

    def free(self) -> int | None:
        """Tell how many bytes more fit; None from a file system that does not know its size."""
        found = os.fstatvfs(self._directory)
        return found.f_bavail * found.f_frsize if found.f_blocks else None

    def open(self, name: str) -> PosixFile:
        """Open an existing file for reading and writing."""
        self._refuse_while_looking()
        return PosixFile(self._open(name, 0), name)

    def open_to_read(self, name: str) -> PosixFile:
        """Open an existing file for reading alone."""
        return PosixFile(os.open(name, os.O_RDONLY, dir_fd=self._directory), name)

    def create(self, name: str) -> PosixFile:
        """Create an empty file.

        Raises:
            FileExistsError: the name is taken.
        """
        self._refuse_while_looking()
        return PosixFile(self._open(name, os.O_CREAT | os.O_EXCL), name)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what bore it, at once."""
        self._refuse_while_looking()
        os.rename(old, new, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def remove(self, name: str) -> None:
        """Remove a file's name."""
        self._refuse_while_looking()
        os.unlink(name, dir_fd=self._directory)

    def sync_directory(self) -> None:
        """Force the names to the disk."""
        os.fsync(self._directory)

    def close(self) -> None:
        """Let go of the directory.

        The lock's file stays, as removing it would race with the next process.
        """
        self._looks = False
        lock, self._lock = self._lock, -1
        directory, self._directory = self._directory, -1
        for descriptor in (lock, directory):
            if descriptor >= 0:
                os.close(descriptor)

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, os.O_RDWR | flags, _FILE_MODE, dir_fd=self._directory)

    def _refuse_while_looking(self) -> None:
        if self._looks:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.path)


def sync_descriptor(descriptor: int) -> None:
    """Force a file's bytes and length to the disk.

    fdatasync leaves out what reading does not need (times). On macOS fsync stops at the drive's
    volatile cache, and only F_FULLFSYNC empties that (fsync(2) there says so).
    """
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


def _make_directory(path: Path) -> None:
    """Create a directory with its parents, each one's name synced in the directory above it."""
    if path.is_dir():
        return
    parent = path.absolute().parent
    _make_directory(parent)
    with contextlib.suppress(FileExistsError):  # another process was faster; or it is a file
        path.mkdir(mode=_DIRECTORY_MODE)
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pid_in(descriptor: int) -> int | None:
    """Read the pid that the lock's holder left, if there is one."""
    try:
        return int(os.pread(descriptor, 32, 0))
    except (OSError, ValueError):
        return None
