"""Looks through a data directory, for opening, verifying, backing up and looking at it."""

from persistence.catalog import Catalog, Findings
from persistence.disk import Disk, read_whole
from persistence.errors import ReadFailed
from persistence.judgement import judge
from persistence.names import MANIFEST_NAME, is_segment
from persistence.segment import SEGMENT_HEADER_SIZE_MAX

_ATTEMPTS_MAX = 20
"""How often a directory that changes meanwhile is looked through."""


def survey(disk: Disk) -> Catalog:
    """Read the manifest and the segments' headers, and say what they mean; change nothing.

    While another process works in the directory, files come and go between two steps: it is looked
    through again until nothing has changed meanwhile.

    Args:
        disk: locked, or only looked at.

    Raises:
        ReadFailed: the disk could not be read.
    """
    for _ in range(_ATTEMPTS_MAX):
        findings = _gather(disk)
        if findings is not None:
            return judge(findings)
    raise ReadFailed(disk.path, "its files kept changing")


def _gather(disk: Disk) -> Findings | None:
    """Read what is judged; None if something changed meanwhile."""
    name = ""
    try:
        names = disk.names()
        name = MANIFEST_NAME
        manifest = _manifest(disk, names)
        heads: dict[str, tuple[bytes, int]] = {}
        for name in filter(is_segment, names):
            heads[name] = _head(disk, name)
        name = MANIFEST_NAME
        names_now = disk.names()
        changed = _manifest(disk, names_now) != manifest or list(filter(is_segment, names_now)) != [
            *heads
        ]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReadFailed(f"{disk.path}/{name}", error) from error
    return None if changed else Findings(disk.path, names, manifest, heads)


def _manifest(disk: Disk, names: list[str]) -> bytes | None:
    return read_whole(disk, MANIFEST_NAME) if MANIFEST_NAME in names else None


def _head(disk: Disk, name: str) -> tuple[bytes, int]:
    file = disk.open_to_read(name)
    try:
        return file.read(0, SEGMENT_HEADER_SIZE_MAX), file.size()
    finally:
        file.close()
