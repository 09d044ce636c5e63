"""Copies a log while a broker works with it, or while none does, without disturbing it.

A log can be copied under the hands of its writer because of what the writer keeps to:

- Sealed segments never change. They may be deleted at any moment, but an open file stays.
- What was in a deleted segment and is still needed has been written again, and synced, before the
  deletion. So the segments that the directory had at one moment, together with the active one up to
  any point at or behind where that ended at the same moment, tell the whole state at that point.
- What a batch header names as synced does not change any more.

So all segments are opened first. Then the active one is followed until something behind that moment
is named as synced, which under load is a matter of one commit, and otherwise of the mark that the
writer leaves when nothing comes. That is where the copy ends.

In the copy every segment is a sealed one and listed with its end, so that a copy that lost bytes on
its way is known for that. The manifest is written last: a copy without one is not whole, and
nobody opens it.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack

import attrs

from persistence.catalog import Catalog, Segment
from persistence.disk import Disk, File
from persistence.errors import LogDamaged, ReadFailed
from persistence.manifest import Manifest
from persistence.names import ACTIVE_NAME
from persistence.scan import End, Scan, Verdict
from persistence.segment import SEGMENT_HEADER_SIZE_MAX, decode_header
from persistence.steps import Steps, no_steps
from persistence.survey import survey
from persistence.transfer import (
    Copier,
    NoLog,
    Piece,
    check_header,
    empty_directory,
    judging,
    refuse_unless_empty,
)

_ATTEMPTS_MAX = 20
"""How often the segments are opened, while they come and go."""

_PAUSES_MAX = 100
"""How often it is looked whether more is known to be synced."""

_PAUSE_S = 0.02


@attrs.frozen
class BackupReport:
    """What was copied.

    Attributes:
        segments: how many.
        size: of the copy, bytes.
        end: log position where it ends.
        synced: whether everything before that was known to be on the disk of the original. If not,
            no writer said so in time: none runs, or it does not sync.
    """

    segments: int
    size: int
    end: int
    synced: bool


def wait_a_moment() -> None:
    """Wait for a writer to go on."""
    time.sleep(_PAUSE_S)


def backup(
    source: Disk,
    target: Disk,
    *,
    steps: Steps = no_steps,
    pause: Callable[[], None] = wait_a_moment,
) -> BackupReport:
    """Make a consistent copy of a log. Every event accepted before the call is in it.

    Args:
        source: the data directory, not attached; it is only looked at.
        target: an empty directory, or none yet.
        steps: is told how far it comes.
        pause: waits for a writer, a moment at a time.

    Raises:
        NotEmpty: there is something in the target.
        NoRoom: the target has too little room.
        NoLog: there is no log.
        LogDamaged: bytes of the original that were on disk have changed.
        FormatTooNew: a later version wrote some of it.
        ReadFailed: the original could not be read.
        WriteFailed: the copy could not be written.
        StorageError: one of the directories cannot be used.
    """
    refuse_unless_empty(target)
    source.look()
    with ExitStack() as stack:
        stack.callback(source.close)
        catalog, files = _pin(source, pause)
        for file in files:
            stack.callback(file.close)
        size = sum(segment.size for segment in catalog.segments)
        stack.enter_context(empty_directory(target, size))
        copier = Copier(target, size, steps("copying"))
        return _Backup(source, copier, catalog, files, pause).run()


def _pin(source: Disk, pause: Callable[[], None]) -> tuple[Catalog, list[File]]:
    """Open all segments of one moment."""
    trouble = ReadFailed(source.path, "its segments kept changing")
    for _ in range(_ATTEMPTS_MAX):
        try:
            catalog = survey(source)
        except ReadFailed as error:  # perhaps because something changes all the time
            trouble = error
            pause()
            continue
        if catalog.problems:
            raise catalog.problems[0].error()
        if not catalog.segments:
            raise NoLog(source.path, "give the data directory of a broker")
        files = _open_all(source, catalog.segments)
        if files is not None:
            return catalog, files
    raise trouble


def _open_all(source: Disk, segments: tuple[Segment, ...]) -> list[File] | None:
    """Open segments; give None if one of them is gone."""
    with ExitStack() as stack:
        files = []
        for segment in segments:
            file = _open(source, segment)
            if file is None:
                return None
            stack.callback(file.close)
            files.append(file)
        stack.pop_all()
    return files


def _open(source: Disk, segment: Segment) -> File | None:
    """Open a segment; give None if it is not there under its name any more."""
    where = f"{source.path}/{segment.name}"
    try:
        file = source.open_to_read(segment.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReadFailed(where, error) from error
    try:
        with judging(where, segment.base):
            header = decode_header(file.read(0, SEGMENT_HEADER_SIZE_MAX))
    except BaseException:
        file.close()
        raise
    if header == segment.header:
        return file
    file.close()  # the active segment was sealed, and this is the next one
    return None


class _Backup:
    def __init__(
        self,
        source: Disk,
        copier: Copier,
        catalog: Catalog,
        files: list[File],
        pause: Callable[[], None],
    ) -> None:
        self._source = source
        self._copier = copier
        self._catalog = catalog
        self._files = files
        self._pause = pause

    def run(self) -> BackupReport:
        synced = True
        pieces: list[Piece] = []
        for segment, file in zip(self._catalog.segments, self._files, strict=True):
            where = f"{self._source.path}/{segment.name}"
            piece = Piece(where, file, segment.header, segment.end)
            if segment.sealed:
                self._copier.copy(piece)
            else:
                piece, synced = self._copy_active(piece)
            pieces.append(piece)
        listed = tuple(piece.listed() for piece in pieces)
        self._copier.list(Manifest(self._catalog.key, pieces[-1].header.number + 1, listed))
        size = sum(piece.size for piece in pieces)
        return BackupReport(len(pieces), size, pieces[-1].end, synced)

    def _copy_active(self, piece: Piece) -> tuple[Piece, bool]:
        """Copy the active segment up to a good point; tell which, and whether that is synced."""
        target = self._copier.create(piece.header.number)
        try:
            with judging(piece.where, piece.header.base):
                tail = _Tail(self._copier, piece, target)
                end, synced = self._follow(tail, piece.end)
            tail.cut(end)
            self._copier.finish(target)
        finally:
            target.close()
        return attrs.evolve(piece, end=end), synced

    def _follow(self, tail: "_Tail", goal: int) -> tuple[int, bool]:
        """Follow the active segment until everything before the goal is known to be synced."""
        for _ in range(_PAUSES_MAX):
            # Asked before reading: once it is sealed nothing is appended to it any more.
            sealed = self._is_sealed(tail.piece)
            verdict = tail.follow()
            if sealed and verdict.end is End.CLEAN:
                return tail.end, True
            if tail.end >= goal and tail.synced >= min(goal, tail.filled):
                return tail.synced, True
            self._pause()
        verdict = tail.follow()
        # Only now: what is being written looks like damage to who reads it at the same time.
        if verdict.end is End.DAMAGED:
            offset = verdict.valid - tail.piece.header.base
            raise LogDamaged(tail.piece.where, offset, verdict.detail)
        return tail.end, False

    def _is_sealed(self, piece: Piece) -> bool:
        """Tell whether another segment is the active one now."""
        try:
            file = self._source.open_to_read(ACTIVE_NAME)
        except FileNotFoundError:
            return False  # it is being sealed
        try:
            header = decode_header(file.read(0, SEGMENT_HEADER_SIZE_MAX))
        finally:
            file.close()
        return header.number != piece.header.number


class _Tail:
    """The copy of a segment that grows, as far as it has come.

    Attributes:
        piece: the original.
        end: log position up to which the copy is good.
        synced: up to which the original is known to be on disk.
        filled: behind the last batch that has facts; only marks follow it.
    """

    def __init__(self, copier: Copier, piece: Piece, target: File) -> None:
        self.piece = piece
        self.end = self.synced = self.filled = piece.header.base + piece.header.size
        self._copier = copier
        self._target = target
        copier.copy_range(piece, target, 0, piece.header.size)
        check_header(target, piece.header)

    def follow(self) -> Verdict:
        """Copy what has come since, and say how it ends."""
        piece, start = self.piece, self.end - self.piece.header.base
        self._copier.copy_range(piece, self._target, start, piece.file.size())
        scan = Scan(self._target, piece.header, start=start)
        for frame in scan:
            self.end = frame.header.end
            self.synced = max(self.synced, frame.header.synced)
            if frame.header.count:
                self.filled = self.end
        return scan.verdict

    def cut(self, end: int) -> None:
        """Cut off what lies behind a log position.

        Raises:
            WriteFailed: that cannot be done.
        """
        self._copier.truncate(self._target, end - self.piece.header.base)
