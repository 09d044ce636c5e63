"""What lies in a data directory: which files are the log's, in which order, and what is wrong.

Values alone: `persistence.survey` finds them out. What is behind the segments' headers is the
business of `persistence.scan`.
"""

import attrs

from persistence.errors import FormatTooNew, LogDamaged
from persistence.manifest import Manifest, ManifestSegment
from persistence.names import ACTIVE_NAME
from persistence.segment import SegmentHeader

RESTORE = "restore the file from a backup; nothing was changed"
"""What to do about a file whose bytes have changed."""


@attrs.frozen
class Segment:
    """A file that holds a part of the log.

    Attributes:
        name: of the file.
        size: of the file in bytes, when it was looked at.
        header: what stands at its beginning.
    """

    name: str
    size: int
    header: SegmentHeader

    @property
    def number(self) -> int:
        """Its number."""
        return self.header.number

    @property
    def base(self) -> int:
        """Log position of its first byte."""
        return self.header.base

    @property
    def end(self) -> int:
        """Log position after its last byte."""
        return self.header.base + self.size

    @property
    def sealed(self) -> bool:
        """Whether nothing is appended to it any more."""
        return self.name != ACTIVE_NAME


@attrs.frozen
class Problem:
    """A reason not to open the log.

    Attributes:
        file: path of the file.
        offset: of the first byte in it that is wrong.
        detail: what is wrong.
        newer: a later version of this program wrote it, and would understand it.
        advice: what to do.
    """

    file: str
    offset: int
    detail: str
    newer: bool = False
    advice: str = RESTORE

    def error(self) -> LogDamaged | FormatTooNew:
        """Give the problem as the error that opening ends in."""
        if self.newer:
            return FormatTooNew(self.file, self.offset, self.detail)
        return LogDamaged(self.file, self.offset, self.detail, self.advice)


@attrs.frozen
class Catalog:
    """A data directory, looked through.

    Attributes:
        key: the log's key, empty if there is no log.
        manifest: what stands in the directory; None if it is missing or cannot be read.
        next_segment: the least segment number that was never used.
        segments: in order. If there are problems: those that could be told.
        torn_copies: what was cut off and kept for people.
        leftovers: files of the log's own that are worthless: what was being written when a process
            ended, and segments that have been deleted. Whoever opens the log removes them.
        foreign: files that are none of the log's business.
        problems: reasons not to open it, the first one first.
    """

    key: bytes
    manifest: Manifest | None
    next_segment: int
    segments: tuple[Segment, ...]
    torn_copies: tuple[str, ...]
    leftovers: tuple[str, ...]
    foreign: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def active(self) -> Segment | None:
        """The segment to append to; None if it must be begun, at `end` as `next_segment`."""
        newest = self.segments[-1] if self.segments else None
        return None if newest is None or newest.sealed else newest

    @property
    def end(self) -> int:
        """Log position after the newest segment."""
        return self.segments[-1].end if self.segments else 0

    def listing(self) -> Manifest:
        """Give the manifest that should stand; if it is another one than `manifest`, write it."""
        return Manifest(
            self.key,
            self.next_segment,
            tuple(
                ManifestSegment(one.number, one.base, one.name, one.end if one.sealed else None)
                for one in self.segments
            ),
        )


@attrs.frozen
class Findings:
    """What a look into a directory gave, not yet judged.

    Attributes:
        path: of the directory.
        names: of all its files.
        manifest: content of the manifest, None if there is none.
        heads: for each file with a segment's name its first bytes and its size.
    """

    path: str
    names: list[str]
    manifest: bytes | None
    heads: dict[str, tuple[bytes, int]]
