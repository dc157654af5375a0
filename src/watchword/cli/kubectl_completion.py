# SPDX-License-Identifier: Apache-2.0
"""`kubectl_complete-watchword`: complete `kubectl watchword …`, as kubectl asks its plugins to.

kubectl runs the program of this name with the words so far, the last of them unfinished, and reads one
completion a line and then a directive (Kubernetes, "Extend kubectl with plugins"; cobra, "Completions").
"""

import sys
from typing import Final

import click
from click.shell_completion import ShellComplete

from watchword.cli.main import COMPLETION_VARIABLE, watchword

# cobra's ShellCompDirective: complete files as the shell does; no file completion; folders only.
_FILES: Final = 0
_NO_FILES: Final = 4
_FOLDERS: Final = 16
_DIRECTIVES: Final = {"file": _FILES, "dir": _FOLDERS}


def completions(words: list[str]) -> str:
    """What kubectl reads: completions with their help, and the directive.

    Args:
        words: after `kubectl watchword`; the last one is unfinished, and may be empty.
    """
    *before, unfinished = words or [""]
    found = ShellComplete(watchword, {}, "kubectl watchword", COMPLETION_VARIABLE).get_completions(
        before, unfinished
    )
    directive = next((_DIRECTIVES[each.type] for each in found if each.type in _DIRECTIVES), _NO_FILES)
    lines = [
        f"{each.value}\t{each.help.splitlines()[0]}" if each.help else each.value
        for each in found
        if each.type == "plain"
    ]
    return "\n".join([*lines, f":{directive}"])


def main() -> None:
    """Print the completions of the words in the arguments."""
    click.echo(completions(sys.argv[1:]))
