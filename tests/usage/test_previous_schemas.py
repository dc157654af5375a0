# SPDX-License-Identifier: Apache-2.0
"""Stores that earlier releases made, taken over in place: nothing is lost, and a replay is still a replay.

The files in `previous` hold what those releases' own code wrote. In the first ones a key was the source and
the id; later the account is part of it, and events are looked for by the day on which they came.
"""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psycopg
import pytest

from testing.clickhouse_server import ClickHouseServer
from testing.postgres_server import PostgresServer
from testing.usage_samples import METERS, envelope, events
from tests.usage.contract import statuses, totals
from watchword.usage import SQLiteStore, StoreRefusedError, StoreUnavailableError, UsageStore, open_store
from watchword.usage.clickhouse import schema as schema_of_clickhouse
from watchword.usage.clickhouse import tables
from watchword.usage.clickhouse.tables import Tables
from watchword.usage.deduplication import WINDOW_DAYS, row_of
from watchword.usage.postgresql import migrate
from watchword.usage.sqlite import file, schema
from watchword.usage.times import day_number, day_of_number

PREVIOUS = Path(__file__).with_name("previous")
NAMES = {
    account: [number for number in range(12) if number % 2 == place]
    for place, account in enumerate(("acme", "umbrella"))
}
BEFORE = {
    "acme": {"remote_cache_hits": "6", "bytes": "36", "largest": "11", "users": "3"},
    "umbrella": {"remote_cache_hits": "6", "bytes": "42", "largest": "12", "users": "3"},
}


def was_sent(number: int, **changes: object) -> dict[str, object]:
    """The event of this number, as the previous release was sent it."""
    return envelope(
        id=f"e-{number}",
        subject=("acme", "umbrella")[number % 2],
        time=f"2026-11-{3 + number // 4:02d}T10:00:0{number % 4}Z",
        data={"bytes": number + 1, "user": f"u{number % 3}"},
        **changes,
    )


class Old(Protocol):
    """A store of the previous schema."""

    dsn: str

    def events(self) -> int:
        """How many events there are, asked past the store."""

    def begin_and_stop(self) -> None:
        """Begin the migration, and stop in its midst as a killed process does."""


class OldSQLite:
    """A file."""

    def __init__(self, folder: Path, version: int) -> None:
        self._version = version
        self.path = folder / "usage.db"
        self.dsn = f"sqlite:///{self.path}"
        with closing(sqlite3.connect(self.path)) as made:
            made.executescript((PREVIOUS / f"sqlite-{version}.sql").read_text())

    def events(self) -> int:
        with closing(sqlite3.connect(self.path)) as asked:
            tables = {
                name for (name,) in asked.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            counts = {
                "event": "SELECT count(*) FROM event",
                "event_of_2": "SELECT count(*) FROM event_of_2",
                "usage_event": "SELECT count(*) FROM usage_event",
                "past_event": "SELECT count(*) FROM past_event",
                "arrived_event": "SELECT count(*) FROM arrived_event",
            }
            there = [text for name, text in counts.items() if name in tables]
            return sum(asked.execute(text).fetchone()[0] for text in there)

    def begin_and_stop(self) -> None:
        stops = itertools.count()
        stopped, left, many = {
            2: (schema.DELETE_MOVED, "SELECT count(*) FROM event_of_2", 7),
            3: (schema.DELETE_MOVED_AMOUNTS, "SELECT count(*) FROM rollup_of_3", 19),
        }[self._version]

        class Stopping(sqlite3.Connection):
            def execute(self, statement: str, *given: Any) -> sqlite3.Cursor:
                # In the midst of the second part of three or more.
                if statement == stopped and next(stops) == 1:
                    raise KeyboardInterrupt
                return super().execute(statement, *given)

        connect = sqlite3.connect
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                sqlite3, "connect", lambda *args, **options: connect(*args, factory=Stopping, **options)
            )
            patched.setattr(file, "_MOVED_AT_ONCE", 5)
            with pytest.raises(KeyboardInterrupt):
                file.open_file(str(self.path), 1.0)
        with closing(sqlite3.connect(self.path)) as asked:
            assert asked.execute(left).fetchone() == (many,)


class OldPostgreSQL:
    """A schema."""

    def __init__(self, server: PostgresServer, version: int) -> None:
        self._version = version
        self.dsn, self._conninfo = server.dsn(), server.conninfo()
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS watchword_usage CASCADE")
            connection.execute((PREVIOUS / f"postgresql-{version}.sql").read_bytes())

    def events(self) -> int:
        with psycopg.connect(self._conninfo) as connection:
            row = connection.execute("SELECT count(*) FROM watchword_usage.event").fetchone()
        assert row is not None
        return int(row[0])

    def begin_and_stop(self) -> None:
        # What the next migration does, up to where the process dies: the server takes it back.
        with psycopg.connect(self._conninfo) as connection:
            if self._version == 1:
                connection.execute("ALTER TABLE watchword_usage.event DROP CONSTRAINT event_pkey")
            elif self._version == 2:
                connection.execute("ALTER TABLE watchword_usage.event RENAME TO event_0")
            else:
                connection.execute("ALTER TABLE watchword_usage.rollup DROP CONSTRAINT rollup_pkey")
            pid = connection.info.backend_pid
            with psycopg.connect(self._conninfo, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")


class OldClickHouse:
    """A database."""

    def __init__(self, server: ClickHouseServer, version: int) -> None:
        self._server, self.dsn = server, server.dsn()
        server.query("DROP DATABASE IF EXISTS watchword_usage")
        text = (PREVIOUS / f"clickhouse-{version}.sql").read_text()
        lines = [line for line in text.splitlines() if not line.startswith("--")]
        for statement in "\n".join(lines).split(";\n"):
            if statement.strip():
                said = server.query(statement)
                assert "Exception" not in said, said

    def events(self) -> int:
        counts = [
            self._server.query(f"SELECT count() FROM watchword_usage.{table}")  # noqa: S608 - names of our own
            for table in ("event", "usage_event", "event_log", "former_log", "arrived_event")
        ]
        # While it is taken over, the log that is copied is there next to an empty one.
        return max(int(each) for each in counts if each.strip().isdigit())

    def begin_and_stop(self) -> None:
        do = Tables._do
        copied = itertools.count()

        def stop(tables: Tables, statement: str, table: str, **parameters: object) -> None:
            # In the midst of the events that are copied.
            if statement == "copy_log" and next(copied) == 5:
                raise KeyboardInterrupt
            do(tables, statement, table, **parameters)

        with pytest.MonkeyPatch.context() as patched, closing(open_store(self.dsn)) as store:
            patched.setattr(Tables, "_do", stop)
            with pytest.raises(KeyboardInterrupt):
                store.meters()
        assert self._server.query("SELECT count() FROM watchword_usage.former_log") == "12\n"


@pytest.fixture(
    params=[
        "sqlite-2",
        "sqlite-3",
        "postgresql-1",
        "postgresql-2",
        "postgresql-3",
        "clickhouse-1",
        "clickhouse-2",
        "clickhouse-3",
    ]
)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """A store of an earlier schema, with twelve events."""
    engine, _, version = request.param.partition("-")
    make: dict[str, Callable[[], Old]] = {
        "sqlite": lambda: OldSQLite(tmp_path, int(version)),
        "postgresql": lambda: OldPostgreSQL(request.getfixturevalue("postgres"), int(version)),
        "clickhouse": lambda: OldClickHouse(request.getfixturevalue("clickhouse"), int(version)),
    }
    return make[engine]()


def all_totals(store: UsageStore) -> dict[str, dict[str, str]]:
    return {account: totals(store, account) for account in BEFORE}


def test_events_and_amounts_are_all_there_after_the_migration(old: Old) -> None:
    assert old.events() == 12
    with closing(open_store(old.dsn)) as store:
        assert all_totals(store) == BEFORE
        assert store.use_meters(METERS).recomputed == ()
        assert store.check(METERS) == []
        found, _ = store.events_after("", 100)
    assert sorted((event.account, event.id) for event in found) == sorted(
        (account, f"e-{number}") for account, numbers in NAMES.items() for number in numbers
    )
    assert old.events() == 12


def test_a_replay_of_an_old_event_is_still_a_duplicate(old: Old) -> None:
    with closing(open_store(old.dsn)) as store:
        outcomes = store.ingest(events(*(was_sent(number) for number in range(12))), METERS)
        assert [(each.status, each.differs) for each in outcomes] == [("duplicate", ())] * 12
        (other,) = store.ingest(events(was_sent(3, trace="t")), METERS)
        assert (other.status, other.differs) == ("duplicate", ("extensions",))
        assert all_totals(store) == BEFORE
    assert old.events() == 12


def test_another_account_may_use_the_ids_of_old_events(old: Old) -> None:
    with closing(open_store(old.dsn)) as store:
        mine = [envelope(id=f"e-{number}", subject="initech") for number in range(12)]
        theirs = [was_sent(number) for number in range(12)]
        mixed = [each for pair in zip(mine, theirs, strict=True) for each in pair]
        assert statuses(store, *mixed) == ["stored", "duplicate"] * 12
        assert statuses(store, *mixed) == ["duplicate", "duplicate"] * 12
        # The ids of one old account, used by the other one.
        swapped = [
            envelope(id=f"e-{number}", subject=("umbrella", "acme")[number % 2]) for number in range(12)
        ]
        assert statuses(store, *swapped) == ["stored"] * 12
        assert statuses(store, *swapped) == ["duplicate"] * 12
        assert totals(store, "initech")["remote_cache_hits"] == "12"
        assert totals(store)["remote_cache_hits"] == "12"
        assert store.check(METERS) == []
        store.rebuild(METERS)
        assert totals(store)["remote_cache_hits"] == "12"
    assert old.events() == 36


def test_a_migration_that_was_cut_short_goes_on_at_the_next_start(old: Old) -> None:
    old.begin_and_stop()
    assert old.events() == 12
    for _ in range(2):
        with closing(open_store(old.dsn)) as store:
            assert all_totals(store) == BEFORE
            assert statuses(store, *(was_sent(number) for number in range(12))) == ["duplicate"] * 12
            assert store.check(METERS) == []


def test_two_that_start_at_once_migrate_once(old: Old) -> None:
    with closing(open_store(old.dsn)) as one, closing(open_store(old.dsn)) as other:
        for store in (one, other, one):
            assert all_totals(store) == BEFORE
            assert statuses(store, was_sent(5)) == ["duplicate"]


@pytest.mark.parametrize(("version", "table"), [(2, "event"), (3, "usage_event")])
def test_a_writer_of_a_previous_sqlite_schema_stores_nothing_more_and_reads_no_amounts(
    tmp_path: Path, version: int, table: str
) -> None:
    old = OldSQLite(tmp_path, version)
    with closing(sqlite3.connect(old.path)) as writer, closing(open_store(old.dsn)) as store:
        assert all_totals(store) == BEFORE
        with pytest.raises(sqlite3.OperationalError, match=f"no such table: {table}"):
            writer.execute(f"INSERT INTO {table} (source, id) VALUES ('a', 'a')")  # noqa: S608 - a name of our own
        with pytest.raises(sqlite3.OperationalError, match="no such table: rollup"):
            writer.execute("SELECT * FROM rollup")


def test_events_that_sqlite_took_over_are_known_however_they_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = OldSQLite(tmp_path, 3)
    migrated = day_number(date(2026, 11, 10))
    monkeypatch.setattr(file.time, "time", lambda: migrated * 86_400.0)
    (early,) = events(was_sent(1))
    early = msgspec.structs.replace(early, id="early", time=(migrated + 300) * 86_400_000_000)
    with closing(sqlite3.connect(old.path)) as made:
        made.execute("INSERT INTO usage_event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row_of(early))
        made.commit()
    for day in (migrated, migrated + 3, migrated + WINDOW_DAYS, migrated + 200, migrated + 301):
        with closing(SQLiteStore(str(old.path), clock=lambda day=day: day * 86_400.0)) as store:  # type: ignore[misc]  # one day each
            new = envelope(id=f"new-{day}", time=f"{day_of_number(day)}T10:00:00Z")
            (fresh,) = events(envelope(id=f"new-{day}"))
            fresh = msgspec.structs.replace(fresh, time=day * 86_400_000_000)
            assert [o.status for o in store.ingest([fresh, early], METERS)] == ["stored", "duplicate"]
            assert statuses(store, *(was_sent(number) for number in range(12))) == ["duplicate"] * 12
            untimed = {name: value for name, value in was_sent(3).items() if name != "time"}
            assert statuses(store, untimed | {"id": new["id"], "subject": "acme"}) == ["duplicate"]
            assert statuses(store, untimed) == ["duplicate"]
    with closing(SQLiteStore(str(old.path))) as store:
        found, cursor = [], ""
        while not found or cursor:
            page, cursor = store.events_after(cursor, 4)
            found += [event.id for event in page]
        assert len(found) == len(set(found)) == 13 + 5
        assert found[-5:] == [f"new-{migrated + later}" for later in (0, 3, WINDOW_DAYS, 200, 301)]
        given_up = day_of_number(migrated + 1)
        assert store.expire(given_up, {}).events == 13
        assert old.events() == 5


def test_a_large_file_is_taken_over_with_little_room_and_no_place_for_temporary_files(tmp_path: Path) -> None:
    old = OldSQLite(tmp_path, 2)
    with closing(sqlite3.connect(old.path)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.executemany(
            "INSERT INTO event VALUES ('/ci', ?, 'cache.miss', 'acme', 1793700000000000, ?, NULL, NULL)",
            ((f"big-{number}", '{"pad":"' + "x" * 400 + '"}') for number in range(30_000)),
        )
        made.commit()
    size = old.path.stat().st_size
    opened = f"from watchword.usage import open_store; open_store({old.dsn!r}).close()"
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-e", "trace=openat", "-o", str(trace), sys.executable, "-c", opened], check=True
    )
    # The file itself is asked for so, once: whether it is there (`storage/sqlite_file.py`).
    made = [line for line in trace.read_text().splitlines() if "O_RDWR" in line and "O_EXCL" in line]
    assert [line for line in made if f'"{old.path}"' not in line] == []
    assert len(made) <= 1
    assert old.path.stat().st_size < 1.25 * size
    assert old.events() == 30_012


@pytest.mark.parametrize(("version", "key"), [(1, "(key)"), (2, "(key, account)")])
def test_a_writer_of_a_previous_postgresql_schema_stores_nothing_more(
    postgres: PostgresServer, version: int, key: str
) -> None:
    old = OldPostgreSQL(postgres, version)
    with closing(open_store(old.dsn)) as store:
        assert all_totals(store) == BEFORE
        with (
            psycopg.connect(postgres.conninfo(), autocommit=True) as connection,
            pytest.raises(psycopg.Error),
        ):
            # Its own statement: what it names in ON CONFLICT is no key any more.
            connection.execute(
                "INSERT INTO watchword_usage.event (key, source, id, type, account, time) "  # type: ignore[arg-type]  # a constant of the table above  # noqa: S608 - names of our own
                f"VALUES ('a', 'a', 'a', 'a', 'a', 1) ON CONFLICT {key} DO NOTHING"
            )
    assert migrate.NAMES == (
        "0001-first",
        "0002-key-by-account",
        "0003-events-by-arrival",
        "0004-amounts-by-day",
    )


def test_a_writer_of_the_previous_postgresql_schema_still_adds_to_the_same_amounts(
    postgres: PostgresServer,
) -> None:
    old = OldPostgreSQL(postgres, 3)
    with closing(open_store(old.dsn)) as store:
        assert all_totals(store) == BEFORE
        with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
            # Its own statement: what it names in ON CONFLICT is the key in another order.
            connection.execute(
                "INSERT INTO watchword_usage.rollup AS r (account, day, meter, grp, amount) "
                "VALUES ('acme', 20760, 'remote_cache_hits', '', 1) "
                "ON CONFLICT (account, day, meter, grp) DO UPDATE SET amount = r.amount + excluded.amount"
            )
        assert totals(store)["remote_cache_hits"] == "7"


@pytest.mark.parametrize(("version", "table"), [(1, "event"), (2, "usage_event"), (3, "event_log")])
def test_a_writer_of_a_previous_clickhouse_schema_stores_nothing_more(
    clickhouse: ClickHouseServer, version: int, table: str
) -> None:
    old = OldClickHouse(clickhouse, version)
    with closing(open_store(old.dsn)) as store:
        assert all_totals(store) == BEFORE
        said = clickhouse.query(f"INSERT INTO watchword_usage.{table} (key) VALUES ('a')")  # noqa: S608 - names of our own
        assert "UNKNOWN_TABLE" in said
    clickhouse.query("INSERT INTO watchword_usage.mark (name, value) VALUES ('schema', 5)")
    with closing(open_store(old.dsn)) as store, pytest.raises(StoreRefusedError, match="schema version 5"):
        store.meters()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_log_is_copied_only_when_no_old_writer_is_under_way(
    clickhouse: ClickHouseServer, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    old = OldClickHouse(clickhouse, version)
    monkeypatch.setattr(tables, "ANSWER_SECONDS", 0)
    busy = schema_of_clickhouse._TEXTS | {"old_inserts": "SELECT 1"}
    with closing(open_store(old.dsn)) as store:
        with monkeypatch.context() as patched:
            patched.setattr(schema_of_clickhouse, "_TEXTS", busy)
            with pytest.raises(StoreUnavailableError, match="release before still writes"):
                store.meters()
        assert "UNKNOWN_TABLE" in clickhouse.query("SELECT count() FROM watchword_usage.arrived_event")
        assert statuses(store, *(was_sent(number) for number in range(12))) == ["duplicate"] * 12
    assert clickhouse.query("SELECT uniqExact(key) FROM watchword_usage.arrived_event") == "12\n"
    left = clickhouse.query("SELECT name FROM system.tables WHERE database = 'watchword_usage' ORDER BY name")
    assert left.split() == [
        "account",
        "admission",
        "arrived_event",
        "cell",
        "distinct_value",
        "mark",
        "meter_change",
    ]


def test_events_that_clickhouse_took_over_are_known_at_any_time_and_new_blocks_count_after_theirs(
    clickhouse: ClickHouseServer,
) -> None:
    old = OldClickHouse(clickhouse, 3)
    with closing(open_store(old.dsn)) as store:
        assert statuses(store, was_sent(3) | {"time": "2026-11-20T10:00:00Z"}) == ["duplicate"]
        untimed = {name: value for name, value in was_sent(3).items() if name != "time"}
        assert statuses(store, untimed) == ["duplicate"]
        assert statuses(store, envelope(id="new")) == ["stored"]
        assert store.check(METERS) == []
    taken = int(clickhouse.query("SELECT max(taken) FROM watchword_usage.arrived_event"))
    newest = int(clickhouse.query("SELECT max(batch) FROM watchword_usage.cell"))
    assert taken == 3 < newest


def test_a_batch_that_clickhouse_took_over_half_done_is_finished(clickhouse: ClickHouseServer) -> None:
    old = OldClickHouse(clickhouse, 3)
    clickhouse.query("ALTER TABLE watchword_usage.amount DELETE WHERE seq = 3 SETTINGS mutations_sync = 2")
    with closing(open_store(old.dsn)) as store:
        assert all_totals(store) != BEFORE
        assert statuses(store, was_sent(9)) == ["duplicate"]
        assert all_totals(store) == BEFORE
        assert store.check(METERS) == []
