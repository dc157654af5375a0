# SPDX-License-Identifier: Apache-2.0
"""Each engine as the benchmark uses it: its store, its own fill, and the bare insert and read next to it.

The fill is made by the engine itself (a hundred million events through Python would take the day): events
over a year and the amounts that they come to. Bare means: the engine's own batch insert into the same table
with the same keys, and its own select of the same rows by their index; no keys are looked up, nothing is
added up, nothing is answered.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.usage.load import ACCOUNTS, BYTES, FIRST_DAY, HITS, METERS, YEAR_DAYS
from testing.clickhouse_server import ClickHouseServer
from testing.postgres_server import PostgresServer
from watchword.usage import Event, UsageStore, open_store
from watchword.usage.clickhouse import schema
from watchword.usage.deduplication import digest_of
from watchword.usage.postgresql.rollups import columns
from watchword.usage.sqlite.arrivals import EVENTS_A_PART, PART, PART_FROM, PARTS_A_DAY

if TYPE_CHECKING:
    import psycopg

_FILLERS = 2  # connections that fill at once
_BATCH_OF_FILL = 10_000
_PART_OF_FILL = 20_000_000  # events of a week, with a billion in a year
_STRIDE = 101  # days between two events of one account: a small fill is spread over the year too

# What an operator sets for a server with a few GB of memory; everything else is PostgreSQL's default, and so
# is what keeps data safe.
_POSTGRESQL = {"shared_buffers": "2GB", "max_wal_size": "4GB"}
# While it is filled only: there is nothing to keep yet.
_POSTGRESQL_FILL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "jit": "off",
    "work_mem": "256MB",
    "maintenance_work_mem": "512MB",
    "max_parallel_maintenance_workers": "0",
    "max_parallel_workers_per_gather": "0",
}


class Engine(Protocol):
    """One engine under measurement."""

    name: str
    store: UsageStore

    def fill(self, events: int) -> None:
        """Bring the store to about so many events."""
        ...

    def bare_insert(self, events: Sequence[Event]) -> None:
        """Insert a batch, durably, and no more."""
        ...

    def settle(self) -> None:
        """Give a bare batch whatever keeps the store from taking it for one that a dead writer left."""
        ...

    def bare_read(self, account: str, start: int, end: int) -> int:
        """Select an account's amounts of some days by their index; the number of rows."""
        ...

    def close(self) -> None:
        """Stop it and take its data away."""
        ...


def _row(event: Event) -> tuple[Any, ...]:
    return (
        event.source,
        event.id,
        event.type,
        event.account,
        event.time,
        event.data_text,
        event.data_base64,
        event.extensions,
    )


class SQLite:
    """The embedded store."""

    name = "SQLite"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ww-bench-")
        self._path = Path(self._folder.name) / "usage.db"
        self._open()

    def _open(self) -> None:
        self.store = open_store(f"sqlite:///{self._path}")
        self.store.use_meters(METERS)
        # Its cache and its checkpoints are the store's: what differs is the work, and not the settings.
        self._bare = sqlite3.connect(self._path, isolation_level=None, timeout=60)
        self._bare.execute("PRAGMA synchronous = FULL")
        for pragma in ("cache_size", "wal_autocheckpoint"):
            (value,) = self.store._connection.execute(f"PRAGMA {pragma}").fetchone()  # type: ignore[attr-defined]  # looks into this engine's store
            self._bare.execute(f"PRAGMA {pragma} = {value:d}")

    def fill(self, events: int) -> None:
        # Each event came on its day, to one account after the other; keys are random, as digests are.
        self.store.close()
        self._bare.close()
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            run = connection.execute
            for pragma in (
                "journal_mode = OFF",
                "synchronous = OFF",
                "locking_mode = EXCLUSIVE",
                "cache_size = -400000",
            ):
                run(f"PRAGMA {pragma}")
            ((index,),) = run("SELECT sql FROM sqlite_master WHERE name = 'arrived_event_key'").fetchall()
            run("DROP INDEX arrived_event_key")
            run(
                """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :events)
                INSERT INTO arrived_event (part, key, source, id, type, account, time, data)
                SELECT (:first_day + i * :days / :events) * :parts
                        + min(:parts - 1, i * :days % :events / :days / :a_part), randomblob(20),
                    '/ci', lower(hex(randomblob(18))), 'cache.hit', 'account-' || (i % :accounts),
                    (:first_day + i * :days / :events) * 86400000000 + i % 86400,
                    '{"bytes":' || (i % 1000) || '}' FROM n""",
                self._numbers(events),
            )
            run(index)
            # What the events above come to, in the order in which it is kept: `--check` counts them.
            run(
                """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :accounts),
                    d(day) AS (SELECT 0 UNION ALL SELECT day + 1 FROM d WHERE day + 1 < :days),
                    span AS MATERIALIZED (SELECT day, (day * :events + :days - 1) / :days - 1 AS before,
                        ((day + 1) * :events + :days - 1) / :days - 1 AS last FROM d),
                    a AS MATERIALIZED (SELECT 'account-' || i AS name, i FROM n ORDER BY 1),
                    meter(name, is_sum) AS (VALUES (:bytes, 1), (:hits, 0))
                INSERT INTO day_amount
                SELECT :first_day + day, a.name, meter.name, '', CASE is_sum WHEN 1 THEN i % 1000 ELSE 1 END *
                        ((last - i + :accounts) / :accounts - (before - i + :accounts) / :accounts) AS amount
                    FROM span CROSS JOIN a CROSS JOIN meter
                    WHERE (last - i + :accounts) / :accounts > (before - i + :accounts) / :accounts""",
                self._numbers(events) | {"bytes": BYTES.name, "hits": HITS.name},
            )
            run("INSERT INTO account SELECT DISTINCT account FROM day_amount")
            ((part,),) = run("SELECT max(part) FROM arrived_event").fetchall()
            ((last,),) = run("SELECT max(place) FROM arrived_event WHERE part < ?", (part,)).fetchall()
            run("INSERT INTO state VALUES (?, ?), (?, ?)", (PART, str(part), PART_FROM, str(last)))
            run("PRAGMA locking_mode = NORMAL")
            run("PRAGMA journal_mode = WAL")
        # What is measured would else wait for all that the fill has not written yet.
        os.sync()
        self._open()

    @staticmethod
    def _numbers(events: int) -> dict[str, int | str]:
        return {
            "events": events,
            "accounts": ACCOUNTS,
            "days": YEAR_DAYS,
            "first_day": FIRST_DAY,
            "parts": PARTS_A_DAY,
            "a_part": EVENTS_A_PART,
        }

    def bare_insert(self, events: Sequence[Event]) -> None:
        self._bare.execute("BEGIN IMMEDIATE")
        part = self._bare.execute("SELECT CAST(value AS INTEGER) FROM state WHERE name = ?", (PART,))
        ((newest,),) = part.fetchall()
        self._bare.executemany(
            """INSERT INTO arrived_event
                (part, key, source, id, type, account, time, data, data_base64, extensions)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            [(newest, digest_of(e.account, e.source, e.id), *_row(e)) for e in events],
        )
        self._bare.execute("COMMIT")

    def settle(self) -> None:
        pass

    def bare_read(self, account: str, start: int, end: int) -> int:
        rows = self._bare.execute(
            """WITH RECURSIVE days(day) AS (SELECT ?2 UNION ALL SELECT day + 1 FROM days WHERE day + 1 < ?3)
            SELECT a.day, meter, grp, amount FROM days CROSS JOIN day_amount a
                ON a.day = days.day AND a.account = ?1""",
            (account, start, end),
        )
        return len(rows.fetchall())

    def close(self) -> None:
        self.store.close()
        self._bare.close()
        self._folder.cleanup()


class PostgreSQL:
    """A server of its own, with its durable defaults and the memory that an operator would give it."""

    name = "PostgreSQL"

    def __init__(self) -> None:
        self._server = PostgresServer(_POSTGRESQL | _POSTGRESQL_FILL)
        self._server.start()
        self.store = open_store(self._server.dsn())
        self.store.use_meters(METERS)
        self._bare = self._connect()

    def _connect(self) -> psycopg.Connection:
        import psycopg

        connection = psycopg.connect(self._server.conninfo(), autocommit=True)
        connection.execute("SET search_path TO watchword_usage")
        # As the store does: planning takes as long as a read.
        connection.execute("SET plan_cache_mode = force_generic_plan")
        return connection

    def _fill_days(self, first: int, step: int, events: int) -> None:
        # The days of an account's events are _STRIDE apart: day by day, as they came, the events of that day.
        last = -(-events // ACCOUNTS) - 1
        connection = self._connect()
        run = connection.execute
        for day in range(first, YEAR_DAYS, step):
            name, number = f"event_{FIRST_DAY + day}", FIRST_DAY + day
            block = day * pow(_STRIDE, -1, YEAR_DAYS) % YEAR_DAYS
            # What is made and filled in one transaction is written without the log, and its key after the
            # rows.
            with connection.transaction():
                run(f"CREATE TABLE {name} (LIKE event)")
                run(
                    f"""INSERT INTO {name} (received, key, source, id, type, account, time, data)
                    SELECT {number}, substring(sha256(int8send(i)), 1, 20), '/fill', 'f' || i, 'cache.hit',
                        'account-' || j, {number} * 86400000000 + i % 86400,
                        '{{"bytes":' || (i % 1000) || '}}'
                    FROM generate_series({block}::bigint, {last}, {YEAR_DAYS}) AS b,
                        generate_series(0, {ACCOUNTS - 1}) AS j,
                        LATERAL (SELECT b * {ACCOUNTS} + j AS i) AS _
                    WHERE i < {events}"""  # noqa: S608 - numbers of our own
                )
                run(f"ALTER TABLE {name} ADD PRIMARY KEY (key, account)")
                run(f"CREATE INDEX ON {name} USING brin (time)")
                run(
                    f"""ALTER TABLE event ATTACH PARTITION {name}
                    FOR VALUES FROM ({number}) TO ({number + 1})"""
                )
            run(
                f"""INSERT INTO rollup
                SELECT account, {number}, m, '', CASE m WHEN %s THEN hits ELSE bytes END
                FROM (SELECT account, count(*) AS hits, sum(substr(id, 2)::bigint %% 1000) AS bytes
                    FROM {name} GROUP BY 1) AS _, unnest(%s::text[]) AS m""",  # noqa: S608 - as above
                [HITS.name, [HITS.name, BYTES.name]],
            )
            run(f"VACUUM (FREEZE, ANALYZE) {name}")
        connection.close()

    def fill(self, events: int) -> None:
        with ThreadPoolExecutor(_FILLERS) as threads:
            list(threads.map(lambda first: self._fill_days(first, _FILLERS, events), range(_FILLERS)))
        run = self._bare.execute
        run("INSERT INTO state VALUES ('received', %s)", [str(FIRST_DAY + YEAR_DAYS - 1)])
        accounts = [f"account-{number}" for number in range(min(ACCOUNTS, events))]
        run("INSERT INTO account SELECT unnest(%s::text[])", [accounts])
        run("VACUUM (FREEZE, ANALYZE)")
        # From here on as an operator runs it.
        self.store.close()
        self._bare.close()
        self._server.restart(_POSTGRESQL)
        self.store = open_store(self._server.dsn())
        self._bare = self._connect()
        # The amounts of the last month, which are asked for all day, are in memory.
        recent = [FIRST_DAY + YEAR_DAYS - 31]
        self._bare.execute("SELECT sum(amount) FROM rollup WHERE day >= %s", recent)

    def bare_insert(self, events: Sequence[Event]) -> None:
        rows = [(digest_of(event.source, event.id), *_row(event)) for event in events]
        self._bare.execute(
            f"""INSERT INTO event_{self._today()}
                (key, source, id, type, account, time, data, data_base64, extensions, received)
            SELECT *, {self._today()} FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[],
                %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[])""",  # noqa: S608 - a number of our own
            columns(rows, 9),
        )

    def _today(self) -> int:
        """The partition that the store writes into."""
        return FIRST_DAY + YEAR_DAYS - 1

    def settle(self) -> None:
        pass

    def bare_read(self, account: str, start: int, end: int) -> int:
        rows = self._bare.execute(
            """SELECT r.day, meter, grp, amount FROM unnest(%s::integer[]) AS asked (day)
            JOIN rollup r USING (day) WHERE account = %s""",
            [columns([(day,) for day in range(start, end)], 1)[0], account],
        )
        return len(rows.fetchall())

    def close(self) -> None:
        self.store.close()
        self._bare.close()
        self._server.stop()


class ClickHouse:
    """ClickHouse's engine behind its HTTP interface (chDB: no server is to be had here)."""

    name = "ClickHouse"

    def __init__(self) -> None:
        import clickhouse_connect

        self._server = ClickHouseServer()
        self._server.start()
        self.store = open_store(self._server.dsn())
        self.store.use_meters(METERS)
        self._columns = schema.COLUMNS["arrived_event"]
        self._today = FIRST_DAY + YEAR_DAYS - 1
        self._bare = clickhouse_connect.get_client(
            host="127.0.0.1", port=self._server.port, compress=False, autogenerate_session_id=False
        )

    def fill(self, events: int) -> None:
        # Each event came on its day. Accounts begin on different days, so that a small store has all of them:
        # what a look opens is the same in a small one and in a large one. A partition is one insert and one
        # part, as if the server had long merged it: it would else do that while it is measured.
        blocks = -(-events // ACCOUNTS)
        a_day = -(-blocks // YEAR_DAYS) * ACCOUNTS
        back = pow(_STRIDE, -1, YEAR_DAYS)
        partitions = itertools.groupby(
            range(YEAR_DAYS), lambda day: (FIRST_DAY + day) // schema.DAYS_A_PARTITION
        )
        for days in [list(group) for _, group in partitions]:
            self._bare.command(
                f"""INSERT INTO watchword_usage.arrived_event
                    (came, key, source, id, batch, type, account, time, data)
                WITH {days[0]} + intDiv(number, {a_day}) AS day, number % {a_day} AS n,
                    n % {ACCOUNTS} AS account_number,
                    (day + {YEAR_DAYS} * {ACCOUNTS} - account_number) * {back} % {YEAR_DAYS}
                        + intDiv(n, {ACCOUNTS}) * {YEAR_DAYS} AS block,
                    block * {ACCOUNTS} + account_number AS i
                SELECT {FIRST_DAY} + day, toFixedString(
                        substring(unhex(hex(sipHash128(i)) || hex(sipHash64(i))), 1, 20), 20),
                    '/fill', 'f' || toString(i),
                    reinterpretAsUUID(sipHash128({days[0]}, intDiv(number, {_BATCH_OF_FILL}))), 'cache.hit',
                    'account-' || toString(i % {ACCOUNTS}), ({FIRST_DAY} + day) * 86400000000 + i % 86400,
                    '{{"bytes":' || toString(i % 1000) || '}}'
                FROM numbers({len(days) * a_day}) WHERE i < {events}
                SETTINGS max_threads = 1, max_block_size = {_PART_OF_FILL},
                    min_insert_block_size_rows = {_PART_OF_FILL},
                    min_insert_block_size_bytes = 0"""  # noqa: S608 - numbers of our own
            )
        ((last,),) = self._bare.query(
            "SELECT max(_block_number) FROM watchword_usage.arrived_event"
        ).result_rows
        places = {m.name: e.place for m, e in self.store._meters.look().ready.by_name().values()}  # type: ignore[attr-defined]  # looks into this engine's store
        self._bare.command(
            f"""INSERT INTO watchword_usage.cell
            SELECT account, sums.1, day, '', 0, {last}, toDecimal256(sums.2, 30) FROM (
                SELECT account, intDiv(time, 86400000000) AS day, [
                    ('{places[HITS.name]}', count()),
                    ('{places[BYTES.name]}', sum(toUInt64(substring(data, 10, length(data) - 10))))] AS both
                FROM watchword_usage.arrived_event GROUP BY account, day
            ) ARRAY JOIN both AS sums
            SETTINGS max_bytes_before_external_group_by = 2000000000"""  # noqa: S608 - as above
        )
        self._bare.command(
            "INSERT INTO watchword_usage.account SELECT DISTINCT account FROM watchword_usage.arrived_event"
        )
        for mark in ("folded", "dropped"):
            self._bare.insert(
                "mark", [[mark, last]], database="watchword_usage", column_names=["name", "value"]
            )
        self._bare.command("OPTIMIZE TABLE watchword_usage.cell FINAL")
        # The first insert that is durable would else wait for all that the fill has not written yet.
        os.sync()

    def bare_insert(self, events: Sequence[Event]) -> None:
        import uuid

        token = uuid.uuid4()
        rows = [
            (self._today, digest_of(e.account, e.source, e.id), e.source, e.id, token, *_row(e)[2:])
            for e in events
        ]
        self._bare.insert(
            "arrived_event",
            rows,
            database="watchword_usage",
            column_names=[name for name, _ in self._columns],
            column_type_names=[kind for _, kind in self._columns],
        )

    def settle(self) -> None:
        # The store would count its events when it folds the amounts of some batches: all of them at once.
        ((last,),) = self._bare.query(
            f"SELECT max(_block_number) FROM watchword_usage.arrived_event WHERE came = {self._today}"  # noqa: S608 - a number of our own
        ).result_rows
        self._bare.command(
            f"INSERT INTO watchword_usage.cell VALUES ('', '', 0, '', {last}, {last}, 0)"  # noqa: S608 - as above
        )

    def bare_read(self, account: str, start: int, end: int) -> int:
        found = self._bare.query(
            """SELECT day, meter, grp, amount FROM watchword_usage.cell
            WHERE account = {account:String} AND day >= {start:Int32} AND day < {end:Int32}""",
            parameters={"account": account, "start": start, "end": end},
        )
        return len(found.result_rows)

    def close(self) -> None:
        self.store.close()
        self._bare.close()
        self._server.stop()


ENGINES = {"sqlite": SQLite, "postgresql": PostgreSQL, "clickhouse": ClickHouse}
