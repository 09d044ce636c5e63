"""Finds out how the files of a data directory can be put in order without losing anything.

Pure, but for what is read of segments: the steps are tried on a picture of the directory, each
time the first thing that is wrong, until nothing is. What cannot be put in order is a segment that
is not there any more.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import zip_longest

import attrs

from persistence.aside import aside_name
from persistence.catalog import Catalog, Findings, Problem, Segment
from persistence.errors import CannotMend, NewerFormat, StorageError, Undecodable
from persistence.header_mending import corrected, key_in
from persistence.judgement import judge
from persistence.manifest import Manifest, ManifestSegment, decode_manifest
from persistence.names import ACTIVE_NAME, MANIFEST_NAME, is_segment, number_in, sealed_name
from persistence.segment import HEADER_SIZE, SegmentHeader, decode_header

Probe = Callable[[str, bytes], int | None]
"""Tells the log position at which a file begins, from its batches: takes its name and a key."""

_MANIFESTS_MAX = 2
_KEY_LINE = re.compile(rb"^key ([0-9a-f]{32})$", re.MULTILINE)


@attrs.frozen
class Rename:
    """A step: a file gets another name, which is free."""

    old: str
    new: str


@attrs.frozen
class Tidied:
    """How the directory can be put in order.

    Attributes:
        catalog: what lies there then; it has no problems. The size of a sealed segment is what it
            should be, whatever its file has.
        renames: steps, in order.
        headers: new bytes for the beginning of these segments, by name.
        rebuilt: those of them that do not say all that the old ones said.
        missing: segments that are lost.
        manifest_anew: the old manifest, if there is one, is of no use.
        origins: for each segment's name the one that its file has now.
        remarks: what is done, in sentences.
    """

    catalog: Catalog
    renames: tuple[Rename, ...]
    headers: dict[str, bytes]
    rebuilt: frozenset[str]
    missing: tuple[ManifestSegment, ...]
    manifest_anew: bool
    origins: dict[str, str]
    remarks: tuple[str, ...]


def tidy(findings: Findings, probe: Probe) -> Tidied:
    """Put a picture of a directory in order.

    Raises:
        CannotMend: there is no telling what belongs to the log.
        FormatTooNew: a later version wrote some of it.
    """
    return _Tidying(findings, probe).run()


class _Tidying:
    def __init__(self, findings: Findings, probe: Probe) -> None:
        self._path = findings.path
        self._names = list(findings.names)
        self._heads = dict(findings.heads)
        self._manifest = findings.manifest
        self._probe = probe
        self._taken = set(findings.names)
        self._renames: list[Rename] = []
        self._headers: dict[str, bytes] = {}
        self._rebuilt: set[str] = set()
        self._missing: list[ManifestSegment] = []
        self._origins: dict[str, str] = {}
        self._remarks: list[str] = []
        self._manifests_made = 0
        # Segments that wait for their name to come free: their names now, and their heads.
        self._parked: dict[str, tuple[str, tuple[bytes, int]]] = {}

    def run(self) -> Tidied:
        self._check_keys()
        for _ in range(8 * len(self._names) + 64):
            catalog = judge(self._picture())
            problem = self._first(catalog)
            if problem is None:
                return self._result(catalog)
            self._react(catalog, problem)
            self._unpark()
        raise CannotMend(self._path, "its files contradict each other")

    def _picture(self) -> Findings:
        return Findings(self._path, sorted(self._names), self._manifest, self._heads)

    def _first(self, catalog: Catalog) -> Problem | None:
        """Give the problem to solve next: the manifest's last, as it is made from the segments."""
        problems = sorted(catalog.problems, key=lambda one: self._name(one) == MANIFEST_NAME)
        return problems[0] if problems else None

    def _name(self, problem: Problem) -> str:
        return problem.file.removeprefix(f"{self._path}/")

    def _result(self, catalog: Catalog) -> Tidied:
        if not catalog.segments and catalog.manifest is None:
            raise CannotMend(self._path, "there is no segment left in it")
        return Tidied(
            catalog,
            tuple(self._renames),
            self._headers,
            frozenset(self._rebuilt),
            tuple(self._missing),
            self._manifests_made > 0,
            {one.name: self._origins.get(one.name, one.name) for one in catalog.segments},
            tuple(self._remarks),
        )

    def _check_keys(self) -> None:
        """Refuse a mixture of several logs, unless the manifest says which one it is."""
        found = {name: header.key for name, header in self._readable().items()}
        keys = set(found.values())
        manifest = self._listing()
        if manifest is not None and (manifest.key in keys or not keys):
            return
        if manifest is not None:
            # Of no use: not one segment is of the same log.
            self._manifest = b""
            said = b""
        else:
            line = _KEY_LINE.search(self._manifest or b"")
            said = bytes.fromhex(line[1].decode()) if line else b""
        if len(keys) <= 1:
            return
        if said not in keys:
            raise CannotMend(self._path, "segments of several logs are in it, and no manifest")
        for name, key in found.items():
            if key != said:
                self._put_aside(name, "it belongs to another log")

    def _readable(self) -> dict[str, SegmentHeader]:
        """Give the headers that can be read, by file name."""
        found = {}
        for name, (data, _) in sorted(self._heads.items()):
            with suppress(Undecodable):
                found[name] = decode_header(data)
        return found

    def _listing(self) -> Manifest | None:
        try:
            return None if self._manifest is None else decode_manifest(self._manifest)
        except Undecodable:
            return None

    # One problem at a time

    def _react(self, catalog: Catalog, problem: Problem) -> None:
        name = self._name(problem)
        if name == MANIFEST_NAME:
            self._list_anew(catalog, problem)
            return
        if name not in self._heads:
            self._miss(name)
            return
        data, size = self._heads[name]
        if not size:
            self._put_aside(name, "it is empty")
            return
        try:
            header = decode_header(data)
        except Undecodable as error:
            self._mend_header(name, catalog, error, problem.error())
        else:
            self._place(Segment(name, size, header), catalog, problem)

    def _list_anew(self, catalog: Catalog, problem: Problem) -> None:
        """Make a manifest from the segments."""
        if problem.newer and not self._is_only_damaged():
            raise problem.error()
        found = self._wanted(catalog)
        self._manifests_made += 1
        if self._manifests_made > _MANIFESTS_MAX or not found:
            raise CannotMend(self._path, problem.detail)
        lines = []
        for one, after in zip_longest(found, found[1:]):
            # Where the next one follows at once, its base says where this one must end.
            pinned = after is not None and after.number == one.number + 1
            end = one.end if one.sealed and not pinned else None
            lines.append(ManifestSegment(one.number, one.base, one.name, end))
        next_segment = max(catalog.next_segment, found[-1].number + 1)
        self._manifest = Manifest(catalog.key, next_segment, tuple(lines)).encode()
        if MANIFEST_NAME not in self._names:
            self._names.append(MANIFEST_NAME)
        self._remarks.append(
            f"{MANIFEST_NAME} is made anew from {len(lines)} segments ({problem.detail});"
            " whether there was another segment cannot be told"
        )

    def _wanted(self, catalog: Catalog) -> list[Segment]:
        """Give the segments that a new manifest should list, in order."""
        manifest = catalog.manifest
        found: dict[int, Segment] = {}
        for name, header in self._readable().items():
            one = Segment(name, self._heads[name][1], header)
            deleted = (
                manifest is not None
                and one.number < manifest.next_segment
                and _numbered(manifest, one.number) is None
            )
            if header.key == catalog.key and number_in(name) in {None, one.number} and not deleted:
                found[one.number] = one
        return [found[number] for number in sorted(found)]

    def _is_only_damaged(self) -> bool:
        """Tell whether a manifest of a later version is one of ours but for its version."""
        title, _, rest = (self._manifest or b"").partition(b"\n")
        for version in (b"1", b"2"):
            try:
                decode_manifest(title.rpartition(b" ")[0] + b" " + version + b"\n" + rest)
            except Undecodable:
                continue
            return True
        return False

    def _miss(self, name: str) -> None:
        """Take a segment off the list whose file is not there."""
        manifest = self._listing()
        listed = None if manifest is None else _listed_as(manifest, name)
        if manifest is None or listed is None:
            raise CannotMend(self._path, "there is no segment left in it")
        self._missing.append(listed)
        kept = tuple(one for one in manifest.segments if one is not listed)
        self._manifest = attrs.evolve(manifest, segments=kept).encode()

    def _mend_header(
        self, name: str, catalog: Catalog, error: Undecodable, refusal: StorageError
    ) -> None:
        data, size = self._heads[name]
        head = corrected(data)
        if head is not None:
            self._remarks.append(f"a bit in the header of {name} is put right from its checksum")
        elif isinstance(error, NewerFormat):
            raise refusal
        else:
            head = self._rebuilt_header(name, catalog, data)
            if head is None:
                self._put_aside(name, error.detail)
                return
            self._rebuilt.add(name)
        self._headers[name] = head
        self._heads[name] = (head + data[len(head) :], size)

    def _rebuilt_header(self, name: str, catalog: Catalog, data: bytes) -> bytes | None:
        """Write what is known of a segment whose header cannot be read."""
        manifest = self._listing()
        listed = None if manifest is None else _listed_as(manifest, name)
        number = number_in(name) if listed is None else listed.number
        if number is None:
            number = catalog.next_segment
        elif listed is None and manifest is not None:
            return None  # the list is sound, and does not know it
        key = catalog.key or key_in(data)
        base = self._probe(self._origins.get(name, name), key)
        if base is None or (listed is not None and listed.base != base):
            return None
        return SegmentHeader(number, base, 0, key).encode()

    def _place(self, one: Segment, catalog: Catalog, problem: Problem) -> None:
        """Put a segment where it belongs."""
        manifest = catalog.manifest
        listed = None if manifest is None else _numbered(manifest, one.number)
        right = self._right_name(one, listed)
        if one.header.key != catalog.key:
            self._put_aside(one.name, problem.detail)
        elif right != one.name and not self._is_in(right, one.number):
            self._give_name(one.name, right)
        elif self._is_elsewhere(one):
            self._put_aside(one.name, problem.detail)
        elif manifest is not None and listed is None and one.number >= manifest.next_segment:
            self._list_anew(catalog, problem)
        elif manifest is not None and (listed is None or listed.base != one.base):
            self._put_aside(one.name, problem.detail)
        else:
            self._set_size(one, listed, catalog, problem)

    def _right_name(self, one: Segment, listed: ManifestSegment | None) -> str:
        if listed is None:
            return sealed_name(one.number) if one.sealed else ACTIVE_NAME
        active = listed.name == ACTIVE_NAME and (not one.sealed or ACTIVE_NAME not in self._names)
        return ACTIVE_NAME if active else sealed_name(one.number)

    def _set_size(
        self, one: Segment, listed: ManifestSegment | None, catalog: Catalog, problem: Problem
    ) -> None:
        """Let a segment be as long as it should be."""
        after = next((each for each in catalog.segments if each.number > one.number), None)
        end = None if listed is None else listed.end
        if end is None and after is not None:
            end = after.base
        if end is None or end == one.end or end < one.base + HEADER_SIZE:
            self._put_aside(one.name, problem.detail)
            return
        if end < one.end:
            self._remarks.append(f"{one.end - end} bytes behind the end of {one.name} are cut off")
        self._heads[one.name] = (self._heads[one.name][0], end - one.base)

    def _is_in(self, name: str, number: int) -> bool:
        """Tell whether a file holds a segment of this number."""
        try:
            return name in self._heads and decode_header(self._heads[name][0]).number == number
        except Undecodable:
            return False

    def _is_elsewhere(self, one: Segment) -> bool:
        return any(name != one.name and self._is_in(name, one.number) for name in self._heads)

    # Names

    def _give_name(self, name: str, right: str) -> None:
        if right not in self._names:
            self._remarks.append(f"{name} gets its right name {right} again")
            self._rename(name, right)
            return
        # Perhaps what bears that name has to go somewhere else as well.
        head = self._heads[name]
        self._parked[self._put_aside(name, f"{right} is taken")] = (right, head)

    def _unpark(self) -> None:
        for name, (right, head) in list(self._parked.items()):
            if right not in self._names:
                del self._parked[name]
                self._remarks.append(f"{name} gets its right name {right}")
                self._names.append(name)
                self._heads[name] = head
                self._rename(name, right)

    def _put_aside(self, name: str, why: str) -> str:
        aside = aside_name(self._origins.get(name, name), self._taken)
        self._remarks.append(f"{name} is moved aside to {aside}: {why}")
        self._rename(name, aside)
        self._headers.pop(name, None)
        self._rebuilt.discard(name)
        return aside

    def _rename(self, old: str, new: str) -> None:
        self._renames.append(Rename(old, new))
        self._names.remove(old)
        head = self._heads.pop(old)
        self._origins[new] = self._origins.pop(old, old)
        if is_segment(new):
            self._names.append(new)
            self._heads[new] = head
        if old in self._headers:
            self._headers[new] = self._headers.pop(old)
            if old in self._rebuilt:
                self._rebuilt.remove(old)
                self._rebuilt.add(new)


def _numbered(manifest: Manifest, number: int) -> ManifestSegment | None:
    return next((one for one in manifest.segments if one.number == number), None)


def _listed_as(manifest: Manifest, name: str) -> ManifestSegment | None:
    """Give what the manifest lists under a name; the active segment may have been sealed."""
    for one in manifest.segments:
        if name in {one.name, sealed_name(one.number)}:
            return one
    return None
