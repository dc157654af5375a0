# SPDX-License-Identifier: Apache-2.0
"""One spelling for all that some server could take for the same path segment.

Used to refuse and never to let in: a segment that folds to a route's literal without being that literal is
one that an app may serve as the literal. So it is right to fold more than any one server does.
"""

import unicodedata
from typing import Final

# Java's `equalsIgnoreCase` takes the dotted capital I and the dotless small one for `i`, and so do servers
# in a Turkish locale. What is left of the first one in lower case is an `i` with a dot above.
_DOTS: Final = str.maketrans({"\u0130": "i", "\u0131": "i", "\u0307": None})
# Characters without a width or a shape of their own: file systems (HFS+, see git's CVE-2014-9390) and
# NFKC_Casefold pass over them.
_INVISIBLE: Final = dict.fromkeys(
    [
        *(0xAD, 0x34F, 0x61C, 0xFEFF),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
    ]
)
# What Windows makes a slash or a backslash of where a program reads one byte a character (best fit), next to
# what NFKC does: solidi and reverse solidi of other blocks, and the signs of yen and won.
_SLASHES: Final = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u00a5\u20a9")
_SEPARATORS: Final = frozenset("/\\")
# Also with spaces behind them, which Windows passes over.
_DOT_SEGMENTS: Final = frozenset({".", ".."})
# Windows passes over dots and spaces at the end of a name, and so does what runs on it.
_PASSED_OVER: Final = " ."


def hides_separator(segment: str) -> bool:
    """Whether a server that normalizes names would find a slash, a backslash or a dot segment in it."""
    if segment.isascii():
        return segment.rstrip(" ") in _DOT_SEGMENTS
    plain = unicodedata.normalize("NFKC", segment.translate(_INVISIBLE))
    is_dots = plain.rstrip(" ") in _DOT_SEGMENTS
    return is_dots or not (_SEPARATORS.isdisjoint(plain) and _SLASHES.isdisjoint(segment))


def without_invisible(text: str) -> str:
    """A text without the characters that have neither a width nor a shape."""
    return text if text.isascii() else text.translate(_INVISIBLE)


def fold_segment(segment: str) -> str:
    """A decoded segment in one case, without what some servers pass over at its end."""
    if not segment.isascii():
        segment = segment.translate(_INVISIBLE)
        # By way of the capitals, as Java compares: U+017F, U+1E9E and U+212A are `s`, `ss` and `k`.
        for _ in range(2):
            segment = unicodedata.normalize("NFKC", segment.translate(_DOTS)).upper().casefold()
        segment = segment.translate(_DOTS)
    # Never to nothing: an empty segment is a slash.
    return segment.casefold().rstrip(_PASSED_OVER) or segment
