# SPDX-License-Identifier: Apache-2.0
"""The contract on a real PostgreSQL server, and what is its own: schemas, migrations, a server that dies."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from testing.postgres_server import PostgresServer
from testing.usage_samples import METERS, envelope, event
from tests.usage.contract import FreshDsn, UsageStoreContract, statuses, totals
from tests.usage.contract_groups import GroupContract
from tests.usage.contract_keeping import KeepingContract
from tests.usage.contract_replays import ReplayContract
from tests.usage.killrounds import live_through
from watchword.usage import Dimension, Meter, StoreRefusedError, StoreUnavailableError, UsageStore, open_store

pytestmark = pytest.mark.postgresql


def fresh_schema() -> str:
    return f"t_{uuid.uuid4().hex[:20]}"


class TestPostgreSQLStore(UsageStoreContract, GroupContract, KeepingContract, ReplayContract):
    lives = 8

    @pytest.fixture
    def fresh_dsn(self, postgres: PostgresServer) -> FreshDsn:
        return lambda: postgres.dsn(fresh_schema())


@pytest.fixture
def schema() -> str:
    return fresh_schema()


@pytest.fixture
def store(postgres: PostgresServer, schema: str) -> Iterator[UsageStore]:
    with closing(open_store(postgres.dsn(schema))) as store:
        yield store


@pytest.fixture
def other(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://u:secret@host/db?no_such_parameter=1", "cannot be read"),
        ("postgresql://u:secret@[::1/db", "cannot be read"),
        ("postgresql://u:secret@h/d?schema=a&schema=b", "not one plain name"),
        ("postgresql://u:secret@h/d?schema=", "not one plain name"),
        ("postgresql://u:secret@h/d?schema=public%22%3B+DROP+TABLE+event%3B--", "not one plain name"),
        ("postgresql://u:secret@h/d?schema=" + "s" * 64, "not one plain name"),
    ],
)
def test_a_dsn_that_cannot_be_read_is_refused_without_its_secrets(dsn: str, words: str) -> None:
    with pytest.raises(StoreRefusedError, match=words) as refused:
        open_store(dsn)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_away_is_said_at_each_call_and_not_at_opening() -> None:
    with closing(open_store("postgresql://u:secret@/d?host=/nonexistent")) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="away") as away:
                store.ingest([event()], METERS)
            assert "secret" not in str(away.value)


@pytest.mark.parametrize("database", ["postgres", "none"])
def test_a_server_that_does_not_let_us_in_is_said_as_such(postgres: PostgresServer, database: str) -> None:
    dsn = postgres.dsn(user="nobody").replace("/postgres?", f"/{database}?")
    with closing(open_store(dsn)) as store, pytest.raises(StoreUnavailableError, match="does not let us in"):
        store.use_meters(METERS)


def test_a_user_that_may_make_no_schema_is_told(postgres: PostgresServer, other: psycopg.Connection) -> None:
    other.execute("DROP ROLE IF EXISTS narrow")
    other.execute("CREATE ROLE narrow LOGIN")
    with (
        closing(open_store(postgres.dsn(fresh_schema(), "narrow"))) as store,
        pytest.raises(StoreRefusedError, match="InsufficientPrivilege"),
    ):
        store.use_meters(METERS)


def test_a_schema_of_a_newer_version_is_refused(
    store: UsageStore, other: psycopg.Connection, schema: str, postgres: PostgresServer
) -> None:
    statuses(store, envelope())
    other.execute("SELECT set_config('search_path', %s, false)", [schema])
    other.execute("INSERT INTO _yoyo_migrations VALUES ('h', '9999-later', now())")
    with (
        closing(open_store(postgres.dsn(schema))) as later,
        pytest.raises(StoreRefusedError, match="9999-later"),
    ):
        later.use_meters(METERS)


def test_two_schemas_are_two_stores(store: UsageStore, postgres: PostgresServer) -> None:
    assert statuses(store, envelope()) == ["stored"]
    with closing(open_store(postgres.dsn(fresh_schema()))) as second:
        assert statuses(second, envelope()) == ["stored"]
        assert totals(second)["remote_cache_hits"] == "1"


def test_a_locked_store_says_busy_and_stores_nothing(
    store: UsageStore, other: psycopg.Connection, schema: str
) -> None:
    store.use_meters(METERS)
    with other.transaction():
        other.execute("SELECT set_config('search_path', %s, true)", [schema])
        other.execute("LOCK TABLE event")
        with pytest.raises(StoreUnavailableError, match="busy"):
            store.ingest([event()], METERS)
    assert statuses(store, envelope()) == ["stored"]


def test_every_commit_waits_for_the_log(
    postgres: PostgresServer, schema: str, other: psycopg.Connection
) -> None:
    role = f"r_{uuid.uuid4().hex[:8]}"
    other.execute(f"CREATE ROLE {role} LOGIN SUPERUSER; ALTER ROLE {role} SET synchronous_commit = off")  # type: ignore[arg-type]  # our own name
    with closing(open_store(postgres.dsn(schema, role))) as store:
        statuses(store, envelope())
        with store._sessions.statement() as connection:  # type: ignore[attr-defined]  # looks into this engine's store
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE rollup SET amount = 9 WHERE meter = 'bytes'", ("bytes", "9", "1")),
        ("DELETE FROM rollup WHERE meter = 'bytes'", ("bytes", None, "1")),
        ("INSERT INTO rollup VALUES ('acme', 1, 'bytes', '', 1)", ("bytes", "1", None)),
        ("DELETE FROM distinct_value", ("users", None, '"u1"')),
        ("INSERT INTO distinct_value VALUES ('acme', 1, 'users', '', 'x', 'x')", ("users", "x", None)),
        ("DELETE FROM account", (None, None, "known")),
        ("INSERT INTO account VALUES ('ghost')", (None, "known", None)),
    ],
)
def test_a_check_finds_damage_and_a_rebuild_mends_it(
    store: UsageStore,
    other: psycopg.Connection,
    schema: str,
    damage: str,
    found: tuple[str | None, str | None, str | None],
) -> None:
    statuses(store, envelope())
    other.execute("SELECT set_config('search_path', %s, false)", [schema])
    other.execute(damage)  # type: ignore[arg-type]  # a constant of the table above
    (difference,) = store.check(METERS)
    assert (difference.meter, difference.stored, difference.expected) == found
    store.rebuild(METERS)
    assert store.check(METERS) == []


def test_the_longest_names_fit(store: UsageStore) -> None:
    long = envelope(
        id="\U0001f600" * 256,
        source="/" + "s" * 1023,
        type="\U0001f600" * 253,
        subject="\U0001f600" * 253,
        data={"v": "\U0001f600" * 1024, "g": "\U0001f600" * 120},
    )
    name = "\U0001f600" * 253
    meters = [Meter(name, name, "unique_count", "/v", (Dimension("g", "/g"),))]
    assert statuses(store, long, meters=meters) == ["stored"]
    assert statuses(store, long, meters=meters) == ["duplicate"]
    assert totals(store, "\U0001f600" * 253) == {name: "1"}


def test_a_batch_is_a_few_statements_whatever_its_size(
    store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses(store, envelope(id="warm"))  # opens the connection
    counted, here = itertools.count(), threading.get_ident()
    execute = psycopg.Connection.execute

    def counting(*arguments: object, **more: object) -> object:
        # A store's statements are made by its caller. Pools, this one and those that other tests left, set up
        # connections in threads of their own.
        if threading.get_ident() == here:
            next(counted)
        return execute(*arguments, **more)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(psycopg.Connection, "execute", counting)
    sizes = []
    for size in (1, 1000):
        before = next(counted)
        statuses(store, *(envelope(id=f"{size}-{i}", subject=f"a{i % 50}") for i in range(size)))
        sizes.append(next(counted) - before - 1)
    one, thousand = sizes
    assert one == thousand
    assert one <= 12


@pytest.mark.usefixtures("postgres")
def test_a_server_that_is_killed_loses_nothing_that_it_said_is_stored() -> None:
    server = PostgresServer()
    try:
        server.start()

        def kill() -> None:
            server.kill()
            server.start()

        live_through(server.dsn(), kill)
    finally:
        server.stop()
