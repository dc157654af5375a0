# SPDX-License-Identifier: Apache-2.0
"""What a command says when it cannot go on: one sentence, one remedy, one exit code.

A traceback tells a user about our code; they need to know about their input. So everything that can go
wrong with a flag or a file ends here, and the exit code tells a script which kind it was.
"""

from typing import IO, Any, Final

import click

from watchword.cli.terminal import wrapped

# 0: done, or yes. 1: the answer is no. 2: the question could not be asked (wrong flag, unusable file).
ANSWER_IS_NO: Final = 1
UNUSABLE: Final = 2


class UnusableInput(click.ClickException):
    """A flag or a file that a command cannot work with. Exits with 2.

    Attributes:
        message: one sentence: what is wrong, naming the flag or the file.
        remedy: one sentence: what would be right.
    """

    exit_code = UNUSABLE

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence and the remedy to stderr."""
        if file is None:
            click.echo(wrapped(f"{_styled('Error:')} {self.message}", error=True), err=True)
            click.echo(wrapped(f"{_styled('Remedy:', 'cyan')} {self.remedy}", error=True), err=True)
        else:
            click.echo(f"Error: {self.message}\nRemedy: {self.remedy}", file=file)


def say(text: str) -> None:
    """Print one line for people, to stderr: stdout is for data."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """Print one line that must not be overlooked, to stderr."""
    click.echo(wrapped(f"{_styled('Warning:', 'yellow')} {text}", error=True), err=True)


def _styled(text: str, color: str = "red") -> str:
    # click drops the escapes again where the stream is no terminal.
    return click.style(text, fg=color, bold=True)


def os_reason(error: OSError) -> str:
    """The operating system's own words for a failed call, without the path (the message names it)."""
    return (error.strerror or type(error).__name__).lower()
