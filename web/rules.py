"""What one setting's value may be, and how it is read from text or from a TOML value."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

from actors.settings import FsyncPolicy

__all__ = ["Backend", "Choice", "Directory", "Fraction", "Fsync", "Host", "Rule", "Text", "Whole"]

BACKEND = "embedded:"
HANDLER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
MS_MAX = 86_400_000


class Rule(Protocol):
    """Reads a value and says in words which values it takes."""

    @property
    def allowed(self) -> str:
        """The end of the sentence "must be ..."."""
        ...

    def read(self, value: object) -> object:
        """Return the setting's value; ValueError when it is not allowed.

        Args:
            value: text from the environment or a flag, or what TOML gave.
        """
        ...

    def show(self, value: object) -> str | int | float:
        """Return the value as one would write it in a TOML file; `read` takes it back."""
        ...


@attrs.frozen
class Whole:
    """A whole number in a range."""

    low: int
    high: int
    unit: str = ""

    @property
    def allowed(self) -> str:
        """See `Rule`."""
        unit = f" {self.unit}" if self.unit else ""
        return f"a whole number from {self.low} to {self.high}{unit}"

    def read(self, value: object) -> int:
        """See `Rule`."""
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip(), re.ASCII):
            value = int(value)
        if type(value) is not int or not self.low <= value <= self.high:
            raise ValueError(self.allowed)
        return value

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        return value if isinstance(value, int) else str(value)


@attrs.frozen
class Fraction:
    """A number with or without decimals in a range."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        """See `Rule`."""
        return f"a number from {self.low:g} to {self.high:g}"

    def read(self, value: object) -> float:
        """See `Rule`."""
        number = math.nan
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
        if not self.low <= number <= self.high:
            raise ValueError(self.allowed)
        return number

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        return value if isinstance(value, float) else str(value)


@attrs.frozen
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """See `Rule`."""
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"

    def read(self, value: object) -> str:
        """See `Rule`."""
        word = value.strip().lower() if isinstance(value, str) else None
        if word not in self.words:
            raise ValueError(self.allowed)
        return word

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        return str(value)


@attrs.frozen
class Text:
    """Text of a certain form."""

    allowed: str
    accepts: Callable[[str], bool]

    def read(self, value: object) -> str:
        """See `Rule`."""
        if not isinstance(value, str) or not self.accepts(value.strip()):
            raise ValueError(self.allowed)
        return value.strip()

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        return str(value)


class Host:
    """A name or an address to listen on; brackets around an IPv6 address are taken off."""

    allowed = "a host name or an IP address, for instance 127.0.0.1, 0.0.0.0 or ::1"

    def read(self, value: object) -> str:
        """See `Rule`."""
        if not isinstance(value, str):
            raise ValueError(self.allowed)  # noqa: TRY004 - every rule says no in one way
        host = value.strip()
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", host):
            raise ValueError(self.allowed)
        return host

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        return str(value)


class Directory:
    """A path; the directory is created when it is missing."""

    allowed = "the path of a directory, in UTF-8"

    def read(self, value: object) -> Path:
        """See `Rule`."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError(self.allowed)
        if any("\ud800" <= char <= "\udfff" for char in value):  # bytes that were not UTF-8
            raise ValueError(self.allowed)
        path = Path(value)
        try:
            return path.expanduser()
        except RuntimeError:  # ~ without a home
            return path

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        return str(value)


class Fsync:
    """When written facts are forced to the disk."""

    allowed = f"always, never or interval:MS with MS from 1 to {MS_MAX}"

    def read(self, value: object) -> FsyncPolicy:
        """See `Rule`."""
        word = value.strip().lower() if isinstance(value, str) else ""
        if word == "always":
            return FsyncPolicy()
        if word == "never":
            return FsyncPolicy(before_answer=False)
        match = re.fullmatch(r"interval:([0-9]{1,8})", word)
        if match is None or not 1 <= int(match[1]) <= MS_MAX:
            raise ValueError(self.allowed)
        return FsyncPolicy(before_answer=False, interval_ms=int(match[1]))

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        if not isinstance(value, FsyncPolicy) or value.before_answer:
            return "always"
        return "never" if value.interval_ms is None else f"interval:{value.interval_ms}"


class Backend:
    """Which engine keeps the events."""

    allowed = BACKEND

    def read(self, value: object) -> str:
        """See `Rule`."""
        url = value.strip() if isinstance(value, str) else ""
        if url.startswith(("postgresql://", "postgres://")):
            raise ValueError(f"{BACKEND} (PostgreSQL is not available in this version)")
        if url != BACKEND:
            raise ValueError(self.allowed)
        return url

    def show(self, value: object) -> str | int | float:
        """See `Rule`."""
        return str(value)


def names_a_function(text: str) -> bool:
    """Tell whether the text has the form `module:function`, or is empty."""
    return not text or HANDLER.fullmatch(text) is not None
