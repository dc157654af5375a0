# SPDX-License-Identifier: Apache-2.0
"""The usage file: its schema, brought up to this version, and what an error of SQLite means to a sender."""

from __future__ import annotations

import sqlite3
import time
from decimal import Decimal
from typing import Final

from watchword.storage import sqlite_file
from watchword.usage.deduplication import AHEAD, ARRIVALS_FROM
from watchword.usage.meters import EXACT, plain
from watchword.usage.sqlite import schema
from watchword.usage.store import StoreRefusedError, StoreUnavailableError
from watchword.usage.times import MICROSECONDS_PER_DAY, day_at, day_number

_MOVED_AT_ONCE: Final = (
    2000  # events or amounts, in one transaction: what the log next to the file has to hold
)
# From each version to this one: cut short, it never began.
_STEPS: Final = {
    0: (*schema.CREATE_KEPT, *schema.CREATE_DERIVED),
    # What version 1 derived from its events is derived again, when the meters are put in force.
    1: schema.LEAVE_VERSION_1,
    2: schema.LEAVE_VERSION_2,
    3: schema.LEAVE_VERSION_3,
}


def open_file(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open or make the usage file at `path`, ready for transactions that are begun and ended by statement.

    Raises StoreRefusedError or StoreUnavailableError.
    """
    try:
        return sqlite_file.open_file(path, busy_timeout_seconds, _KIND)
    except sqlite3.OperationalError as error:
        raise unavailable(error) from error
    except sqlite3.DatabaseError as error:
        raise StoreRefusedError(
            f"{sqlite_file.place_of(path)} is not a usage store: {error}",
            "give the path of a new file, or restore this one",
        ) from error


def unavailable(error: sqlite3.Error) -> StoreUnavailableError:
    """Say what an error of SQLite means to the sender of events."""
    if sqlite_file.is_busy(error):
        return StoreUnavailableError(
            "the usage store is busy with another transaction", "send the same events again"
        )
    if sqlite_file.primary_code(error) == sqlite3.SQLITE_FULL:
        return StoreUnavailableError(
            "the usage store's disk is full", "make room; then send the same events again"
        )
    return StoreUnavailableError(
        f"the usage store failed: {error}", "see to the file and its disk; then send the same events again"
    )


def _exact_sum(one: str, other: str) -> str:
    return plain(EXACT.add(Decimal(one), Decimal(other)))


def _exact_max(one: str, other: str) -> str:
    return max(one, other, key=Decimal)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.create_function("exact_sum", 2, _exact_sum, deterministic=True)
    connection.create_function("exact_max", 2, _exact_max, deterministic=True)


def _bring_up(connection: sqlite3.Connection, version: int) -> None:
    for statement in _STEPS[version]:
        connection.execute(statement)
    if version:
        # What came before today is in the table of the past, and was ahead of today by so many days.
        today = day_number(day_at(time.time()))
        asked = [schema.LATEST_OF_PAST]
        if connection.execute(schema.IS_LEFT, (schema.EVENT_OF_2,)).fetchone():
            asked.append(schema.LATEST_OF_2)
        latest = max(connection.execute(statement).fetchone()[0] or 0 for statement in asked)
        ahead = max(0, latest // MICROSECONDS_PER_DAY - today + 1)
        connection.execute(schema.SET_STATE, (ARRIVALS_FROM, str(today)))
        connection.execute(schema.SET_STATE, (AHEAD, str(ahead)))


def _finish(connection: sqlite3.Connection) -> None:
    """Finish what a migration began: a store with anything still to be moved is not used."""
    for left, move in ((schema.EVENT_OF_2, _move_events), (schema.ROLLUP_OF_3, _move_amounts)):
        while True:
            connection.execute("BEGIN IMMEDIATE")
            is_left = connection.execute(schema.IS_LEFT, (left,)).fetchone() is not None
            if is_left:
                move(connection)
            connection.execute("COMMIT")
            if not is_left:
                break


def _move_events(connection: sqlite3.Connection) -> None:
    last, count = connection.execute(schema.LAST_TO_MOVE, (_MOVED_AT_ONCE,)).fetchone()
    if count:
        connection.execute(schema.MOVE_EVENTS, (last,))
        connection.execute(schema.DELETE_MOVED, (last,))
    else:
        connection.execute(schema.DROP_MOVED)


def _move_amounts(connection: sqlite3.Connection) -> None:
    last = connection.execute(schema.LAST_AMOUNT_TO_MOVE, (_MOVED_AT_ONCE,)).fetchone()
    if last is not None:
        connection.execute(schema.MOVE_AMOUNTS, last)
        connection.execute(schema.DELETE_MOVED_AMOUNTS, last)
    else:
        connection.execute(schema.DROP_MOVED_AMOUNTS)


_KIND: Final = sqlite_file.FileKind(
    name="the usage file",
    application_id=schema.APPLICATION_ID,
    schema_version=schema.SCHEMA_VERSION,
    # A batch for a thousand accounts is two thousand pages: written back at each one, they are written twice.
    pragmas=("PRAGMA wal_autocheckpoint = 8000",),
    cached_statements=64,
    prepare=_prepare,
    bring_up=_bring_up,
    finish=_finish,
    refused=StoreRefusedError,
)
