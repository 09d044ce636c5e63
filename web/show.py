"""The effective settings as a TOML file."""

import json
from itertools import groupby
from operator import attrgetter

from web.settings import Settings, setting_table

__all__ = ["settings_toml"]


def settings_toml(settings: Settings) -> str:
    """Return a file that gives the same settings when it is read."""
    shown = settings.shown()
    parts = []
    for group, members in groupby(setting_table(), key=attrgetter("group")):
        lines = [f"{member.name} = {_literal(shown[member.name])}" for member in members]
        parts.append("\n".join([f"# {group}", *lines]))
    return "\n\n".join(parts) + "\n"


def _literal(value: str | float) -> str:
    """Return a TOML literal; a JSON string is one, but for a control character that JSON allows."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
