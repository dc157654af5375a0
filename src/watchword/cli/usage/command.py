# SPDX-License-Identifier: Apache-2.0
"""`watchword usage`: manage a usage store from outside of a gate. Its commands are imported when called."""

from typing import Any, Final

import click

from watchword.cli.commands import Commands, LazyGroup
from watchword.cli.standard_output import checked_output

COMMANDS: Final[Commands] = {
    "show": ("watchword.cli.usage.show", "Draw what an account used."),
    "report": ("watchword.cli.usage.report", "Write what all accounts used in a month, to bill from."),
    "import": ("watchword.cli.usage.import_events", "Import events into a store; resumable."),
    "export": ("watchword.cli.usage.export", "Write the stored events; resumable."),
    "check": ("watchword.cli.usage.check", "Prove that the amounts are what the events say."),
    "rebuild": ("watchword.cli.usage.rebuild", "Count all amounts again from the events."),
}


class _UsageGroup(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        with checked_output():
            return super().invoke(ctx)


@click.group("usage", cls=_UsageGroup, lazy=COMMANDS)
def command() -> None:
    """Manage a usage store: look at it, bill from it, move it, prove it.

    \b
    Example:
      watchword usage show acme --usage-dsn sqlite:////var/lib/watchword/usage.db

    Exit codes: 0 done, or yes; 1 the answer is no; 2 wrong usage or unusable input; 141 the reader of
    standard output left before its end (as `| head` does), which is no error.
    """
