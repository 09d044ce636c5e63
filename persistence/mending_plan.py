"""Finds out what a repair of a log would do, and what would be lost. Changes nothing."""

from collections.abc import Iterator
from enum import Enum

import attrs

from persistence import layout
from persistence.affected import Affected, AffectedEvents
from persistence.catalog import Findings, Segment
from persistence.disk import Disk, File, read_whole
from persistence.errors import FormatTooNew, NoLog, ReadFailed
from persistence.examining import Examination
from persistence.header_mending import base_of
from persistence.manifest import ManifestSegment
from persistence.names import MANIFEST_NAME, is_segment
from persistence.progress import Progress, no_progress
from persistence.salvage import Flaw, Hole
from persistence.scan import Frame
from persistence.segment import FRAME_HEADER_SIZE, SEGMENT_HEADER_SIZE_MAX, SegmentHeader
from persistence.tidying import Tidied, tidy

_LOOK_MAX = 64 * 1024 * 1024
"""So many damaged bytes of one place are searched for what they were about."""

_UNKNOWN_NUMBERS = 1 << 32
_UNKNOWN_BOOTS = 1 << 16
"""Set apart where nobody can tell how many event numbers and boots have been used."""

_BOOT_BITS = 32

_OPENED_MIN = FRAME_HEADER_SIZE + layout.OPENED.size
_ENQUEUED_MIN = layout.ENQUEUED.size


class Remedy(Enum):
    """What to do where something is lost."""

    SKIP = "skip-damage"
    """Give up what is damaged, and keep what is before and behind."""
    TRUNCATE = "truncate"
    """Give up everything from the first damage on."""


@attrs.frozen
class Loss:
    """A place of the log that cannot be restored.

    Attributes:
        file: path of the file.
        offset: of the first byte in it that is lost.
        position: the same as a log position.
        size: how many bytes; None if that is not known.
        detail: what is wrong.
    """

    file: str
    offset: int
    position: int
    size: int | None
    detail: str


@attrs.define(eq=False)
class Examined:
    """A segment, looked through.

    Attributes:
        segment: as it should be.
        head: the bytes of its header, as they should be.
        size: of the file as it is.
        holes: what cannot be used, in order.
    """

    segment: Segment
    head: bytes
    size: int
    holes: list[Hole] = attrs.field(factory=list)


@attrs.frozen
class Outlook:
    """What a remedy leaves.

    Attributes:
        events: how many events there are then.
        facts: how many sound facts are given up.
        size: how many bytes are given up, as far as that is known.
    """

    events: int
    facts: int
    size: int


@attrs.frozen
class Plan:
    """What a repair would do.

    Attributes:
        tidied: how the files are put in order.
        segments: those that there are then, in order.
        losses: what is lost, in order of the log. If there is anything, somebody has to choose.
        torn: whether the log ends with a write that was cut short.
        torn_batches: how many whole batches are behind the place where that begins. A start, and a
            repair without a remedy, drop them.
        skip: what is left after skipping.
        truncate: what is left after truncating; None if that would be nothing.
        affected: the events that are known to be concerned by what is skipped.
        next_number: an event number that was surely never given away.
        boot: a boot number that is surely not below any that was used.
    """

    tidied: Tidied
    segments: tuple[Examined, ...]
    losses: tuple[Loss, ...]
    torn: bool
    torn_batches: int
    skip: Outlook
    truncate: Outlook | None
    affected: tuple[Affected, ...]
    next_number: int
    boot: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is done without losing anything."""
        return self.tidied.remarks

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.remarks or self.losses or self.torn)


def make_plan(disk: Disk, progress: Progress = no_progress) -> Plan:
    """Look what a repair of the log in a directory would do.

    Args:
        disk: locked.
        progress: is told how many bytes have been read.

    Raises:
        NoLog: there is none.
        CannotMend: there is no telling what belongs to it.
        FormatTooNew: a later version wrote some of it.
        ReadFailed: the disk could not be read.
    """
    try:
        findings = _findings(disk)
        if findings.manifest is None and not findings.heads:
            raise NoLog(disk.path)

        def probe(name: str, key: bytes) -> int | None:
            file = disk.open_to_read(name)
            try:
                return base_of(file, key)
            finally:
                file.close()

        return _Planning(disk, tidy(findings, probe), progress).run()
    except OSError as error:
        raise ReadFailed(disk.path, error) from error


def _findings(disk: Disk) -> Findings:
    names = disk.names()
    manifest = read_whole(disk, MANIFEST_NAME) if MANIFEST_NAME in names else None
    heads: dict[str, tuple[bytes, int]] = {}
    for name in filter(is_segment, names):
        file = disk.open_to_read(name)
        try:
            heads[name] = (file.read(0, SEGMENT_HEADER_SIZE_MAX), file.size())
        finally:
            file.close()
    return Findings(disk.path, names, manifest, heads)


class _Planning:
    """One look through all segments, as they are once the files are in order."""

    def __init__(self, disk: Disk, tidied: Tidied, progress: Progress) -> None:
        self._disk = disk
        self._tidied = tidied
        self._progress = progress
        self._total = sum(one.size for one in tidied.catalog.segments)
        self._done = 0
        self._examination = Examination()
        self._affected = AffectedEvents()
        self._losses: list[Loss] = []
        self._before = 0, 0  # events and facts before the first loss
        self._torn = False
        self._torn_batches = 0

    def run(self) -> Plan:
        examined = [found for step in self._in_order() if (found := self._take(step)) is not None]
        fold = self._examination.fold
        events = len(fold.register)
        lost = sum(loss.size or 0 for loss in self._losses)
        # Numbers and boots that may have been in what is lost are not used again.
        vague = bool(self._tidied.rebuilt) or any(loss.size is None for loss in self._losses)
        numbers = lost // _ENQUEUED_MIN + (_UNKNOWN_NUMBERS if vague else 0)
        boots = lost // _OPENED_MIN + (_UNKNOWN_BOOTS if vague else 0)
        next_number, boot = fold.next_number + numbers, fold.boot + boots
        # A process may have begun to count at its boot number times this.
        limit = max(next_number, (boot + 1) << _BOOT_BITS)
        return Plan(
            tidied=self._tidied,
            segments=tuple(examined),
            losses=tuple(self._losses),
            torn=self._torn,
            torn_batches=self._torn_batches,
            skip=Outlook(events, 0, lost),
            truncate=self._outlook(examined),
            affected=tuple(self._affected.found(fold.register, limit)),
            next_number=next_number,
            boot=boot,
        )

    def _in_order(self) -> list[Segment | ManifestSegment]:
        steps: list[Segment | ManifestSegment] = [*self._tidied.catalog.segments]
        steps += self._tidied.missing
        steps.sort(key=lambda one: one.number)
        if [one.number for one in steps] != list(range(len(steps))):
            self._examination.missing()
        return steps

    def _take(self, step: Segment | ManifestSegment) -> Examined | None:
        if isinstance(step, Segment):
            return self._examine(step)
        size = None if step.end is None else step.end - step.base
        detail = f"segment {step.number} is not there any more"
        self._lose(Loss(f"{self._disk.path}/{step.name}", 0, step.base, size, detail))
        if step.end is not None:
            self._affected.lose(step.base, step.end)
        self._examination.missing()
        return None

    def _lose(self, loss: Loss) -> None:
        if not self._losses:
            self._before = len(self._examination.fold.register), self._examination.facts
        self._losses.append(loss)

    def _outlook(self, examined: list[Examined]) -> Outlook | None:
        """Tell what would be left if everything from the first loss on were given up."""
        if not self._losses or not examined:
            return None
        position, header = self._losses[0].position, examined[0].segment.header
        if position < header.base + header.size:
            return None
        events, facts = self._before
        end = max(one.segment.base + one.size for one in examined)
        return Outlook(events, self._examination.facts - facts, max(0, end - position))

    def _examine(self, segment: Segment) -> Examined:
        where = f"{self._disk.path}/{segment.name}"
        file = self._disk.open_to_read(self._tidied.origins[segment.name])
        try:
            segment, head = self._header(segment, file)
            examined = Examined(segment, head, file.size())
            if segment.name in self._tidied.rebuilt:
                detail = "its header is lost; a new one says what else is known of the segment"
                self._lose(Loss(where, 0, segment.base, len(head), detail))
            for piece in self._pieces(segment, file):
                if isinstance(piece, Hole):
                    self._hole(piece, examined, file, where)
                else:
                    self._affected.follow(piece)
                    self._torn_batches += self._torn
        finally:
            file.close()
        self._done += segment.size
        self._progress(self._done, self._total)
        return examined

    def _header(self, segment: Segment, file: File) -> tuple[Segment, bytes]:
        """Give a segment with its header, and that as bytes."""
        header = segment.header
        head = self._tidied.headers.get(segment.name)
        if head is None:
            return segment, file.read(0, header.size)
        if segment.name in self._tidied.rebuilt:
            fold = self._examination.fold
            header = SegmentHeader(
                header.number,
                header.base,
                header.created,
                header.key,
                boot=fold.boot,
                next_number=fold.next_number,
                counters=fold.counters.values(),
                last_event_at=fold.last_event_at,
            )
            head = header.encode()
        return attrs.evolve(segment, header=header), head

    def _pieces(self, segment: Segment, file: File) -> Iterator[Frame | Hole]:
        end = segment.end if segment.sealed else None
        return self._examination.examine(file, segment.header, end, past_torn=True)

    def _hole(self, hole: Hole, examined: Examined, file: File, where: str) -> None:
        base = examined.segment.base
        if hole.flaw is Flaw.NEWER:
            raise FormatTooNew(where, hole.where - base, hole.detail)
        examined.holes.append(hole)
        # What nobody was promised need not make sense.
        if hole.flaw is Flaw.TORN or self._torn:
            self._torn = True
            return
        self._lose(Loss(where, hole.position - base, hole.position, hole.size, hole.detail))
        data = file.read(hole.position - base, min(hole.size, _LOOK_MAX))
        self._affected.lose(hole.position, hole.end, data)
