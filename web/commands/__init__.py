"""The commands of the command line, a module for each group of them.

A module holds one click command, or a click group with its commands, and `web.main` registers it.
A command says in one of three ways how it went: it returns (nothing, or an exit code), it raises
`CommandFailed` with one sentence, or it raises `SettingsError` or a click exception for what was
wrong with the arguments. `web.main.run_command` turns each into a line and an exit code.
"""
