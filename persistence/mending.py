"""Carries out the repair of a log that a start refuses. What it changes it keeps as it was.

The order, so that whenever this ends early it can be done again from the beginning:

1. Each file that is going to be written anew is copied, whole, to a name of its own, and synced.
2. The snapshot goes aside: it would bring back what is given up.
3. Files get their right names, or go aside; the directory is synced.
4. Each damaged segment is written anew under a temporary name, synced, and takes its name.
5. The manifest is replaced.
6. The log is opened as at a start, which cuts off a torn tail. If something was lost, a new segment
   is begun whose header sets event numbers and boot numbers beyond all that may have been used: an
   id or a receipt from before must not name something new.

In between a start refuses the log, or finds it sound.
"""

import os
from collections.abc import Iterator

import attrs

from persistence.aside import aside_name, damaged_name, is_half_kept
from persistence.disk import Bytes, Disk, File, create_whole
from persistence.errors import CannotMend, WriteFailed
from persistence.filler import can_fill, fillers
from persistence.manifest import Manifest, ManifestSegment, write_manifest
from persistence.mending_plan import Examined, Plan, Remedy
from persistence.names import MANIFEST_NAME, RESERVE_NAME, SNAPSHOT_NAME, is_segment
from persistence.opening import Opening, open_directory
from persistence.progress import no_progress
from persistence.reserve import Reserve
from persistence.roll import seal_and_begin
from persistence.segment import SegmentHeader
from persistence.verifying import Verification, verify

_CHUNK = 4 * 1024 * 1024


@attrs.frozen
class Mended:
    """What a repair has done.

    Attributes:
        kept: names of the files in which people find what was changed or taken away.
        repairs: what opening the log has done, in sentences.
        verification: of the log as it is now.
    """

    kept: tuple[str, ...]
    repairs: tuple[str, ...]
    verification: Verification


@attrs.frozen
class _Rewriting:
    """A segment that is written anew.

    Attributes:
        examined: the segment.
        holes: (position, end) of what is filled, in order, apart from each other.
        end: log position at which it ends then.
    """

    examined: Examined
    holes: tuple[tuple[int, int], ...]
    end: int

    @property
    def name(self) -> str:
        return self.examined.segment.name


def mend(disk: Disk, plan: Plan, remedy: Remedy | None, *, now: int) -> Mended:
    """Repair a log.

    Args:
        disk: locked, and unchanged since the plan was made.
        plan: what to do.
        remedy: what to do where something is lost; needed if anything is.
        now: wall time in milliseconds.

    Raises:
        ValueError: a remedy is needed.
        CannotMend: the remedy would not do. Nothing was changed.
        StorageError: the disk refused, or the log is still not sound. It may be tried again.
    """
    if plan.losses and remedy is None:
        raise ValueError("something is lost: somebody has to choose a remedy")
    try:
        return _Mending(disk, plan, remedy, now).run()
    except OSError as error:
        raise WriteFailed(disk.path, 0, error) from error


class _Mending:
    def __init__(self, disk: Disk, plan: Plan, remedy: Remedy | None, now: int) -> None:
        self._disk = disk
        self._plan = plan
        self._now = now
        self._taken = set(disk.names())
        renames = plan.tidied.renames
        self._taken.update(step.new for step in renames)
        passing = {step.old for step in renames}
        self._kept = [
            step.new for step in renames if not is_segment(step.new) and step.new not in passing
        ]
        self._lossy = bool(plan.losses) or (remedy is Remedy.SKIP and plan.torn_batches > 0)
        segments = list(plan.segments)
        self._dropped: list[Examined] = []
        self._rewritings: list[_Rewriting] = []
        # Where segments end then, if not where they should have ended.
        self._ends: dict[str, int] = {}
        if plan.losses and remedy is Remedy.TRUNCATE:
            segments = self._truncated(segments)
        else:
            skip = remedy is Remedy.SKIP
            self._rewritings = [
                found
                for at, one in enumerate(segments)
                if (found := self._rewriting(one, segments[at + 1 : at + 2], skip=skip))
            ]
        self._ends.update((one.name, one.end) for one in self._rewritings)
        self._listing = tuple(map(self._line, segments))

    # What to do

    def _truncated(self, segments: list[Examined]) -> list[Examined]:
        """Give the segments that stay; the last one of them may be cut."""
        plan = self._plan
        if plan.truncate is None:
            detail = "nothing would be left before the damage"
            raise CannotMend(self._disk.path, detail)
        limit = plan.losses[0].position
        kept = []
        for one in segments:
            header = one.segment.header
            if limit < header.base + header.size:
                self._dropped.append(one)
                continue
            kept.append(one)
            end = self._ends[one.segment.name] = min(limit, self._end_of(one))
            if end != header.base + one.size or self._has_new_header(one):
                self._rewritings.append(_Rewriting(one, (), end))
        return kept

    def _rewriting(self, one: Examined, after: list[Examined], *, skip: bool) -> _Rewriting | None:
        """Tell how to write a segment anew; None if it can stay as it is."""
        segment = one.segment
        end = self._end_of(one)
        holes = [(hole.position, hole.end) for hole in one.holes if skip]
        if not holes and end == segment.base + one.size and not self._has_new_header(one):
            return None
        merged = _merged(holes)
        pinned = bool(after) and after[0].segment.number == segment.number + 1
        if merged and merged[-1][1] >= end and not pinned:
            end = merged.pop()[0]  # there is nothing behind that has to keep its place
        for start, stop in merged:
            if not can_fill(stop - start):
                detail = f"{stop - start} bytes at log position {start} cannot be skipped"
                raise CannotMend(self._disk.path, detail)
        return _Rewriting(one, tuple(merged), end)

    def _end_of(self, one: Examined) -> int:
        """Tell the log position at which a segment should end."""
        segment = one.segment
        return segment.end if segment.sealed else segment.base + one.size

    def _has_new_header(self, one: Examined) -> bool:
        return one.segment.name in self._plan.tidied.headers

    def _line(self, one: Examined) -> ManifestSegment:
        segment = one.segment
        end = self._ends.get(segment.name, segment.end) if segment.sealed else None
        return ManifestSegment(segment.number, segment.base, segment.name, end)

    # Doing it

    def run(self) -> Mended:
        self._check_room()
        self._remove_halves()
        for one in self._rewritings:
            self._copy(self._plan.tidied.origins[one.name])
        if (self._plan.tidied.manifest_anew or self._lossy) and MANIFEST_NAME in self._taken:
            self._copy(MANIFEST_NAME)
        self._change_names()
        for one in self._rewritings:
            self._write(one)
        catalog = self._plan.tidied.catalog
        manifest = Manifest(catalog.key, catalog.next_segment, self._listing)
        write_manifest(self._disk, manifest)
        repairs = self._open()
        return Mended(tuple(self._kept), tuple(repairs), verify(self._disk))

    def _check_room(self) -> None:
        """Refuse to begin if the copies do not fit; a segment is there three times for a moment."""
        needed = sum(2 * one.examined.size for one in self._rewritings)
        free = self._disk.free()
        if free is not None and free < needed:
            detail = f"{needed} bytes are needed for copies, and {free} are free"
            raise WriteFailed(self._disk.path, 0, detail)

    def _remove_halves(self) -> None:
        """Remove what a repair that ended early was copying."""
        for name in sorted(filter(is_half_kept, self._taken)):
            self._disk.remove(name)
            self._taken.remove(name)

    def _copy(self, name: str) -> None:
        copy = damaged_name(name, self._taken)
        file = self._disk.open_to_read(name)
        try:
            create_whole(self._disk, copy, _bytes_of(file, 0, file.size()))
        finally:
            file.close()
        self._kept.append(copy)

    def _change_names(self) -> None:
        disk = self._disk
        if SNAPSHOT_NAME in self._taken and (self._lossy or self._rewritings):
            self._put_aside(SNAPSHOT_NAME)
        for step in self._plan.tidied.renames:
            disk.rename(step.old, step.new)
        # Segments that have been deleted and are still there: a start would remove them.
        leftovers = filter(is_segment, self._plan.tidied.catalog.leftovers)
        for name in (*leftovers, *(one.segment.name for one in reversed(self._dropped))):
            self._put_aside(name)
        disk.sync_directory()

    def _put_aside(self, name: str) -> None:
        aside = aside_name(name, self._taken)
        self._disk.rename(name, aside)
        self._kept.append(aside)

    def _write(self, one: _Rewriting) -> None:
        file = self._disk.open_to_read(one.name)
        try:
            create_whole(self._disk, one.name, self._content(one, file))
        finally:
            file.close()

    def _content(self, one: _Rewriting, file: File) -> Iterator[Bytes]:
        header = one.examined.segment.header
        yield one.examined.head
        position = header.base + header.size
        for start, end in (*one.holes, (one.end, one.end)):
            yield from _bytes_of(file, position - header.base, start - header.base)
            yield from fillers(start, end - start, time=self._now, salt=header.salt)
            position = end

    def _open(self) -> list[str]:
        """Open the log as a start does, and set numbers apart if something was lost."""
        reserve = Reserve(self._disk, self._reserve_size())
        try:
            opening = open_directory(
                self._disk,
                now=self._now,
                random_bytes=os.urandom,
                progress=no_progress,
                reserve=reserve,
            )
            try:
                if self._lossy:
                    self._begin_segment(opening)
            finally:
                opening.file.close()
        finally:
            reserve.close()
        return opening.repairs

    def _reserve_size(self) -> int:
        if RESERVE_NAME not in self._taken:
            return 0
        file = self._disk.open_to_read(RESERVE_NAME)
        try:
            return file.size()
        finally:
            file.close()

    def _begin_segment(self, opening: Opening) -> None:
        fold = opening.fold
        header = SegmentHeader(
            number=opening.manifest.next_segment,
            base=opening.end,
            created=self._now,
            key=opening.header.key,
            boot=max(fold.boot, self._plan.boot),
            next_number=max(fold.next_number, self._plan.next_number),
            counters=fold.counters.values(),
            last_event_at=fold.last_event_at,
        )
        rolled = seal_and_begin(self._disk, opening.file, opening.header, header, opening.manifest)
        rolled.file.close()


def _merged(holes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join holes that touch each other."""
    merged: list[tuple[int, int]] = []
    for start, end in holes:
        if merged and merged[-1][1] >= start:
            merged[-1] = merged[-1][0], end
        else:
            merged.append((start, end))
    return merged


def _bytes_of(file: File, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, _CHUNK):
        yield file.read(at, min(_CHUNK, end - at))
