# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL's partitions by the day of arrival: what is looked through, what is known for how long, what
goes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.postgres_server import PostgresServer
from testing.usage_samples import HITS, METERS, envelope, events, unhurried
from tests.usage.contract import totals
from tests.usage.contract_arrivals import TODAY, ArrivalContract, At, live_with_odd_clocks, sent
from tests.usage.test_postgresql import fresh_schema
from watchword.usage import Event, Expired, UsageQuery, UsageStore, open_store
from watchword.usage.deduplication import WINDOW_DAYS, digest_of, most_ahead, row_of
from watchword.usage.postgresql import PostgreSQLStore
from watchword.usage.postgresql import store as store_module
from watchword.usage.postgresql.arrivals import Arrivals
from watchword.usage.postgresql.rollups import columns
from watchword.usage.times import MICROSECONDS_PER_DAY, day_of_number


@pytest.fixture
def schema() -> str:
    return fresh_schema()


@pytest.fixture
def at(postgres: PostgresServer, schema: str) -> Iterator[At]:
    """The store as it is on a day by the server's clock."""
    stores: list[UsageStore] = []

    def on(day: int) -> UsageStore:
        store = open_store(postgres.dsn(schema))
        assert isinstance(store, PostgreSQLStore)
        asked = store._statements["states"]
        clock = asked.replace(b"clock_timestamp()", b"to_timestamp(%d)" % (day * 86_400 + 7))
        assert clock != asked
        store._statements._stored["states"] = clock
        stores.append(store)
        return store

    yield on
    for store in stores:
        store.close()


@pytest.fixture
def asked(postgres: PostgresServer, schema: str) -> Iterator[psycopg.Connection]:
    with closing(psycopg.connect(postgres.conninfo(), autocommit=True)) as connection:
        connection.execute("SELECT set_config('search_path', %s, false)", [schema])
        yield connection


class TestArrivals(ArrivalContract):
    pass


def days_of(asked: psycopg.Connection) -> list[int]:
    rows = asked.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'event'::regclass"
    )
    return sorted(int(name.removeprefix("event_")) for (name,) in rows)


def test_an_id_with_another_time_is_known_within_the_window(at: At) -> None:
    assert sent(at(TODAY)) == ("stored", ())
    for later in (1, WINDOW_DAYS):
        assert sent(at(TODAY + later), day=TODAY + later) == ("duplicate", ("time",))
    assert totals(at(TODAY + WINDOW_DAYS))["remote_cache_hits"] == "1"


def test_an_id_with_another_time_after_the_window_is_another_event_everywhere(at: At) -> None:
    later = TODAY + WINDOW_DAYS + 1
    assert sent(at(TODAY)) == ("stored", ())
    store = at(later)
    assert sent(store, day=later) == ("stored", ())
    # From now on there are two, and a replay of either is a replay of that one.
    assert sent(store) == ("duplicate", ())
    assert sent(store, day=later) == ("duplicate", ())
    assert totals(store)["remote_cache_hits"] == "2"
    assert store.check(METERS) == []
    store.rebuild(METERS)
    assert totals(store)["remote_cache_hits"] == "2"
    found, cursor = [], ""
    while True:
        page, cursor = store.events_after(cursor, 1)
        found += [event.day for event in page]
        if not cursor:
            break
    assert found == [TODAY, later]


def test_a_batch_looks_at_the_partitions_of_the_window_only(at: At, asked: psycopg.Connection) -> None:
    for day in range(TODAY, TODAY + 30):
        assert sent(at(day), day=day, name=str(day)) == ("stored", ())
    assert days_of(asked) == list(range(TODAY, TODAY + 30))
    store = at(TODAY + 29)
    assert isinstance(store, PostgreSQLStore)
    seen: list[bytes] = []
    of_days = store._statements.of_days

    def noting(name: str, day: int, first: int = 0) -> bytes:
        statement = of_days(name, day, first)
        if name == "earlier_keys":
            seen.append(statement)
        return statement

    store._statements.of_days = noting  # type: ignore[method-assign]  # the store's own
    assert sent(store, day=TODAY + 29, name="new") == ("stored", ())
    assert sent(store, day=TODAY + 9, name="late") == ("stored", ())
    plans = ["\n".join(line for (line,) in asked.execute(b"EXPLAIN " + each, ["{}", "{}"])) for each in seen]
    looked = [[day for day in days_of(asked) if f"event_{day}" in plan] for plan in plans]
    today = TODAY + 29
    assert looked[0] == list(range(today - WINDOW_DAYS, today))
    # A late one looks back to the day before its own, at most a week further.
    assert looked[1][-1] == today - 1
    assert TODAY + 9 - 1 - 7 < looked[1][0] <= TODAY + 9 - 1


def test_the_day_changes_for_nobody_while_a_batch_is_under_way(
    at: At, postgres: PostgresServer, schema: str
) -> None:
    store = at(TODAY)
    assert sent(store, name="other") == ("stored", ())
    assert isinstance(store, PostgreSQLStore)
    statement, lock = store._statements.of_days("insert_events", TODAY), store._sessions.lock_number
    (mine,) = events(envelope())
    found: list[tuple[str, tuple[str, ...]]] = []
    with psycopg.connect(postgres.conninfo()) as under_way:
        under_way.execute("SELECT pg_advisory_xact_lock_shared(%s)", [lock])
        rows = [(digest_of(mine.source, mine.id), *row_of(mine))]
        assert under_way.execute(statement, columns(rows, 9)).rowcount == 1
        next_day = threading.Thread(target=lambda: found.append(sent(at(TODAY + 1), day=TODAY + 1)))
        next_day.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        with psycopg.connect(postgres.conninfo(), autocommit=True) as watching:
            while watching.execute(waiting).fetchone() == (0,):
                assert next_day.is_alive(), found
        under_way.commit()
        next_day.join()
    assert found == [("duplicate", ("time",))]


def test_a_clock_that_is_put_back_or_far_ahead_lets_no_replay_in(at: At, asked: psycopg.Connection) -> None:
    live_with_odd_clocks(at)
    assert days_of(asked) == [TODAY, TODAY + 5000]
    assert at(TODAY).check(METERS) == []


def test_events_past_their_time_go_with_their_partitions(at: At, asked: psycopg.Connection) -> None:
    for day in range(TODAY, TODAY + 6):
        store = at(day)
        assert sent(store, day=day, name="own") == (
            ("stored", ()) if day == TODAY else ("duplicate", ("time",))
        )
        assert sent(store, day=day, name=f"on-{day}") == ("stored", ())
        assert sent(store, day=TODAY, name=f"late-{day}") == ("stored", ())
        assert sent(store, day=day + 1, name=f"early-{day}") == ("stored", ())
    store = at(TODAY + 6)
    before = totals(store)
    kept = day_of_number(TODAY + 4)
    files = dict(asked.execute("SELECT relname, relfilenode FROM pg_class WHERE relname LIKE 'event\\_2%'"))
    # own, four of each day, the early ones of three days, and all late ones.
    assert store.expire(kept, {}) == Expired(1 + 4 + 3 + 6, 0)
    assert days_of(asked) == [TODAY + 3, TODAY + 4, TODAY + 5]
    after = dict(asked.execute("SELECT relname, relfilenode FROM pg_class WHERE relname LIKE 'event\\_2%'"))
    # The day whose events are nearly all past their time was emptied, and its one early event put back.
    assert after[f"event_{TODAY + 3}"] != files[f"event_{TODAY + 3}"]
    assert after[f"event_{TODAY + 4}"] == files[f"event_{TODAY + 4}"]
    assert asked.execute(
        "SELECT count(*) FROM event WHERE time < %s", [(TODAY + 4) * MICROSECONDS_PER_DAY]
    ).fetchone() == (0,)
    assert sent(store, day=TODAY + 4, name=f"early-{TODAY + 3}") == ("duplicate", ())
    assert sent(store, day=TODAY + 3, name=f"on-{TODAY + 3}")[0] == "refused"
    assert store.expire(kept, {}) == Expired()
    assert totals(store) == before
    assert store.check(METERS) == []


def test_a_partition_with_many_early_events_is_emptied_a_few_at_once(
    at: At, asked: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PUT_BACK", 3)
    monkeypatch.setattr(store_module, "_EXPIRE_AT_ONCE", 2)
    for number in range(5):
        assert sent(at(TODAY), name=f"on-{number}") == ("stored", ())
        assert sent(at(TODAY), day=TODAY + 1, name=f"early-{number}") == ("stored", ())
    store = at(TODAY + 2)
    assert sent(store, day=TODAY + 2, name="later") == ("stored", ())
    assert store.expire(day_of_number(TODAY + 1), {}) == Expired(5, 0)
    assert asked.execute("SELECT count(*) FROM event").fetchone() == (6,)
    assert store.check(METERS) == []


def test_the_newest_partition_stays_whatever_is_given_up(at: At, asked: psycopg.Connection) -> None:
    store = at(TODAY)
    assert sent(store) == ("stored", ())
    assert store.expire(day_of_number(TODAY + 10), {}) == Expired(1, 0)
    assert days_of(asked) == [TODAY]
    assert sent(store, day=TODAY + 20, name="2") == ("stored", ())


def test_two_gates_that_give_up_the_same_days_do_it_once(at: At, asked: psycopg.Connection) -> None:
    for day in range(TODAY, TODAY + 3):
        assert sent(at(day), day=day, name=str(day)) == ("stored", ())
    one, other = at(TODAY + 3), at(TODAY + 3)
    found: list[Expired] = []
    both = [
        threading.Thread(target=lambda s=s: found.append(s.expire(day_of_number(TODAY + 2), {})))
        for s in (one, other)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sum(each.events for each in found) == 2
    assert len(found) == 2
    assert days_of(asked) == [TODAY + 2]


def test_a_read_is_one_statement(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    store = at(TODAY)
    sent(store)
    query = UsageQuery("acme", day_of_number(TODAY), day_of_number(TODAY + 1))
    store.read(query)
    here, seen = threading.get_ident(), []
    execute = psycopg.Connection.execute

    def noting(self: psycopg.Connection, statement: object, *given: object, **more: object) -> object:
        if threading.get_ident() == here:
            seen.append(statement)
        return execute(self, statement, *given, **more)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(psycopg.Connection, "execute", noting)
    assert store.read(query) is not None
    assert len(seen) == 1


@unhurried
@given(
    first_partition=st.integers(0, 60),
    came=st.integers(0, 60),
    ahead_of=st.integers(-50, 20),
    most=st.integers(0, 20),
    later=st.integers(0, 60),
    has_time=st.booleans(),
)
def test_the_partition_of_a_first_arrival_is_always_looked_at(  # noqa: PLR0917 - what hypothesis gives
    first_partition: int, came: int, ahead_of: int, most: int, later: int, has_time: bool
) -> None:
    event = Event(0, "1", "/ci", HITS.event_type, "acme", (came + ahead_of) * MICROSECONDS_PER_DAY)
    # What a store remembers after it took the event; where there were no partitions, the migration says it.
    ahead = most_ahead([event], came if came >= first_partition else first_partition - 1, most)
    again = event if has_time else Event(0, "1", "/ci", HITS.event_type, "acme", 0, False)
    arrivals = Arrivals(max(came + later, first_partition), came + later, first_partition, ahead)
    ((look_back, _),) = arrivals.look_back([again]).items()
    assert look_back <= came if came >= first_partition else look_back == 0
