# SPDX-License-Identifier: Apache-2.0
"""Questions to ClickHouse over HTTP: every statement a constant, every value a parameter of the server.

A server that is away is no reason to stop, or not to start: each call says so and the next one tries again.
No message repeats what the server says in words, for those hold values of events.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from watchword.usage.clickhouse import schema
from watchword.usage.problems import shown
from watchword.usage.store import StoreError, StoreRefusedError, StoreUnavailableError

DEFAULT_DATABASE: Final = "watchword_usage"
ANSWER_SECONDS: Final = 60
CONNECT_SECONDS: Final = 5
_POLL_SECONDS: Final = 0.1

Row = Sequence[Any]

_DATABASE = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_CODE = re.compile(r"(?i)code: (\d+)")
_AGAIN: Final = "send the same events again"
_UNKNOWN_TABLE, _UNKNOWN_DATABASE, _TABLE_EXISTS = 60, 81, 57
# UNKNOWN_USER, WRONG_PASSWORD, READONLY, DATABASE_ACCESS_DENIED, ACCESS_DENIED, AUTHENTICATION_FAILED
_REFUSED: Final = frozenset({192, 193, 164, 291, 497, 516})
# Of the server's own settings, those that the store's promises rest on.
_SETTINGS: Final = {
    "async_insert": "0",
    "wait_end_of_query": "1",
    "max_execution_time": str(ANSWER_SECONDS),
    # Where there are replicas: what one of them took is seen when another one is asked.
    "select_sequential_consistency": "1",
    "insert_quorum_parallel": "0",
}


class Sessions:
    """The client of one store. Any number of threads may use it."""

    def __init__(self, dsn: str) -> None:
        """Read a DSN; no one is asked yet. Raises StoreRefusedError when it is none."""
        self._target, self.database = _parts(dsn)
        self._statements = schema.statements(self.database)
        self._client: Client | None = None
        self._opening = threading.Lock()
        self._is_closed = False
        self._has_keys_of_version_1 = False

    @property
    def has_keys_of_version_1(self) -> bool:
        """Whether the log may hold events that are known by source and id alone. Raises as `rows` does."""
        self._ready()
        return self._has_keys_of_version_1

    def rows(self, statement: str, **parameters: object) -> Sequence[Row]:
        """Give the rows of a question, by its name. Raises StoreUnavailableError or StoreRefusedError."""
        client = self._ready()
        try:
            found: Sequence[Row] = client.query(
                self._statements[statement], parameters=parameters, settings=_SETTINGS
            ).result_rows
        except (ClickHouseError, OSError) as error:
            raise _meaning(error) from None
        return found

    def stream(self, statement: str, **parameters: object) -> Iterator[Row]:
        """Give the rows of a question that may have many, without a limit on how long it takes."""
        client = self._ready()
        settings = {**_SETTINGS, "max_execution_time": "0", "wait_end_of_query": "0"}
        try:
            with client.query_rows_stream(
                self._statements[statement], parameters=parameters, settings=settings
            ) as found:
                yield from found
        except (ClickHouseError, OSError) as error:
            raise _meaning(error) from None

    def do(self, statement: str, table: str = "", **parameters: object) -> None:
        """Run a statement that gives nothing; `table` is a name of our own."""
        client = self._ready()
        text = self._statements[statement].replace("TABLE", table) if table else self._statements[statement]
        try:
            client.command(text, parameters=parameters, settings={**_SETTINGS, "max_execution_time": "0"})
        except (ClickHouseError, OSError) as error:
            raise _meaning(error) from None

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Insert rows as one block: all of them are there, or none."""
        columns = schema.COLUMNS[table]
        client = self._ready()
        try:
            client.insert(
                table,
                rows,
                database=self.database,
                column_names=[name for name, _ in columns],
                column_type_names=[kind for _, kind in columns],
                settings={"async_insert": "0", "max_insert_block_size": str(max(len(rows), 1_048_576))},
            )
        except (ClickHouseError, OSError) as error:
            raise _meaning(error) from None

    def close(self) -> None:
        """Give up the connections."""
        with self._opening:
            self._is_closed = True
            if self._client is not None:
                self._client.close()

    def _ready(self) -> Client:
        if self._is_closed:
            raise StoreUnavailableError("the usage store is closed", "open it again")
        client = self._client
        if client is not None:
            return client
        with self._opening:
            if self._client is None:
                try:
                    client = clickhouse_connect.get_client(
                        **self._target,
                        compress=False,
                        autogenerate_session_id=False,
                        form_encode_query_params=True,
                        connect_timeout=CONNECT_SECONDS,
                        send_receive_timeout=600,
                        query_limit=0,
                        client_name="watchword",
                    )
                    self._make_tables(client)
                except (ClickHouseError, OSError) as error:
                    raise _meaning(error) from None
                self._client = client
            return self._client

    def _make_tables(self, client: Client) -> None:
        first, version = self._versions(client)
        if version is None:
            for statement in schema.create(self.database):
                client.command(statement)
            self._mark_version(client)
        elif version < schema.VERSION:
            self._leave_earlier_version(client)
        if version is None or version < schema.VERSION:
            first, version = self._versions(client)
        self._has_keys_of_version_1 = first == 1
        if version != schema.VERSION:
            raise StoreRefusedError(
                f"{self.database} has schema version {version}; this Watchword knows {schema.VERSION}",
                "run the Watchword version that made it, or give another database",
            )

    def _leave_earlier_version(self, client: Client) -> None:
        """Rename the log, make what is new, and only then say so. Cut short in between, or done by two at
        once, it goes on.
        """
        for version in ("1", "2"):
            ((there,),) = client.query(self._statements[f"has_log_of_{version}"]).result_rows
            if there:
                try:
                    client.command(self._statements[f"rename_log_of_{version}"])
                except DatabaseError as error:
                    if _code(error) not in (_UNKNOWN_TABLE, _TABLE_EXISTS):
                        raise
        self._wait_for_old_inserts(client)
        client.command(schema.create_noted_keys(self.database))
        self._note_log_of_2(client)
        self._mark_version(client)

    def _wait_for_old_inserts(self, client: Client) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while client.query(self._statements["old_inserts"]).result_rows[0][0]:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    "a gate of the release before still writes to the usage store",
                    "stop the gates of the release before; then try again",
                )
            time.sleep(_POLL_SECONDS)

    def _note_log_of_2(self, client: Client) -> None:
        ((done,),) = client.query(self._statements["noted_of_2"]).result_rows
        for digit in range(int(done), 16):
            client.command(
                self._statements["note_log_of_2"],
                parameters={"first": f"{digit:x}" + "0" * 39, "last": f"{digit:x}" + "f" * 39},
                settings={"max_execution_time": "0"},
            )
            self._mark(client, "noted", digit + 1)

    def _mark_version(self, client: Client) -> None:
        self._mark(client, "schema", schema.VERSION)

    def _mark(self, client: Client, name: str, value: int) -> None:
        columns = schema.COLUMNS["mark"]
        client.insert(
            "mark",
            [[name, value]],
            database=self.database,
            column_names=[name for name, _ in columns],
            column_type_names=[kind for _, kind in columns],
        )

    def _versions(self, client: Client) -> tuple[int | None, int | None]:
        """Give the versions that the tables were made at and are of; None where there are none."""
        try:
            ((first, version),) = client.query(self._statements["schema"]).result_rows
        except DatabaseError as error:
            if _code(error) in (_UNKNOWN_TABLE, _UNKNOWN_DATABASE):
                return None, None
            raise
        return int(first) or None, int(version) or None


def _parts(dsn: str) -> tuple[dict[str, Any], str]:
    remedy = "use clickhouse://USER:PASSWORD@HOST:8123/DATABASE, or clickhouses:// with TLS"
    try:
        split = urlsplit(dsn)
        port = split.port
    except ValueError:
        raise StoreRefusedError("the clickhouse DSN cannot be read", remedy) from None
    if not split.hostname or split.query or split.fragment:
        raise StoreRefusedError("the clickhouse DSN has no host, or parameters, and there are none", remedy)
    database = split.path.strip("/") or DEFAULT_DATABASE
    if not _DATABASE.match(database):
        detail = f"the database {shown(database)} is not one plain name"
        raise StoreRefusedError(detail, "use a-z, 0-9 and _, at most 63 characters, no digit first")
    secure = split.scheme == "clickhouses"
    target = {
        "host": split.hostname,
        "port": port or (8443 if secure else 8123),
        "username": unquote(split.username or "default"),
        "password": unquote(split.password or ""),
        "secure": secure,
    }
    return target, database


def _code(error: Exception) -> int | None:
    found = _CODE.search(str(error))
    return int(found.group(1)) if found else None


def _meaning(error: Exception) -> StoreError:
    code = _code(error)
    if code is None:
        return StoreUnavailableError(
            "ClickHouse is away", f"see that the server can be reached; then {_AGAIN}", is_away=True
        )
    if code in _REFUSED:
        return StoreRefusedError(
            f"ClickHouse refuses us (code {code})",
            "see that the user may log in, make the database, and read, insert, alter and delete in it",
        )
    return StoreUnavailableError(f"ClickHouse failed (code {code})", f"see to the server; then {_AGAIN}")
