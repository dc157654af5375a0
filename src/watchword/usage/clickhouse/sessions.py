# SPDX-License-Identifier: Apache-2.0
"""Questions to ClickHouse over HTTP: every statement a constant, every value a parameter of the server.

A server that is away is no reason to stop, or not to start: each call says so and the next one tries again.
No message repeats what the server says in words, for those hold values of events.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from watchword.usage.clickhouse import schema
from watchword.usage.clickhouse.native import Numbers, block
from watchword.usage.clickhouse.tables import ANSWER_SECONDS, Tables, meaning
from watchword.usage.problems import shown
from watchword.usage.store import StoreRefusedError, StoreUnavailableError

DEFAULT_DATABASE: Final = "watchword_usage"
CONNECT_SECONDS: Final = 5
_MOST_IN_URL: Final = 8

Row = Sequence[Any]

_DATABASE = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
# Of the server's own settings, those that the store's promises rest on.
_SETTINGS: Final[dict[str, Any]] = {
    "async_insert": "0",
    "wait_end_of_query": "1",
    "max_execution_time": str(ANSWER_SECONDS),
    # Where there are replicas: what one of them took is seen when another one is asked.
    "select_sequential_consistency": "1",
    "insert_quorum_parallel": "0",
}


class Sessions:
    """The client of one store. Any number of threads may use it."""

    def __init__(self, dsn: str, *, may_make: bool = True) -> None:
        """Read a DSN; no one is asked yet. `may_make`: whether tables that are missing are made.

        Raises StoreRefusedError when it is none.
        """
        self._target, self.database = _parts(dsn)
        self._may_make = may_make
        self._statements = schema.statements(self.database)
        self._client: Client | None = None
        self._client_of_forms: Client | None = None
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
        if any(_is_long(value) for value in parameters.values()):
            client = self._client_of_forms or client
        try:
            found: Sequence[Row] = client.query(
                self._statements[statement], parameters=parameters
            ).result_rows
        except (ClickHouseError, OSError) as error:
            raise meaning(error) from None
        return found

    def binary(self, statement: str, **parameters: object) -> bytes:
        """Give a question's column of numbers as bytes, the least of each first. Raises as `rows` does."""
        client = self._ready()
        try:
            found: bytes = client.raw_query(
                self._statements[statement], parameters=parameters, fmt="RowBinary"
            )
        except (ClickHouseError, OSError) as error:
            raise meaning(error) from None
        return found

    def stream(self, statement: str, **parameters: object) -> Iterator[Row]:
        """Give the rows of a question that may have many, without a limit on how long it takes."""
        client = self._ready()
        settings = {"max_execution_time": "0", "wait_end_of_query": "0"}
        try:
            with client.query_rows_stream(
                self._statements[statement], parameters=parameters, settings=settings
            ) as found:
                yield from found
        except (ClickHouseError, OSError) as error:
            raise meaning(error) from None

    def do(self, statement: str, table: str = "", **parameters: object) -> None:
        """Run a statement that gives nothing; `table` is a name of our own."""
        client = self._ready()
        text = self._statements[statement].replace("TABLE", table) if table else self._statements[statement]
        try:
            client.command(text, parameters=parameters, settings={"max_execution_time": "0"})
        except (ClickHouseError, OSError) as error:
            raise meaning(error) from None

    def insert_rows(self, table: str, rows: Sequence[Row]) -> None:
        """Insert rows as one block: all of them are there, or none."""
        self.insert(table, len(rows), list(zip(*rows, strict=True)))

    def insert(self, table: str, count: int, values: Sequence[Sequence[Any] | bytes]) -> None:
        """Insert columns of `count` values, or what `native.column` wrote of them, as one block."""
        columns = schema.COLUMNS[table]
        client = self._ready()
        names = ", ".join(name for name, _ in columns)
        # No client's own insert: it sends again when the connection breaks, and two blocks of one batch would
        # both stand.
        try:
            client.command(
                f"INSERT INTO {self.database}.{table} ({names}) FORMAT Native",
                data=block(columns, count, values),
                settings={"max_insert_block_size": str(max(count, 1_048_576))},
            )
        except (ClickHouseError, OSError) as error:
            raise meaning(error) from None

    def close(self) -> None:
        """Give up the connections."""
        with self._opening:
            self._is_closed = True
            for client in (self._client, self._client_of_forms):
                if client is not None:
                    client.close()

    def _ready(self) -> Client:
        if self._is_closed:
            raise StoreUnavailableError("the usage store is closed", "open it again")
        client = self._client
        if client is not None:
            return client
        with self._opening:
            if self._client is None:
                try:
                    client, forms = self._connect(is_form=False), self._connect(is_form=True)
                    found = Tables(client, self.database).make(may_make=self._may_make)
                except (ClickHouseError, OSError) as error:
                    raise meaning(error) from None
                self._statements = schema.statements(self.database, found.base)
                self._has_keys_of_version_1 = found.first_version == 1
                self._client_of_forms = forms
                self._client = client
            return self._client

    def _connect(self, *, is_form: bool) -> Client:
        """Make a client; one that sends parameters as a form may send many, and takes longer over few."""
        return clickhouse_connect.get_client(
            **self._target,
            compress=False,
            autogenerate_session_id=False,
            form_encode_query_params=is_form,
            connect_timeout=CONNECT_SECONDS,
            send_receive_timeout=600,
            query_limit=0,
            client_name="watchword",
            settings=_SETTINGS,
        )


def _is_long(value: object) -> bool:
    return isinstance(value, Numbers) or (isinstance(value, list) and len(value) > _MOST_IN_URL)


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
