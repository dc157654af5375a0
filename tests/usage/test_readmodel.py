# SPDX-License-Identifier: Apache-2.0
"""Queries in, the JSON of DESIGN 9 out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.usage_samples import BYTES, HITS, NOW, unhurried
from watchword.usage import QueryProblem, UsageAnswer, UsageQuery, encode, parse_query, render

Params = list[tuple[str, str]]
NOVEMBER = (date(2026, 11, 1), date(2026, 12, 1))

REFUSED: list[tuple[Params, str, str]] = [
    ([("form", "2026-11-01")], "form", "unknown_parameter"),
    ([("From", "2026-11-01")], "From", "unknown_parameter"),
    ([("", "")], "", "unknown_parameter"),
    ([("from", "2026-11-01"), ("from", "2026-11-01")], "from", "repeated_parameter"),
    ([("from", "")], "from", "invalid_date"),
    ([("from", "november")], "from", "invalid_date"),
    ([("from", "2026-13-01")], "from", "invalid_date"),
    ([("from", "2026-02-29")], "from", "invalid_date"),
    ([("from", "20261101")], "from", "invalid_date"),
    ([("from", "2026-11-01 00:00:00Z")], "from", "invalid_date"),
    ([("from", "1969-12-31")], "from", "date_before_1970"),
    ([("from", "2026-11-01T00:00:00")], "from", "not_midnight"),
    ([("from", "2026-11-01T10:00:00Z")], "from", "not_midnight"),
    ([("from", "2026-11-01T00:00:00+02:00")], "from", "not_midnight"),
    ([("from", "2026-11-01"), ("to", "tomorrow")], "to", "invalid_date"),
    ([("to", "2026-11-01")], "to", "missing_parameter"),
    ([("from", "2026-11-02"), ("to", "2026-11-02")], "to", "empty_period"),
    ([("from", "2026-11-03"), ("to", "2026-11-02")], "to", "empty_period"),
    ([("from", "2027-01-01")], "from", "empty_period"),
    ([("from", "2025-01-01"), ("to", "2026-02-06")], "from", "period_too_long"),
    ([("window", "week")], "window", "invalid_window"),
    ([("window", "")], "window", "invalid_window"),
    ([("group_by", "region"), ("window", "day")], "group_by", "invalid_group"),
    ([("group_by", "meter")], "group_by", "missing_parameter"),
    ([("shape", "tree")], "shape", "invalid_shape"),
    ([("shape", "flat"), ("window", "day")], "shape", "shape_conflict"),
    ([("shape", "flat"), ("from", "2026-10-01"), ("to", "2026-11-01")], "shape", "shape_conflict"),
]


def ask(params: Params, account: str = "acme", now: float = NOW) -> UsageQuery:
    query = parse_query(account, params, now)
    assert isinstance(query, UsageQuery), query
    return query


@pytest.mark.parametrize(("params", "parameter", "code"), REFUSED)
def test_a_query_that_is_not_understood_is_refused_by_parameter(
    params: Params, parameter: str, code: str
) -> None:
    problem = parse_query("acme", params, NOW)
    assert isinstance(problem, QueryProblem), problem
    assert (problem.parameter, problem.code) == (parameter, code)
    assert problem.remedy


@pytest.mark.parametrize("account", ["", "a" * 254, "a\x00", "a\ud800", "a\n"])
def test_an_account_that_cannot_exist_is_refused(account: str) -> None:
    problem = parse_query(account, [], NOW)
    assert isinstance(problem, QueryProblem)
    assert (problem.parameter, problem.code) == ("account", "invalid_account")


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        (datetime(2026, 11, 1, tzinfo=UTC), "2026-11-01", "2026-12-01"),
        (datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC), "2026-11-01", "2026-12-01"),
        (datetime(2026, 12, 31, 12, tzinfo=UTC), "2026-12-01", "2027-01-01"),
        (datetime(2028, 2, 29, tzinfo=UTC), "2028-02-01", "2028-03-01"),
    ],
)
def test_the_period_is_the_current_utc_month_unless_said(now: datetime, start: str, end: str) -> None:
    query = ask([], now=now.timestamp())
    assert (query.start.isoformat(), query.end.isoformat()) == (start, end)


@pytest.mark.parametrize(
    ("params", "period"),
    [
        ([("from", "2026-11-03")], (date(2026, 11, 3), date(2026, 12, 1))),
        ([("from", "2026-10-31"), ("to", "2026-11-01")], (date(2026, 10, 31), date(2026, 11, 1))),
        ([("from", "2026-11-01T00:00:00Z"), ("to", "2026-12-01t00:00:00+00:00")], NOVEMBER),
        ([("from", "2025-01-01"), ("to", "2026-02-05")], (date(2025, 1, 1), date(2026, 2, 5))),
    ],
)
def test_a_period_is_half_open_days(params: Params, period: tuple[date, date]) -> None:
    query = ask(params)
    assert (query.start, query.end) == period


def test_months_of_a_series_are_cut_to_the_period() -> None:
    query = ask([("from", "2027-12-30"), ("to", "2028-03-02"), ("window", "month")])
    assert [(str(start), str(end)) for start, end in query.windows()] == [
        ("2027-12-30", "2028-01-01"),
        ("2028-01-01", "2028-02-01"),
        ("2028-02-01", "2028-03-01"),
        ("2028-03-01", "2028-03-02"),
    ]


def test_the_answer_is_the_one_that_was_promised() -> None:
    document = render(ask([]), UsageAnswer({HITS.name: Decimal(1234)}), [HITS])
    assert encode(document) == (
        b'{"account":"acme","period":{"start":"2026-11-01T00:00:00Z","end":"2026-12-01T00:00:00Z"},'
        b'"meters":{"remote_cache_hits":1234}}'
    )


@pytest.mark.parametrize("params", [[], [("from", "2026-11-01"), ("to", "2026-12-01")]])
def test_the_flat_answer_names_the_current_month(params: Params) -> None:
    document = render(ask([*params, ("shape", "flat")]), UsageAnswer({HITS.name: Decimal(1234)}), [HITS])
    assert encode(document) == b'{"current_month_remote_cache_hits":1234}'


def test_a_meter_without_events_is_zero_and_one_that_is_gone_is_left_out() -> None:
    document = render(ask([]), UsageAnswer({"gone": Decimal(1)}), [HITS])
    assert document["meters"] == {"remote_cache_hits": 0}


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0", b"0"),
        ("-3.00", b"-3"),
        ("1E+3", b"1000"),
        ("1.50", b"1.5"),
        ("0.1", b"0.1"),
        ("9" * 30 + ".25", b"9" * 30 + b".25"),
        ("9" * 40, b"9" * 40),
    ],
)
def test_numbers_are_written_exactly(amount: str, written: bytes) -> None:
    document = render(ask([]), UsageAnswer({HITS.name: Decimal(amount)}), [HITS])
    assert b'"remote_cache_hits":' + written + b"}" in encode(document)


def test_a_window_gives_a_series_beside_the_total() -> None:
    query = ask([("from", "2026-10-31"), ("to", "2026-11-02"), ("window", "day")])
    answer = UsageAnswer({HITS.name: Decimal(3)}, ({HITS.name: Decimal(1)}, {HITS.name: Decimal(2)}))
    document = render(query, answer, [HITS, BYTES])
    assert document["meters"] == {"remote_cache_hits": 3, "bytes": 0}
    assert document["windows"] == [
        {
            "start": "2026-10-31T00:00:00Z",
            "end": "2026-11-01T00:00:00Z",
            "meters": {"remote_cache_hits": 1, "bytes": 0},
        },
        {
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-11-02T00:00:00Z",
            "meters": {"remote_cache_hits": 2, "bytes": 0},
        },
    ]


def test_grouping_by_meter_gives_one_series_a_meter() -> None:
    query = ask([("from", "2026-10-31"), ("to", "2026-11-01"), ("window", "month"), ("group_by", "meter")])
    document = render(query, UsageAnswer({}, ({HITS.name: Decimal(1)},)), [HITS])
    span = {"start": "2026-10-31T00:00:00Z", "end": "2026-11-01T00:00:00Z"}
    assert document["series"] == {"remote_cache_hits": [{**span, "value": 1}]}
    assert "windows" not in document


@unhurried
@given(
    st.text(max_size=10),
    st.lists(
        st.tuples(st.sampled_from(["from", "to", "window", "group_by", "shape", "x"]), st.text(max_size=25))
    ),
)
def test_arbitrary_queries_are_read_or_refused(account: str, params: Params) -> None:
    assert isinstance(parse_query(account, params, NOW), (UsageQuery, QueryProblem))
