# SPDX-License-Identifier: Apache-2.0
"""What ClickHouse's store looks through to know an event again: the partitions of some days, and of the rest
only what must be. Also: clocks, midnights, and writers that meet there.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.clickhouse_server import ClickHouseServer
from testing.usage_samples import METERS, envelope, event, events, unhurried
from tests.usage.contract import statuses, totals
from tests.usage.contract_arrivals import TODAY, ArrivalContract, At, live_with_odd_clocks, sent
from tests.usage.test_clickhouse import fresh_database
from watchword.usage import UsageQuery, UsageStore, open_store
from watchword.usage.clickhouse import ClickHouseStore, arrivals, log, native, schema
from watchword.usage.clickhouse.arrivals import NO_TIME, Bounds, Found, beats
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.deduplication import WINDOW_DAYS, digest_of
from watchword.usage.times import day_of_number

pytestmark = pytest.mark.clickhouse

Asked = list[tuple[str, Mapping[str, object]]]


@pytest.fixture
def database() -> str:
    return fresh_database()


@pytest.fixture
def store(clickhouse: ClickHouseServer, database: str) -> Iterator[UsageStore]:
    with closing(open_store(clickhouse.dsn(database))) as store:
        store.use_meters(METERS)
        yield store


@pytest.fixture
def at(clickhouse: ClickHouseServer, database: str) -> Iterator[At]:
    """The store as it is on a day by the server's clock."""
    with ExitStack() as stores:

        def on(day: int) -> UsageStore:
            store = stores.enter_context(closing(open_store(clickhouse.dsn(database))))
            assert isinstance(store, ClickHouseStore)
            store.use_meters(METERS)
            texts = store._sessions._statements
            clocks = {name: text.replace(schema._TODAY, str(day)) for name, text in texts.items()}
            assert clocks["look again 0"] != texts["look again 0"]
            texts.update(clocks)
            store._log._bounds = None
            return store

        yield on


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """All questions with what they were asked with."""
    seen: Asked = []
    rows = Sessions.rows

    def noting(self: Sessions, statement: str, **parameters: object) -> object:
        seen.append((statement, parameters))
        return rows(self, statement, **parameters)

    monkeypatch.setattr(Sessions, "rows", noting)
    return seen


class TestArrivals(ArrivalContract):
    pass


def asked_with(days: Mapping[bytes, int]) -> Mapping[str, object]:
    """What a store asks for keys with that remembers none."""
    return log._in_window(Bounds(TODAY, 0, 0).look_back(days))[1]


def days_of(clickhouse: ClickHouseServer, database: str) -> list[int]:
    days = clickhouse.query(f"SELECT DISTINCT came FROM {database}.arrived_event ORDER BY came")  # noqa: S608 - names of our own
    return [int(day) for day in days.split()]


def test_a_batch_is_two_inserts_and_two_questions(
    store: UsageStore, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses(store, envelope())
    into: list[str] = []
    insert = Sessions.insert

    def noting(self: Sessions, table: str, *given: object) -> None:
        into.append(table)
        insert(self, table, *given)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(Sessions, "insert", noting)
    asked.clear()
    assert statuses(store, *(envelope(id=str(n + 2), data={"bytes": 1}, type="other") for n in range(50)))
    assert [name for name, _ in asked] == ["look 1", "look again 1"]
    assert into == ["arrived_event", "cell"]


def test_an_event_of_today_is_looked_for_in_the_days_of_the_window(at: At, asked: Asked) -> None:
    store = at(TODAY)
    sent(store)
    asked.clear()
    sent(store, name="2")
    for name, parameters in asked:
        assert name in {"look 0", "look again 0"}
        assert parameters["window"] == TODAY - WINDOW_DAYS, name
        assert str(parameters["late"]) == "[]"
    asked.clear()
    sent(store, name="3", day=TODAY - 30)
    for name, parameters in asked:
        assert name in {"look 1", "look again 1"}
        assert (parameters["window"], parameters["late_from"]) == (TODAY - WINDOW_DAYS, TODAY - 31)
        assert str(parameters["late"]) != "[]"


def test_partitions_before_the_window_are_not_read(
    at: At, clickhouse: ClickHouseServer, database: str
) -> None:
    for day in range(TODAY - 20, TODAY):
        assert sent(at(day), day=day, name=str(day)) == ("stored", ())
    store = at(TODAY)
    assert isinstance(store, ClickHouseStore)
    text = store._sessions._statements["look 0"].split("UNION ALL")[1]
    store._sessions._statements["plan"] = f"EXPLAIN ESTIMATE {text}"
    (read,) = store._sessions.rows("plan", **asked_with({b"k" * 20: TODAY}))
    assert int(read[3]) <= WINDOW_DAYS  # rows, one a day
    assert len(days_of(clickhouse, database)) == 20


def test_an_id_with_another_time_is_known_within_the_window_and_another_event_after_it(at: At) -> None:
    assert sent(at(TODAY)) == ("stored", ())
    for later in (1, WINDOW_DAYS):
        assert sent(at(TODAY + later), day=TODAY + later) == ("duplicate", ("time",))
    later = TODAY + WINDOW_DAYS + 1
    store = at(later)
    assert sent(store, day=later) == ("stored", ())
    # From then on both are known, each by its own time, and both are counted and paged.
    assert sent(store, day=later) == ("duplicate", ())
    assert sent(store, day=TODAY) == ("duplicate", ())
    assert totals(store)["remote_cache_hits"] == "2"
    assert store.check(METERS) == []
    first, cursor = store.events_after("", 1)
    second, _ = store.events_after(cursor, 1)
    assert [one.day for one in (*first, *second)] == [TODAY, later]
    store.rebuild(METERS)
    assert totals(store)["remote_cache_hits"] == "2"


def test_a_clock_that_is_put_back_or_far_ahead_lets_no_replay_in(
    at: At, clickhouse: ClickHouseServer, database: str
) -> None:
    live_with_odd_clocks(at)
    assert days_of(clickhouse, database) == [TODAY, TODAY + 1, TODAY + 5000]
    assert at(TODAY).check(METERS) == []


@pytest.mark.parametrize(
    ("mine", "theirs"), [(TODAY, TODAY + 1), (TODAY + 1, TODAY), (TODAY - 30, TODAY), (TODAY, TODAY - 30)]
)
@pytest.mark.parametrize("moment", ["before", "looked", "inserted"])
def test_two_writers_on_two_sides_of_midnight_or_of_a_wrong_clock_count_an_event_once(
    at: At, monkeypatch: pytest.MonkeyPatch, mine: int, theirs: int, moment: str
) -> None:
    """The other writer, on another day, stores the event, whole, between two steps of this one."""
    store, other = at(mine), at(theirs)
    others: list[tuple[str, tuple[str, ...]]] = []
    between(monkeypatch, moment, lambda: others.append(sent(other)))
    found = [sent(store), *others]
    assert sorted(found) == [("duplicate", ()), ("stored", ())]
    for day in (mine, theirs, TODAY + 40):
        assert sent(at(day)) == ("duplicate", ())
    assert totals(store)["remote_cache_hits"] == "1"
    assert store.check(METERS) == []


def test_writers_of_all_clocks_at_once_count_each_event_once(at: At) -> None:
    days = [TODAY - 1, TODAY, TODAY + 1, TODAY + 30]
    stores = [at(day) for day in days]
    found: list[list[str]] = []

    def send(store: UsageStore) -> None:
        found.append([sent(store, name=str(number))[0] for number in range(12)])

    threads = [threading.Thread(target=send, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(each) for each in zip(*found, strict=True)] == [
        ["duplicate"] * (len(days) - 1) + ["stored"]
    ] * 12
    assert totals(stores[0])["remote_cache_hits"] == "12"
    assert stores[0].check(METERS) == []


def test_who_learns_late_that_events_came_ahead_of_the_clock_looks_again(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writer's event is of a day to come, which is remembered while this one has looked already."""
    store, other = at(TODAY), at(TODAY - 60)
    between(monkeypatch, "looked", lambda: sent(other))
    assert sent(store) == ("duplicate", ())
    assert totals(store)["remote_cache_hits"] == "1"
    assert store.check(METERS) == []


def test_a_server_whose_block_numbers_begin_anew_is_looked_through_again(at: At) -> None:
    store = at(TODAY)
    assert isinstance(store, ClickHouseStore)
    sent(store)
    store._log._seen = 10**6
    assert sent(store, name="2") == ("stored", ())
    assert store._log._seen < 10**6
    assert sent(store, name="2") == ("duplicate", ())


def between(monkeypatch: pytest.MonkeyPatch, moment: str, work: Callable[[], object]) -> None:
    """Have work done once: before a writer looks, or after that, or after its events are in the log."""
    look, append = log.EventLog.look, log.EventLog.append

    def once() -> None:
        monkeypatch.setattr(log.EventLog, "look", look)
        monkeypatch.setattr(log.EventLog, "append", append)
        work()

    def looking(self: log.EventLog, days: Mapping[bytes, int]) -> log.Look:
        once()
        return look(self, days)

    def appending(self: log.EventLog, *given: object) -> log.Insert:
        if moment == "looked":
            once()
        insert = append(self, *given)  # type: ignore[arg-type]  # passed through
        if moment == "inserted":
            once()
        return insert

    if moment == "before":
        monkeypatch.setattr(log.EventLog, "look", looking)
    else:
        monkeypatch.setattr(log.EventLog, "append", appending)


def test_an_event_that_beats_another_does_so_by_the_log_alone() -> None:
    first = Found(b"k", 5, 10, TODAY)
    assert beats(first, 5, 11, TODAY + 400)
    assert beats(first, 6, 11, TODAY + WINDOW_DAYS)
    assert not beats(first, 6, 11, TODAY + WINDOW_DAYS + 1)
    assert not beats(first, 5, 9, TODAY)


@unhurried
@given(
    arrivals_from=st.integers(0, 60),
    came=st.integers(0, 60),
    ahead_of=st.integers(-50, 20),
    most=st.integers(0, 20),
    later=st.integers(-60, 60),
    has_time=st.booleans(),
)
def test_the_partition_of_a_first_arrival_is_always_looked_at(  # noqa: PLR0917 - what hypothesis gives
    arrivals_from: int, came: int, ahead_of: int, most: int, later: int, has_time: bool
) -> None:
    day = max(0, came + ahead_of)
    # What came before there were partitions is in the one of day 0; how far ahead it was, the migration says.
    partition, until = (came, came) if came >= arrivals_from else (0, arrivals_from - 1)
    bounds = Bounds(max(0, came + later), arrivals_from, max(most, day - until))
    look = bounds.look_back({b"k" * 20: day if has_time else NO_TIME})
    assert look.window <= partition or look.since_day(look.late) <= partition < look.window
    assert look.holds(Found(b"k" * 20, 0, 1, partition))
    if not partition and arrivals_from:
        assert bounds.may_be_former(day if has_time else NO_TIME)


def test_keys_that_meet_in_their_short_form_are_two_events(
    store: UsageStore,
    clickhouse: ClickHouseServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = native.short_key
    monkeypatch.setattr(native, "short_key", lambda key: short(key) & 1)
    monkeypatch.setattr(log, "short_key", lambda key: short(key) & 1)
    monkeypatch.setattr(arrivals, "short_key", lambda key: short(key) & 1)
    clickhouse.query(
        f"ALTER TABLE {database}.arrived_event MODIFY COLUMN short UInt64 DEFAULT "
        "bitAnd(reinterpretAsUInt64(reverse(substring(key, 1, 8))), 1)"
    )
    names = [str(n) for n in range(20)]
    for name in names:
        assert statuses(store, envelope(id=name)) == ["stored"]
    assert statuses(store, *(envelope(id=name) for name in [*names, "a", "b"])) == [
        *["duplicate"] * 20,
        *["stored"] * 2,
    ]
    assert store.check(METERS) == []


def test_a_look_for_a_key_reads_a_few_rows_of_many(
    at: At, clickhouse: ClickHouseServer, database: str
) -> None:
    store = at(TODAY)
    assert isinstance(store, ClickHouseStore)
    filled = "toFixedString(unhex(hex(sipHash128(number)) || '00000000'), 20)"
    clickhouse.query(
        f"INSERT INTO {database}.arrived_event (came, key) SELECT {TODAY}, {filled} FROM numbers(100000)"  # noqa: S608 - names of our own
    )
    clickhouse.query(f"OPTIMIZE TABLE {database}.arrived_event FINAL")
    keys = clickhouse.query(f"SELECT hex({filled}) FROM numbers(7)").split()  # noqa: S608 - names of our own
    days = {bytes.fromhex(key): TODAY for key in keys}
    text = store._sessions._statements["look 0"].split("UNION ALL")[1]
    store._sessions._statements["plan"] = f"EXPLAIN ESTIMATE {text}"
    (row,) = store._sessions.rows("plan", **asked_with(days))
    assert len(keys) <= int(row[3]) <= 2 * 256 * len(keys)
    assert len(store._log.look(days).found) == len(keys)


def test_the_second_look_reads_only_what_is_new(at: At, clickhouse: ClickHouseServer, database: str) -> None:
    store = at(TODAY)
    assert isinstance(store, ClickHouseStore)
    sent(store)
    text = store._sessions._statements["look again 0"].split("UNION ALL")[2]
    store._sessions._statements["plan"] = f"EXPLAIN ESTIMATE {text}"
    days = {digest_of("acme", "/ci", name): TODAY for name in "12"}
    given = asked_with(days) | {"batch": uuid.UUID(int=0)}
    since = store._log._seen
    assert since > 0
    sent(store, name="2")
    (new,) = store._sessions.rows("plan", since=since, **given)
    (every,) = store._sessions.rows("plan", since=0, **given)
    assert (int(new[2]), int(every[2])) == (1, 2)  # parts


@pytest.mark.parametrize("moment", ["before", "looked", "inserted"])
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
        theirs = envelope(data={"bytes": 5, "user": "other"})
        between(monkeypatch, moment, lambda: others.extend(statuses(other, theirs)))
        (mine,) = store.ingest([event()], METERS)
        expected = ("stored", "duplicate") if moment == "inserted" else ("duplicate", "stored")
        assert (mine.status, *others) == expected
    assert totals(store)["remote_cache_hits"] == "1"
    assert store.check(METERS) == []


def test_a_large_batch_that_another_writer_stored_first_is_taken_away_whole(
    store: UsageStore, clickhouse: ClickHouseServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(number) for number in range(900)]
    with closing(open_store(clickhouse.dsn(database))) as other:
        theirs = events(*(envelope(id=name) for name in names))
        between(monkeypatch, "looked", lambda: other.ingest(theirs, METERS))
        mine = [outcome.status for outcome in store.ingest([*theirs, event(id="own")], METERS)]
    assert mine == ["duplicate"] * len(names) + ["stored"]
    left = clickhouse.query(f"SELECT count(), uniqExact(key) FROM {database}.arrived_event")  # noqa: S608 - names of our own
    assert left.split() == [str(len(names) + 1)] * 2
    assert totals(store)["remote_cache_hits"] == str(len(names) + 1)
    assert store.check(METERS) == []


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
