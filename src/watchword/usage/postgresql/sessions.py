# SPDX-License-Identifier: Apache-2.0
"""Connections to PostgreSQL: a small pool, transactions that end, and what an error means to a sender.

A server that is away is no reason to stop, or not to start: each call says so and the next one tries again.
No message repeats what the server says in words, for those hold values of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import errors

from watchword.storage.postgresql import (
    CONNECTIONS,
    DURABLE_COMMITS,
    ERRORS,
    REFUSALS,
    Connection,
    LazyPool,
    read_dsn,
)
from watchword.usage.postgresql.migrate import bring_up_to_date
from watchword.usage.problems import shown
from watchword.usage.store import StoreError, StoreRefusedError, StoreUnavailableError

__all__ = ["CONNECTIONS", "Connection", "Sessions"]

DEFAULT_SCHEMA: Final = "watchword_usage"
LOCK_SECONDS: Final = 5
STATEMENT_SECONDS: Final = 60

_AGAIN: Final = "send the same events again"


class Sessions:
    """The connections of one store."""

    def __init__(self, dsn: str, *, may_make: bool = True) -> None:
        """Read a DSN; no one is asked yet. `may_make`: whether a schema that is missing is made.

        Raises StoreRefusedError when it is none.
        """
        place = read_dsn(dsn, default_schema=DEFAULT_SCHEMA, refused=StoreRefusedError, shown=shown)
        self.schema, self.lock_number = place.schema, place.lock_number("watchword usage")
        self._pool = LazyPool(
            place,
            application="watchword",
            before=lambda: bring_up_to_date(place, self.lock_number, may_make=may_make),
            configure=_configure,
            closed=lambda: StoreUnavailableError("the usage store is closed", "open it again"),
        )

    @contextmanager
    def transaction(self, isolation: str = "", *, unhurried: bool = False) -> Iterator[Connection]:
        """Run the block in one transaction.

        `isolation` is what follows BEGIN, a constant. `unhurried` lifts the limit on how long a statement may
        run (STATEMENT_SECONDS). Raises StoreUnavailableError or StoreRefusedError for what the server or the
        way to it does.
        """
        try:
            with self._pool.ready().connection() as connection:
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
        except ERRORS as error:
            raise _meaning(error) from None

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """Run single statements, each a transaction of its own. Raises as `transaction` does."""
        try:
            with self._pool.ready().connection() as connection:
                yield connection
        except ERRORS as error:
            raise _meaning(error) from None

    def close(self) -> None:
        """Give up the connections."""
        self._pool.close()


def _configure(connection: Connection) -> None:
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'".encode())
    connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'".encode())
    # Each statement comes again and again with other values, and planning a read takes as long as the read.
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute(DURABLE_COMMITS)


def _meaning(error: Exception) -> StoreError:
    if isinstance(error, REFUSALS):
        return StoreRefusedError(
            f"PostgreSQL refuses us: {type(error).__name__} (SQLSTATE {error.sqlstate})",
            "see that its user may make a schema, and use the tables in it",
        )
    if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled | errors.DeadlockDetected):
        return StoreUnavailableError("the usage store is busy with another transaction", _AGAIN)
    if isinstance(error, errors.DiskFull):
        return StoreUnavailableError("the usage store's disk is full", f"make room; then {_AGAIN}")
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return StoreUnavailableError(
            f"PostgreSQL failed: {type(error).__name__} (SQLSTATE {error.sqlstate})",
            f"see to the server; then {_AGAIN}",
        )
    # Before there is a session an error has no SQLSTATE; what the server itself says has its severity.
    if "FATAL" in str(error):
        return StoreUnavailableError(
            "PostgreSQL does not let us in",
            f"see its log: the database and its user must be there, with room for connections; then {_AGAIN}",
            is_away=True,
        )
    return StoreUnavailableError(
        "PostgreSQL is away", f"see that the server can be reached; then {_AGAIN}", is_away=True
    )
