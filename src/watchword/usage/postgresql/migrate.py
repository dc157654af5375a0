# SPDX-License-Identifier: Apache-2.0
"""Bringing the schema up to this version, by yoyo-migrations, one process at a time.

Several gates start at once after an upgrade. yoyo's own lock is a row that a killed process leaves behind, so
a PostgreSQL advisory lock, which ends with its connection, is held around it instead. The tool is imported
only when there is something to apply: a gate that finds its schema current never pays for it (15 MiB).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from watchword.usage.store import StoreRefused

_FOLDER: Final = Path(__file__).with_name("migrations")
_TABLE: Final = "_yoyo_migrations"
NAMES: Final = tuple(sorted(path.stem for path in _FOLDER.glob("*.sql")))


def bring_up_to_date(conninfo: str, schema: str, lock: int) -> None:
    """Make the schema and apply what is missing, once, however many processes ask at once.

    Args:
        conninfo: how to connect, as libpq takes it.
        schema: the store's own schema; made when it is not there.
        lock: the number of the advisory lock.

    Raises:
        StoreRefused: a newer Watchword made the schema.
        psycopg.Error: what the server says.
    """
    with psycopg.connect(conninfo, autocommit=True, connect_timeout=5) as connection:
        if _is_current(connection, schema):
            return
        connection.execute("SELECT pg_advisory_lock(%s)", [lock])
        if _is_current(connection, schema):
            return
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        _apply(conninfo, schema)


def _is_current(connection: psycopg.Connection, schema: str) -> bool:
    found = connection.execute("SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))", [schema, _TABLE])
    row = found.fetchone()
    if row is None or row[0] is None:
        return False
    statement = sql.SQL("SELECT migration_id FROM {}").format(sql.Identifier(schema, _TABLE))
    applied = {name for (name,) in connection.execute(statement)}
    if unknown := applied - set(NAMES):
        raise StoreRefused(
            f"the schema {schema} has the migration {min(unknown)}, which this Watchword does not know",
            "run the Watchword version that made it, or give another schema (?schema=NAME)",
        )
    return applied == set(NAMES)


def _apply(conninfo: str, schema: str) -> None:
    with warnings.catch_warnings():
        # A warning of the tool's own imports is not for whoever runs a gate.
        warnings.simplefilter("ignore")
        from yoyo import read_migrations
        from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
        from yoyo.connections import DatabaseURI

    parameters = {name: value for name, value in conninfo_to_dict(conninfo).items() if value is not None}
    database = parameters.pop("dbname", None)
    uri = DatabaseURI(
        "postgresql+psycopg", None, None, None, None, database, {**parameters, "schema": schema}
    )
    backend = PostgresqlPsycopgBackend(uri, _TABLE)
    with backend:
        backend.init_database()
        backend.apply_migrations(backend.to_apply(read_migrations(str(_FOLDER))))
