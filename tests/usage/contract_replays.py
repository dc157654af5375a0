# SPDX-License-Identifier: Apache-2.0
"""What every usage store must pass about an id that comes again: with another time, late, early, or with
none.
"""

from __future__ import annotations

import pytest

from testing.usage_samples import HITS, METERS, envelope, events
from watchword.usage import UsageStore

DAYS = ["1970-01-01", "2001-09-09", "2026-10-01", "2026-11-02", "2026-11-03", "2026-11-04", "2026-11-24"]


def outcome_of(store: UsageStore, **changes: object) -> tuple[str, tuple[str, ...]]:
    (outcome,) = store.ingest(events(envelope(**changes)), METERS)
    return outcome.status, outcome.differs


class ReplayContract:
    @pytest.mark.parametrize("first", DAYS)
    def test_an_id_that_comes_again_with_another_day_counts_once(self, store: UsageStore, first: str) -> None:
        assert outcome_of(store, time=f"{first}T10:00:00Z") == ("stored", ())
        for day in DAYS:
            differs = () if day == first else ("time",)
            assert outcome_of(store, time=f"{day}T10:00:00Z") == ("duplicate", differs)
        assert outcome_of(store, time=...) == ("duplicate", ())
        assert store.check(METERS) == []

    def test_two_days_of_one_id_in_one_batch_count_once(self, store: UsageStore) -> None:
        batch = [envelope(time=f"{day}T10:00:00Z") for day in DAYS]
        found = [outcome.status for outcome in store.ingest(events(*batch), METERS)]
        assert found == ["stored"] + ["duplicate"] * (len(DAYS) - 1)
        assert store.check(METERS) == []

    def test_late_and_new_events_in_one_batch_are_each_told_apart(self, store: UsageStore) -> None:
        batch = [envelope(id=f"{day}-{n}", time=f"{day}T10:00:00Z") for day in DAYS for n in range(3)]
        for place in range(0, len(batch), 4):
            assert {o.status for o in store.ingest(events(*batch[place : place + 4]), METERS)} == {"stored"}
        fresh = [envelope(id=f"{day}-new", time=f"{day}T10:00:00Z") for day in DAYS]
        mixed = [each for pair in zip(batch, fresh * 3, strict=True) for each in pair]
        found = [outcome.status for outcome in store.ingest(events(*mixed), METERS)]
        assert found == ["duplicate", "stored"] * len(DAYS) + ["duplicate", "duplicate"] * 2 * len(DAYS)
        assert store.check([*METERS]) == []

    def test_an_event_of_a_day_to_come_is_known_when_it_comes_again(self, store: UsageStore) -> None:
        (early,) = events(envelope())
        ahead = type(early)(0, "early", "/ci", HITS.event_type, "acme", 95_000_000 * 86_400_000_000 // 1000)
        assert [o.status for o in store.ingest([ahead, ahead], [HITS])] == ["stored", "duplicate"]
        assert [o.status for o in store.ingest([ahead], [HITS])] == ["duplicate"]
        assert store.check([HITS]) == []
