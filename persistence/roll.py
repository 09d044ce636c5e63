"""Seals the active segment and begins the next one, so that no crash on the way loses either.

The order of `seal_and_begin`, and what a crash leaves after each step:

1. The sealed segment's bytes are synced: no byte of it is in doubt under its final name.
2. The new segment and the new manifest are written and synced under temporary names. A disk that
   is full shows here, before anything has changed; what a crash leaves is worthless.
3. The active segment gets its final name, and the directory is synced. Without that sync the next
   rename could reach the disk alone and replace the segment, which would then have no name at all.
   From here to step 4 a crash leaves no active segment. The manifest still lists the sealed one by
   the name that it had; its number and key say that it is the same.
4. The new segment gets the active one's name, and the directory is synced. A crash leaves a segment
   that the manifest does not list: its number is the next one, and there is no batch in it.
5. The manifest gets its name, and the directory is synced. Before that no batch may be written: a
   segment with facts that the manifest does not know is for people to judge.

Where there is no active segment, `begin` goes on from step 3.
"""

import contextlib
import errno
import os
from collections.abc import Callable

import attrs

from persistence.disk import Disk, File, create_aside, create_whole, temporary
from persistence.errors import SyncFailed
from persistence.manifest import Manifest, write_manifest
from persistence.names import ACTIVE_NAME, MANIFEST_NAME, sealed_name
from persistence.segment import SegmentHeader


@attrs.frozen
class Rolled:
    """What stands after a roll.

    Attributes:
        file: the new active segment: its header alone, synced.
        manifest: lists it.
    """

    file: File
    manifest: Manifest


def seal_and_begin(
    disk: Disk, active: File, sealed: SegmentHeader, new: SegmentHeader, manifest: Manifest
) -> Rolled:
    """Seal the active segment and begin the next one. Both, and the manifest, are on disk then.

    Args:
        disk: locked.
        active: the active segment's file, without half a batch at its end. It stays open; its
            `name` is then the sealed one.
        sealed: the active segment's header.
        new: the next one's; its base is where the active one ends.
        manifest: the list as it is on disk. The active segment is its last one.

    Raises:
        ValueError: the headers do not follow each other; nothing was done.
        OSError: nothing has changed, and the active segment goes on: the disk is full, or refuses
            to create or rename.
        SyncFailed: what stands on the disk is unknown. The log has failed.
    """
    _check_follows(manifest, new, sealed.number, sealed.base + active.size())
    where = f"{disk.path}/{active.name}"
    _sync(active.sync, where)
    name = sealed_name(sealed.number)
    if name in disk.names():  # renaming would replace it
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    rolled = manifest.begin(new)
    file = create_aside(disk, ACTIVE_NAME, [new.encode()])
    try:
        create_aside(disk, MANIFEST_NAME, [rolled.encode()]).close()
        _change_names(disk, name, where)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            _discard(disk)
        raise
    active.name = name
    file.name = ACTIVE_NAME
    return Rolled(file, rolled)


def begin(disk: Disk, new: SegmentHeader, manifest: Manifest) -> Rolled:
    """Begin the active segment of a log that has none: a new one, or one whose roll was cut short.

    It, and the manifest, are on disk then. What a crash leaves is the same as in `seal_and_begin`.

    Args:
        disk: locked.
        new: the segment's header; its base is where the newest sealed segment ends.
        manifest: the list as it should be on disk, with every segment sealed: `Catalog.listing`.

    Raises:
        ValueError: the header does not follow; nothing was done.
        OSError: the disk is full or broken.
    """
    newest = manifest.segments[-1] if manifest.segments else None
    end = newest.end if newest else 0
    _check_follows(manifest, new, newest.number if newest else None, end)
    # A process that was killed may have given the newest segment its name without syncing that.
    disk.sync_directory()
    create_whole(disk, ACTIVE_NAME, [new.encode()])
    file = disk.open(ACTIVE_NAME)
    rolled = manifest.begin(new)
    try:
        write_manifest(disk, rolled)
    except BaseException:
        file.close()
        raise
    return Rolled(file, rolled)


def _check_follows(
    manifest: Manifest, new: SegmentHeader, number: int | None, end: int | None
) -> None:
    newest = manifest.segments[-1].number if manifest.segments else None
    if newest != number or new.number != manifest.next_segment or new.base != end:
        raise ValueError(f"segment {new.number} cannot follow segment {number}")


def _change_names(disk: Disk, name: str, where: str) -> None:
    """Do steps 3 to 5, all or none."""
    disk.rename(ACTIVE_NAME, name)
    _sync(disk.sync_directory, where)
    try:
        disk.rename(temporary(ACTIVE_NAME), ACTIVE_NAME)
        _sync(disk.sync_directory, where)
        disk.rename(temporary(MANIFEST_NAME), MANIFEST_NAME)
    except OSError:
        _rename_back(disk, name, where)
        raise
    _sync(disk.sync_directory, where)


def _rename_back(disk: Disk, name: str, where: str) -> None:
    """Undo the steps 3 and 4 in one: this replaces the new segment, which is empty."""
    try:
        disk.rename(name, ACTIVE_NAME)
        disk.sync_directory()
    except OSError as error:
        raise SyncFailed(where, error) from error


def _discard(disk: Disk) -> None:
    for name in (ACTIVE_NAME, MANIFEST_NAME):
        with contextlib.suppress(OSError):  # it may not be there, and is removed at the next start
            disk.remove(temporary(name))


def _sync(sync: Callable[[], None], where: str) -> None:
    try:
        sync()
    except OSError as error:
        raise SyncFailed(where, error) from error
