# SPDX-License-Identifier: Apache-2.0
"""What a process remembers of PostgreSQL between batches: nothing untrue, so that no replay counts."""

from __future__ import annotations

import hashlib
from contextlib import closing, suppress

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from testing.postgres_server import PostgresServer
from testing.usage_samples import METERS, envelope, unhurried
from tests.usage.contract import statuses, totals
from tests.usage.test_postgresql_arrivals import TODAY, At, asked, at, schema, sent
from watchword.usage import StoreRefusedError, StoreUnavailableError, UsageStore, open_store
from watchword.usage.closed_keys import ClosedKeys
from watchword.usage.deduplication import DIGEST_BYTES
from watchword.usage.postgresql import PostgreSQLStore, cache
from watchword.usage.times import day_of_number

__all__ = ["asked", "at", "schema"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ASKED_BEFORE", 1)


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that look keys up in earlier partitions, as they are executed."""
    seen: list[str] = []
    execute = psycopg.Connection.execute

    def noting(self: psycopg.Connection, statement: object, *given: object, **more: object) -> object:
        text = statement.decode() if isinstance(statement, bytes) else str(statement)
        if text.startswith("SELECT key, account FROM unnest") and "received >=" in text:
            seen.append(text)
        return execute(self, statement, *given, **more)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(psycopg.Connection, "execute", noting)
    return seen


def digest(number: int) -> bytes:
    return hashlib.blake2b(b"%d" % number, digest_size=DIGEST_BYTES).digest()


@unhurried
@given(
    there=st.sets(st.integers(0, 5000), max_size=300), asked_for=st.lists(st.integers(0, 5000), max_size=300)
)
def test_a_key_that_is_there_is_never_left_out(there: set[int], asked_for: list[int]) -> None:
    closed = ClosedKeys(1)
    for part in (sorted(there)[::2], sorted(there)[1::2]):
        closed.add(b"".join(digest(number)[:8] for number in part))
    digests = [digest(number) for number in asked_for]
    found = closed.may_have(digests, range(len(digests)))
    assert {place for place, number in enumerate(asked_for) if number in there} <= set(found)


def test_few_of_the_others_are_asked_for() -> None:
    closed = ClosedKeys(1)
    closed.add(b"".join(digest(number)[:8] for number in range(500_000)))
    others = [digest(number) for number in range(500_000, 510_000)]
    assert len(closed.may_have(others, range(len(others)))) < 5


def test_new_ids_are_not_looked_up_once_the_window_was_read(at: At, looked_up: list[str]) -> None:
    assert sent(at(TODAY)) == ("stored", ())
    store = at(TODAY + 1)
    for name in ("2", "3", "4"):
        looked_up.clear()
        assert sent(store, day=TODAY + 1, name=name) == ("stored", ())
        assert len(looked_up) == (1 if name == "2" else 0)
    # One that is there is looked up, whatever its time; so is one that may have come before the window.
    assert sent(store) == ("duplicate", ())
    assert sent(store, day=TODAY + 1) == ("duplicate", ("time",))
    assert sent(store, day=None) == ("duplicate", ())
    assert sent(store, day=TODAY - 60, name="late") == ("stored", ())
    assert totals(store)["remote_cache_hits"] == "5"
    assert store.check(METERS) == []


def test_a_window_that_was_read_is_not_taken_for_the_next_days(at: At) -> None:
    for day in range(TODAY, TODAY + 4):
        store = at(day)
        # Of each day a store that goes on to the next one: the clock of `at` is its own.
        for name in ("a", "b"):
            assert sent(store, day=day, name=f"{name}-{day}") == ("stored", ())
        for before in range(TODAY, day):
            assert sent(store, day=before, name=f"b-{before}") == ("duplicate", ())
            assert sent(store, day=day, name=f"a-{before}") == ("duplicate", ("time",))


def test_a_replay_of_what_came_before_the_window_is_looked_up(at: At) -> None:
    assert sent(at(TODAY)) == ("stored", ())
    store = at(TODAY + 20)
    for name in ("2", "3", "4"):
        assert sent(store, day=TODAY + 20, name=name) == ("stored", ())
    assert sent(store) == ("duplicate", ())
    assert sent(store, day=None) == ("duplicate", ())


def test_one_store_goes_on_into_the_next_day(at: At) -> None:
    store = at(TODAY)
    assert isinstance(store, PostgreSQLStore)
    statements = store._statements._stored
    today = statements["states"]
    for day in range(TODAY, TODAY + 4):
        statements["states"] = today.replace(b"(%d" % (TODAY * 86_400 + 7), b"(%d" % (day * 86_400 + 7))
        for name in ("a", "b", "c"):
            assert sent(store, day=day, name=f"{name}-{day}") == ("stored", ())
        for before in range(TODAY, day):
            assert sent(store, day=day, name=f"c-{before}") == ("duplicate", ("time",))
    assert store.check(METERS) == []


def test_more_keys_than_are_remembered_are_looked_up(
    at: At, looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchword.usage.closed_keys.MAX_KEYS", 2)
    for name in ("1", "2", "3"):
        assert sent(at(TODAY), name=name) == ("stored", ())
    store = at(TODAY + 1)
    for name in ("4", "5", "6"):
        looked_up.clear()
        assert sent(store, day=TODAY + 1, name=name) == ("stored", ())
        assert len(looked_up) == 1
    assert sent(store, name="2") == ("duplicate", ())


def test_an_account_that_was_deleted_comes_back_with_its_next_event(at: At) -> None:
    store, other = at(TODAY), at(TODAY + 3)
    assert sent(store) == ("stored", ())
    assert sent(other, day=TODAY + 3, name="2") == ("stored", ())
    kept = day_of_number(TODAY + 4)
    later = at(TODAY + 5)
    assert statuses(later, envelope(id="3", subject="umbrella", time="2026-11-08T10:00:00Z")) == ["stored"]
    later.expire(kept, {meter.name: kept for meter in METERS})
    later.rebuild(METERS)
    assert later.accounts_after("", 10) == ["umbrella"]
    # Both had seen the account.
    for number, each in enumerate((store, other)):
        assert sent(each, day=TODAY + 5, name=f"again-{number}") == ("stored", ())
    assert later.accounts_after("", 10) == ["acme", "umbrella"]
    assert later.check(METERS) == []


def test_what_was_rolled_back_is_not_remembered(at: At, asked: psycopg.Connection) -> None:
    store = at(TODAY)
    assert sent(store) == ("stored", ())
    asked.execute("ALTER TABLE rollup RENAME TO away")
    for _ in range(2):
        with pytest.raises(StoreRefusedError):
            statuses(store, envelope(id="2", subject="umbrella"))
    asked.execute("ALTER TABLE away RENAME TO rollup")
    assert store.accounts_after("", 10) == ["acme"]
    assert statuses(store, envelope(id="2", subject="umbrella")) == ["stored"]
    assert store.accounts_after("", 10) == ["acme", "umbrella"]
    assert store.check(METERS) == []


def test_an_event_that_went_while_it_was_waited_for_is_not_counted(at: At) -> None:
    store = at(TODAY)
    assert sent(store) == ("stored", ())
    assert isinstance(store, PostgreSQLStore)
    of_days = store._statements.of_days

    def gone(name: str, day: int, first: int = 0) -> bytes:
        return of_days(name, day, first) + (b" AND false" if name == "not_mine" else b"")

    store._statements.of_days = gone  # type: ignore[method-assign]  # the store's own
    with pytest.raises(StoreUnavailableError, match="went"):
        sent(store)
    assert totals(store)["remote_cache_hits"] == "1"


def test_nothing_is_remembered_over_a_schema_that_is_made_again(
    at: At, postgres: PostgresServer, schema: str
) -> None:
    assert sent(at(TODAY)) == ("stored", ())
    store = at(TODAY + 1)
    for name in ("2", "3"):
        assert sent(store, day=TODAY + 1, name=name) == ("stored", ())
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
    # As a restored copy: the day before has another event, and the account is not there yet.
    other = at(TODAY)
    assert statuses(other, envelope(id="4", subject="umbrella")) == ["stored"]
    assert statuses(at(TODAY + 1), envelope(id="5", subject="umbrella")) == ["stored"]
    assert statuses(store, envelope(id="4", subject="umbrella")) == ["duplicate"]
    assert sent(store, name="6") == ("stored", ())
    assert store.accounts_after("", 10) == ["acme", "umbrella"]
    assert store.check(METERS) == []


def remembered(store: UsageStore) -> set[str]:
    assert isinstance(store, PostgreSQLStore)
    return store._cache._current._accounts


@pytest.mark.usefixtures("postgres")
def test_nothing_is_remembered_over_a_start_of_the_server() -> None:
    server = PostgresServer()
    try:
        server.start()
        with closing(open_store(server.dsn())) as store:
            assert statuses(store, envelope()) == ["stored"]
            assert remembered(store) == {"acme"}
            # As after a copy was put back that did not have the account yet.
            with psycopg.connect(server.conninfo()) as connection:
                connection.execute("DELETE FROM watchword_usage.account")
            server.restart({})
            found: list[str] = []
            while not found:
                # The connections of the old server are found out one by one.
                with suppress(StoreUnavailableError):
                    found = statuses(store, envelope(id="2"))
            assert found == ["stored"]
            assert store.accounts_after("", 10) == ["acme"]
            assert store.check(METERS) == []
    finally:
        server.stop()
