# SPDX-License-Identifier: Apache-2.0
"""The keys of the last days' partitions, read once and remembered (`usage/closed_keys`).

A partition that is not the newest takes no new events any more (`arrivals`). What was read holds for one run
of one server: another one may be a copy that was put back.
"""

from __future__ import annotations

from watchword.usage.closed_keys import ClosedKeys
from watchword.usage.deduplication import WINDOW_DAYS
from watchword.usage.postgresql.arrivals import SERVER
from watchword.usage.postgresql.sessions import Connection
from watchword.usage.postgresql.statements import Statements


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
