# SPDX-License-Identifier: Apache-2.0
"""docs/reference/cli.md: each command's own help, as a terminal of 100 columns shows it."""

import click

from watchword.cli.main import COMMANDS, watchword


def page() -> str:
    """The page's text."""
    lines = [
        "# The command line",
        "",
        "Generated from the commands (`make generate`). Each flag is also an environment variable. Also installed",
        "as `kubectl watchword`.",
    ]
    for name in COMMANDS:
        with click.Context(watchword, info_name="watchword", terminal_width=100, max_content_width=100) as parent:
            command = watchword.get_command(parent, name)
            assert command is not None
            context = click.Context(command, parent, name, terminal_width=100, max_content_width=100)
            lines += ["", f"## {name}", "", "```text", command.get_help(context).rstrip(), "```"]
    return "\n".join(lines) + "\n"
