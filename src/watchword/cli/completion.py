# SPDX-License-Identifier: Apache-2.0
"""`watchword completion`: the script that teaches a shell our commands and flags.

It is printed, not installed: a command that edits a person's shell profile does more than it was asked.
"""

import click
from click.shell_completion import get_completion_class

from watchword.cli.main import COMPLETION_VARIABLE, watchword


@click.command("completion", short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      source <(watchword completion bash)
      watchword completion fish > ~/.config/fish/completions/watchword.fish

    `kubectl watchword` needs none of it: kubectl's own completion asks `kubectl_complete-watchword`, which is
    installed next to this program.

    Exit codes: 0 printed; 2 wrong usage.
    """
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(completion(watchword, {}, "watchword", COMPLETION_VARIABLE).source())
