# SPDX-License-Identifier: Apache-2.0
"""What stores that keep events by the day of arrival must pass alike.

`at` gives the store as it is on a day by its server's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import msgspec

from testing.usage_samples import METERS, envelope, events
from watchword.usage import UsageStore
from watchword.usage.deduplication import WINDOW_DAYS
from watchword.usage.times import MICROSECONDS_PER_DAY, day_number

TODAY = day_number(date(2026, 11, 3))
At = Callable[[int], UsageStore]


def sent(store: UsageStore, *, day: int | None = TODAY, name: str = "1") -> tuple[str, tuple[str, ...]]:
    (event,) = events(envelope(id=name, **({"time": ...} if day is None else {})))
    if day is not None:
        # Past the parser, which has a clock of its own.
        event = msgspec.structs.replace(event, time=day * MICROSECONDS_PER_DAY + 36_000_000_000)
    (outcome,) = store.ingest([event], METERS)
    return outcome.status, outcome.differs


def live_with_odd_clocks(at: At) -> None:
    """Send events and replays to stores whose servers' clocks were put back, or are far ahead."""
    assert sent(at(TODAY)) == ("stored", ())
    assert sent(at(TODAY - 20)) == ("duplicate", ())
    assert sent(at(TODAY + 5000), name="2") == ("stored", ())
    for day in (TODAY, TODAY + 1, TODAY + 5000):
        assert sent(at(day)) == ("duplicate", ())
        assert sent(at(day), name="2") == ("duplicate", ())
        assert sent(at(day), name=f"new-{day}", day=day) == ("stored", ())
        assert sent(at(day), name=f"new-{day}", day=day) == ("duplicate", ())


class ArrivalContract:
    def test_a_replay_is_known_for_as_long_as_its_event_is_kept(self, at: At) -> None:
        assert sent(at(TODAY)) == ("stored", ())
        for later in (0, 1, WINDOW_DAYS, WINDOW_DAYS + 1, 40, 400):
            assert sent(at(TODAY + later)) == ("duplicate", ())
            assert sent(at(TODAY + later), day=None) == ("duplicate", ())
        assert at(TODAY + 400).check(METERS) == []

    def test_a_late_event_is_known_though_its_day_is_long_before_it_came(self, at: At) -> None:
        assert sent(at(TODAY), day=TODAY - 90) == ("stored", ())
        for later in (0, 1, WINDOW_DAYS + 1, 200):
            assert sent(at(TODAY + later), day=TODAY - 90) == ("duplicate", ())

    def test_an_early_event_is_known_after_the_window(self, at: At) -> None:
        assert sent(at(TODAY), day=TODAY + 100) == ("stored", ())
        for later in (1, WINDOW_DAYS + 1, 90, 150):
            assert sent(at(TODAY + later), day=TODAY + 100) == ("duplicate", ())
