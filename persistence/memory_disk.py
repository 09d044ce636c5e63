"""A disk in memory that crashes the way real ones do, for tests and simulations.

It keeps what the page cache holds apart from what is on the platter, per sector of 512 bytes:

- `kill` ends the process: the page cache survives.
- `crash` cuts the power: each sector that was not synced is there, missing or torn, and each name
  that was created, changed or removed without a sync of the directory is so or not; the random
  generator decides, so a seed replays it.
- A failed sync turns dirty pages clean without writing them, as Linux file systems do: reading
  gives what was written until the power is cut.

Faults are planned beforehand in `MemoryDisk.faults`. Deterministic: no clock, no own randomness.
"""

import errno
import os
from random import Random

import attrs

from persistence.disk import LOCK_NAME, Bytes
from persistence.errors import DataDirectoryLocked, DataDirectoryUnusable, reason
from persistence.faults import Faults, PowerCut
from persistence.memory_file import Content

_PATH = "memory"


@attrs.define(eq=False)
class _Change:
    """A change of names that the platter has not heard of: `content` gets `new` for `old`."""

    content: Content
    old: str | None
    new: str | None

    def apply(self, names: dict[str, Content]) -> None:
        if self.old is not None and names.get(self.old) is self.content:
            del names[self.old]
        if self.new is not None:
            names[self.new] = self.content


@attrs.define(eq=False)
class _Machine:
    """What all processes on one machine share."""

    names: dict[str, Content] = attrs.field(factory=dict)
    durable_names: dict[str, Content] = attrs.field(factory=dict)
    changes: list[_Change] = attrs.field(factory=list)
    holder: "MemoryDisk | None" = None


class MemoryDisk:
    """One process's view of a directory on a machine that can be cut off.

    Attributes:
        faults: what will go wrong.
        capacity: how many bytes fit on the disk, or None for any number; may be changed.
    """

    def __init__(self, *, capacity: int | None = None, machine: _Machine | None = None) -> None:
        self.faults = Faults()
        self.capacity = capacity
        self._machine = _Machine() if machine is None else machine
        self._gone = False
        self._looks = False

    def another(self) -> "MemoryDisk":
        """Give another process's view of the same directory."""
        return MemoryDisk(capacity=self.capacity, machine=self._machine)

    def kill(self) -> "MemoryDisk":
        """End this process; the page cache and the names survive.

        Returns:
            What the next process finds.
        """
        self._gone = True
        self._release()
        return self.another()

    def crash(self, random: Random) -> "MemoryDisk":
        """Cut the power, and give what the next process finds.

        Handles from before raise `PowerCut` for ever. The old machine stays as it was, so many
        different outcomes can be had from one moment.
        """
        self._gone = True
        names = dict(self._machine.durable_names)
        for change in self._machine.changes:
            if random.random() < 0.5:
                change.apply(names)
        contents = {name: names[name].after_power_cut(random) for name in sorted(names)}
        machine = _Machine(names=contents, durable_names=dict(contents))
        return MemoryDisk(capacity=self.capacity, machine=machine)

    @property
    def path(self) -> str:
        """What to call it in front of people."""
        return _PATH

    def lock(self) -> None:
        """Take the directory for this process.

        Raises:
            DataDirectoryLocked: somebody has it, perhaps this very process.
            DataDirectoryUnusable: this process is gone.
        """
        try:
            self._operate()
        except PowerCut as error:
            raise DataDirectoryUnusable(self.path, reason(error)) from error
        if self._machine.holder is not None:
            raise DataDirectoryLocked(self.path, None)
        self._machine.holder = self
        self._looks = False

    def look(self) -> None:
        """Attach for reading, whoever has the directory.

        Raises:
            DataDirectoryUnusable: this process is gone.
        """
        self._release()
        try:
            self._operate()
        except PowerCut as error:
            raise DataDirectoryUnusable(self.path, reason(error)) from error
        self._looks = True

    def names(self) -> list[str]:
        """Tell the files' names in sorted order."""
        self._operate()
        return sorted(self._machine.names)

    def open(self, name: str) -> "MemoryFile":
        """Open an existing file for reading and writing."""
        self._operate()
        self._refuse_while_looking()
        return MemoryFile(self, name, self._content(name), writable=True)

    def open_to_read(self, name: str) -> "MemoryFile":
        """Open an existing file for reading alone."""
        self._operate()
        return MemoryFile(self, name, self._content(name), writable=False)

    def create(self, name: str) -> "MemoryFile":
        """Create an empty file.

        Raises:
            FileExistsError: the name is taken.
        """
        self._operate()
        self._refuse_while_looking()
        if name == LOCK_NAME or name in self._machine.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        content = Content()
        self._change(_Change(content, None, name))
        return MemoryFile(self, name, content, writable=True)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what bore it, at once."""
        self._operate()
        self._refuse_while_looking()
        self._change(_Change(self._content(old), old, new))

    def remove(self, name: str) -> None:
        """Remove a file's name."""
        self._operate()
        self._refuse_while_looking()
        self._change(_Change(self._content(name), name, None))

    def sync_directory(self) -> None:
        """Force the names to the platter."""
        self._operate()
        error = self.faults.sync()
        if error is not None:
            raise OSError(error, os.strerror(error))
        self._machine.durable_names = dict(self._machine.names)
        self._machine.changes.clear()

    def close(self) -> None:
        """Let go of the directory. Idempotent."""
        self._looks = False
        self._release()

    def free(self) -> int | None:
        """Tell how many bytes more fit, or None for any number.

        A file that was removed takes no space, although somebody may still have it open.
        """
        if self.capacity is None:
            return None
        used = sum(len(content.cache) for content in list(self._machine.names.values()))
        return max(0, self.capacity - used)

    def _operate(self) -> None:
        if self._gone:
            raise PowerCut
        self.faults.operation()

    def _refuse_while_looking(self) -> None:
        if self._looks:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.path)

    def _release(self) -> None:
        if self._machine.holder is self:
            self._machine.holder = None

    def _content(self, name: str) -> Content:
        try:
            return self._machine.names[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None

    def _change(self, change: _Change) -> None:
        error = self.faults.change()
        if error is not None:
            raise OSError(error, os.strerror(error))
        change.apply(self._machine.names)
        self._machine.changes.append(change)


class MemoryFile:
    """An open file on a `MemoryDisk`.

    Attributes:
        name: its name in the directory when it was opened, unless it was set anew.
    """

    def __init__(self, disk: MemoryDisk, name: str, content: Content, *, writable: bool) -> None:
        self.name = name
        self._disk = disk
        self._content = content
        self._writable = writable
        self._closed = False

    def size(self) -> int:
        """Tell its length in bytes."""
        self._operate()
        return len(self._content.cache)

    def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset`; fewer only where the file ends."""
        self._operate()
        # A copy made in one step: a view would keep another thread from writing meanwhile.
        return bytes(self._content.cache[offset : offset + size])

    def write(self, offset: int, data: Bytes) -> None:
        """Write all of `data` at `offset`, or a part of it and raise."""
        self._operate_to_write()
        planned = self._disk.faults.write()
        if planned is not None:
            error, written = planned
            self._content.write(offset, data[:written])
            raise OSError(error, os.strerror(error))
        free = self._disk.free()
        if free is not None:
            fitting = len(self._content.cache) + free - offset
            if fitting < len(data):
                self._content.write(offset, data[: max(0, fitting)])
                full = self._disk.faults.full
                raise OSError(full, os.strerror(full))
        self._content.write(offset, data)

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes, or lengthen it with zeros."""
        self._operate_to_write()
        self._content.truncate(size)

    def sync(self) -> None:
        """Force its bytes and length to the platter, or forget that they are not there."""
        self._operate()
        error = self._disk.faults.sync()
        if error is not None:
            self._content.forget_dirty()
            raise OSError(error, os.strerror(error))
        self._content.sync()

    def close(self) -> None:
        """Let go of it, without a sync. Idempotent."""
        self._closed = True

    def _operate(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._disk._operate()  # noqa: SLF001 - a file is a part of its disk

    def _operate_to_write(self) -> None:
        self._operate()
        if not self._writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
