# SPDX-License-Identifier: Apache-2.0
"""What every usage store must pass about groups: exact, bounded, the same when counted again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec
import pytest

from testing.usage_samples import envelope, event, events
from watchword.usage import Dimension, Meter, UsageAnswer, UsageQuery, UsageStore
from watchword.usage.meters import plain

REGION = Dimension("region", "/region")
ARCH = Dimension("arch", "/arch")
BY_REGION = Meter("bytes", "cache.hit", "sum", "/bytes", (REGION,))
BY_BOTH = Meter("hits", "cache.hit", "count", None, (REGION, ARCH))
USERS = Meter("users", "cache.hit", "unique_count", "/user", (REGION,))
LARGEST = Meter("largest", "cache.hit", "max", "/bytes", (REGION,))
PLAIN = Meter("plain", "cache.hit", "count")
GROUPED = (BY_REGION, BY_BOTH, USERS, LARGEST, PLAIN)
NOVEMBER = (date(2026, 11, 1), date(2026, 12, 1))

DATA: Sequence[dict[str, object]] = (
    {"bytes": 1, "user": "a", "region": "eu", "arch": "arm64"},
    {"bytes": 2, "user": "a", "region": "us", "arch": "arm64"},
    {"bytes": 4, "user": "b", "region": "eu", "arch": "amd64"},
    {"bytes": 8, "user": "b", "arch": "amd64"},
)

HOSTILE = [
    "'; DROP TABLE event; --",
    "*",
    '["eu"]',
    "",
    "\\",
    "%",
    "{g:String}",
    "$1",
    "null",
    "é\u2028",
    "a\x00b",
]


# Names of meters and dimensions; `*` is no name of a group here, and control characters are refused.
HOSTILE_NAMES = [
    "'; DROP TABLE event; --",
    "') OR 1=1 --",
    "') UNION ALL SELECT * FROM meter --",
    "{x:String}",
    "$1 %s %(a)s ?",
    "\\'; SELECT 1",
    'a"b~/c',
    "émile\u2028",
]


def escaped(text: str) -> str:
    """A member's name as a step of a JSON pointer."""
    return text.replace("~", "~0").replace("/", "~1")


def split(answer: UsageAnswer | None, meter: str) -> dict[str, str]:
    assert answer is not None
    return {group: plain(amount) for group, amount in answer.groups.get(meter, {}).items()}


def ask(*group_by: str, account: str = "acme", window: str | None = None) -> UsageQuery:
    query = UsageQuery(account, *NOVEMBER, group_by=group_by)
    return msgspec.structs.replace(query, window=window)


def store_all(
    store: UsageStore, data: Sequence[dict[str, object]], meters: Sequence[Meter] = GROUPED
) -> None:
    batch = [
        envelope(id=str(i), time=f"2026-11-{i % 20 + 1:02}T00:00:00Z", data=d) for i, d in enumerate(data)
    ]
    assert {outcome.status for outcome in store.ingest(events(*batch), meters)} == {"stored"}


class GroupContract:
    def test_a_meter_is_split_by_a_dimension(self, store: UsageStore) -> None:
        store_all(store, DATA)
        answer = store.read(ask("region"))
        assert split(answer, "bytes") == {'["eu"]': "5", '["us"]': "2", "[null]": "8"}
        assert split(answer, "largest") == {'["eu"]': "4", '["us"]': "2", "[null]": "8"}
        assert split(answer, "hits") == {'["eu"]': "2", '["us"]': "1", "[null]": "1"}
        assert split(answer, "users") == {'["eu"]': "2", '["us"]': "1", "[null]": "1"}
        assert split(answer, "plain") == {}
        assert answer is not None
        assert dict(answer.totals) == {"bytes": 15, "largest": 8, "hits": 4, "users": 2, "plain": 4}

    def test_dimensions_come_in_the_order_that_was_asked(self, store: UsageStore) -> None:
        store_all(store, DATA)
        answer = store.read(ask("arch", "region"))
        assert split(answer, "hits") == {
            '["arm64","eu"]': "1",
            '["arm64","us"]': "1",
            '["amd64","eu"]': "1",
            '["amd64",null]': "1",
        }
        assert split(answer, "bytes") == {}
        assert split(store.read(ask("arch")), "hits") == {'["arm64"]': "2", '["amd64"]': "2"}

    @pytest.mark.parametrize("window", ["day", "month"])
    def test_windows_are_split_too(self, store: UsageStore, window: str) -> None:
        store_all(store, [*DATA, *DATA])
        answer = store.read(ask("region", window=window))
        assert answer is not None
        assert len(answer.windows) == len(answer.window_groups)
        eu = [groups.get("bytes", {}).get('["eu"]', Decimal(0)) for groups in answer.window_groups]
        assert sum(eu) == 10
        assert [amounts.get("users", 0) for amounts in answer.windows][:4] == (
            [2] if window == "month" else [1, 1, 1, 1]
        )
        for amounts, groups in zip(answer.windows, answer.window_groups, strict=True):
            assert sum(groups.get("bytes", {}).values()) == amounts.get("bytes", 0)

    def test_a_value_in_two_groups_of_a_day_is_one_value_of_the_day(self, store: UsageStore) -> None:
        both = [envelope(id=r, data={"bytes": 1, "user": "a", "region": r}) for r in ("eu", "us")]
        store.ingest(events(*both), GROUPED)
        for window in ("day", "month"):
            answer = store.read(ask("region", window=window))
            assert answer is not None
            assert max(amounts.get("users", Decimal(0)) for amounts in answer.windows) == 1
            assert max(sum(g.get("users", {}).values()) for g in answer.window_groups) == 2

    def test_equal_values_are_one_group_and_values_of_two_kinds_are_two(self, store: UsageStore) -> None:
        values: Sequence[object] = [1, 1.0, "1", True, "true", None, "null", ""]
        store_all(store, [{"bytes": 1, "user": "u", "region": value} for value in values])
        assert split(store.read(ask("region")), "bytes") == {
            "[1]": "2", '["1"]': "1", "[true]": "1", '["true"]': "1",
            "[null]": "1", '["null"]': "1", '[""]': "1",
        }  # fmt: skip

    def test_a_hostile_value_is_only_a_group(self, store: UsageStore) -> None:
        store_all(store, [{"bytes": 1, "user": text, "region": text} for text in HOSTILE])
        for text in HOSTILE:
            assert split(store.read(ask("region")), "bytes")[msgspec.json.encode([text]).decode()] == "1"
        assert store.check(GROUPED) == []

    def test_a_hostile_definition_is_only_text(self, store: UsageStore) -> None:
        meters = [
            Meter(text, text, "sum", "/n", (Dimension(text, "/" + escaped(text)),), unit=text[:32])
            for text in HOSTILE_NAMES
        ]
        store.use_meters(meters)
        batch = [envelope(id=text, type=text, data={"n": 2, text: text}) for text in HOSTILE_NAMES]
        assert {o.status for o in store.ingest(events(*batch), meters)} == {"stored"}
        for text in HOSTILE_NAMES:
            answer = store.read(ask(text))
            assert split(answer, text) == {msgspec.json.encode([text]).decode(): "2"}
        assert sorted(state.meter.name for state in store.meters()) == sorted(HOSTILE_NAMES)
        assert store.check(meters) == []

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            ([], "group_not_single"),
            ({}, "group_not_single"),
            (1e300, "group_not_single"),
            ("x" * 600, "group_too_long"),
        ],
    )
    def test_what_cannot_be_a_group_is_refused(self, store: UsageStore, value: object, code: str) -> None:
        (outcome,) = store.ingest([event(data={"bytes": 1, "user": "u", "region": value})], (BY_REGION,))
        assert outcome.problem is not None
        assert (outcome.status, outcome.problem.code, outcome.problem.field) == (
            "refused",
            code,
            "data/region",
        )

    def test_groups_beyond_the_bound_count_in_the_overflow_group(self, store: UsageStore) -> None:
        meter = msgspec.structs.replace(BY_REGION, max_groups=3)
        store_all(store, [{"bytes": 1, "region": f"r{i % 7}"} for i in range(28)], [meter])
        found = split(store.read(ask("region")), "bytes")
        assert found == {'["r0"]': "4", '["r1"]': "4", '["r2"]': "4", "*": "16"}
        assert store.check([meter]) == []
        again = [envelope(id=f"x{i}", data={"bytes": 1, "region": f"r{i}"}) for i in range(7)]
        store.ingest(events(*again), [meter])
        found = split(store.read(ask("region")), "bytes")
        assert found == {'["r0"]': "5", '["r1"]': "5", '["r2"]': "5", "*": "20"}
        store.rebuild([meter])
        found = split(store.read(ask("region")), "bytes")
        assert (len(found), sum(map(int, found.values())), store.check([meter])) == (4, 35, [])

    def test_the_groups_that_came_first_stay_when_everything_is_counted_again(
        self, store: UsageStore
    ) -> None:
        meter = msgspec.structs.replace(BY_REGION, max_groups=3)
        # In one batch, and in an order that is not that of their names.
        store_all(store, [{"bytes": i, "region": f"r{i}"} for i in range(20, 0, -1)], [meter])
        late = [envelope(id=f"l{i}", data={"bytes": 1, "region": f"l{i}"}) for i in range(5)]
        store.ingest(events(*late), [meter])
        first = {'["r20"]': "20", '["r19"]': "19", '["r18"]': "18", "*": str(sum(range(18)) + 5)}
        assert split(store.read(ask("region")), "bytes") == first
        for _ in range(2):
            store.rebuild([meter])
            assert split(store.read(ask("region")), "bytes") == first
            assert store.check([meter]) == []
        # With more room, others come in; no one who was in goes.
        wider = msgspec.structs.replace(meter, max_groups=5)
        assert store.use_meters([wider]).recomputed == ("bytes",)
        found = split(store.read(ask("region")), "bytes")
        assert first.items() - {("*", first["*"])} <= found.items()
        assert (len(found), sum(map(int, found.values()))) == (6, sum(range(21)) + 5)
        assert store.check([wider]) == []
        # Counted by another value, they are the same groups.
        counted = Meter("bytes", "cache.hit", "count", None, (REGION,), max_groups=5)
        store.use_meters([counted])
        again = split(store.read(ask("region")), "bytes")
        assert again.keys() == found.keys()
        assert store.check([counted]) == []

    def test_each_month_and_account_has_room_of_its_own(self, store: UsageStore) -> None:
        meter = msgspec.structs.replace(BY_REGION, max_groups=1)
        for place, (account, month) in enumerate([("acme", 11), ("acme", 10), ("umbrella", 11)]):
            first = envelope(id=f"a{place}", subject=account, time=f"2026-{month}-03T00:00:00Z")
            both = [dict(first, id=f"{place}{r}", data={"bytes": 1, "region": f"{place}{r}"}) for r in "ab"]
            store.ingest(events(*both), [meter])
            start, end = date(2026, month, 1), date(2026, month + 1, 1)
            query = UsageQuery(account, start, end, group_by=("region",))
            assert split(store.read(query), "bytes") == {f'["{place}a"]': "1", "*": "1"}

    def test_a_meter_that_is_split_later_is_counted_anew(self, store: UsageStore) -> None:
        whole = Meter("bytes", "cache.hit", "sum", "/bytes")
        store_all(store, DATA, [whole])
        assert store.use_meters([BY_REGION]).recomputed == ("bytes",)
        assert split(store.read(ask("region")), "bytes") == {'["eu"]': "5", '["us"]': "2", "[null]": "8"}
        assert store.check([BY_REGION]) == []

    def test_a_unit_and_a_time_to_keep_are_no_change(self, store: UsageStore) -> None:
        store_all(store, DATA, [BY_REGION])
        shown = msgspec.structs.replace(BY_REGION, unit="bytes", retention_days=40)
        assert store.use_meters([shown]).recomputed == ()
