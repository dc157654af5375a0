# SPDX-License-Identifier: Apache-2.0
"""The keys of the last days' partitions, as a process remembers them: which ones surely are not there.

A batch's keys are nearly all new, and to find that out by seven indexes costs the server more than to insert
them. A partition that is not the newest takes no new events any more (`arrivals`), so that what was once read
of it stays true. Of the keys that `KeyBits` gives a few are there by chance; the server is asked for those.

What was read holds for one run of one server: another one may be a copy that was put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from watchword.usage.deduplication import WINDOW_DAYS
from watchword.usage.key_bits import KeyBits
from watchword.usage.postgresql.arrivals import SERVER
from watchword.usage.postgresql.sessions import Connection
from watchword.usage.postgresql.statements import Statements

ASKED_BEFORE: Final = 20_000
"""How many keys of a day are looked up on the server before its window is read: a process that stores less
than that would read more than it saves."""

MAX_KEYS: Final = 2_500_000
"""With more keys in the window (350,000 events a day) none is remembered, and the server is asked for each:
with these, one in a hundred is there by chance, and a gate has other uses for its memory."""

_TABLE_WIDTH: Final = 19  # 4 MiB
_HASH_BYTES: Final = 8
_WORD: Final = "Q"


class ClosedKeys:
    """The window before one day: WINDOW_DAYS partitions that take nothing new."""

    def __init__(self, day: int) -> None:
        self.day = day
        self._bits: KeyBits | None = KeyBits(_TABLE_WIDTH)
        self._room = MAX_KEYS

    @property
    def room(self) -> int:
        """How many more keys can be remembered; below 0 when there were too many."""
        return self._room

    def add(self, hashes: bytes) -> None:
        """Add keys by the first eight bytes of each, one after the other."""
        words = memoryview(hashes).cast(_WORD)
        self._room -= len(words)
        if self._room < 0:
            self._bits = None
        if self._bits is not None:
            self._bits.add(words)

    def may_have(self, digests: Sequence[bytes], places: Sequence[int]) -> Sequence[int]:
        """Give those of `places` whose digests may be there."""
        if self._bits is None:
            return places
        hashes = memoryview(b"".join([digests[place][:_HASH_BYTES] for place in places])).cast(_WORD)
        return [places[number] for number in self._bits.places(hashes.tolist())]


def read_closed_keys(
    connection: Connection, statements: Statements, day: int, server: str
) -> ClosedKeys | None:
    """Read the window before a day that has its partition; None if the server is another one now."""
    state: dict[str, str] = dict(connection.execute(statements["states"]).fetchall())
    if state[SERVER] != server:
        return None
    closed = ClosedKeys(day)
    # A day at a time: this process has the keys of one day in memory, and not of all.
    for one in range(day - WINDOW_DAYS, day):
        if closed.room >= 0:
            statement = statements.of_days("closed_keys", one + 1, one)
            row = connection.execute(statement, [closed.room + 1], binary=True).fetchone()
            closed.add(bytes(row[0] or b"") if row else b"")
    return closed
