"""Makes a directory, and the end of a segment, trustworthy before anybody builds on them.

Every step can be repeated from the beginning after a crash at any point.
"""

from collections.abc import Iterable, Iterator

from persistence.disk import Disk, File, create_whole
from persistence.names import torn_name

_CHUNK = 4 * 1024 * 1024


def remove_leftovers(disk: Disk, names: Iterable[str]) -> None:
    """Remove files that are worthless, see `Catalog.leftovers`.

    The names are synced before. A process that was killed may have changed some without that: a
    segment that the manifest does not list is worthless only when this very manifest is on disk.

    Raises:
        OSError: the disk is broken; some of them may be gone.
    """
    disk.sync_directory()
    for name in names:
        disk.remove(name)


def cut_torn_tail(disk: Disk, file: File, offset: int) -> str:
    """Copy what stands from `offset` on to a file of its own, then cut it off.

    The copy is on disk, with its name, before the cut begins. The cut is not synced here.

    Returns:
        The copy's name.
    """
    name = _free_name(disk, torn_name(file.name, offset))
    # In pieces: where syncs are lazy a tail can be larger than memory.
    create_whole(disk, name, _pieces(file, offset, file.size()))
    file.truncate(offset)
    return name


def rewrite(file: File, start: int, end: int) -> None:
    """Write the bytes from offset `start` to `end` again as they are. The caller syncs.

    After a failed sync, Linux marks pages clean that never reached the disk: they read back right,
    and another sync has nothing to write. Writing makes them dirty again.

    Args:
        file: a segment.
        start: offset of the first byte that may not be on disk: `Verdict.synced` less the base, so
            never inside the header, which was synced before the file got its name.
        end: offset after the last one.
    """
    at = start
    for piece in _pieces(file, start, end):
        file.write(at, piece)
        at += len(piece)


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
