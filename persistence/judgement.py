"""Says what the files of a data directory mean together. Pure.

Each file is blamed for one thing at most, the first in the order of the checks below, and what
follows from that is not told a second time.
"""

from itertools import zip_longest

import attrs

from persistence.catalog import RESTORE, Catalog, Findings, Problem, Segment
from persistence.errors import NewerFormat, Undecodable
from persistence.manifest import Manifest, ManifestSegment, decode_manifest
from persistence.names import (
    ACTIVE_NAME,
    MANIFEST_NAME,
    is_own,
    is_temporary,
    is_torn_copy,
    number_in,
    sealed_name,
)
from persistence.segment import decode_header

_RESTORE_OR_BEGIN = (
    "restore it from a backup, or move all its files away to begin a new log; nothing was changed"
)
_RESTORE_ALL = "restore the whole directory from one backup; nothing was changed"
_MOVE_AWAY = "move away the one that is not the log's; nothing was changed"

_NUMBER_AT, _BASE_AT, _KEY_AT = 16, 24, 40
"""Offsets of fields in a segment's header."""


def judge(findings: Findings) -> Catalog:
    """Say which files are the log's, in which order, and what is wrong with them."""
    judgement = _Judgement(findings)
    judgement.read_manifest()
    judgement.read_headers()
    judgement.check_keys()
    judgement.check_names()
    judgement.check_numbers()
    if judgement.manifest is not None:
        judgement.check_list(judgement.manifest)
    elif findings.manifest is None:
        judgement.do_without_list()
    judgement.check_ends()
    return judgement.catalog()


@attrs.define(eq=False)
class _Judgement:
    """What is known so far.

    Attributes:
        segments: those that nothing is wrong with, by file name.
        blamed: numbers of the segments that a problem is about already.
    """

    findings: Findings
    manifest: Manifest | None = None
    segments: dict[str, Segment] = attrs.field(factory=dict)
    leftovers: list[str] = attrs.field(factory=list)
    problems: list[Problem] = attrs.field(factory=list)
    blamed: set[int] = attrs.field(factory=set)

    def blame(
        self,
        name: str,
        offset: int,
        detail: str,
        advice: str = RESTORE,
        *,
        newer: bool = False,
    ) -> None:
        """Note a problem with a file; a segment counts no longer then."""
        self.problems.append(Problem(f"{self.findings.path}/{name}", offset, detail, newer, advice))
        segment = self.segments.pop(name, None)
        if segment is not None:
            self.blamed.add(segment.number)
        for number, listed in self.listed.items():
            if name in (listed.name, sealed_name(number)):
                self.blamed.add(number)

    @property
    def listed(self) -> dict[int, ManifestSegment]:
        """What the manifest lists, by number."""
        if self.manifest is None:
            return {}
        return {one.number: one for one in self.manifest.segments}

    def in_order(self) -> list[Segment]:
        """Give the segments in the order of their numbers."""
        return sorted(self.segments.values(), key=lambda one: (one.number, one.name))

    def read_manifest(self) -> None:
        """Decode the manifest, if there is one."""
        if self.findings.manifest is None:
            return
        try:
            self.manifest = decode_manifest(self.findings.manifest)
        except Undecodable as error:
            newer = isinstance(error, NewerFormat)
            self.blame(MANIFEST_NAME, error.position, error.detail, newer=newer)

    def read_headers(self) -> None:
        """Decode the header of each segment."""
        for name, (data, size) in sorted(self.findings.heads.items()):
            if not size:
                self.blame(name, 0, "the file is empty")
                continue
            try:
                self.segments[name] = Segment(name, size, decode_header(data))
            except Undecodable as error:
                newer = isinstance(error, NewerFormat)
                self.blame(name, error.position, error.detail, newer=newer)

    def check_keys(self) -> None:
        """Blame what belongs to another log."""
        key, owner = self.key()
        for one in self.in_order():
            if one.header.key != key:
                detail = f"it belongs to another log than {owner}"
                self.blame(one.name, _KEY_AT, detail, _MOVE_AWAY)

    def key(self) -> tuple[bytes, str]:
        """Give the log's key, empty if there is no log, and the file that tells it."""
        if self.manifest is not None:
            return self.manifest.key, MANIFEST_NAME
        tellers = sorted(self.segments.values(), key=lambda one: (one.sealed, one.name))
        return (tellers[0].header.key, tellers[0].name) if tellers else (b"", "")

    def check_names(self) -> None:
        """Blame what bears the name of another segment."""
        for one in self.in_order():
            right = sealed_name(one.number)
            listed = self.listed.get(one.number)
            if one.sealed and number_in(one.name) != one.number:
                wrong = True
            else:
                wrong = not one.sealed and listed is not None and listed.name != ACTIVE_NAME
            if not wrong:
                continue
            detail = f"it is segment {one.number} under the name of another"
            free = right not in self.findings.names
            advice = f"name it {right} again; nothing was changed" if free else _MOVE_AWAY
            self.blame(one.name, _NUMBER_AT, detail, advice)

    def check_numbers(self) -> None:
        """Blame the second of two files with the same segment."""
        seen: dict[int, Segment] = {}

        # The one that the manifest names comes first, and sealed ones before the active.
        def rank(one: Segment) -> tuple[bool, bool]:
            listed = self.listed.get(one.number)
            return (listed is None or listed.name != one.name, not one.sealed)

        for one in sorted(self.segments.values(), key=rank):
            first = seen.setdefault(one.number, one)
            if first is not one:
                detail = f"segment {one.number} is in {first.name} as well"
                self.blame(one.name, _NUMBER_AT, detail, _MOVE_AWAY)

    def check_list(self, manifest: Manifest) -> None:
        """Hold the segments beside the manifest's list."""
        for one in self.in_order():
            listed = self.listed.get(one.number)
            if listed is not None:
                if listed.base != one.base:
                    detail = (
                        f"it begins at log position {one.base},"
                        f" and {MANIFEST_NAME} says {listed.base}"
                    )
                    self.blame(one.name, _BASE_AT, detail)
            elif one.number >= manifest.next_segment:
                self.check_newest(one, manifest)
            elif one.sealed:
                del self.segments[one.name]
                self.leftovers.append(one.name)
            else:
                detail = f"{MANIFEST_NAME} says that segment {one.number} has been deleted"
                self.blame(one.name, _NUMBER_AT, detail, _RESTORE_ALL)
        present = {one.number for one in self.segments.values()} | self.blamed
        for number, listed in self.listed.items():
            if number not in present:
                detail = (
                    f"the file is missing although {MANIFEST_NAME} says that there is a"
                    f" segment {number}"
                )
                taken = listed.name in self.findings.names  # by the segment that came after it
                name = sealed_name(number) if taken else listed.name
                self.blame(name, 0, detail, _RESTORE_OR_BEGIN)

    def check_newest(self, one: Segment, manifest: Manifest) -> None:
        """Judge a segment that is newer than the manifest: a roll may have been cut short."""
        begun = not one.sealed and one.size == one.header.size
        if not begun or one.number != manifest.next_segment:
            detail = f"segment {one.number} is newer than {MANIFEST_NAME}"
            self.blame(one.name, _NUMBER_AT, detail, _RESTORE_ALL)

    def do_without_list(self) -> None:
        """Judge whether the segments tell the whole log, as there is no manifest."""
        if self.problems:
            return
        found = self.in_order()
        if not found:
            for name in filter(is_torn_copy, self.findings.names):
                detail = f"the file is missing although {name} says that there was a log"
                self.blame(ACTIVE_NAME, 0, detail, _RESTORE_OR_BEGIN)
                return
            return
        # Release 0.1.0 wrote the manifest after the log: it may have ended in between.
        numbers = [one.number for one in found]
        gap = next((at for at, number in enumerate(numbers) if at != number), None)
        if gap is not None:
            lack = f"segment {gap} is not there either"
        elif found[0].base:
            lack = f"segment 0 begins at log position {found[0].base}"
        elif found[-1].sealed:
            lack = f"the newest segment is not in {ACTIVE_NAME}"
        else:
            return
        detail = f"the file is missing, and {lack}: what belongs to the log cannot be told"
        self.blame(MANIFEST_NAME, 0, detail, _RESTORE_OR_BEGIN)

    def check_ends(self) -> None:
        """Check that each sealed segment ends where it should."""
        found = self.in_order()
        for one, after in zip_longest(found, found[1:]):
            listed = self.listed.get(one.number)
            end = None if listed is None else listed.end
            if one.name not in self.segments:
                continue
            if end is not None and one.end != end:
                self.blame_end(one, end)
            elif after is None or _fits(one, after):
                continue
            elif end is None and after.base > one.base:
                self.blame_end(one, after.base)
            else:
                detail = (
                    f"it begins at log position {after.base},"
                    f" and segment {one.number} ends at {one.end}"
                )
                self.blame(after.name, _BASE_AT, detail)

    def blame_end(self, one: Segment, end: int) -> None:
        """Blame a segment that ends elsewhere than at a log position."""
        if one.end < end:
            detail = f"it is cut short: {end - one.end} bytes are missing"
            self.blame(one.name, one.size, detail)
        else:
            detail = f"{one.end - end} bytes too many"
            self.blame(one.name, end - one.base, detail)

    def catalog(self) -> Catalog:
        """Give the result."""
        names = self.findings.names
        found = tuple(self.in_order())
        next_segment = found[-1].number + 1 if found else 0
        if self.manifest is not None:
            next_segment = max(next_segment, self.manifest.next_segment)
        return Catalog(
            key=self.key()[0],
            manifest=self.manifest,
            next_segment=next_segment,
            segments=found,
            torn_copies=tuple(filter(is_torn_copy, names)),
            leftovers=(*filter(is_temporary, names), *self.leftovers),
            foreign=tuple(name for name in names if not is_own(name) and not is_temporary(name)),
            problems=tuple(self.problems),
        )


def _fits(one: Segment, after: Segment) -> bool:
    """Tell whether a segment may end where it does; one that was between them may be deleted."""
    if after.number == one.number + 1:
        return one.end == after.base
    return one.end <= after.base
