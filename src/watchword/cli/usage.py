# SPDX-License-Identifier: Apache-2.0
"""`watchword usage`: see to a usage store from outside of a gate. Its commands are imported when called."""

from typing import Final

import click

from watchword.cli.commands import Commands, LazyGroup

COMMANDS: Final[Commands] = {
    "show": ("watchword.cli.usage_show", "Draw what an account used."),
    "import": ("watchword.cli.usage_import", "Bring events into a store; resumable."),
    "export": ("watchword.cli.usage_export", "Write the stored events; resumable."),
    "check": ("watchword.cli.usage_check", "Prove that the amounts are what the events say."),
    "rebuild": ("watchword.cli.usage_rebuild", "Count all amounts anew from the events."),
}


@click.group("usage", cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """See to a usage store: look at it, move it, prove it.

    \b
    Example:
      watchword usage show acme --usage-dsn sqlite:////var/lib/watchword/usage.db

    Exit codes: 0 done, or yes; 1 the answer is no; 2 wrong usage or unusable input.
    """
