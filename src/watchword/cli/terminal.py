# SPDX-License-Identifier: Apache-2.0
"""Text for terminals: wrapped by words, and in ASCII where the locale has nothing else.

A serial console or a container under `LC_ALL=C` shows a check mark as three question marks. Only what goes to
a terminal is changed: what goes into a pipe or a file is data, and stays as it is.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from io import TextIOWrapper
from typing import Final

_DRAWN: Final = str.maketrans({
    "✓": "+", "✗": "x", "·": ".", "…": "...", "─": "-", "┤": "|", "┼": "+",
    **dict.fromkeys("▁▂▃", "."), **dict.fromkeys("▄▅▆", ":"), **dict.fromkeys("▇█", "#"),
})  # fmt: skip


# Longer lines are hard to read on a wide terminal.
_WIDEST: Final = 110


class _AsciiMarks(TextIOWrapper):
    """A terminal's stream that writes marks as ASCII; a name that is not ASCII is written as it is."""

    def write(self, text: str) -> int:
        return super().write(text.translate(_DRAWN))


def shows_ascii_only(environ: Mapping[str, str]) -> bool:
    """Whether the locale is C or POSIX (POSIX.1-2017, section 8.2: the first of these that is set counts)."""
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    said = next((environ[name] for name in names if environ.get(name)), "")
    return said in {"C", "POSIX"}


def prepare_terminal() -> None:
    """Have marks written as ASCII where standard output or error is such a terminal."""
    if not shows_ascii_only(os.environ):
        return
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper) and stream.isatty():
            setattr(sys, name, _AsciiMarks(stream.detach(), encoding="utf-8", line_buffering=True))


def wrapped(text: str, indent: str = "", *, error: bool = False) -> str:
    """Text on lines that end between words, where it goes to a terminal; else on one line, as data.

    Args:
        text: one paragraph.
        indent: what each line begins with.
        error: whether it goes to standard error.
    """
    if not (sys.stderr if error else sys.stdout).isatty():
        return indent + text
    width = max(40, min(shutil.get_terminal_size().columns, _WIDEST))
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
