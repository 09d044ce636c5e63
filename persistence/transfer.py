"""Copies segments from one directory to another, and believes only what it reads back there."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from persistence.disk import Disk, File
from persistence.errors import (
    DataDirectoryUnusable,
    FormatTooNew,
    LogDamaged,
    NewerFormat,
    ReadFailed,
    StorageError,
    Undecodable,
    WriteFailed,
)
from persistence.manifest import Manifest, ManifestSegment, write_manifest
from persistence.names import is_own, is_temporary, sealed_name
from persistence.progress import Progress
from persistence.scan import Scan
from persistence.segment import SEGMENT_HEADER_SIZE_MAX, SegmentHeader, decode_header

_CHUNK = 4 * 1024 * 1024
_GONE_WRONG = "what was copied does not read back as it was written"


class NoLog(StorageError):
    """There is nothing to be copied."""

    def __init__(self, path: str, advice: str) -> None:
        super().__init__(f"there is no log in {path}: {advice}")


class NotEmpty(StorageError):
    """There is something where a copy was to be made. Nothing was changed."""

    def __init__(self, path: str, name: str) -> None:
        super().__init__(
            f"{path} is not empty, there is {name} in it: give a directory that is empty or does"
            " not exist yet"
        )


class NoRoom(StorageError):
    """The copy would not fit. Nothing was changed."""

    def __init__(self, path: str, needed: int, free: int) -> None:
        super().__init__(
            f"{path} has room for {free:,} bytes, and the copy takes {needed:,}: free space, or"
            " give a directory on another disk"
        )


@attrs.frozen
class Piece:
    """One segment, or its beginning, to be copied.

    Attributes:
        where: path of the file, for people.
        file: the file.
        header: its header.
        end: log position up to which it is copied.
    """

    where: str
    file: File
    header: SegmentHeader
    end: int

    @property
    def size(self) -> int:
        """How many bytes are copied."""
        return self.end - self.header.base

    def listed(self) -> ManifestSegment:
        """Give the manifest's line about the copy, which nothing is appended to any more."""
        number = self.header.number
        return ManifestSegment(number, self.header.base, sealed_name(number), self.end)


def refuse_unless_empty(disk: Disk) -> None:
    """Make sure that there is nothing in a directory, or no directory.

    Raises:
        NotEmpty: there is.
    """
    try:
        disk.look()
    except DataDirectoryUnusable:
        return  # there is none yet; or taking it will say what is wrong
    try:
        _refuse_names(disk)
    finally:
        disk.close()


@contextmanager
def empty_directory(disk: Disk, needed: int) -> Iterator[None]:
    """Have an empty directory for a block's time; if that raises, the directory is empty again.

    Args:
        disk: not attached.
        needed: bytes that are going to be written.

    Raises:
        NotEmpty: there is something in it.
        NoRoom: there is not so much room.
        StorageError: it cannot be used.
    """
    refuse_unless_empty(disk)
    disk.lock()
    try:
        _refuse_names(disk)
        free = disk.free()
        if free is not None and free < needed:
            raise NoRoom(disk.path, needed, free)
        try:
            yield
        except BaseException:
            _remove_all(disk)
            raise
    finally:
        disk.close()


def _refuse_names(disk: Disk) -> None:
    for name in disk.names():
        raise NotEmpty(disk.path, name)


def _remove_all(disk: Disk) -> None:
    with contextlib.suppress(OSError):  # a broken disk; what stays has no manifest
        for name in filter(_is_ours, disk.names()):
            disk.remove(name)


def _is_ours(name: str) -> bool:
    return is_own(name) or is_temporary(name)


class Copier:
    """Fills an empty directory with segments.

    Args:
        disk: the directory, locked.
        total: bytes that are going to be copied, for the progress.
        progress: is told how many were.
    """

    def __init__(self, disk: Disk, total: int, progress: Progress) -> None:
        self._disk = disk
        self._total = total
        self._progress = progress
        self._done = 0
        progress(0, total)

    @property
    def done(self) -> int:
        """How many bytes were copied."""
        return self._done

    def copy(self, piece: Piece) -> None:
        """Copy a segment whose end is known. It is on disk then, and has been read back.

        Raises:
            LogDamaged: it is not what was written once.
            FormatTooNew: a later version wrote it.
            ReadFailed: it could not be read.
            WriteFailed: the copy could not be written.
        """
        target = self.create(piece.header.number)
        try:
            self.copy_range(piece, target, 0, piece.size)
            with judging(piece.where, piece.header.base):
                check_header(target, piece.header)
                scan = Scan(target, piece.header)
                for _ in scan:
                    pass
                verdict = scan.verdict
            if verdict.valid != piece.end:
                offset = verdict.valid - piece.header.base
                raise LogDamaged(piece.where, offset, verdict.detail or _GONE_WRONG)
            self.finish(target)
        finally:
            target.close()

    def create(self, number: int) -> File:
        """Begin the copy of a segment.

        Raises:
            WriteFailed: that cannot be done.
        """
        name = sealed_name(number)
        with writing(f"{self._disk.path}/{name}", 0):
            return self._disk.create(name)

    def copy_range(self, piece: Piece, target: File, start: int, end: int) -> None:
        """Copy the bytes between two offsets; fewer if the file has become shorter.

        Raises:
            ReadFailed: they could not be read.
            WriteFailed: they could not be written.
        """
        where = f"{self._disk.path}/{target.name}"
        for at in range(start, end, _CHUNK):
            try:
                data = piece.file.read(at, min(_CHUNK, end - at))
            except OSError as error:
                raise ReadFailed(piece.where, error) from error
            with writing(where, at):
                target.write(at, data)
            self._done += len(data)
            self._progress(min(self._done, self._total), self._total)

    def truncate(self, target: File, size: int) -> None:
        """Cut a copy.

        Raises:
            WriteFailed: that cannot be done.
        """
        with writing(f"{self._disk.path}/{target.name}", size):
            target.truncate(size)

    def finish(self, target: File) -> None:
        """Force a copy to the disk.

        Raises:
            WriteFailed: that failed.
        """
        with writing(f"{self._disk.path}/{target.name}", 0):
            target.sync()

    def list(self, manifest: Manifest) -> None:
        """Say that the copy is whole. It is on disk then.

        Raises:
            WriteFailed: that failed.
        """
        with writing(f"{self._disk.path}", 0):
            self._disk.sync_directory()
            write_manifest(self._disk, manifest)
        self._progress(self._total, self._total)


def check_header(file: File, header: SegmentHeader) -> None:
    """Check that a file begins with a header.

    Raises:
        Undecodable: it does not.
    """
    if decode_header(file.read(0, SEGMENT_HEADER_SIZE_MAX)) != header:
        raise Undecodable(header.base, _GONE_WRONG)


@contextmanager
def judging(where: str, base: int) -> Iterator[None]:
    """Turn what makes no sense into an error that names the file."""
    try:
        yield
    except NewerFormat as error:
        raise FormatTooNew(where, error.position - base, error.detail) from error
    except Undecodable as error:
        raise LogDamaged(where, error.position - base, error.detail) from error
    except OSError as error:
        raise ReadFailed(where, error) from error


@contextmanager
def writing(where: str, offset: int) -> Iterator[None]:
    """Turn what the operating system says into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise WriteFailed(where, offset, error) from error
