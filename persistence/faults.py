"""The faults that a `MemoryDisk` is told to have."""

import errno

import attrs


class PowerCut(OSError):
    """This handle belongs to a process that is no more."""

    def __init__(self) -> None:
        super().__init__(errno.EIO, "the process that opened this is gone")


@attrs.define
class Faults:
    """What will go wrong. Counts run from the moment of planning; 1 means the very next.

    Attributes:
        operations: how many operations there have been on this disk and its files.
        writes: how many of these were writes.
        syncs: how many were syncs, of files and of the directory.
        failed_syncs: how many of these failed.
        changes: how many created, renamed or removed a name.
        full: the number of the error that a write ends in when the disk's capacity is used up;
            `errno.EDQUOT` makes it a user's quota.
    """

    operations: int = 0
    writes: int = 0
    syncs: int = 0
    failed_syncs: int = 0
    changes: int = 0
    full: int = errno.ENOSPC
    _write_errors: dict[int, tuple[int, int]] = attrs.field(factory=dict, init=False)
    _sync_errors: dict[int, int] = attrs.field(factory=dict, init=False)
    _change_errors: dict[int, int] = attrs.field(factory=dict, init=False)
    _power_cut_at: int | None = attrs.field(default=None, init=False)

    def fail_write(self, nth: int = 1, *, error: int = errno.EIO, written: int = 0) -> None:
        """Let the n-th write from now raise after `written` bytes of it took place."""
        self._write_errors[self.writes + nth] = (error, written)

    def fail_sync(self, nth: int = 1, *, error: int = errno.EIO) -> None:
        """Let the n-th sync from now, of a file or of the directory, raise."""
        self._sync_errors[self.syncs + nth] = error

    def fail_change(self, nth: int = 1, *, error: int = errno.EIO) -> None:
        """Let the n-th change of names from now raise, with nothing changed."""
        self._change_errors[self.changes + nth] = error

    def cut_power(self, nth: int = 1) -> None:
        """Let the n-th operation from now, and every later one, raise `PowerCut`."""
        self._power_cut_at = self.operations + nth

    def operation(self) -> None:
        """Count an operation; the disk calls it."""
        self.operations += 1
        if self._power_cut_at is not None and self.operations >= self._power_cut_at:
            raise PowerCut

    def write(self) -> tuple[int, int] | None:
        """Count a write; give the error number and the bytes written before it, if it fails."""
        self.writes += 1
        return self._write_errors.pop(self.writes, None)

    def sync(self) -> int | None:
        """Count a sync; give the error number, if it fails."""
        self.syncs += 1
        error = self._sync_errors.pop(self.syncs, None)
        if error is not None:
            self.failed_syncs += 1
        return error

    def change(self) -> int | None:
        """Count a change of names; give the error number, if it fails."""
        self.changes += 1
        return self._change_errors.pop(self.changes, None)
