# SPDX-License-Identifier: Apache-2.0
"""Random lives of a store beside the oracle: batches, replays, other meters, crashes of memory, questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from testing.usage_samples import envelope, events
from tests.usage.oracle import Oracle
from watchword.usage import Dimension, Meter, UsageQuery, open_store

BY_USER = Dimension("u", "/u")
METERS = [
    Meter("hits", "hit", "count"),
    Meter("hits", "miss", "count"),
    Meter("bytes", "hit", "sum", "/n"),
    Meter("largest", "hit", "max", "/n"),
    Meter("largest", "miss", "max", "/n"),
    Meter("users", "hit", "unique_count", "/u"),
    Meter("users", "hit", "unique_count", "/n"),
    Meter("bytes", "hit", "sum", "/n", (BY_USER,)),
    Meter("hits", "miss", "count", None, (BY_USER,)),
    Meter("users", "hit", "unique_count", "/n", (BY_USER,)),
]
ACCOUNTS = ["acme", "acme ", "ACME", "acm_", "a'b"]
# Ends of months and years, a leap day, and both sides of midnight.
MOMENTS = [
    datetime(2024, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2024, 3, 1, tzinfo=UTC),
    datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2025, 1, 1, tzinfo=UTC),
]
DECIMALS = st.decimals(-1000, 1000, places=3, allow_nan=False) | st.sampled_from(
    [Decimal("0.1"), Decimal("1e17")]
)


@st.composite
def batches(draw: st.DrawFn) -> list[dict[str, object]]:
    return [
        envelope(
            id=draw(st.sampled_from(["1", "2", "b-1", "b-2"])),
            source=draw(st.sampled_from(["/a", "/a-b", "/c"])),
            type=draw(st.sampled_from(["hit", "hit", "miss", "other"])),
            subject=draw(st.sampled_from(ACCOUNTS)),
            time=draw(st.sampled_from(MOMENTS)).isoformat(),
            data={
                "n": draw(DECIMALS | st.just("no number")),
                "u": draw(st.sampled_from(["x", "y", "1", 1]) | st.none()),
            },
        )
        for _ in range(draw(st.integers(1, 5)))
    ]


def distinct_names(meters: Sequence[Meter]) -> list[Meter]:
    return list({meter.name: meter for meter in meters}.values())


meter_lists = st.lists(st.sampled_from(METERS)).map(distinct_names)


def machine(fresh_dsn: Callable[[], str]) -> type[RuleBasedStateMachine]:
    """A machine whose every run has a store of its own."""

    class StoreMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.dsn = fresh_dsn()
            self.store = open_store(self.dsn)
            self.oracle = Oracle()
            self.meters: list[Meter] = distinct_names(METERS)
            self.store.use_meters(self.meters)

        @rule(batch=batches())
        def ingest(self, batch: list[dict[str, object]]) -> None:
            arrived = events(*batch)
            outcomes = self.store.ingest(arrived, self.meters)
            assert [o.status for o in outcomes] == self.oracle.ingest(arrived, self.meters)
            assert [o.index for o in outcomes] == list(range(len(arrived)))

        @rule(meters=meter_lists)
        def change_meters(self, meters: list[Meter]) -> None:
            self.meters = meters
            self.store.use_meters(meters)

        @rule()
        def rebuild(self) -> None:
            self.store.rebuild(self.meters)

        @rule()
        def reopen(self) -> None:
            self.store.close()
            self.store = open_store(self.dsn)

        @rule(
            account=st.sampled_from([*ACCOUNTS, "nobody"]),
            start=st.dates(date(2024, 2, 1), date(2025, 1, 2)),
            days=st.integers(1, 400),
            window=st.sampled_from([None, "month", "day"]),
        )
        def read(self, account: str, start: date, days: int, window: str | None) -> None:
            query = UsageQuery(
                account,
                start,
                start + timedelta(days=days),
                window,  # type: ignore[arg-type]  # of the three
                group_by=("u",),
            )
            answer = self.store.read(query)
            expected = self.oracle.answer(query, self.meters)
            if answer is None:
                assert expected[0] is None
                return
            names = [meter.name for meter in self.meters]
            found = [
                {name: Fraction(amounts.get(name, Decimal(0))) for name in names}
                for amounts in (answer.totals, *answer.windows)
            ]
            assert found == expected
            spans = [(query.start, query.end), *query.windows()]
            for meter in self.meters:
                if meter.group_by:
                    for span, split in zip(spans, (answer.groups, *answer.window_groups), strict=True):
                        amounts = {group: Fraction(n) for group, n in split.get(meter.name, {}).items()}
                        assert amounts == self.oracle.split(account, *span, meter, "u")

        @invariant()
        def rollups_equal_events(self) -> None:
            assert self.store.check(self.meters) == []

        def teardown(self) -> None:
            self.store.close()

    return StoreMachine
