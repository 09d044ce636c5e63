"""Makes the end of a segment trustworthy before anybody builds on it.

Both steps can be repeated from the beginning after a crash at any point.
"""

from collections.abc import Iterator

from persistence.disk import Disk, File, create_whole, temporary
from persistence.segment import HEADER_SIZE

_CHUNK = 4 * 1024 * 1024


def cut_torn_tail(disk: Disk, file: File, offset: int) -> str:
    """Copy what stands from `offset` on to a file of its own, then cut it off.

    The copy is on disk, with its name, before the cut begins. The cut is not synced here.

    Returns:
        The copy's name.
    """
    name = _free_name(disk, f"{file.name}.torn-{offset}")
    # In pieces: where syncs are lazy a tail can be larger than memory.
    create_whole(disk, name, _pieces(file, offset, file.size()))
    file.truncate(offset)
    return name


def rewrite(file: File, start: int, end: int) -> None:
    """Write the bytes from offset `start` to `end` again as they are. The caller syncs.

    After a failed sync, Linux marks pages clean that never reached the disk: they read back right,
    and another sync has nothing to write. Writing makes them dirty again.
    """
    # The header was synced before the file got its name, and is never touched again.
    at = max(start, HEADER_SIZE)
    for piece in _pieces(file, at, end):
        file.write(at, piece)
        at += len(piece)


def is_torn_copy(name: str, segment_name: str) -> bool:
    """Tell whether a file is a copy that `cut_torn_tail` made, or was making."""
    return name.startswith(f"{segment_name}.torn-")


def is_temporary(name: str, segment_name: str, manifest_name: str) -> bool:
    """Tell whether a file is one of the log's own that was being written when a process ended."""
    if name in (temporary(segment_name), temporary(manifest_name)):
        return True
    return is_torn_copy(name, segment_name) and name.endswith(temporary(""))


def _pieces(file: File, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, _CHUNK):
        yield file.read(at, min(_CHUNK, end - at))


def _free_name(disk: Disk, wanted: str) -> str:
    taken = set(disk.names())
    name = wanted
    again = 1
    while name in taken:
        again += 1
        name = f"{wanted}.{again}"
    return name
