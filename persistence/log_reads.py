"""What an open log tells about itself, and reads back of what is written."""

from collections.abc import Iterable, Sequence

from persistence.decode import decode_one
from persistence.disk import Disk
from persistence.entry import Row
from persistence.errors import ReadFailed, StorageError, Undecodable
from persistence.facts import Fact
from persistence.fold import Fold
from persistence.manifest import Manifest
from persistence.register import Register
from persistence.segment_files import Place, SegmentFiles, SegmentMap, Span, damage_in

_BLANK = Row(0, 0, 0, 0, 0, 0)
_NOWHERE = Span(0, 0)


def places_in(manifest: Manifest) -> SegmentMap:
    """Tell where the segments of a log are that has a manifest."""
    return SegmentMap.of(Place(s.number, s.base, s.name, s.end) for s in manifest.segments)


class LogReads:
    """The part of `EventLog` that changes nothing.

    Attributes:
        fold: what the facts mean together, appended ones included; `register` is the events' part.

    Args:
        disk: where the log lies.
        fold: the state after its last fact.
        manifest: the list of its segments, as it is on disk.
    """

    def __init__(self, disk: Disk, fold: Fold, manifest: Manifest) -> None:
        self.fold = fold
        self._disk = disk
        self._places = places_in(manifest)
        self._files = SegmentFiles(disk)
        # Why the log accepts nothing more.
        self._failure: StorageError | None = None

    @property
    def register(self) -> Register:
        """Where every event is, appended facts included."""
        return self.fold.register

    @property
    def disk(self) -> Disk:
        """Where the log lies, to be read from."""
        return self._disk

    @property
    def places(self) -> SegmentMap:
        """Where the segments are; another thread may use what it gives."""
        return self._places

    # On the event loop

    def spans(self, numbers: Iterable[int]) -> list[Span]:
        """Tell where the payloads of events are.

        An event that is not there has its payload nowhere: an empty span.
        """
        get = self.register.get
        spans: list[Span] = []
        for number in numbers:
            row = get(number)
            spans.append(_NOWHERE if row is None else Span(row.payload_at, row.payload_size))
        return spans

    def newest_facts(self, numbers: Iterable[int]) -> list[Span]:
        """Tell where the newest facts of events are; an empty span for what is not there."""
        get = self.register.get
        spans: list[Span] = []
        for number in numbers:
            row = get(number)
            spans.append(_NOWHERE if row is None else self.newest_fact(number, row))
        return spans

    def read_facts(self, numbers: Sequence[int]) -> list[Fact]:
        """Read the newest facts of events that are there, with all that is appended written.

        Not beside `append`: it looks into the register.

        Raises:
            StorageError: see `read`.
            LogDamaged: what is read makes no sense.
        """
        spans = self.newest_facts(numbers)
        facts: list[Fact] = []
        for span, data in zip(spans, self.read(spans), strict=True):
            facts.append(self.decode(data, span.position))
        return facts

    def decode(self, data: bytes, position: int) -> Fact:
        """Decode a fact that was read; it is about an event that is there.

        Raises:
            LogDamaged: it makes no sense.
        """
        try:
            fact, _ = decode_one(data, position, self._row_or_blank)
        except Undecodable as error:
            raise damage_in(self._disk, self._places, error) from error
        return fact

    def _row_or_blank(self, number: int) -> Row:
        # Facts of release 0.1.0 lack what the row has; the event may be done with meanwhile.
        return self.register.get(number) or _BLANK

    def newest_fact(self, number: int, row: Row) -> Span:
        """Tell where the newest fact of an event is."""
        if row.state_size:
            return Span(row.last_fact, row.state_size)
        return Span(*self.fold.home_of(number, row))

    # In the worker thread

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Read written bytes, neighbours in one go.

        Args:
            spans: from `spans` or `newest_facts`; in any order.

        Returns:
            Their bytes in the same order.

        Raises:
            ReadFailed: the disk could not be read.
            LogDamaged: a file is shorter than it was.
            StorageError: the log has failed before.
        """
        self._refuse_after_failure()
        try:
            return self._files.read(self._places, spans)
        except OSError as error:
            raise ReadFailed(self._disk.path, error) from error
        except Undecodable as error:
            raise damage_in(self._disk, self._places, error) from error

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # or it would grow with each refusal
