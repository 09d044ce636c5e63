"""The names of the log's files, and what a name says.

The list is in the package's docstring under "The data directory".
"""

import re

from persistence.disk import temporary

ACTIVE_NAME = "events.log"
"""The segment that facts are appended to, whatever its number."""

MANIFEST_NAME = "events.manifest"
"""Says which segments belong to the log."""

RESERVE_NAME = "events.reserve"
"""Holds space for bad times."""

SNAPSHOT_NAME = "events.snapshot"
"""Saves time when the log is opened; nothing but time is lost without it."""

_SEALED = re.compile(r"events-([0-9]{10})\.log")
_TORN_MARK = ".torn-"
_SINGLE = frozenset({MANIFEST_NAME, RESERVE_NAME, SNAPSHOT_NAME})


def sealed_name(number: int) -> str:
    """Tell the file name of a segment that nothing is appended to any more."""
    return f"events-{number:010d}.log"


def number_in(name: str) -> int | None:
    """Give the segment number in the name of a sealed segment, None for any other name."""
    match = _SEALED.fullmatch(name)
    return None if match is None else int(match[1])


def is_segment(name: str) -> bool:
    """Tell whether a segment may bear this name."""
    return name == ACTIVE_NAME or number_in(name) is not None


def torn_name(segment_name: str, offset: int) -> str:
    """Tell the name for the copy of a torn tail, unless it is taken."""
    return f"{segment_name}{_TORN_MARK}{offset}"


def is_torn_copy(name: str) -> bool:
    """Tell whether a file is a whole copy that `repair.cut_torn_tail` made."""
    segment, mark, _ = name.partition(_TORN_MARK)
    return bool(mark) and is_segment(segment) and not name.endswith(temporary(""))


def is_temporary(name: str) -> bool:
    """Tell whether a file is one of the log's own that was being written when a process ended."""
    whole = name.removesuffix(temporary(""))
    return whole != name and is_own(whole)


def is_own(name: str) -> bool:
    """Tell whether the log gives files this name; any other file is left alone."""
    return name in _SINGLE or is_segment(name) or is_torn_copy(name)
