# SPDX-License-Identifier: Apache-2.0
"""Which of many keys surely are not among those that were added: four bits of one word of a table for each.

What a table says holds only as long as no key comes that was not added to it: where that is so is each
store's own affair.

Source: Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007, section 3: all
bits of a key in one block, here of 64 bits.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

WORD_BITS: Final = 64
_PAIR_BITS: Final = 12
_PAIR: Final = (1 << _PAIR_BITS) - 1
# Two bits of a word for twelve bits of a key.
_PAIRS: Final = tuple(1 << (number & 63) | 1 << (number >> 6) for number in range(1 << _PAIR_BITS))


class KeyBits:
    """Keys by 64 bits of the digest of each: the first ones are a place in the table, of the last 24 each six
    are one bit of the word there.
    """

    def __init__(self, width: int, table: bytes = b"") -> None:
        """Make a table of 2**`width` words of eight bytes (at most 2**40), empty or as `table` has them, the
        least byte of each first. Raises ValueError where it has another width.
        """
        self._table = words_of(table or bytes(8 << width))
        if len(self._table) != 1 << width:
            raise ValueError(f"a table of {len(table)} bytes is not one of 2**{width} words")
        self._shift = WORD_BITS - width

    def add(self, keys: Iterable[int]) -> None:
        """Add keys."""
        table, shift, pairs = self._table, self._shift, _PAIRS
        for key in keys:
            table[key >> shift] |= pairs[key & _PAIR] | pairs[key >> _PAIR_BITS & _PAIR]

    def places(self, keys: Sequence[int]) -> list[int]:
        """Give the places of those keys that may have been added; all others were not."""
        table, shift, pairs = self._table, self._shift, _PAIRS
        return [
            place
            for place, key in enumerate(keys)
            if not (pairs[key & _PAIR] | pairs[key >> _PAIR_BITS & _PAIR]) & ~table[key >> shift]
        ]


def words_of(numbers: bytes) -> array[int]:
    """Give numbers of eight bytes each, the least byte first."""
    words = array("Q", numbers)
    if sys.byteorder == "big":
        words.byteswap()
    return words
