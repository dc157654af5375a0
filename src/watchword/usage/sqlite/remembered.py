# SPDX-License-Identifier: Apache-2.0
"""Which keys of the last days a process remembers (`usage/closed_keys`): read once, and then kept up.

A part that is not the newest takes no new keys any more (`arrivals`), so what was read of it stays true. What
is remembered goes up to a part that was the newest in a transaction that is on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from watchword.usage.closed_keys import ASKED_BEFORE, ClosedKeys
from watchword.usage.deduplication import WINDOW_DAYS
from watchword.usage.sqlite import schema
from watchword.usage.sqlite.arrivals import PART, PARTS_A_DAY, Arrivals

# 8 MiB. The window may lie in a hundred parts, each of which is looked at for a key that seems to be there.
_TABLES: Final = 2
_READ_AT_ONCE: Final = 5_000  # keys


class RememberedKeys:
    """The keys that one store remembers."""

    def __init__(self) -> None:
        self._closed: ClosedKeys | None = None
        self._end = 0
        self._asked = 0

    @property
    def is_wanted(self) -> bool:
        """Whether so many keys were looked up that it is worth it to read them all."""
        return self._asked >= ASKED_BEFORE

    def ask(self, keys: int) -> None:
        """Note that so many keys were looked up in all of the window, for want of it."""
        self._asked += keys

    def before(self, connection: sqlite3.Connection, arrivals: Arrivals) -> ClosedKeys | None:
        """Give the keys of the window before the part that was the newest, in the caller's transaction.

        None when they were not read.
        """
        closed = self._closed
        if closed is not None and self._end > arrivals.before:
            closed = self._closed = None  # the file was put back
        if closed is not None and closed.room < 0 and closed.day != arrivals.day:
            closed = self._closed = None  # those of another day may be fewer
        if closed is not None and self._end < arrivals.before:
            self._read(closed, connection, arrivals.before)
        return closed

    def read(self, connection: sqlite3.Connection, state: Mapping[str, str]) -> None:
        """Read the keys of the window, in the caller's transaction, which only reads."""
        self._asked = 0
        part = int(state.get(PART, 0))
        day = part // PARTS_A_DAY
        self._closed, self._end = ClosedKeys(day, _TABLES), (day - WINDOW_DAYS) * PARTS_A_DAY
        self._read(self._closed, connection, part)

    def _read(self, closed: ClosedKeys, connection: sqlite3.Connection, end: int) -> None:
        # No more than are remembered, and not all of them at once.
        rows = connection.execute(schema.KEYS_OF_PARTS, (self._end, end, max(0, closed.room + 1)))
        while part := rows.fetchmany(_READ_AT_ONCE):
            closed.add(b"".join([key for (key,) in part]))
        self._end = end
