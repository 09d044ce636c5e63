"""The failure of a command: one line on standard error and exit code 1."""

__all__ = ["FAILED", "CommandFailed"]

FAILED = 1
"""The exit code of a command that was understood and could not be carried out."""


class CommandFailed(Exception):
    """The command could not be carried out; the message is one sentence that says why."""
