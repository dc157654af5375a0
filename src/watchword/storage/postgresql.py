# SPDX-License-Identifier: Apache-2.0
"""One schema on a PostgreSQL server: its DSN, its migrations by yoyo, and a small pool that opens when used.

A server that is away is no reason to stop, or not to start: each call says so and the next one tries again.
No message repeats what the server says in words, for those hold values of what is kept.
"""

import hashlib
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from watchword.storage import RefusedError

CONNECTIONS: Final = 4
WAIT_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 5
# What a call over a pool raises.
ERRORS: Final = (psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests)
# Of those, what stays so until someone grants something.
REFUSALS: Final = (errors.InsufficientPrivilege, errors.UndefinedTable, errors.InvalidSchemaName)
# yoyo's table of what was applied.
MIGRATIONS_TABLE: Final = "_yoyo_migrations"
# A server or role may be set to answer before the log is on disk: then "stored" would not be true.
DURABLE_COMMITS: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")

Connection = psycopg.Connection[tuple[Any, ...]]


class Place(msgspec.Struct, frozen=True):
    """Where a store is.

    Attributes:
        conninfo: how to connect, as libpq takes it; it may hold a password.
        schema: the store's own schema.
    """

    conninfo: str
    schema: str

    def __repr__(self) -> str:
        return f"Place(..., schema={self.schema!r})"

    def lock_number(self, purpose: str) -> int:
        """The number of the advisory lock that all processes on this schema take for a purpose."""
        digest = hashlib.sha256(f"{purpose} {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def connect(self) -> Connection:
        """One connection outside of a pool, without transactions of its own accord.

        Raises:
            psycopg.Error: what the server says.
        """
        return psycopg.connect(self.conninfo, autocommit=True, connect_timeout=CONNECT_SECONDS)


def read_dsn(
    dsn: str, *, default_schema: str, refused: RefusedError, shown: Callable[[str], str] | None = None
) -> Place:
    """Take a DSN apart: what libpq takes, and `?schema=NAME`, which libpq does not know.

    Args:
        dsn: `postgresql://USER@HOST/DATABASE`, with the parameters of libpq.
        default_schema: where the DSN names none.
        refused: makes the error for a DSN that cannot be read.
        shown: quotes a hostile name for an error; None: it is not told.

    Raises:
        Exception: of `refused`.
    """
    try:
        split = urlsplit(dsn)
        pairs = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query))
        schemas = [value for name, value in pairs if name == "schema"]
        rest = urlencode([(name, value) for name, value in pairs if name != "schema"])
        conninfo = split._replace(scheme="postgresql", query=rest).geturl()
        conninfo_to_dict(conninfo)
    except (ValueError, psycopg.Error):
        form = "use postgresql://USER@HOST/DATABASE, with ?schema=NAME for another schema than"
        # libpq repeats the DSN, with its password, in what it says.
        raise refused("the postgresql DSN cannot be read", f"{form} {default_schema}") from None
    schema = schemas[0] if schemas else default_schema
    if len(schemas) > 1 or not _SCHEMA.match(schema):
        name = "" if shown is None else f" {shown(schema)}"
        remedy = "use a-z, 0-9 and _, at most 63 characters, no digit first"
        raise refused(f"the schema{name} is not one plain name", remedy)
    return Place(conninfo, schema)


class Migrations:
    """The steps of one kind of store, as a folder of SQL files, applied in the order of their names."""

    def __init__(self, folder: Path, refused: RefusedError) -> None:
        """Take the folder, and what makes the error for a schema that a newer release made."""
        self._folder, self._refused = folder, refused
        self.names = tuple(sorted(path.stem for path in folder.glob("*.sql")))

    def are_applied(self, connection: Connection, schema: str) -> bool:
        """Whether a schema has this version.

        Raises:
            Exception: of `refused`: a newer Watchword made the schema.
        """
        if not self.are_begun(connection, schema):
            return False
        names = sql.SQL("SELECT migration_id FROM {}").format(sql.Identifier(schema, MIGRATIONS_TABLE))
        applied = {name for (name,) in connection.execute(names)}
        if unknown := applied - set(self.names):
            raise self._refused(
                f"the schema {schema} has the migration {min(unknown)}, which this Watchword does not know",
                "run the Watchword version that made it, or give another schema (?schema=NAME)",
            )
        return applied == set(self.names)

    def are_begun(self, connection: Connection, schema: str) -> bool:
        """Whether a schema is there, and has any version."""
        statement = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))"
        row = connection.execute(statement, [schema, MIGRATIONS_TABLE]).fetchone()
        return row is not None and row[0] is not None

    def apply(self, connection: Connection, place: Place) -> None:
        """Make the schema, and apply what is missing. The caller holds a lock that ends with its connection.

        yoyo's own lock is a row that a killed process leaves behind.

        Raises:
            psycopg.Error: what the server says.
        """
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(place.schema)))
        with warnings.catch_warnings():
            # A warning of the tool's own imports is not for the people who run a store. And the tool is
            # imported only here: a process that finds its schema current does not pay for it (15 MiB).
            warnings.simplefilter("ignore")
            from yoyo import read_migrations
            from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
            from yoyo.connections import DatabaseURI

        found = conninfo_to_dict(place.conninfo)
        parameters = {name: value for name, value in found.items() if value is not None}
        database = parameters.pop("dbname", None)
        uri = DatabaseURI(
            "postgresql+psycopg", None, None, None, None, database, {**parameters, "schema": place.schema}
        )
        backend = PostgresqlPsycopgBackend(uri, MIGRATIONS_TABLE)
        with backend:
            backend.init_database()
            backend.apply_migrations(backend.to_apply(read_migrations(str(self._folder))))


class LazyPool:
    """A pool that opens when it is first used, and again after a failure to."""

    def __init__(
        self,
        place: Place,
        *,
        application: str,
        before: Callable[[], None],
        configure: Callable[[Connection], None],
        closed: Callable[[], Exception],
    ) -> None:
        """Take what a pool needs; no one is asked yet.

        Args:
            place: where the store is.
            application: what the server calls these connections.
            before: sees that the schema may be used, each time a pool is to be opened.
            configure: sets what holds for each new connection.
            closed: makes the error for a use after `close`.
        """
        self._place, self._application = place, application
        self._before, self._configure, self._closed = before, configure, closed
        self._pool: ConnectionPool[Connection] | None = None
        self._opening = threading.Lock()
        self._is_closed = False

    def ready(self) -> ConnectionPool[Connection]:
        """The pool, open. Raises what `before` and `closed` do, and psycopg.Error."""
        pool = self._pool
        if pool is not None:
            return pool
        with self._opening:
            if self._is_closed:
                raise self._closed()
            if self._pool is None:
                self._before()
                self._pool = ConnectionPool(
                    self._place.conninfo,
                    min_size=1,
                    max_size=CONNECTIONS,
                    timeout=WAIT_SECONDS,
                    reconnect_timeout=WAIT_SECONDS,
                    kwargs={
                        "autocommit": True,
                        "connect_timeout": CONNECT_SECONDS,
                        "application_name": self._application,
                    },
                    configure=self._configure,
                    open=True,
                )
            return self._pool

    def close(self) -> None:
        """Give up the connections."""
        with self._opening:
            self._is_closed = True
            if self._pool is not None:
                self._pool.close()
