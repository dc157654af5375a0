# SPDX-License-Identifier: Apache-2.0
"""Each store can be told from every other one, and one that is not there is not made by who only reads."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from testing.clickhouse_server import ClickHouseServer
from testing.postgres_server import PostgresServer
from testing.usage_samples import METERS, event
from watchword.usage import StoreMissingError, open_store

FreshDsn = Callable[[], str]


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("clickhouse", marks=pytest.mark.clickhouse),
    ]
)
def fresh_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> FreshDsn:
    kind = request.param
    if kind == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db"
    server: PostgresServer | ClickHouseServer = request.getfixturevalue(
        "postgres" if kind == "postgresql" else kind
    )
    return lambda: server.dsn(f"t_{uuid.uuid4().hex[:20]}")


def test_a_store_is_the_same_one_each_time_and_no_other_one(fresh_dsn: FreshDsn) -> None:
    dsns = [fresh_dsn(), fresh_dsn()]
    found = []
    for dsn in dsns:
        with closing(open_store(dsn)) as store, closing(open_store(dsn)) as again:
            store.ingest([event()], METERS)
            found.append(store.identity())
            assert again.identity() == found[-1]
            store.rebuild(METERS)
            store.use_meters(METERS[:1])
            assert store.identity() == found[-1]
        with closing(open_store(dsn)) as later:
            assert later.identity() == found[-1]
    assert len(set(found)) == 2


def test_a_store_that_is_not_there_is_not_made_to_be_read(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    for _ in range(2):
        with (
            pytest.raises(StoreMissingError, match="there is no usage store at"),
            closing(open_store(dsn, may_make=False)) as store,
        ):
            store.meters()
    with closing(open_store(dsn)) as store:
        store.use_meters(METERS)
    with closing(open_store(dsn, may_make=False)) as store:
        assert len(store.meters()) == len(METERS)


@pytest.mark.postgresql
def test_no_schema_is_made_to_be_read(postgres: PostgresServer) -> None:
    schema = f"t_{uuid.uuid4().hex[:20]}"
    with (
        closing(open_store(postgres.dsn(schema), may_make=False)) as store,
        pytest.raises(StoreMissingError, match=schema),
    ):
        store.check(METERS)
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchall()
    assert found == []
