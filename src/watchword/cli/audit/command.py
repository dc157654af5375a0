# SPDX-License-Identifier: Apache-2.0
"""`watchword audit`: read a desk's audit log. Its commands are imported when called."""

from typing import Final

import click

from watchword.cli.commands import Commands, LazyGroup

COMMANDS: Final[Commands] = {
    "show": ("watchword.cli.audit.show", "Print the newest entries."),
    "export": ("watchword.cli.audit.export", "Write all entries with their hashes, as JSON lines."),
    "verify": ("watchword.cli.audit.verify", "Check that no entry was changed, added or removed."),
}


@click.group("audit", cls=LazyGroup, lazy=COMMANDS)
def command() -> None:
    """Read a desk's audit log: who got which token, what was revoked, who was refused.

    \b
    Example:
      watchword audit verify --store sqlite:////var/lib/watchword/desk.db --head 1042:9f2c...

    Exit codes: 0 done, or yes; 1 the answer is no; 2 wrong usage or unusable input.
    """
