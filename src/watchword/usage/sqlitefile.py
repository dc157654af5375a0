# SPDX-License-Identifier: Apache-2.0
"""Opening the usage file: ours or empty, of a schema that we know, with a log that survives a power cut.

A database of another program, a newer schema or a file system that cannot share a log is refused before a
byte of it is changed: usage written into the wrong place is as lost as usage that was dropped.
"""

from __future__ import annotations

import os
import sqlite3
import time
from decimal import Decimal
from typing import Final

from watchword.usage import schema
from watchword.usage.meters import EXACT, plain
from watchword.usage.store import StoreRefused, StoreUnavailable

_MEMORY: Final = ":memory:"
_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables
_RETRY_SECONDS: Final = 0.01

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",  # sync the log at every commit: NORMAL loses some to a power cut
    "PRAGMA fullfsync = ON",  # macOS's fsync alone does not reach the disk; no effect elsewhere
    "PRAGMA trusted_schema = OFF",
    # A batch for a thousand accounts is two thousand pages: written back at each one, they are written twice.
    "PRAGMA wal_autocheckpoint = 8000",
)


def open_file(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Open or make the usage file at `path`, ready for transactions that are begun and ended by statement.

    Raises StoreRefused or StoreUnavailable.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreRefused(f"the SQLite library is {sqlite3.sqlite_version}", "use version 3.37 or newer")
    # An absolute path can never be taken for one of SQLite's own `file:` URIs.
    place = path if path == _MEMORY else os.path.abspath(path)
    connection = _connect(place, busy_timeout_seconds)
    try:
        _prepare(connection, place, busy_timeout_seconds)
    except BaseException:
        connection.close()
        raise
    return connection


def unavailable(error: sqlite3.Error) -> StoreUnavailable:
    """Say what an error of SQLite means to whoever sent events."""
    # The low byte is the primary result code; the rest tells variants of it apart (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailable(
            "the usage store is busy with another transaction", "send the same events again"
        )
    if primary == sqlite3.SQLITE_FULL:
        return StoreUnavailable(
            "the usage store's disk is full", "make room; then send the same events again"
        )
    return StoreUnavailable(
        f"the usage store failed: {error}", "see to the file and its disk; then send the same events again"
    )


def _exact_sum(one: str, other: str) -> str:
    return plain(EXACT.add(Decimal(one), Decimal(other)))


def _exact_max(one: str, other: str) -> str:
    return max(one, other, key=Decimal)


def _connect(place: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    try:
        if place != _MEMORY:
            # Made here, not by SQLite, for the mode; the log and index files take theirs from this one.
            os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(
            place,
            timeout=busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreRefused(
            f"the usage file {place} cannot be opened: {reason}",
            "give a file in an existing, writable folder (sqlite:///relative, sqlite:////absolute)",
        ) from error


def _prepare(connection: sqlite3.Connection, place: str, busy_timeout_seconds: float) -> None:
    try:
        # In one transaction: a file that another process is just making is either empty or whole.
        connection.execute("BEGIN")
        _version(connection, place)
        connection.execute("COMMIT")
        _use_log(connection, place, busy_timeout_seconds)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        connection.create_function("exact_sum", 2, _exact_sum, deterministic=True)
        connection.create_function("exact_max", 2, _exact_max, deterministic=True)
        connection.execute("BEGIN IMMEDIATE")
        version = _version(connection, place)
        if version != schema.SCHEMA_VERSION:
            # What version 1 derived from its events is derived again, when the meters are put in force.
            for statement in (
                *(schema.DROP_DERIVED_OF_1 if version == 1 else schema.CREATE_KEPT),
                *schema.CREATE_DERIVED,
            ):
                connection.execute(statement)
            # A pragma takes no parameters; both are integers of our own.
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID:d}")
            connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION:d}")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise unavailable(error) from error
    except sqlite3.DatabaseError as error:
        raise StoreRefused(
            f"{place} is not a usage store: {error}", "give the path of a new file, or restore this one"
        ) from error


def _version(connection: sqlite3.Connection, place: str) -> int:
    """Give the version of our tables in the file, 0 where there is nothing; refuse all else untouched."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and objects == 0:
        return 0
    if application != schema.APPLICATION_ID:
        raise StoreRefused(f"{place} is another program's database", "give the path of a new file")
    if not 1 <= version <= schema.SCHEMA_VERSION:
        raise StoreRefused(
            f"{place} has schema version {version}; this Watchword knows version {schema.SCHEMA_VERSION}",
            "run the Watchword version that wrote it, or give the path of a new file",
        )
    return int(version)


def _use_log(connection: sqlite3.Connection, place: str, busy_timeout_seconds: float) -> None:
    # SQLite does not wait for its busy timeout while a second process switches to the log: wait for it here.
    deadline = time.monotonic() + busy_timeout_seconds
    mode = None
    while mode is None:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
    if mode != ("memory" if place == _MEMORY else "wal"):
        raise StoreRefused(
            f"{place} cannot have a write-ahead log (journal mode {mode})",
            "give a path on a local file system, not a network one",
        )
