# SPDX-License-Identifier: Apache-2.0
"""The keys of the last days, as a process remembers them: which ones surely are not there.

A batch's keys are nearly all new, and to find that out in seven days' indexes costs a store more than to
insert them. A day that is not the newest takes no new events any more, so that what was once read of it stays
true. Of the keys that `KeyBits` gives a few are there by chance, and the store is asked for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from watchword.usage.key_bits import KeyBits, words_of

ASKED_BEFORE: Final = 20_000
"""How many keys of a day are looked up in the store before its window is read: a process that stores less
than that would read more than it saves."""

MAX_KEYS: Final = 2_500_000
"""With more keys for each table (350,000 events a day) none is remembered, and the store is asked for each:
with these, one in a hundred is there by chance, and a gate has other uses for its memory."""

_TABLE_WIDTH: Final = 19  # 4 MiB
_HASH_BYTES: Final = 8


class ClosedKeys:
    """The window before one day: WINDOW_DAYS days that take nothing new."""

    def __init__(self, day: int, tables: int = 1) -> None:
        """Remember no key yet, in so many tables (a power of two): with more, fewer are there by chance."""
        self.day = day
        self._bits: KeyBits | None = KeyBits(_TABLE_WIDTH + tables.bit_length() - 1)
        self._room = MAX_KEYS * tables

    @property
    def room(self) -> int:
        """How many more keys can be remembered; below 0 when there were too many."""
        return self._room

    def add(self, hashes: bytes) -> None:
        """Add keys by the first eight bytes of each, one after the other."""
        words = words_of(hashes)
        self._room -= len(words)
        if self._room < 0:
            self._bits = None
        if self._bits is not None:
            self._bits.add(words)

    def may_have(self, digests: Sequence[bytes], places: Sequence[int]) -> Sequence[int]:
        """Give those of `places` whose digests may be there."""
        if self._bits is None:
            return places
        words = words_of(b"".join([digests[place][:_HASH_BYTES] for place in places]))
        return [places[number] for number in self._bits.places(words)]
