# SPDX-License-Identifier: Apache-2.0
"""Text that someone else wrote, as a terminal may show it: on one line, without escapes, not endless."""

from typing import Final

_LONGEST: Final = 1000


def escaped(text: str) -> str:
    """A text in which what cannot be seen, moves a cursor or turns text around is escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def plain(value: object, longest: int = _LONGEST) -> str:
    """A value's text, in which every character can be seen; what cannot be is escaped as in Python."""
    text = str(value)
    if len(text) > longest:
        text = f"{text[:longest]}..."
    return text if text.isprintable() else ascii(text)
