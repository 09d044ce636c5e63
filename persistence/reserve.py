"""A file that holds space for bad times.

On a full disk the log must still be able to write what has happened to events that are there, so
that consumers can go on. Space for that is taken while there is some, by a file of bytes that mean
nothing, and given back piece by piece. Its name is not synced: one that a power cut takes away is
made anew at the next start.
"""

from hashlib import shake_256

from persistence.disk import FULL, Disk, File
from persistence.names import RESERVE_NAME

_STEP = 1024 * 1024
_GRAIN = 256 * 1024
"""What is given back is rounded up to this many bytes: file systems free no half blocks."""


class Reserve:
    """The reserved space of one data directory. Belongs to one thread at a time.

    Attributes:
        size: how many bytes there should be.
        held: how many there are.
    """

    def __init__(self, disk: Disk, size: int) -> None:
        """Take over what an earlier process left. Changes nothing before `fill` or `release`.

        Args:
            disk: locked.
            size: bytes to hold, 0 for no reserve.

        Raises:
            OSError: the disk could not be read.
        """
        self.size = size
        self.held = 0
        self._disk = disk
        self._file: File | None = None
        if RESERVE_NAME in disk.names():
            self._file = disk.open(RESERVE_NAME)
            self.held = _trusted(self._file)

    @property
    def whole(self) -> bool:
        """Whether there is as much as there should be."""
        return self.held >= self.size

    def fill(self) -> bool:
        """Take the space that is missing, and give back what is too much.

        Returns:
            Whether the reserve is whole. If there was no room for all that was missing, none of
            that has been taken.

        Raises:
            OSError: the disk refuses for another reason.
        """
        self._trim()
        if self.whole:
            return True
        free = self._disk.free()
        if free is not None and free < self.size - self.held:
            return False  # no need to fill the disk up first
        try:
            self._write_missing(self._opened())
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._trim()
            return False
        self.held = self.size
        return True

    def release(self, size: int) -> int:
        """Give space back to the disk.

        Args:
            size: how many bytes are wanted.

        Returns:
            How many are free now: `size` rounded up to 256 KiB, or what there was.

        Raises:
            OSError: the disk refuses.
        """
        given = min(self.held, -(-size // _GRAIN) * _GRAIN)
        if self._file is None or given <= 0:
            return 0
        self._file.truncate(self.held - given)
        self.held -= given
        # Several file systems let go of blocks only when the cut is on disk.
        self._file.sync()
        return given

    def close(self) -> None:
        """Let go of the file; the space stays reserved. Idempotent."""
        if self._file is not None:
            self._file.close()

    def _trim(self) -> None:
        """Cut the file to what is held and wanted, or remove it if nothing is wanted."""
        self.held = min(self.held, self.size)
        if self._file is None:
            return
        if self.size:
            if self._file.size() > self.held:
                self._file.truncate(self.held)
        else:
            self._disk.remove(RESERVE_NAME)
            self._file.close()
            self._file = None

    def _opened(self) -> File:
        if self._file is None:
            self._file = self._disk.create(RESERVE_NAME)
        return self._file

    def _write_missing(self, file: File) -> None:
        pattern = _pattern()
        at = self.held
        while at < self.size:
            start = at % _STEP
            piece = pattern[start : min(_STEP, start + self.size - at)]
            file.write(at, piece)
            at += len(piece)
        file.sync()


def _trusted(file: File) -> int:
    """Tell how many bytes are really there.

    A crash while the file was filled may leave a length without bytes, which holds no space.
    """
    pattern = _pattern()
    held = file.size()
    for at in range(0, held, _STEP):
        expected = pattern[: min(_STEP, held - at)]
        if file.read(at, len(expected)) != expected:
            return at
    return held


def _pattern() -> bytes:
    """Give one step's bytes: such that no file system can store them in less space."""
    return shake_256(RESERVE_NAME.encode()).digest(_STEP)
