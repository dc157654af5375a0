# SPDX-License-Identifier: Apache-2.0
"""Real stores for the desk: a file, and a schema of a real PostgreSQL server with two roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from testing.postgres_server import PostgresServer
from tests.desk.roles import SERVING, migrated
from watchword.desk.postgresql import PostgreSQLDeskStore
from watchword.desk.sqlite import SQLiteDeskStore
from watchword.desk.store import DeskStore


@pytest.fixture(scope="session")
def postgres(postgres: PostgresServer) -> PostgresServer:
    """The session's server, with the role that serves."""
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {SERVING} LOGIN".encode())
    return postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], DeskStore]]:
    """Opens the same store, as often as it is called."""
    opened: list[DeskStore] = []
    if request.param == "sqlite":
        path = str(tmp_path / "desk.db")

        def make() -> DeskStore:
            opened.append(SQLiteDeskStore(path))
            return opened[-1]

    else:
        dsn = migrated(request.getfixturevalue("postgres"))

        def make() -> DeskStore:
            opened.append(PostgreSQLDeskStore(dsn))
            return opened[-1]

    yield make
    for each in opened:
        each.close()
