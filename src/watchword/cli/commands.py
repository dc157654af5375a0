# SPDX-License-Identifier: Apache-2.0
"""A group of commands that are imported one at a time, when called.

The sidecar's start and memory must not pay for what other commands need; so what `--help` says of a command
is in a table next to its module's name, and not in the module.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click

# Name: (module, what the group's help says). The module's attribute `command` is the command.
Commands = Mapping[str, tuple[str, str]]


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def __init__(self, *arguments: Any, lazy: Commands, **settings: Any) -> None:
        """As a click.Group, with the commands of `lazy`."""
        super().__init__(*arguments, **settings)
        self._lazy = lazy

    def list_commands(self, _: click.Context) -> list[str]:
        """Their names, in the order of the table."""
        return list(self._lazy)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Import one; None where there is none of this name."""
        if cmd_name not in self._lazy:
            return None
        command: click.Command = importlib.import_module(self._lazy[cmd_name][0]).command
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Say of each what the table says."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])
