# SPDX-License-Identifier: Apache-2.0
"""The desk's store on a PostgreSQL server: one transaction a batch, one writer of the chain at a time.

The hash chain has one end, so batches of all replicas queue for an advisory lock. That is why they are
batches: a hundred exchanges share one wait.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from watchword.desk.agents import storage
from watchword.desk.agents.records import AgentStep
from watchword.desk.audit_chain import AuditEvent, AuditRow, Head, link
from watchword.desk.postgresql import migrate
from watchword.desk.store import (
    AFTER_ALL_IDS,
    DeskStoreError,
    DeskStoreRefusedError,
    DeskStoreUnavailableError,
    Issue,
    KnownToken,
    ListedToken,
    Operation,
    Revoke,
    RevokedToken,
    UseAssertion,
    issue_row_of,
    row_of,
)
from watchword.storage.postgresql import DURABLE_COMMITS, ERRORS, REFUSALS, Connection, LazyPool, read_dsn
from watchword.trust.desk_revocations import MAX_SKEW_SECONDS

DEFAULT_SCHEMA: Final = "watchword_desk"
_EXPIRE_AT_ONCE: Final = 5000

_ADD_ISSUED: Final = (
    "INSERT INTO token (token_id, subject, service, issued_at, expires_at, kind, version) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
_INSERT_REVOCATION: Final = (
    "INSERT INTO revocation (token_id, subject, service, issued_at, expires_at) VALUES (%s, %s, %s, %s, %s) "
    "ON CONFLICT DO NOTHING"
)
_INSERT_ASSERTION: Final = (
    "INSERT INTO assertion (client, assertion_id, expires_at) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
)
_INSERT_AUDIT: Final = "INSERT INTO audit (sequence, entry, hash) VALUES (%s, %s, %s)"
_HEAD: Final = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1"
_FIND: Final = """SELECT t.subject, t.service, t.expires_at,
        EXISTS (SELECT 1 FROM revocation r WHERE r.token_id = t.token_id), t.kind, t.version
    FROM token t WHERE t.token_id = %s"""
_TOKENS_BEFORE: Final = """SELECT t.token_id, t.subject, t.service, t.issued_at, t.expires_at, t.kind,
        EXISTS (SELECT 1 FROM revocation r WHERE r.token_id = t.token_id)
    FROM token t WHERE t.token_id < %s ORDER BY t.token_id DESC LIMIT %s"""
_REVOKED: Final = """SELECT token_id, subject, service, issued_at, expires_at FROM revocation
    WHERE expires_at > %s ORDER BY number"""
_EXPIRE: Final = (
    "DELETE FROM token WHERE ctid = ANY (ARRAY (SELECT ctid FROM token WHERE expires_at < %s LIMIT %s))",
    """DELETE FROM revocation WHERE ctid = ANY
        (ARRAY (SELECT ctid FROM revocation WHERE expires_at < %s LIMIT %s))""",
    """DELETE FROM assertion WHERE ctid = ANY
        (ARRAY (SELECT ctid FROM assertion WHERE expires_at < %s LIMIT %s))""",
)


class PostgreSQLDeskStore:
    """A `DeskStore` in one schema of a database. See the protocol for what each method promises."""

    answers_at_once = False

    def __init__(self, dsn: str) -> None:
        """Read the DSN; the server is asked when the store is first used, so that it may come up later.

        Raises:
            DeskStoreRefusedError: the DSN cannot be read.
        """
        self._place = read_dsn(dsn, default_schema=DEFAULT_SCHEMA, refused=DeskStoreRefusedError)
        self.schema, self.lock_number = self._place.schema, self._place.lock_number("watchword desk")
        self._pool = LazyPool(
            self._place,
            application="watchword-desk",
            before=self._require_schema,
            configure=self._configure,
            closed=lambda: DeskStoreUnavailableError("the desk's store is closed", "open it again"),
        )

    def migrate(self, serving_role: str) -> None:
        """Make or change the schema, connected as its owner, for a role that serves.

        Raises:
            DeskStoreError: the roles do not fit, or the server cannot be asked.
        """
        try:
            migrate.migrate(self._place, self.lock_number, serving_role)
        except psycopg.Error as error:
            raise _meaning(error) from None

    def write(self, operations: Sequence[Operation]) -> list[bool]:
        """Do all of it in one durable transaction."""
        with self._transaction() as connection:
            # First of all: what was decided on before it was held could be old.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [self.lock_number])
            effects = self._apply(connection, operations)
            self._append(
                connection,
                [
                    each.event
                    for each, has_effect in zip(operations, effects, strict=True)
                    if has_effect and each.event is not None
                ],
            )
        return effects

    def find(self, token_id: str) -> KnownToken | None:
        """What is known of a token."""
        rows = self._rows(_FIND, (token_id,))
        return KnownToken(*rows[0]) if rows else None

    def revoked(self, now: int) -> list[RevokedToken]:
        """The revoked tokens that a gate may still take."""
        return [RevokedToken(*row) for row in self._rows(_REVOKED, (now - MAX_SKEW_SECONDS,))]

    def tokens_before(self, token_id: str, limit: int) -> list[ListedToken]:
        """Tokens that were issued before another one, the newest first."""
        return [ListedToken(*row) for row in self._rows(_TOKENS_BEFORE, (token_id or AFTER_ALL_IDS, limit))]

    def expire(self, before: int) -> int:
        """Forget what ended, in transactions that let others in between."""
        forgotten = 0
        for statement in (*_EXPIRE, *(each.replace("?", "%s") for each in storage.EXPIRE)):
            while True:
                with self._transaction() as connection:
                    count = connection.execute(statement.encode(), (before, _EXPIRE_AT_ONCE)).rowcount
                forgotten += count
                if count < _EXPIRE_AT_ONCE:
                    break
        with self._transaction() as connection:
            forgotten += connection.execute(storage.FORGET_PEOPLE.encode()).rowcount
        return forgotten

    def look(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Look among what is kept of agents."""
        return self._rows(statement.replace("?", "%s"), tuple(parameters))

    def identity(self) -> str:
        """The store's own id."""
        rows = self._rows("SELECT id FROM identity ORDER BY number DESC LIMIT 1", ())
        if not rows:
            raise DeskStoreRefusedError("the desk's store has no id", "run `watchword desk migrate`")
        return str(rows[0][0])

    def renew_identity(self, event: AuditEvent) -> str:
        """Give the store another id."""
        made = str(uuid.uuid4())
        with self._transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [self.lock_number])
            connection.execute("INSERT INTO identity (id, made_at) VALUES (%s, %s)", [made, int(time.time())])
            self._append(connection, [event])
        return made

    def head(self) -> Head:
        """The newest entry of the audit log."""
        rows = self._rows(_HEAD, ())
        return Head(*rows[0]) if rows else Head()

    def entries_after(self, sequence: int, limit: int) -> list[AuditRow]:
        """Entries of the audit log in order."""
        statement = "SELECT sequence, entry, hash FROM audit WHERE sequence > %s ORDER BY sequence LIMIT %s"
        return [AuditRow(*row) for row in self._rows(statement, (sequence, limit))]

    def close(self) -> None:
        """Give up the connections."""
        self._pool.close()

    def _apply(self, connection: Connection, operations: Sequence[Operation]) -> list[bool]:
        effects = [True] * len(operations)
        issued = [issue_row_of(each) for each in operations if isinstance(each, Issue)]
        if issued:
            connection.cursor().executemany(_ADD_ISSUED, issued)
        for place, each in enumerate(operations):
            if isinstance(each, Revoke):
                effects[place] = connection.execute(_INSERT_REVOCATION, row_of(each)).rowcount == 1
            elif isinstance(each, UseAssertion):
                row = (each.client, each.assertion_id, each.expires_at)
                effects[place] = connection.execute(_INSERT_ASSERTION, row).rowcount == 1
            elif isinstance(each, AgentStep):
                effects[place] = storage.take(_Rows(connection), each)
        return effects

    def _append(self, connection: Connection, events: Sequence[AuditEvent]) -> None:
        if not events:
            return
        found = connection.execute(_HEAD).fetchone()
        rows, _ = link(Head(*found) if found else Head(), events)
        connection.cursor().executemany(_INSERT_AUDIT, [(row.sequence, row.entry, row.hash) for row in rows])

    def _rows(self, statement: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            with self._pool.ready().connection() as connection:
                return connection.execute(statement.encode(), parameters).fetchall()
        except ERRORS as error:
            raise _meaning(error) from None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._pool.ready().connection() as connection, connection.transaction():
                yield connection
        except ERRORS as error:
            raise _meaning(error) from None

    def _require_schema(self) -> None:
        with self._place.connect() as connection:
            if not migrate.is_current(connection, self.schema):
                raise DeskStoreRefusedError(
                    f"the schema {self.schema} is not there, or not of this version",
                    "run `watchword desk migrate --serving-role NAME` as its owner",
                )
            migrate.require_serving_role(connection, self.schema)

    def _configure(self, connection: Connection) -> None:
        connection.execute("SELECT set_config('search_path', quote_ident(%s), false)", [self.schema])
        connection.execute("SET lock_timeout = '5s'")
        connection.execute("SET statement_timeout = '30s'")
        connection.execute(DURABLE_COMMITS)


class _Rows:
    """Statements of the open transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, statement: str, parameters: Sequence[object]) -> int:
        """How many rows it changed."""
        return self._connection.execute(statement.replace("?", "%s").encode(), parameters).rowcount

    def rows(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """What it found."""
        return self._connection.execute(statement.replace("?", "%s").encode(), parameters).fetchall()


def _meaning(error: Exception) -> DeskStoreError:
    if isinstance(error, REFUSALS):
        return DeskStoreRefusedError(
            f"PostgreSQL refuses us: {type(error).__name__} (SQLSTATE {error.sqlstate})",
            "run `watchword desk migrate --serving-role NAME` as the owner of the schema",
        )
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return DeskStoreUnavailableError(
            f"PostgreSQL failed: {type(error).__name__} (SQLSTATE {error.sqlstate})", "check the server"
        )
    return DeskStoreUnavailableError(
        "PostgreSQL is away", "see that the server can be reached, and that the role may log in"
    )
