"""Where settings come from: flags win over the environment, the environment over the file."""

import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from web.rules import Fraction, Whole
from web.settings import Setting, Settings, setting_table

__all__ = ["CONFIG_FILE", "SettingsError", "read_settings"]

CONFIG_FILE = "CONFIG_FILE"
SHOWN_MAX = 80
PASSWORD = re.compile(r"(://[^:/@]*:)[^@]*@")


class SettingsError(Exception):
    """A setting is wrong; the message is one line that names it, its value and what is allowed."""


@attrs.frozen
class Given:
    """A value and where it came from, for instance `the environment`."""

    value: object
    source: str
    is_text: bool = True

    def __str__(self) -> str:
        """Return the value in quotes, without a URL's password, cut when it is long."""
        text = PASSWORD.sub(r"\1***@", repr(self.value))
        return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def read_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """Combine the sources.

    Args:
        flags: text by setting name, None where the flag was not given; `config_file` besides.
        environ: the process's environment; empty variables count as unset.

    Raises:
        SettingsError: a value is not allowed, or the file cannot be read or has an unknown key.
    """
    given: dict[str, Given] = {}
    file = flags.get("config_file") or environ.get(CONFIG_FILE)
    if file:
        given.update(_from_file(Path(file)))
    for setting in setting_table():
        if environ.get(setting.variable):
            given[setting.name] = Given(environ[setting.variable], "the environment")
        flag = flags.get(setting.name)
        if flag is not None:
            given[setting.name] = Given(flag, setting.flag)
    try:
        return _converter().structure(given, Settings)
    except ClassValidationError as error:
        raise SettingsError(str(_first_cause(error))) from None


def _from_file(path: Path) -> dict[str, Given]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(f"{CONFIG_FILE}: cannot read {path}: {reason}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{CONFIG_FILE}: {path} is not a TOML file: {error}.") from None
    known = {setting.name for setting in setting_table()}
    for key in table:
        if key not in known:
            raise SettingsError(
                f"{CONFIG_FILE}: {path} has the unknown key {key!r};"
                f" known are {', '.join(sorted(known))}."
            )
    return {name: Given(value, str(path), is_text=False) for name, value in table.items()}


@functools.cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    hooks: dict[str, Any] = {s.name: override(struct_hook=_hook(s)) for s in setting_table()}
    converter.register_structure_hook(
        Settings,
        make_dict_structure_fn(Settings, converter, _cattrs_forbid_extra_keys=True, **hooks),
    )
    return converter


def _hook(setting: Setting) -> Callable[[Given, object], object]:
    def structure(given: Given, _type: object) -> object:
        # In a file a number is written as one; elsewhere there is only text.
        quoted = isinstance(given.value, str) and not given.is_text
        is_number = isinstance(setting.rule, Whole | Fraction)
        try:
            return setting.rule.read(None if quoted and is_number else given.value)
        except ValueError as allowed:
            raise SettingsError(
                f"{setting.variable}: {given} from {given.source} is not allowed;"
                f" it must be {allowed}."
            ) from None

    return structure


def _first_cause(error: ClassValidationError) -> Exception:
    for cause in error.exceptions:
        if isinstance(cause, SettingsError | ForbiddenExtraKeysError):
            return cause
    return error
