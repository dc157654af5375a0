# SPDX-License-Identifier: Apache-2.0
"""What ClickHouse's store looks through to know an event again: noted keys, and of the log only what must
be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from testing.clickhouse_server import ClickHouseServer
from testing.usage_samples import METERS, envelope, event, events
from tests.usage.contract import statuses, totals
from tests.usage.test_clickhouse import fresh_database
from watchword.usage import UsageQuery, UsageStore, open_store
from watchword.usage.clickhouse import ClickHouseStore, log, noted_keys
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.times import day_of_number

pytestmark = pytest.mark.clickhouse

Asked = list[tuple[str, int]]


@pytest.fixture
def database() -> str:
    return fresh_database()


@pytest.fixture
def store(clickhouse: ClickHouseServer, database: str) -> Iterator[UsageStore]:
    with closing(open_store(clickhouse.dsn(database))) as store:
        store.use_meters(METERS)
        yield store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The names of all questions, and for how many keys they were."""
    seen: Asked = []
    rows = Sessions.rows

    def noting(self: Sessions, statement: str, **parameters: object) -> object:
        keys = parameters.get("keys", ())
        assert isinstance(keys, list | tuple)
        seen.append((statement, len(keys)))
        return rows(self, statement, **parameters)

    monkeypatch.setattr(Sessions, "rows", noting)
    return seen


def of_log(asked: Asked) -> Asked:
    return [each for each in asked if each[0] in ("first_of_keys", "events_of_keys", "accounts_of_keys")]


def test_new_events_are_looked_for_nowhere_in_the_log(store: UsageStore, asked: Asked) -> None:
    assert statuses(store, *(envelope(id=str(n)) for n in range(50))) == ["stored"] * 50
    assert of_log(asked) == []
    assert [keys for name, keys in asked if name in ("others_of_keys", "conflicts_of_keys")] == [50, 50]


def test_of_a_batch_only_the_keys_that_were_noted_are_looked_for(store: UsageStore, asked: Asked) -> None:
    assert statuses(store, *(envelope(id=str(n)) for n in range(3))) == ["stored"] * 3
    asked.clear()
    found = statuses(store, *(envelope(id=str(n)) for n in range(50)))
    assert found == ["duplicate"] * 3 + ["stored"] * 47
    assert {keys for _, keys in of_log(asked)} == {3}


def test_keys_that_meet_in_their_short_form_are_two_events(
    store: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noted_keys, "_short", lambda key: key[0] & 1)
    names = [str(n) for n in range(20)]
    for name in names:
        assert statuses(store, envelope(id=name)) == ["stored"]
    assert statuses(store, *(envelope(id=name) for name in [*names, "a", "b"])) == [
        *["duplicate"] * 20,
        *["stored"] * 2,
    ]
    assert store.check(METERS) == []


def test_a_look_for_a_key_reads_a_few_rows_of_many(
    store: UsageStore, clickhouse: ClickHouseServer, database: str
) -> None:
    assert isinstance(store, ClickHouseStore)
    clickhouse.query(
        f"INSERT INTO {database}.noted_key SELECT sipHash64(number), 1, 20000 FROM numbers(500000)"  # noqa: S608 - names of our own
    )
    clickhouse.query(f"OPTIMIZE TABLE {database}.noted_key FINAL")
    keys = [int(each) for each in clickhouse.query("SELECT sipHash64(number) FROM numbers(7)").split()]
    store._sessions._statements["plan"] = (
        f"EXPLAIN ESTIMATE SELECT DISTINCT key FROM {database}.noted_key "  # noqa: S608 - names of our own
        "WHERE key IN {keys:Array(UInt64)} AND token != 5"
    )
    (row,) = store._sessions.rows("plan", keys=keys)
    rows = int(row[3])
    assert len(keys) <= rows <= 2 * 256 * len(keys)


def test_the_second_look_reads_only_what_is_new(
    store: UsageStore, clickhouse: ClickHouseServer, database: str
) -> None:
    assert isinstance(store, ClickHouseStore)
    clickhouse.query(
        f"INSERT INTO {database}.noted_key SELECT sipHash64(number), 1, 20000 FROM numbers(100000)"  # noqa: S608 - names of our own
    )
    note, _ = store._noted.note({b"k" * 20: 20000})
    assert note.since > 1
    text = store._sessions._statements["conflicts_of_keys"].partition("UNION ALL")[0]
    store._sessions._statements["plan"] = f"EXPLAIN ESTIMATE {text}"
    given = {"keys": [int.from_bytes(b"k" * 8, "big")], "token": 1}
    (new,) = store._sessions.rows("plan", since=note.since, **given)
    (every,) = store._sessions.rows("plan", since=0, **given)
    assert (int(new[2]), int(every[2])) == (1, 2)  # parts


def test_a_key_that_was_noted_and_never_came_is_stored_when_it_comes(store: UsageStore) -> None:
    assert isinstance(store, ClickHouseStore)
    from watchword.usage.deduplication import digest_of, key_of

    arriving = event()
    store._noted.note({digest_of(*key_of(arriving)): arriving.day})
    assert statuses(store, envelope()) == ["stored"]
    assert statuses(store, envelope()) == ["duplicate"]
    assert totals(store)["remote_cache_hits"] == "1"


@pytest.mark.parametrize("moment", ["noted", "looked", "inserted"])
def test_two_writers_of_one_event_agree_on_who_was_first(
    store: UsageStore,
    clickhouse: ClickHouseServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """The other writer stores the event, whole, between two steps of this one."""
    with closing(open_store(clickhouse.dsn(database))) as other:
        others: list[str] = []

        def in_between() -> None:
            monkeypatch.undo()
            others.extend(statuses(other, envelope(data={"bytes": 5, "user": "other"})))

        if moment == "noted":
            insert = Sessions.insert

            def noted(self: Sessions, table: str, rows: object) -> None:
                insert(self, table, rows)  # type: ignore[arg-type]  # passed through
                if table == "noted_key":
                    in_between()

            monkeypatch.setattr(Sessions, "insert", noted)
        else:
            append = log.EventLog.append

            def appended(self: log.EventLog, arriving: object) -> object:
                if moment == "looked":
                    in_between()
                token = append(self, arriving)  # type: ignore[arg-type]  # passed through
                if moment == "inserted":
                    in_between()
                return token

            monkeypatch.setattr(log.EventLog, "append", appended)
        (mine,) = store.ingest([event()], METERS)
        expected = ("stored", "duplicate") if moment == "inserted" else ("duplicate", "stored")
        assert (mine.status, *others) == expected
    assert totals(store)["remote_cache_hits"] == "1"
    assert store.check(METERS) == []


def test_keys_go_with_the_events_of_their_days(
    store: UsageStore, clickhouse: ClickHouseServer, database: str
) -> None:
    days = [20700, 20701, 20702]
    batch = [envelope(id=str(day), time=f"{day_of_number(day)}T10:00:00Z") for day in days]
    assert {o.status for o in store.ingest(events(*batch), METERS)} == {"stored"}
    store.expire(day_of_number(20701), {})
    left = clickhouse.query(f"SELECT day FROM {database}.noted_key ORDER BY day")  # noqa: S608 - names of our own
    assert [int(day) for day in left.split()] == days[1:]
    found = [o.status for o in store.ingest(events(*batch), METERS)]
    assert found == ["refused", "duplicate", "duplicate"]


def test_a_read_is_one_question(store: UsageStore, asked: Asked) -> None:
    statuses(store, envelope())
    query = UsageQuery("acme", day_of_number(20700), day_of_number(20800))
    store.read(query)
    asked.clear()
    assert store.read(query) is not None
    assert [name for name, _ in asked] == ["read 100"]


def test_another_process_change_of_meters_is_seen_by_the_next_answer(
    store: UsageStore, clickhouse: ClickHouseServer, database: str
) -> None:
    statuses(store, envelope())
    assert set(totals(store)) == {"remote_cache_hits", "bytes", "largest", "users"}
    with closing(open_store(clickhouse.dsn(database))) as other:
        other.use_meters(METERS[:1])
        assert set(totals(store)) == {"remote_cache_hits"}
        other.use_meters(METERS[:2])
        assert set(totals(store)) == {"remote_cache_hits", "bytes"}
        other.expire(day_of_number(20763), {"bytes": day_of_number(20763)})
        answer = store.read(UsageQuery("acme", day_of_number(20700), day_of_number(20800)))
        assert answer is not None
        assert answer.first_days == {"bytes": 20763}
