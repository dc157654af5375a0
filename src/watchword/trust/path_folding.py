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
        *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
        *range(0xFFF0, 0xFFF9),
        *range(0x1BCA0, 0x1BCA4),
        *range(0x1D173, 0x1D17B),
        *range(0xE0000, 0xE1000),
    ]
)
# What Windows makes a slash or a backslash of where a program reads one byte a character (best fit), next to
# what NFKC does: solidi and reverse solidi of other blocks, and the signs of yen and won.
_SLASHES: Final = frozenset("\u2044\u2215\u2216\u29f5\u29f8\u00a5\u20a9")
_SEPARATORS: Final = frozenset("/\\")
# Also with spaces behind them, which Windows passes over.
_DOT_SEGMENTS: Final = frozenset({".", ".."})
# What `trim` and `strip` of some language take off both ends of a text (Unicode's White_Space; Java, Node).
_SPACES: Final = " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
# Windows passes over dots and spaces at the end of a name, and so does what runs on it.
_PASSED_OVER: Final = _SPACES + "."


def hides_separator(segment: str) -> bool:
    """Whether a server that normalizes names would find a slash, a backslash or a dot segment in it."""
    if segment.isascii():
        return segment.rstrip(" ") in _DOT_SEGMENTS
    plain = unicodedata.normalize("NFKC", segment.translate(_INVISIBLE))
    is_dots = plain.rstrip(" ") in _DOT_SEGMENTS
    return is_dots or not (_SEPARATORS.isdisjoint(plain) and _SLASHES.isdisjoint(segment))


def fold_segment(segment: str) -> str:
    """A decoded segment in one case, without what some servers pass over at its ends."""
    segment = fold_case(segment)
    # Never to nothing: an empty segment is a slash.
    return segment.rstrip(_PASSED_OVER).lstrip(_SPACES) or segment


def fold_case(text: str) -> str:
    """A text in one case and one form, without the characters that have neither a width nor a shape."""
    if text.isascii():
        return text.casefold()
    folded = text.translate(_INVISIBLE)
    # By way of the capitals, as Java compares: U+017F, U+1E9E and U+212A are `s`, `ss` and `k`.
    for _ in range(2):
        folded = unicodedata.normalize("NFKC", folded.translate(_DOTS)).upper().casefold()
    return folded.translate(_DOTS).casefold() or text
