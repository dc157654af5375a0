# SPDX-License-Identifier: Apache-2.0
"""The contract on ClickHouse's engine, and what is its own: blocks, folding, writers that die half way."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing

import pytest

from testing.clickhouse_server import ClickHouseServer
from testing.usage_samples import BYTES, HITS, METERS, USERS, envelope, event
from tests.usage import writer
from tests.usage.contract import ROOT, FreshDsn, UsageStoreContract, hits_of_all, statuses, totals
from tests.usage.contract_groups import GroupContract
from tests.usage.contract_keeping import KeepingContract
from tests.usage.contract_replays import ReplayContract
from tests.usage.killrounds import live_through
from watchword.usage import StoreRefusedError, StoreUnavailableError, UsageStore, open_store
from watchword.usage.clickhouse import ClickHouseStore, log, rollups, schema

pytestmark = pytest.mark.clickhouse


def fresh_database() -> str:
    return f"t_{uuid.uuid4().hex[:20]}"


class TestClickHouseStore(UsageStoreContract, GroupContract, KeepingContract, ReplayContract):
    lives = 3

    @pytest.fixture
    def fresh_dsn(self, clickhouse: ClickHouseServer) -> FreshDsn:
        return lambda: clickhouse.dsn(fresh_database())


@pytest.fixture
def database() -> str:
    return fresh_database()


@pytest.fixture
def store(clickhouse: ClickHouseServer, database: str) -> Iterator[UsageStore]:
    with closing(open_store(clickhouse.dsn(database))) as store:
        yield store


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("clickhouse://u:secret@host:port/db", "cannot be read"),
        ("clickhouse://u:secret@[::1/db", "cannot be read"),
        ("clickhouse://u:secret@/db", "no host"),
        ("clickhouse://u:secret@host/db?async_insert=1", "no host, or parameters"),
        ("clickhouse://u:secret@host/a/b", "not one plain name"),
        ("clickhouse://u:secret@host/usage%3B+DROP", "not one plain name"),
        ("clickhouse://u:secret@host/" + "d" * 64, "not one plain name"),
    ],
)
def test_a_dsn_that_cannot_be_read_is_refused_without_its_secrets(dsn: str, words: str) -> None:
    with pytest.raises(StoreRefusedError, match=words) as refused:
        open_store(dsn)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_away_is_said_at_each_call_and_not_at_opening() -> None:
    with closing(open_store("clickhouse://u:secret@127.0.0.1:9/usage")) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="away") as away:
                store.ingest([event()], METERS)
            assert "secret" not in str(away.value)


def test_two_databases_are_two_stores(store: UsageStore, clickhouse: ClickHouseServer) -> None:
    assert statuses(store, envelope()) == ["stored"]
    with closing(open_store(clickhouse.dsn(fresh_database()))) as second:
        assert statuses(second, envelope()) == ["stored"]
        assert totals(second)["remote_cache_hits"] == "1"


def test_a_server_that_makes_the_log_with_another_engine_is_refused(
    clickhouse: ClickHouseServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As ClickHouse Cloud does: its SharedMergeTree numbers blocks by partition.
    told, made = "ENGINE = MergeTree PARTITION BY", "ENGINE = ReplacingMergeTree PARTITION BY"
    monkeypatch.setattr(schema, "_CREATE", tuple(text.replace(told, made) for text in schema._CREATE))
    with closing(open_store(clickhouse.dsn(database))) as store:
        for _ in range(2):
            with pytest.raises(StoreRefusedError, match="with the engine ReplacingMergeTree"):
                store.ingest([event()], METERS)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            "ALTER TABLE {d}.cell DELETE WHERE meter LIKE 'sum-%' SETTINGS mutations_sync = 2",
            ("bytes", None, "1"),
        ),
        ("DELETE FROM {d}.distinct_value WHERE 1", ("users", None, '"u1"')),
        ("DELETE FROM {d}.account WHERE 1", (None, None, "known")),
        ("INSERT INTO {d}.account VALUES ('ghost')", (None, "known", None)),
    ],
)
def test_a_check_finds_damage_and_a_rebuild_mends_it(
    store: UsageStore,
    clickhouse: ClickHouseServer,
    database: str,
    damage: str,
    found: tuple[str | None, str | None, str | None],
) -> None:
    meters = (HITS, BYTES, USERS)
    statuses(store, envelope(), meters=meters)
    assert "Exception" not in clickhouse.query(damage.format(d=database))
    (difference,) = store.check(meters)
    assert (difference.meter, difference.stored, difference.expected) == found
    store.rebuild(meters)
    assert store.check(meters) == []


def test_folding_changes_no_answer_however_often_it_is_done(store: UsageStore) -> None:
    assert isinstance(store, ClickHouseStore)
    before: list[dict[str, str]] = []
    for number in range(6):
        store.ingest(writer.batch(number), METERS)
        before = [totals(store, account) for account in writer.ACCOUNTS]
        for _ in range(number % 3):
            store._cells.fold()
            assert [totals(store, account) for account in writer.ACCOUNTS] == before
    assert store.check(METERS) == []


def test_folded_batches_are_dropped_and_nothing_is_missed(
    clickhouse: ClickHouseServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "_KEEP_FOLDED_SECONDS", 0)
    monkeypatch.setattr(schema, "BATCHES_A_PARTITION", 2)
    with closing(open_store(clickhouse.dsn(database))) as store:
        for number in range(8):
            store.ingest(writer.batch(number), METERS)
            if number == 5:
                time.sleep(1.1)  # the server's clock has whole seconds
        left = clickhouse.query(
            "SELECT min(batch) FROM DATABASE.cell WHERE batch > 0".replace("DATABASE", database)
        )
        assert int(left) > 2
        assert hits_of_all(store) == 8 * writer.BATCH
        assert store.check(METERS) == []
        # A replay of a batch whose own rows are gone is a duplicate all the same, and counts nothing.
        assert {o.status for o in store.ingest(writer.batch(0), METERS)} == {"duplicate"}
        assert hits_of_all(store) == 8 * writer.BATCH


DYING = """
import os, sys
from tests.usage import writer
from testing.usage_samples import METERS
from watchword.usage import open_store
from watchword.usage.clickhouse import sessions

dies_at, table = int(sys.argv[2]), sys.argv[3]
insert = sessions.Sessions.insert
seen = 0

def dying(self, into, *given):
    global seen
    if into == table:
        seen += 1
        if seen == dies_at:
            os.kill(os.getpid(), 9)
    return insert(self, into, *given)

store = open_store(sys.argv[1])
store.use_meters(METERS)
sessions.Sessions.insert = dying
for number in range(4):
    store.ingest(writer.batch(number), METERS)
"""


@pytest.mark.parametrize("table", ["arrived_event", "distinct_value", "account", "cell"])
@pytest.mark.parametrize("by", ["the same batch", "a later batch"])
def test_what_a_writer_left_half_done_is_finished_by_the_next(
    clickhouse: ClickHouseServer, database: str, table: str, by: str
) -> None:
    dies_at = 1 if table == "account" else 2
    died = subprocess.run(
        [sys.executable, "-c", DYING, clickhouse.dsn(database), str(dies_at), table], cwd=ROOT, check=False
    )
    assert died.returncode == -9
    in_flight = dies_at - 1
    with closing(open_store(clickhouse.dsn(database))) as store:
        assert isinstance(store, ClickHouseStore)
        if by == "a later batch":
            store.ingest(writer.batch(9), METERS)
            store._cells.fold()
            assert store.check(METERS) == []
        expected = {"stored"} if table == "arrived_event" else {"duplicate"}
        assert {o.status for o in store.ingest(writer.batch(in_flight), METERS)} == expected
        assert hits_of_all(store) == writer.BATCH * (dies_at + (by == "a later batch"))
        assert store.check(METERS) == []


def test_who_is_beaten_by_another_writer_in_between_is_told_so(
    store: UsageStore, clickhouse: ClickHouseServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look, neither finds the key, both insert: the one whose block is first is the one that counts."""
    assert isinstance(store, ClickHouseStore)
    store.use_meters(METERS)
    with closing(open_store(clickhouse.dsn(database))) as other:
        look = log.EventLog.look

        def slowly(self: log.EventLog, days: Mapping[bytes, int]) -> log.Look:
            found = look(self, days)
            if self is store._log:
                monkeypatch.setattr(log.EventLog, "look", look)
                assert statuses(other, envelope(data={"bytes": 5, "user": "other"})) == ["stored"]
            return found

        monkeypatch.setattr(log.EventLog, "look", slowly)
        (outcome,) = store.ingest([event()], METERS)
        assert (outcome.status, outcome.differs) == ("duplicate", ("data",))
    assert totals(store) == {"remote_cache_hits": "1", "bytes": "5", "largest": "5", "users": "1"}
    assert store.check(METERS) == []


def test_an_event_that_comes_while_the_meters_change_counts_for_both(
    store: UsageStore, clickhouse: ClickHouseServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(store, ClickHouseStore)
    store.use_meters([HITS])
    with closing(open_store(clickhouse.dsn(database))) as changer:
        append = log.EventLog.append

        def meanwhile(self: log.EventLog, *given: object) -> log.Insert:
            insert = append(self, *given)  # type: ignore[arg-type]  # passed through
            changer.use_meters([HITS, BYTES])
            return insert

        monkeypatch.setattr(log.EventLog, "append", meanwhile)
        assert statuses(store, envelope(data={"bytes": 7, "user": "u"}), meters=[HITS]) == ["stored"]
        assert totals(changer) == {"remote_cache_hits": "1", "bytes": "7"}
        assert changer.check([HITS, BYTES]) == []


def test_a_server_that_is_killed_loses_nothing_that_it_said_is_stored(clickhouse: ClickHouseServer) -> None:
    server = ClickHouseServer()
    try:
        server.start()

        def kill() -> None:
            server.kill()
            server.start()

        live_through(server.dsn(), kill)
    finally:
        server.stop()
