# SPDX-License-Identifier: Apache-2.0
"""The keys of the last days, as a process remembers them: which ones surely are not there.

A batch's keys are nearly all new, and to find that out in seven days' indexes costs a store more than to
insert them. A day that is not the newest takes no new events any more, so that what was once read of it stays
true: here each key of those days has set two bits of a table. Whose bits are not both set is in none of them;
of the others a few are there by chance, and the store is asked for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ASKED_BEFORE: Final = 20_000
"""How many keys of a day are looked up in the store before its window is read: a process that stores less
than that would read more than it saves."""

MAX_KEYS: Final = 2_500_000
"""With more keys for each table (350,000 events a day) none is remembered, and the store is asked for each:
with these, one in fifty is there by chance, and a gate has other uses for its memory."""

_TABLE_BITS: Final = 25  # 4 MiB
# Two places for each key, of the first eight bytes of its digest.
_HASH_BYTES: Final = 8
_BITS: Final = tuple(1 << bit for bit in range(8))
_WORD: Final = "Q"


class ClosedKeys:
    """The window before one day: WINDOW_DAYS days that take nothing new."""

    def __init__(self, day: int, tables: int = 1) -> None:
        """Remember no key yet, in so many tables (a power of two): with more, fewer are there by chance."""
        self.day = day
        bits = _TABLE_BITS + tables.bit_length() - 1
        self._table: bytearray | None = bytearray(1 << (bits - 3))
        self._shift, self._other_shift, self._mask = 64 - bits, 64 - 2 * bits, (1 << bits) - 1
        self._room = MAX_KEYS * tables

    @property
    def room(self) -> int:
        """How many more keys can be remembered; below 0 when there were too many."""
        return self._room

    def add(self, hashes: bytes) -> None:
        """Add keys by the first eight bytes of each, one after the other."""
        words = memoryview(hashes).cast(_WORD)
        self._room -= len(words)
        if self._room < 0:
            self._table = None
        if self._table is None:
            return
        table, shift, other_shift, mask = self._table, self._shift, self._other_shift, self._mask
        for word in words:
            one, other = word >> shift, word >> other_shift & mask
            table[one >> 3] |= _BITS[one & 7]
            table[other >> 3] |= _BITS[other & 7]

    def may_have(self, digests: Sequence[bytes], places: Sequence[int]) -> Sequence[int]:
        """Give those of `places` whose digests may be there."""
        if self._table is None:
            return places
        table, shift, other_shift, mask = self._table, self._shift, self._other_shift, self._mask
        hashes = memoryview(b"".join([digests[place][:_HASH_BYTES] for place in places])).cast(_WORD)
        return [
            place
            for place, word in zip(places, hashes.tolist(), strict=True)
            if table[word >> shift >> 3] & _BITS[word >> shift & 7]
            and table[(word >> other_shift & mask) >> 3] & _BITS[word >> other_shift & 7]
        ]
