# SPDX-License-Identifier: Apache-2.0
"""Connections to PostgreSQL: a small pool, transactions that end, and what an error means to a sender.

A server that is away is no reason to stop, or not to start: each call says so and the next one tries again.
No message repeats what the server says in words, for those hold values of events.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import conninfo, errors
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from watchword.usage.postgresql.migrate import bring_up_to_date
from watchword.usage.problems import shown
from watchword.usage.store import StoreError, StoreRefused, StoreUnavailable

DEFAULT_SCHEMA: Final = "watchword_usage"
CONNECTIONS: Final = 4
WAIT_SECONDS: Final = 2.0
LOCK_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 60

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_AGAIN: Final = "send the same events again"
_REFUSED: Final = (
    errors.InsufficientPrivilege,
    errors.UndefinedTable,
    errors.InvalidSchemaName,
)

Connection = psycopg.Connection[tuple[Any, ...]]


class Sessions:
    """The connections of one store."""

    def __init__(self, dsn: str) -> None:
        """Read a DSN; nobody is asked yet. Raises StoreRefused when it is none."""
        self._conninfo, self.schema = _parts(dsn)
        digest = hashlib.sha256(f"watchword usage {self.schema}".encode()).digest()
        self.lock_number = int.from_bytes(digest[:8], "big", signed=True)
        self._pool: ConnectionPool[Connection] | None = None
        self._opening = threading.Lock()
        self._is_closed = False

    @contextmanager
    def transaction(self, isolation: str = "", *, unhurried: bool = False) -> Iterator[Connection]:
        """Run the block in one transaction.

        `isolation` is what follows BEGIN, a constant. `unhurried` lifts the limit on how long a statement may
        run (STATEMENT_SECONDS). Raises StoreUnavailable or StoreRefused for what the server or the way to it
        does.
        """
        try:
            with self._ready().connection() as connection:
                connection.execute(f"BEGIN {isolation}".encode())
                if unhurried:
                    connection.execute("SET LOCAL statement_timeout = 0")
                try:
                    yield connection
                except BaseException:
                    if not connection.closed:
                        connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except (psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests) as error:
            raise _meaning(error) from None

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """Run single statements, each a transaction of its own. Raises as `transaction` does."""
        try:
            with self._ready().connection() as connection:
                yield connection
        except (psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests) as error:
            raise _meaning(error) from None

    def close(self) -> None:
        """Give up the connections."""
        with self._opening:
            self._is_closed = True
            if self._pool is not None:
                self._pool.close()

    def _ready(self) -> ConnectionPool[Connection]:
        pool = self._pool
        if pool is not None:
            return pool
        with self._opening:
            if self._is_closed:
                raise StoreUnavailable("the usage store is closed", "open it again")
            if self._pool is None:
                bring_up_to_date(self._conninfo, self.schema, self.lock_number)
                self._pool = ConnectionPool(
                    self._conninfo,
                    min_size=1,
                    max_size=CONNECTIONS,
                    timeout=WAIT_SECONDS,
                    reconnect_timeout=WAIT_SECONDS,
                    kwargs={"autocommit": True, "connect_timeout": 5, "application_name": "watchword"},
                    configure=_configure,
                    open=True,
                )
            return self._pool


def _configure(connection: Connection) -> None:
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'".encode())
    connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'".encode())
    # Each statement comes again and again with other values, and planning a read takes as long as the read.
    connection.execute("SET plan_cache_mode = force_generic_plan")
    # A server or role may be set to answer before the log is on disk: then "stored" would not be true.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )


def _parts(dsn: str) -> tuple[str, str]:
    """Take a DSN apart: what libpq takes, and the schema, which libpq does not know."""
    remedy = "use postgresql://USER@HOST/DATABASE, with ?schema=NAME for another schema than watchword_usage"
    try:
        split = urlsplit(dsn)
        pairs = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query))
        schemas = [value for name, value in pairs if name == "schema"]
        rest = urlencode([(name, value) for name, value in pairs if name != "schema"])
        info = split._replace(scheme="postgresql", query=rest).geturl()
        conninfo.conninfo_to_dict(info)
    except (ValueError, psycopg.Error):
        # libpq repeats the DSN, with its password, in what it says.
        raise StoreRefused("the postgresql DSN cannot be read", remedy) from None
    schema = schemas[0] if schemas else DEFAULT_SCHEMA
    if len(schemas) > 1 or not _SCHEMA.match(schema):
        detail = f"the schema {shown(schema)} is not one plain name"
        raise StoreRefused(detail, "use a-z, 0-9 and _, at most 63 characters, no digit first")
    return info, schema


def _meaning(error: Exception) -> StoreError:
    if isinstance(error, _REFUSED):
        return StoreRefused(
            f"PostgreSQL refuses us: {type(error).__name__} (SQLSTATE {error.sqlstate})",
            "see that its user may make a schema, and use the tables in it",
        )
    if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled | errors.DeadlockDetected):
        return StoreUnavailable("the usage store is busy with another transaction", _AGAIN)
    if isinstance(error, errors.DiskFull):
        return StoreUnavailable("the usage store's disk is full", f"make room; then {_AGAIN}")
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return StoreUnavailable(
            f"PostgreSQL failed: {type(error).__name__} (SQLSTATE {error.sqlstate})",
            f"see to the server; then {_AGAIN}",
        )
    # Before there is a session an error has no SQLSTATE; what the server itself says has its severity.
    if "FATAL" in str(error):
        return StoreUnavailable(
            "PostgreSQL does not let us in",
            f"see its log: the database and its user must be there, with room for connections; then {_AGAIN}",
            is_away=True,
        )
    return StoreUnavailable(
        "PostgreSQL is away", f"see that the server can be reached; then {_AGAIN}", is_away=True
    )
