# SPDX-License-Identifier: Apache-2.0
"""Making the tables in ClickHouse, and taking over those of earlier versions. Also: what its errors mean.

The log of an earlier version is renamed, so that its gates write nothing more; copied whole; put into the
partition of day 0 in one step; and only then given up. Cut short in between, or done by two at once, it goes
on: each step gives the same when it is done again, and nothing new is written before the last one.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from watchword.usage.clickhouse import schema
from watchword.usage.deduplication import AHEAD, ARRIVALS_FROM
from watchword.usage.store import StoreError, StoreMissingError, StoreRefusedError, StoreUnavailableError

ANSWER_SECONDS: Final = 60
_POLL_SECONDS: Final = 0.1
_AGAIN: Final = "send the same events again"
_UNKNOWN_TABLE, _UNKNOWN_DATABASE, _TABLE_EXISTS = 60, 81, 57
# UNKNOWN_USER, WRONG_PASSWORD, READONLY, DATABASE_ACCESS_DENIED, ACCESS_DENIED, AUTHENTICATION_FAILED
_REFUSED: Final = frozenset({192, 193, 164, 291, 497, 516})
_CODE = re.compile(r"(?i)code: (\d+)")
# The names that the log had up to version 3.
_FORMER_NAMES: Final = ("event", "usage_event", "event_log")
_FORMER_AMOUNTS: Final = ("amount", "rollup")
_TAKE_OVERS: Final = 5
_ENGINE: Final = "MergeTree"


class Made(NamedTuple):
    """What tables tell: the version that they were made at, and the number from which on blocks count."""

    first_version: int
    base: int


class Tables:
    """The tables of one database."""

    def __init__(self, client: Client, database: str) -> None:
        """Take a client of the database's server."""
        self._client, self._database = client, database
        self._statements = schema.statements(database)

    def make(self, *, may_make: bool = True) -> Made:
        """Make the tables where there are none, or take over those of an earlier version.

        Raises StoreMissingError where there are none and, without `may_make`, none are to be made.
        """
        first, version = self._versions()
        if version is None:
            if not may_make:
                raise StoreMissingError(f"the database {self._database} of that server")
            for statement in schema.create(self._database):
                self._client.command(statement)
            self._mark("schema", schema.VERSION)
        for _ in range(_TAKE_OVERS):
            first, version = self._versions()
            if version is None or version >= schema.VERSION:
                break
            try:
                self._take_over()
            except DatabaseError as error:
                # Another one was quicker, and gave up the log that it had copied.
                if code_of(error) != _UNKNOWN_TABLE:
                    raise
        if version != schema.VERSION:
            raise StoreRefusedError(
                f"{self._database} has schema version {version}; this Watchword knows {schema.VERSION}",
                "run the Watchword version that made it, or give another database",
            )
        self._require_one_server()
        ((count, base),) = self._rows("base")
        return Made(first or 0, int(base) if count else 0)

    def _require_one_server(self) -> None:
        """Raise where a server makes other tables than it is told to, as those of a cluster may.

        There, blocks are numbered by partition, and their numbers do not say which came first.
        """
        ((engine,),) = self._rows("engine", database=self._database)
        if engine != _ENGINE:
            raise StoreRefusedError(
                f"the server made the log of {self._database} with the engine {engine}, and not {_ENGINE}",
                "give the DSN of a server of its own: ClickHouse Cloud and replicated databases number "
                "blocks otherwise. Nothing was stored",
            )

    def _take_over(self) -> None:
        for name in _FORMER_NAMES:
            self._rename("rename_log", name)
        # So that no gate of an earlier version says of amounts that they are folded that are not here.
        for name in _FORMER_AMOUNTS:
            self._rename("rename", name)
        if self._has("former_log"):
            self._wait_for_old_inserts()
            for statement in schema.create_of_this_version(self._database):
                self._client.command(statement)
            copy = f"copied_log_{uuid.uuid4().hex}"
            self._do("create_copy", copy)
            self._copy(copy)
            self._do("take_over", copy)
            for statement in ("take_over_rollups", "take_over_amounts"):
                self._do(statement)
            ((today, last_day),) = self._rows("former_days")
            self._mark(ARRIVALS_FROM, int(today) + 1)
            self._mark(AHEAD, max(0, int(last_day) - int(today)))
            # What is found later counts what was written since: the first one said holds.
            ((last,),) = self._rows("last_of_former")
            self._mark("base", int(last))
        for (copy,) in self._rows("copies", database=self._database):
            self._do("drop_table", copy)
        # The log first of those that are copied: while it is there, the others are too.
        for name in ("noted_key", "former_log", "former_rollup", "former_amount"):
            self._do("drop_table", name)
        self._mark("schema", schema.VERSION)

    def _rename(self, statement: str, table: str) -> None:
        if self._has(table):
            try:
                self._do(statement, table)
            except DatabaseError as error:
                if code_of(error) not in (_UNKNOWN_TABLE, _TABLE_EXISTS):
                    raise

    def _copy(self, copy: str) -> None:
        for digit in range(16):
            self._do("copy_log", copy, first=f"{digit:x}" + "0" * 39, last=f"{digit:x}" + "f" * 39)

    def _wait_for_old_inserts(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._rows("old_inserts")[0][0]:
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    "a gate of the release before still writes to the usage store",
                    "stop the gates of the release before; then try again",
                )
            time.sleep(_POLL_SECONDS)

    def _has(self, table: str) -> bool:
        ((there,),) = self._client.query(self._text("has_table", table)).result_rows
        return bool(there)

    def _versions(self) -> tuple[int | None, int | None]:
        """Give the versions that the tables were made at and are of; None where there are none."""
        try:
            ((first, version),) = self._rows("schema")
        except DatabaseError as error:
            if code_of(error) in (_UNKNOWN_TABLE, _UNKNOWN_DATABASE):
                return None, None
            raise
        return int(first) or None, int(version) or None

    def _text(self, statement: str, table: str) -> str:
        return self._statements[statement].replace(".TABLE", f".{table}").replace("_TABLE", f"_{table}")

    def _rows(self, statement: str, **parameters: object) -> Any:
        return self._client.query(self._statements[statement], parameters=parameters or None).result_rows

    def _do(self, statement: str, table: str = "", **parameters: object) -> None:
        self._client.command(
            self._text(statement, table), parameters=parameters or None, settings={"max_execution_time": "0"}
        )

    def _mark(self, name: str, value: int) -> None:
        columns = schema.COLUMNS["mark"]
        self._client.insert(
            "mark",
            [[name, value]],
            database=self._database,
            column_names=[name for name, _ in columns],
            column_type_names=[kind for _, kind in columns],
        )


def code_of(error: Exception) -> int | None:
    """Give the server's code of an error; None when it did not answer."""
    found = _CODE.search(str(error))
    return int(found.group(1)) if found else None


def meaning(error: Exception) -> StoreError:
    """Give what an error means for a store, without the server's own words."""
    code = code_of(error)
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
