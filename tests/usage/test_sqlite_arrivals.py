# SPDX-License-Identifier: Apache-2.0
"""SQLite's keys by the day of arrival: what is looked at and remembered, and what is known for how long."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.usage_samples import HITS, METERS, envelope, events, unhurried
from tests.usage.contract import FreshDsn, UsageStoreContract, totals
from tests.usage.contract_arrivals import TODAY, ArrivalContract, At, live_with_odd_clocks, sent
from tests.usage.contract_replays import ReplayContract
from watchword.usage import Event, Expired, SQLiteStore
from watchword.usage.deduplication import WINDOW_DAYS, digest_of, digests_of_keys, most_ahead
from watchword.usage.sqlite import arrivals as arrivals_module
from watchword.usage.sqlite import remembered
from watchword.usage.sqlite.arrivals import PARTS_A_DAY, Arrivals
from watchword.usage.times import MICROSECONDS_PER_DAY, day_of_number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture(
    params=[
        "each day a new process",
        "one process that remembers",
        "two that take turns",
        "one, and each event has a part",
        "two, and two events have a part",
    ]
)
def at(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """The store as it is on a day by the machine's clock."""
    if request.param == "each day a new process":
        with _stores(path) as on:
            yield on
        return
    # The keys of the window are read after the first batch of each day, and asked from the second on.
    monkeypatch.setattr(remembered, "ASKED_BEFORE", 1)
    now = TODAY
    many = 1 if request.param.startswith("one") else 2
    if request.param.endswith("a part"):
        monkeypatch.setattr(arrivals_module, "EVENTS_A_PART", many)
    stores = [SQLiteStore(str(path), clock=lambda: now * 86_400.0 + 7) for _ in range(many)]

    def on_day(day: int) -> SQLiteStore:
        nonlocal now
        now = day
        stores.append(stores.pop(0))
        return stores[0]

    yield on_day
    for store in stores:
        store.close()


class _stores:  # noqa: N801 - used as a function
    def __init__(self, path: Path) -> None:
        self._path, self._stores = path, list[SQLiteStore]()

    def __enter__(self) -> At:
        return self._on

    def _on(self, day: int) -> SQLiteStore:
        self._stores.append(SQLiteStore(str(self._path), clock=lambda: day * 86_400.0 + 7))
        return self._stores[-1]

    def __exit__(self, *_: object) -> None:
        for store in self._stores:
            store.close()


class TestArrivals(ArrivalContract):
    pass


class TestSmallParts(UsageStoreContract, ReplayContract):
    """The contract where every few events begin another part, and those before are remembered."""

    @pytest.fixture
    def fresh_dsn(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FreshDsn:
        monkeypatch.setattr(remembered, "ASKED_BEFORE", 1)
        monkeypatch.setattr(arrivals_module, "EVENTS_A_PART", 3)
        numbers = itertools.count()
        return lambda: f"sqlite:///{tmp_path}/usage-{next(numbers)}.db"


def test_an_id_with_another_time_is_known_within_the_window(at: At) -> None:
    assert sent(at(TODAY)) == ("stored", ())
    for later in (0, 1, 1, 1, WINDOW_DAYS, WINDOW_DAYS, WINDOW_DAYS):
        assert sent(at(TODAY + later), day=TODAY + later + 1) == ("duplicate", ("time",))
        assert sent(at(TODAY + later), name=f"new-{later}", day=TODAY + later)[0] in ("stored", "duplicate")
    assert totals(at(TODAY + WINDOW_DAYS))["remote_cache_hits"] == "4"


def test_an_id_with_another_time_after_the_window_is_another_event_everywhere(at: At) -> None:
    later = TODAY + WINDOW_DAYS + 1
    assert sent(at(TODAY)) == ("stored", ())
    assert sent(at(later), name="other", day=later) == ("stored", ())
    store = at(later)
    assert sent(store, day=later) == ("stored", ())
    # From now on there are two, and a replay of either is a replay of that one.
    for again in (store, at(later)):
        assert sent(again) == ("duplicate", ())
        assert sent(again, day=later) == ("duplicate", ())
    assert totals(store)["remote_cache_hits"] == "3"
    # As events may come early now, a look for the second one finds the first one too.
    assert sent(at(later), name="early", day=later + 50) == ("stored", ())
    for each in (TODAY, later):
        assert sent(at(later), day=each) == ("duplicate", ())
    assert store.check(METERS) == []
    store.rebuild(METERS)
    assert totals(store)["remote_cache_hits"] == "4"
    found, cursor = [], ""
    while not found or cursor:
        page, cursor = store.events_after(cursor, 1)
        found += [event.day for event in page]
    assert found == [TODAY, later, later, later + 50]


def test_a_clock_that_is_put_back_or_far_ahead_lets_no_replay_in(at: At, path: Path) -> None:
    live_with_odd_clocks(at)
    with closing(sqlite3.connect(path)) as asked:
        days = asked.execute("SELECT DISTINCT part / 32 FROM arrived_event ORDER BY 1").fetchall()
    assert days == [(TODAY,), (TODAY + 5000,)]
    assert at(TODAY).check(METERS) == []


def test_a_day_on_which_nothing_new_came_is_closed_all_the_same(path: Path) -> None:
    """A process whose clock is behind must not store on a day that another one has read as over."""
    with _stores(path) as at:
        assert sent(at(TODAY)) == ("stored", ())
        assert sent(at(TODAY + 1)) == ("duplicate", ())
        assert sent(at(TODAY), name="2") == ("stored", ())
    with closing(sqlite3.connect(path)) as asked:
        days = asked.execute("SELECT part / 32 FROM arrived_event WHERE id = '2'").fetchall()
    assert days == [(TODAY + 1,)]


def test_keys_that_are_remembered_by_chance_are_asked_for(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchword.usage.closed_keys.ClosedKeys.may_have", lambda _, __, places: places)
    assert sent(at(TODAY)) == ("stored", ())
    for number in range(5):
        assert sent(at(TODAY + 1), day=TODAY + 1, name=f"new-{number}") == ("stored", ())
        assert sent(at(TODAY + 1), day=TODAY + 1) == ("duplicate", ("time",))


def test_more_keys_than_are_remembered_are_all_asked_for(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchword.usage.closed_keys.MAX_KEYS", 2)
    for number in range(6):
        assert sent(at(TODAY + number // 3), name=str(number)) == ("stored", ())
    for _ in range(3):
        for number in range(6):
            assert sent(at(TODAY + 2), day=TODAY + 2, name=str(number)) == ("duplicate", ("time",))


def test_events_past_their_time_go_whenever_they_came(at: At) -> None:
    for day in range(TODAY, TODAY + 4):
        assert sent(at(day), day=day, name=f"on-{day}") == ("stored", ())
        assert sent(at(day), day=TODAY, name=f"late-{day}") == ("stored", ())
    before = totals(at(TODAY + 4))
    assert at(TODAY + 4).expire(day_of_number(TODAY + 2), {}) == Expired(2 + 4, 0)
    assert sent(at(TODAY + 4), day=TODAY + 3, name=f"on-{TODAY + 3}") == ("duplicate", ())
    assert sent(at(TODAY + 4), day=TODAY, name=f"late-{TODAY}")[0] == "refused"
    assert totals(at(TODAY + 4)) == before
    assert at(TODAY + 4).check(METERS) == []


def test_an_event_that_could_not_be_stored_and_its_twin_that_could_are_told_apart(at: At) -> None:
    bad, good = events(envelope(data={"bytes": "none"}), envelope())
    good = msgspec.structs.replace(good, index=1)
    assert [o.status for o in at(TODAY).ingest([bad, good], METERS)] == ["refused", "stored"]
    assert [o.status for o in at(TODAY).ingest([bad, good], METERS)] == ["duplicate", "duplicate"]


def test_a_key_is_the_digest_of_its_parts() -> None:
    some = events(*(envelope(id=f"e{n}", source=f"/ci{n % 2}", subject=f"a{n % 3}") for n in range(12)))
    assert digests_of_keys(some) == [digest_of(each.account, each.source, each.id) for each in some]


@unhurried
@given(
    first_day=st.integers(0, 60),
    came=st.integers(0, 60),
    ahead_of=st.integers(-50, 20),
    most=st.integers(0, 20),
    later=st.integers(0, 60),
    has_time=st.booleans(),
)
def test_the_day_of_a_first_arrival_is_always_looked_at(  # noqa: PLR0917 - what hypothesis gives
    first_day: int, came: int, ahead_of: int, most: int, later: int, has_time: bool
) -> None:
    event = Event(0, "1", "/ci", HITS.event_type, "acme", (came + ahead_of) * MICROSECONDS_PER_DAY)
    # What a store remembers after it took the event; of what came before, the migration says it.
    ahead = most_ahead([event], came if came >= first_day else first_day - 1, most)
    again = event if has_time else Event(0, "1", "/ci", HITS.event_type, "acme", 0, False)
    arrivals = Arrivals(max(came + later, first_day) * PARTS_A_DAY, 0, 0, first_day, ahead)
    ((look_back, _),) = arrivals.look_back([again]).items()
    assert look_back <= came if came >= first_day else look_back < first_day
