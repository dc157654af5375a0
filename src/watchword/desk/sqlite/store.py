# SPDX-License-Identifier: Apache-2.0
"""The desk's store in one SQLite file: write-ahead log, every commit synced to disk.

One connection writes and another one reads, so that an introspection never waits for a sync.
"""

import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from watchword.desk.agents import storage
from watchword.desk.agents.records import AgentStep
from watchword.desk.audit_chain import AuditEvent, AuditRow, Head, link
from watchword.desk.sqlite import schema
from watchword.desk.sqlite.file import open_file, unavailable
from watchword.desk.store import (
    AFTER_ALL_IDS,
    Issue,
    KnownToken,
    ListedToken,
    Note,
    Operation,
    Revoke,
    RevokedToken,
    issue_row_of,
    row_of,
)
from watchword.storage.sqlite_file import MEMORY
from watchword.trust.desk_revocations import MAX_SKEW_SECONDS

BUSY_TIMEOUT_SECONDS: Final = 5.0
_EXPIRE_AT_ONCE: Final = 2000
# Few sizes, so that SQLite keeps each of these statements prepared.
_ROWS_AT_ONCE: Final = (64, 16, 4, 1)


class SQLiteDeskStore:
    """A `DeskStore` in one file. See the protocol for what each method promises."""

    answers_at_once = True

    def __init__(self, path: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        """Open the file, made (readable by its owner only) when there is none; `:memory:` for no file.

        Raises:
            DeskStoreError: it cannot be used, or is busy.
        """
        self._writer = open_file(path, busy_timeout_seconds)
        # A database in memory is one connection's.
        self._reader = self._writer if path == MEMORY else open_file(path, busy_timeout_seconds)
        self._writing = threading.Lock()
        self._reading = self._writing if path == MEMORY else threading.Lock()

    def write(self, operations: Sequence[Operation]) -> list[bool]:
        """Do all of it in one durable transaction."""
        with self._transaction():
            effects: list[bool] = []
            events: list[AuditEvent] = []
            issued = [issue_row_of(each) for each in operations if isinstance(each, Issue)]
            self._insert(schema.ADD_ISSUED, issued)
            for each in operations:
                has_effect = self._apply(each)
                effects.append(has_effect)
                if has_effect and each.event is not None:
                    events.append(each.event)
            self._append(events)
        return effects

    def find(self, token_id: str) -> KnownToken | None:
        """What is known of a token."""
        # As `_explained`, without its three calls: each introspection comes this way.
        try:
            with self._reading:
                row = self._reader.execute(schema.FIND, (token_id,)).fetchone()
        except sqlite3.Error as error:
            raise unavailable(error) from error
        return None if row is None else KnownToken(row[0], row[1], row[2], bool(row[3]), row[4], row[5])

    def revoked(self, now: int) -> list[RevokedToken]:
        """The revoked tokens that a gate may still take."""
        return [RevokedToken(*row) for row in self._rows(schema.REVOKED, (now - MAX_SKEW_SECONDS,))]

    def tokens_before(self, token_id: str, limit: int) -> list[ListedToken]:
        """Tokens that were issued before another one, the newest first."""
        rows = self._rows(schema.TOKENS_BEFORE, (token_id or AFTER_ALL_IDS, limit))
        return [ListedToken(*row[:-1], bool(row[-1])) for row in rows]  # type: ignore[call-arg]  # seven

    def expire(self, before: int) -> int:
        """Forget what ended, in transactions that let others in between."""
        forgotten = 0
        for statement in (*schema.EXPIRE, *storage.EXPIRE):
            while True:
                with self._transaction():
                    count = self._writer.execute(statement, (before, _EXPIRE_AT_ONCE)).rowcount
                forgotten += count
                if count < _EXPIRE_AT_ONCE:
                    break
        with self._transaction():
            forgotten += self._writer.execute(storage.FORGET_PEOPLE).rowcount
        return forgotten

    def look(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Look among what is kept of agents."""
        return self._rows(statement, tuple(parameters))

    def identity(self) -> str:
        """The store's own id."""
        [(found,)] = self._rows(schema.IDENTITY)
        return str(found)

    def renew_identity(self, event: AuditEvent) -> str:
        """Give the store another id."""
        made = str(uuid.uuid4())
        with self._transaction():
            self._writer.execute(schema.INSERT_IDENTITY, (made, int(time.time())))
            self._append([event])
        return made

    def head(self) -> Head:
        """The newest entry of the audit log."""
        rows = self._rows(schema.HEAD)
        return Head(*rows[0]) if rows else Head()

    def entries_after(self, sequence: int, limit: int) -> list[AuditRow]:
        """Entries of the audit log in order."""
        return [AuditRow(*row) for row in self._rows(schema.ENTRIES_AFTER, (sequence, limit))]

    def close(self) -> None:
        """Close the file; the last one to do so folds the write-ahead log back into it."""
        self._reader.close()
        self._writer.close()

    def _apply(self, operation: Operation) -> bool:
        if isinstance(operation, Issue | Note):
            return True
        if isinstance(operation, Revoke):
            return self._writer.execute(schema.INSERT_REVOCATION, row_of(operation)).rowcount == 1
        if isinstance(operation, AgentStep):
            return storage.take(_Rows(self._writer), operation)
        row = (operation.client, operation.assertion_id, operation.expires_at)
        return self._writer.execute(schema.INSERT_ASSERTION, row).rowcount == 1

    def _append(self, events: Sequence[AuditEvent]) -> None:
        if not events:
            return
        found = self._writer.execute(schema.HEAD).fetchone()
        rows, _ = link(Head(*found) if found else Head(), events)
        self._insert(schema.INSERT_AUDIT, [(row.sequence, row.entry, row.hash) for row in rows])

    def _insert(self, statement: tuple[str, str], rows: Sequence[tuple[object, ...]]) -> None:
        """Insert rows by few statements: after each one, this thread waits for the loop's to let go."""
        insert, place = statement
        done = 0
        for size in _ROWS_AT_ONCE:
            while len(rows) - done >= size:
                values = [value for row in rows[done : done + size] for value in row]
                self._writer.execute(insert + ", ".join([place] * size), values)
                done += size

    def _rows(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._reading, _explained():
            return self._reader.execute(statement, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield
                self._writer.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, sqlite3.Error):
                    raise unavailable(error) from error
                raise

    def _roll_back(self) -> None:
        # SQLite ends the transaction itself on some errors (a full disk), and a closed file has none.
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._writer.close()


class _Rows:
    """Statements of the open transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: str, parameters: Sequence[object]) -> int:
        """How many rows it changed."""
        return self._connection.execute(statement, tuple(parameters)).rowcount

    def rows(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """What it found."""
        return self._connection.execute(statement, tuple(parameters)).fetchall()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(error) from error
