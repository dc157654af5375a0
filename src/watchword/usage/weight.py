# SPDX-License-Identifier: Apache-2.0
"""How much a JSON body would weigh once it is read, counted on its bytes before anything is made of them.

A MiB of `[1,1,1,…]` arrives as one MiB and is half a million numbers of a hundred bytes each. What is bounded
and charged is therefore the values, and not the bytes that they came in.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

# A body of MAX_BODY_BYTES whose values have 16 bytes each, names included: real events have fewer values.
MAX_VALUES: Final = 65_536
# The heaviest: members of a large object, with their names, 154 bytes a count while they are read.
VALUE_BYTES: Final = 160
# Each text is there three times for a while: in the body, as a value, and as what is stored of the data. With
# one character beyond the basic plane in it, each of its characters takes 4 bytes; and 2 more while it is
# written again.
ASCII_FACTOR: Final = 3
TEXT_FACTOR: Final = 14

# Possessive: no way back is remembered, which for a long string would take more than the string.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_EMPTY: Final = re.compile(rb"[ \t\r\n]*\[[ \t\r\n]*(?:\]|\Z)")
_STRUCTURE: Final = b"[]{},:"
_NOT_STRUCTURE: Final = bytes(each for each in range(256) if each not in _STRUCTURE)
_OPENS, _CLOSES = frozenset(b"[{"), frozenset(b"]}")
_COMMA: Final = ord(",")


class Weight(msgspec.Struct, frozen=True):
    """What a body would come to.

    `values`: elements and members, with their names; never less than a reader would make before it finds
    that the text is no JSON. `elements`: of the outermost array; 0 where there is none. `bytes`: what they
    take, as an upper bound.
    """

    values: int
    elements: int
    bytes: int


def weigh(body: bytes) -> Weight:
    """Count a body's values and the elements of its array, of any bytes and in time proportional to them."""
    # Strings go, so that what looks like structure in them counts for nothing. One that never ends stays, and
    # what is in it counts: a reader that gives up there has made less.
    structure = _STRING.sub(b"", body).translate(None, _NOT_STRUCTURE)
    values = len(structure) - sum(map(structure.count, (b"]", b"}"))) + 1
    is_plain = body.isascii() and b"\\u" not in body
    taken = len(body) * (ASCII_FACTOR if is_plain else TEXT_FACTOR) + values * VALUE_BYTES
    return Weight(values, _elements(body, structure) if values <= MAX_VALUES else 0, taken)


def _elements(body: bytes, structure: bytes) -> int:
    if not structure.startswith(b"["):
        return 0
    depth = commas = 0
    for each in structure:
        if each in _OPENS:
            depth += 1
        elif each in _CLOSES:
            depth -= 1
            if depth == 0:
                break
        elif each == _COMMA and depth == 1:
            commas += 1
    return 0 if _EMPTY.match(body) else commas + 1
