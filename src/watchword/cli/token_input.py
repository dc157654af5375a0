# SPDX-License-Identifier: Apache-2.0
"""Read a token from a file or a pipe, never from an argument: arguments show in `ps` and in shell histories.

The token is never printed back, not even the argument that it may have been pasted into.
"""

import sys
from pathlib import Path
from typing import Final

import click

from watchword.cli.failures import UnusableInput, os_reason
from watchword.trust.text_encoding import TextEncodingError, as_utf8

# A token has about 1 KiB; a file of this size is something else, and is still judged (token_too_large).
MAX_TOKEN_FILE_BYTES: Final = 64 * 1024


def read_token(source_file: str) -> bytes:
    """Read the token of a file, or of standard input for `-`, without the line break at its end.

    Raises:
        UnusableInput: it cannot be read, is too large, is empty, or is UTF-16 as editors write it.
    """
    source = "Standard input" if source_file == "-" else f"The file {source_file}"
    if source_file == "-" and sys.stdin.isatty():
        click.echo("Reading the token from the terminal; end with Ctrl-D.", err=True)
    try:
        if source_file == "-":
            data = sys.stdin.buffer.read(MAX_TOKEN_FILE_BYTES + 1)
        else:
            with Path(source_file).open("rb") as file:
                data = file.read(MAX_TOKEN_FILE_BYTES + 1)
    except OSError as error:
        # The argument may be a token that was pasted in place of a file: it is not repeated.
        named = source if len(source_file) < 200 and source_file.count(".") != 2 else "TOKEN_FILE"
        remedy = "Name the file that holds the token, or pipe the token in."
        raise UnusableInput(f"{named} cannot be read: {os_reason(error)}.", remedy) from None
    if len(data) > MAX_TOKEN_FILE_BYTES:
        raise UnusableInput(
            f"{source} holds more than {MAX_TOKEN_FILE_BYTES} bytes.",
            "Give the token alone; it is about 1 KiB.",
        )
    try:
        # PowerShell writes a byte order mark, or UTF-16. Whatever else is no token is the gate's to refuse.
        data = as_utf8(data)
    except TextEncodingError as error:
        if "UTF-8 is read" in error.detail:
            raise UnusableInput(f"{source}: {error.detail}.", f"{error.remedy}.") from None
    # One line break is what `echo` and kubectl add; anything more is the gate's to refuse.
    token = data.removesuffix(b"\n").removesuffix(b"\r")
    if not token:
        raise UnusableInput(f"{source} holds no token.", "Pipe it in, or name the file that holds it.")
    return token
