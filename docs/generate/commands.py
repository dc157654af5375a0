# SPDX-License-Identifier: Apache-2.0
"""docs/reference/cli.md: each command's own help, as a terminal of 100 columns shows it."""

from collections.abc import Mapping

import click

from watchword.cli.main import COMMANDS, watchword

_WIDTH: Mapping[str, int] = {"terminal_width": 100, "max_content_width": 100}


def _of_group(group: click.Group, context: click.Context, path: str) -> list[str]:
    lines: list[str] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name) or group
        own = click.Context(command, context, name, **_WIDTH)
        lines += ["", f"### {path} {name}", "", "```text", command.get_help(own).rstrip(), "```"]
        if isinstance(command, click.Group):
            lines += _of_group(command, own, f"{path} {name}")
    return lines


def page() -> str:
    """The page's text."""
    lines = [
        "# The command line",
        "",
        "Generated from the commands (`make generate`). Each flag is also an environment variable. The same",
        "program is installed as `kubectl watchword`.",
    ]
    # The group's own settings: click keeps a command's help option as the first context named it.
    settings = {**watchword.context_settings, **_WIDTH}
    for name in COMMANDS:
        with click.Context(watchword, info_name="watchword", **settings) as parent:
            command = watchword.get_command(parent, name) or watchword
            text = command.get_help(click.Context(command, parent, name, **_WIDTH))
            lines += ["", f"## {name}", "", "```text", text.rstrip(), "```"]
            if isinstance(command, click.Group):
                lines += _of_group(command, click.Context(command, parent, name, **settings), name)
    return "\n".join(lines) + "\n"
