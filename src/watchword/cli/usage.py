# SPDX-License-Identifier: Apache-2.0
"""`watchword usage`: see to a usage store from outside of a gate. Its commands are imported when called."""

import importlib
from typing import Final

import click

COMMANDS: Final = {
    "show": ("watchword.cli.usage_show", "Draw what an account used."),
    "import": ("watchword.cli.usage_import", "Bring events into a store; resumable."),
    "export": ("watchword.cli.usage_export", "Write the stored events; resumable."),
    "check": ("watchword.cli.usage_check", "Prove that the amounts are what the events say."),
    "rebuild": ("watchword.cli.usage_rebuild", "Count all amounts anew from the events."),
}


class _Commands(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group("usage", cls=_Commands)
def command() -> None:
    """See to a usage store: look at it, move it, prove it.

    \b
    Example:
      watchword usage show acme --usage-dsn sqlite:////var/lib/watchword/usage.db

    Exit codes: 0 done, or yes; 1 the answer is no; 2 wrong usage or unusable input.
    """
