"""A flag for every setting, made from the table of settings."""

from collections.abc import Callable
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeAlias

import click

from web.settings import Setting, setting_table
from web.sources import CONFIG_FILE

__all__ = ["SettingsCommand", "flags_for", "setting_flags"]

Command: TypeAlias = Callable[..., Any]

CONFIG_HELP = "A TOML file with settings, named as the flags are with _ for - (port = 3000)."


def setting_flags(command: Command) -> Command:
    """Give the command a flag for each setting and one for the file."""
    return flags_for(*(setting.name for setting in setting_table()))(command)


def flags_for(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the flags of these settings and one for the file.

    The command gets what `read_settings` takes: text by setting name, None where none was given.
    """

    def decorate(command: Command) -> Command:
        # The last decorator applied is the first in the help.
        for setting in reversed(setting_table()):
            if setting.name in names:
                flag = click.option(
                    setting.flag, setting.name, metavar="VALUE", help=_help(setting)
                )
                command = flag(command)
        return click.option(
            "--config-file", "config_file", metavar="PATH", help=f"{CONFIG_HELP}  [{CONFIG_FILE}]"
        )(command)

    return decorate


def _help(setting: Setting) -> str:
    shown = setting.rule.show(setting.default)
    default = shown if shown != "" else "none"
    return f"{setting.help}  [{setting.variable}; default: {default}]"


class SettingsCommand(click.Command):
    """A command whose help has a heading for each group of settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags of each group under its heading, the others first."""
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        }
        groups = [
            (group, [records.pop(setting.name) for setting in settings])
            for group, settings in groupby(setting_table(), key=attrgetter("group"))
        ]
        for heading, rows in [("Options", list(records.values())), *groups]:
            with formatter.section(heading):
                formatter.write_dl(rows)
