"""The names that a repair gives to what it keeps for people."""

import re

from persistence.disk import temporary

_DAMAGED, _ASIDE = ".damaged", ".aside"
_KEPT = re.compile(r"events\.(?:log|manifest|snapshot)(?:\.damaged|\.aside)(?:\.[0-9]+)?")
_KEPT_SEALED = re.compile(r"events-[0-9]{10}\.log(?:\.damaged|\.aside)(?:\.[0-9]+)?")


def damaged_name(name: str, taken: set[str]) -> str:
    """Tell the name for the copy of a file that is going to be written anew, and take it."""
    return _free(f"{name}{_DAMAGED}", taken)


def aside_name(name: str, taken: set[str]) -> str:
    """Tell the name for a file that is taken out of the log, and take it."""
    return _free(f"{name}{_ASIDE}", taken)


def is_kept(name: str) -> bool:
    """Tell whether a repair has given this name."""
    return bool(_KEPT.fullmatch(name) or _KEPT_SEALED.fullmatch(name))


def is_half_kept(name: str) -> bool:
    """Tell whether a file is a copy that was being made when a repair ended."""
    whole = name.removesuffix(temporary(""))
    return whole != name and is_kept(whole)


def _free(wanted: str, taken: set[str]) -> str:
    name = wanted
    again = 1
    while name in taken:
        again += 1
        name = f"{wanted}.{again}"
    taken.add(name)
    return name
