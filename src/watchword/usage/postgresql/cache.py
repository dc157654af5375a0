# SPDX-License-Identifier: Apache-2.0
"""What a process remembers of a store between batches: known accounts, and the keys of the last days.

Only what cannot become untrue is remembered, and only for one run of one server and one set of tables: others
may be a copy that was put back. An account goes only when everything is rebuilt, which changes
ACCOUNTS_SINCE in the state that every batch reads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Final

from watchword.usage.closed_keys import ASKED_BEFORE, ClosedKeys
from watchword.usage.postgresql.arrivals import SERVER
from watchword.usage.postgresql.closed_keys import read_closed_keys
from watchword.usage.postgresql.sessions import Sessions
from watchword.usage.postgresql.statements import Statements

ACCOUNTS_SINCE: Final = "accounts_since"
MAX_ACCOUNTS: Final = 50_000


class ServerCache:
    """What was learned from one run of a server, since accounts were last deleted in it."""

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key
        self._accounts: set[str] = set()
        self._closed: ClosedKeys | None = None
        self._day = -1
        self._asked = 0

    def new_accounts(self, accounts: Iterable[str]) -> list[str]:
        """Give those that are not known to be there, in order."""
        return sorted(set(accounts) - self._accounts)

    def add_accounts(self, accounts: Iterable[str]) -> None:
        """Remember accounts whose rows are committed."""
        if len(self._accounts) < MAX_ACCOUNTS:
            self._accounts.update(accounts)

    def closed_keys(self, day: int) -> ClosedKeys | None:
        """Give the keys of the window before a day, if they were read."""
        closed = self._closed
        return closed if closed is not None and closed.day == day else None

    def ask(self, day: int, keys: int) -> None:
        """Note that so many keys are looked up on the server for want of the window before `day`."""
        if day != self._day:
            self._day, self._asked = day, 0
        self._asked += keys

    def wanted_window(self) -> int | None:
        """Give the day whose window is worth reading now."""
        return self._day if self._asked >= ASKED_BEFORE and self.closed_keys(self._day) is None else None

    def set_window(self, closed: ClosedKeys) -> None:
        """Remember a window instead of the one before."""
        self._closed = closed


class IngestCache:
    """The cache of one store, for all of its threads."""

    def __init__(self) -> None:
        self._current = ServerCache(("", ""))
        self._reading = threading.Lock()

    def of(self, state: Mapping[str, str]) -> ServerCache:
        """Give what holds for a store in this state; nothing yet for one that is new or was started again."""
        key = (state[SERVER], state.get(ACCOUNTS_SINCE, ""))
        current = self._current
        if current.key != key:
            current = self._current = ServerCache(key)
        return current

    def read_window(self, sessions: Sessions, statements: Statements) -> None:
        """Read the keys of the last days, if it is worth it by now and no other thread does.

        Raises as `Sessions.statement` does.
        """
        current = self._current
        day = current.wanted_window()
        if day is None or not self._reading.acquire(blocking=False):
            return
        try:
            with sessions.statement() as connection:
                closed = read_closed_keys(connection, statements, day, current.key[0])
        finally:
            self._reading.release()
        if closed is not None:
            current.set_window(closed)
