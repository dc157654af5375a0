# SPDX-License-Identifier: Apache-2.0
"""Opening an SQLite file: ours or empty, of a schema that we know, with a log that survives a power cut.

A database of another program, a newer schema or a file system that cannot share a log is refused before a
byte of it is changed: what is written into the wrong place is as lost as what was dropped.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Final

import msgspec

from watchword.storage import RefusedError

MEMORY: Final = ":memory:"
_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables
_RETRY_SECONDS: Final = 0.01
_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",  # sync the log at every commit: NORMAL loses some to a power cut
    "PRAGMA fullfsync = ON",  # macOS's fsync alone does not reach the disk; no effect elsewhere
    "PRAGMA trusted_schema = OFF",
)


class FileKind(msgspec.Struct, frozen=True, kw_only=True):
    """What a file must be to be used.

    Attributes:
        name: what it is called in an error, such as `the usage file`.
        application_id: marks the file as ours (sqlite.org/pragma.html#pragma_application_id).
        schema_version: the version that this release writes; older ones are brought up to it.
        pragmas: further settings of a connection, as statements.
        cached_statements: how many statements a connection keeps prepared.
        prepare: gives a connection what its statements need, before any of them is run.
        bring_up: from a version, 0 for an empty file, to this one, in the transaction that also says so.
        finish: what is too long for that transaction; a file on which it was cut short is finished when it
            is opened again.
        refused: makes the error for a file that cannot be used.
    """

    name: str
    application_id: int
    schema_version: int
    pragmas: tuple[str, ...]
    cached_statements: int = 128
    prepare: Callable[[sqlite3.Connection], None] = lambda _: None
    bring_up: Callable[[sqlite3.Connection, int], None]
    finish: Callable[[sqlite3.Connection], None] = lambda _: None
    refused: RefusedError


def place_of(path: str) -> str:
    """Where a path leads: absolute, and so never taken for one of SQLite's own `file:` URIs."""
    return path if path == MEMORY else os.path.abspath(path)


def open_file(path: str, busy_timeout_seconds: float, kind: FileKind) -> sqlite3.Connection:
    """Open or make a file, ready for transactions that are begun and ended by statement.

    Raises:
        sqlite3.Error: it is no database, is busy or cannot be read.
        Exception: of `kind.refused`: it is not of this kind, or cannot be used as one.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise kind.refused(f"the SQLite library is {sqlite3.sqlite_version}", "use version 3.37 or newer")
    place = place_of(path)
    connection = _connect(place, busy_timeout_seconds, kind)
    try:
        _prepare(connection, place, busy_timeout_seconds, kind)
    except BaseException:
        connection.close()
        raise
    return connection


def primary_code(error: sqlite3.Error) -> int | None:
    """The primary result code: the low byte; the rest tells variants apart (sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another transaction has what this one wanted."""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _connect(place: str, busy_timeout_seconds: float, kind: FileKind) -> sqlite3.Connection:
    try:
        if place != MEMORY:
            _make(place)
        return sqlite3.connect(
            place,
            timeout=busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=kind.cached_statements,
        )
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise kind.refused(
            f"{kind.name} {place} cannot be opened: {reason}",
            "give a file in an existing, writable folder (sqlite:///relative, sqlite:////absolute)",
        ) from error


def _make(place: str) -> None:
    """Make the file where there is none: here, for the mode, which the log and index files take from it."""
    # Never opened where it is there: closing a file gives up all locks that the process has on it (fcntl(2)),
    # those of SQLite's other connections too. Another process would then take the log away under them.
    try:
        os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if os.path.isdir(place):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None


def _prepare(connection: sqlite3.Connection, place: str, busy_timeout_seconds: float, kind: FileKind) -> None:
    # In one transaction: a file that another process is just making is either empty or whole.
    connection.execute("BEGIN")
    _version(connection, place, kind)
    connection.execute("COMMIT")
    _use_log(connection, place, busy_timeout_seconds, kind)
    for pragma in (*_PRAGMAS, *kind.pragmas):
        connection.execute(pragma)
    kind.prepare(connection)
    connection.execute("BEGIN IMMEDIATE")
    version = _version(connection, place, kind)
    if version != kind.schema_version:
        kind.bring_up(connection, version)
        # A pragma takes no parameters; both are integers of our own.
        connection.execute(f"PRAGMA application_id = {kind.application_id:d}")
        connection.execute(f"PRAGMA user_version = {kind.schema_version:d}")
    connection.execute("COMMIT")
    kind.finish(connection)


def _version(connection: sqlite3.Connection, place: str, kind: FileKind) -> int:
    """The version of our tables in the file, 0 where there is nothing; all else is refused untouched."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and objects == 0:
        return 0
    if application != kind.application_id:
        raise kind.refused(f"{place} is another program's database", "give the path of a new file")
    if not 1 <= version <= kind.schema_version:
        raise kind.refused(
            f"{place} has schema version {version}; this Watchword knows version {kind.schema_version}",
            "run the Watchword version that wrote it, or give the path of a new file",
        )
    return int(version)


def _use_log(connection: sqlite3.Connection, place: str, busy_timeout_seconds: float, kind: FileKind) -> None:
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
    if mode != ("memory" if place == MEMORY else "wal"):
        raise kind.refused(
            f"{place} cannot have a write-ahead log (journal mode {mode})",
            "give a path on a local file system, not a network one",
        )
