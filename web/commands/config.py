"""`event-broker config`: what the settings come to."""

import os

import click

from web.flags import SettingsCommand, setting_flags
from web.show import settings_toml
from web.sources import read_settings

__all__ = ["config"]


@click.command(cls=SettingsCommand)
@click.option("--check", is_flag=True, help="Print nothing but whether the settings are valid.")
@setting_flags
def config(*, check: bool, **flags: str | None) -> None:
    """Print the effective settings, as a file that --config-file takes."""
    settings = read_settings(flags, os.environ)
    click.echo("The settings are valid." if check else settings_toml(settings), nl=check)
