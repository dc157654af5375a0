# SPDX-License-Identifier: Apache-2.0
"""The keys of the last days' partitions, as a process remembers them: which ones surely are not there.

A batch's keys are nearly all new, and to find that out by seven indexes costs the server more than to insert
them. A partition that is not the newest takes no new events any more (`arrivals`), so that what was once read
of it stays true: here each key of those days has set one bit of a table. Whose bit is not set is in none of
them; of the others one in sixteen is there by chance, and the server is asked for those.

What was read holds for one run of one server: another one may be a copy that was put back.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from watchword.usage.deduplication import DIGEST_BYTES, WINDOW_DAYS
from watchword.usage.postgresql.arrivals import SERVER
from watchword.usage.postgresql.sessions import Connection
from watchword.usage.postgresql.statements import Statements

ASKED_BEFORE: Final = 20_000
"""How many keys of a day are looked up on the server before its window is read: a process that stores less
than that would read more than it saves."""

MAX_KEYS: Final = 4_000_000
"""With more keys in the window (570,000 events a day) the server is asked for each: the table would have more
than 8 MiB."""

_BITS_PER_KEY: Final = 16
_HASH_BITS: Final = 32
_BITS: Final = tuple(1 << bit for bit in range(8))
_WORD: Final = "I"


class ClosedKeys:
    """The window before one day: WINDOW_DAYS partitions that take nothing new."""

    def __init__(self, day: int, hashes: bytes | None) -> None:
        """Take the first four bytes of each key, one after the other; None: too many to remember."""
        self.day = day
        self._table: bytearray | None = None
        if hashes is None:
            return
        words = array(_WORD)
        words.frombytes(hashes)
        wanted = max(8, len(words) * _BITS_PER_KEY)
        self._shift = _HASH_BITS - min(_HASH_BITS, (wanted - 1).bit_length())
        table, shift = bytearray(1 << (_HASH_BITS - self._shift - 3)), self._shift
        for word in words:
            place = word >> shift
            table[place >> 3] |= _BITS[place & 7]
        self._table = table

    def may_have(self, digests: Sequence[bytes], places: Sequence[int]) -> Sequence[int]:
        """Give those of `places` whose digests may be there."""
        if self._table is None:
            return places
        table, shift = self._table, self._shift
        words = array(_WORD)
        words.frombytes(b"".join([digests[place] for place in places]))
        hashes = words[:: DIGEST_BYTES // words.itemsize]
        return [
            place
            for place, word in zip(places, hashes, strict=True)
            if table[word >> shift >> 3] & _BITS[word >> shift & 7]
        ]


def read_closed_keys(
    connection: Connection, statements: Statements, day: int, server: str
) -> ClosedKeys | None:
    """Read the window before a day that has its partition; None if the server is another one now."""
    state: dict[str, str] = dict(connection.execute(statements["states"]).fetchall())
    if state[SERVER] != server:
        return None
    statement = statements.of_days("closed_keys", day, day - WINDOW_DAYS)
    row = connection.execute(statement, [MAX_KEYS + 1], binary=True).fetchone()
    hashes = bytes(row[0] or b"") if row else b""
    return ClosedKeys(day, hashes if len(hashes) <= MAX_KEYS * 4 else None)
