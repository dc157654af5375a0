# SPDX-License-Identifier: Apache-2.0
"""What every usage store must pass about time: what is kept how long, what outlives it, paging."""

from __future__ import annotations

import time
from datetime import date

from testing.usage_samples import BYTES, HITS, METERS, USERS, envelope, events
from watchword.usage import Expired, Meter, UsageQuery, UsageStore

DAYS = ["2026-09-30", "2026-10-31", "2026-11-01", "2026-11-20"]
MISSES = Meter("misses", "cache.miss", "count")
AUTUMN = (date(2026, 9, 1), date(2026, 12, 1))
NOVEMBER = date(2026, 11, 1)


def fill(store: UsageStore) -> None:
    batch = [
        envelope(
            id=day, time=f"{day}T10:00:00Z", type=kind, source=f"/{kind}", data={"bytes": 1, "user": day}
        )
        for day in DAYS
        for kind in ("cache.hit", "cache.miss")
    ]
    assert {o.status for o in store.ingest(events(*batch), METERS)} == {"stored"}


def months(store: UsageStore, meter: str, account: str = "acme") -> list[int]:
    answer = store.read(UsageQuery(account, *AUTUMN, "month"))
    assert answer is not None
    return [int(amounts.get(meter, 0)) for amounts in answer.windows]


class KeepingContract:
    def test_amounts_outlive_their_events(self, store: UsageStore) -> None:
        fill(store)
        assert store.expire(NOVEMBER, {}) == Expired(4, 0)
        assert months(store, HITS.name) == [1, 1, 2]
        assert months(store, USERS.name) == [1, 1, 2]
        assert store.check(METERS) == []
        assert store.expire(NOVEMBER, {}) == Expired()

    def test_a_replay_of_an_event_that_is_no_longer_kept_is_refused_and_not_counted(
        self, store: UsageStore
    ) -> None:
        fill(store)
        store.expire(NOVEMBER, {})
        old, kept = (
            envelope(id=day, time=f"{day}T10:00:00Z", source="/cache.hit", data={"bytes": 1, "user": day})
            for day in DAYS[1:3]
        )
        outcomes = store.ingest(events(old, kept), METERS)
        assert [outcome.status for outcome in outcomes] == ["refused", "duplicate"]
        assert outcomes[0].problem is not None
        assert (outcomes[0].problem.code, outcomes[0].problem.field) == ("event_too_late", "time")
        assert "2026-11-01" in outcomes[0].problem.remedy
        assert months(store, HITS.name) == [1, 1, 2]

    def test_a_later_meter_says_from_when_it_is_whole(self, store: UsageStore) -> None:
        before = int(time.time() * 1_000_000)
        fill(store)
        store.expire(NOVEMBER, {})
        assert store.use_meters([HITS, MISSES]).recomputed == ("misses",)
        assert (months(store, "misses"), months(store, HITS.name)) == ([0, 0, 2], [1, 1, 2])
        answer = store.read(UsageQuery("acme", *AUTUMN))
        assert answer is not None
        assert dict(answer.first_days) == {"misses": (NOVEMBER - date(1970, 1, 1)).days}
        states = {state.meter.name: state for state in store.meters()}
        assert states[HITS.name].first_day == 0
        assert before <= states[HITS.name].since <= states["misses"].since <= int(time.time() * 1_000_000)
        assert store.check([HITS, MISSES]) == []

    def test_a_rebuild_leaves_the_days_that_only_amounts_know(self, store: UsageStore) -> None:
        fill(store)
        store.expire(date(2026, 11, 10), {})
        assert store.rebuild(METERS).events == 1
        for meter in (HITS, BYTES, USERS):
            assert months(store, meter.name) == [1, 1, 2]
        assert store.check(METERS) == []

    def test_a_meter_has_a_time_of_its_own(self, store: UsageStore) -> None:
        fill(store)
        expired = store.expire(None, {BYTES.name: NOVEMBER, USERS.name: date(2026, 10, 1)})
        assert expired == Expired(0, 3)
        assert months(store, HITS.name) == [1, 1, 2]
        assert months(store, BYTES.name) == [0, 0, 2]
        assert months(store, USERS.name) == [0, 1, 2]
        assert store.check(METERS) == []
        answer = store.read(UsageQuery("acme", *AUTUMN))
        assert answer is not None
        assert set(answer.first_days) == {BYTES.name, USERS.name}

    def test_a_date_that_goes_back_brings_nothing_back_and_lets_nothing_in(self, store: UsageStore) -> None:
        fill(store)
        store.expire(NOVEMBER, {BYTES.name: NOVEMBER})
        assert store.expire(date(2026, 1, 1), {BYTES.name: date(2026, 1, 1)}) == Expired()
        late = envelope(id="late", time="2026-10-02T00:00:00Z")
        assert [o.status for o in store.ingest(events(late), METERS)] == ["refused"]
        assert store.check(METERS) == []

    def test_an_account_without_events_is_known_by_its_amounts(self, store: UsageStore) -> None:
        fill(store)
        store.expire(date(2026, 12, 1), {})
        store.rebuild(METERS)
        assert months(store, HITS.name) == [1, 1, 2]
        assert store.check(METERS) == []

    def test_several_accounts_are_read_at_once(self, store: UsageStore) -> None:
        names = ["acme", "umbrella", "émile", "*", "a'b"]
        batch = [envelope(id=f"{n}{i}", subject=n) for i, n in enumerate(names) for _ in range(2)]
        store.ingest(events(*batch), METERS)
        found = store.read_many(UsageQuery("", *AUTUMN), [*names, "nobody"])
        assert {name: answer.totals[HITS.name] for name, answer in found.items()} == dict.fromkeys(names, 1)
        assert store.read_many(UsageQuery("", *AUTUMN), []) == {}

    def test_accounts_are_paged_by_the_bytes_of_their_names(self, store: UsageStore) -> None:
        names = ["acme", "Acme", "acme ", "émile", "z", "\U0001f600", "\uffee"]
        store.ingest(events(*(envelope(id=n, subject=n) for n in names)), METERS)
        found: list[str] = []
        while page := store.accounts_after(found[-1] if found else "", 2):
            assert len(page) <= 2
            found += page
        assert found == sorted(names, key=lambda name: name.encode())

    def test_every_event_is_paged_once_and_as_it_was(self, store: UsageStore) -> None:
        batch = [
            envelope(id=str(i), source=f"/{i % 3}", data={"bytes": 0.1, "user": "é"}, trace="t")
            for i in range(10)
        ] + [
            envelope(id="b", data=..., data_base64="AA==", type="other"),
            envelope(id="n", data=..., type="other"),
        ]
        arrived = events(*batch)
        store.ingest(arrived, METERS)
        cursor, found, pages = "", [], 0
        while pages == 0 or cursor:
            page, cursor = store.events_after(cursor, 3)
            found, pages = found + page, pages + 1
            assert len(page) <= 3
        kept = {
            (e.source, e.id): (e.type, e.account, e.time, e.data_text, e.data_base64, e.extensions)
            for e in found
        }
        sent = {
            (e.source, e.id): (e.type, e.account, e.time, e.data_text, e.data_base64, e.extensions)
            for e in arrived
        }
        assert kept == sent
        assert len(found) == len(sent)
