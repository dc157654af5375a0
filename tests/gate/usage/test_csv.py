# SPDX-License-Identifier: Apache-2.0
"""The read model as CSV: for a caller that asks for it by name, page by page, with the numbers of JSON."""

import csv
from typing import Any
from urllib.parse import quote

import pytest

from testing.tokens import token
from tests.gate.running import RunningGate
from tests.gate.usage.test_accounts import MANY, METER_LIST, adopt, fill
from tests.gate.usage.test_api import READ, event, post
from watchword.gate.usage.negotiation import wants_csv

CSV = [("accept", "text/csv")]


def table(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    return list(csv.DictReader(answer.text.splitlines(keepends=True)))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/csv", True),
        ("TEXT/CSV;q=0.5", True),
        ("text/csv, */*", True),
        ("text/csv, application/json;q=0.9", True),
        ("text/csv;q=0.5, application/json;q=0.4, */*;q=0.9", True),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("text/csv, application/json", False),
        ("text/csv;q=0.5, */*", False),
        ("text/csv;q=0", False),
        ("text/csv;q=2", False),
        ("text/csv;q=many", False),
        ("text/csvx", False),
        ("application/json, text/csv;q=0.5", False),
    ],
)
def test_csv_is_for_a_caller_that_names_it_and_likes_it_better(accept: str, expected: bool) -> None:
    assert wants_csv([(b"Accept", accept.encode())] if accept else []) is expected


def test_pages_of_csv_lead_to_each_other_and_have_what_json_has(gate: RunningGate) -> None:
    adopt(gate, ["*"], lateDays=7)
    names = [f"a{n}" for n in range(5)] + ["=1+1"]
    fill(gate, *names)
    found: list[dict[str, str]] = []
    path = f"{MANY}?limit=2"
    while path:
        page = gate.call(path, token(), CSV)
        found += table(page)
        assert page.headers["x-watchword-accounts"] == "all"
        path = page.links["next"]["url"] if "next" in page.links else ""
    assert [(row["account"], row["meter"], row["unit"], row["amount"]) for row in found] == [
        (name, meter, unit, amount)
        for name in ["'=1+1", *sorted(names)[1:]]
        for meter, unit, amount in (("bytes", "bytes", "5"), ("hits", "", "1"))
    ]
    assert {(row["start"], row["end"], row["state"]) for row in found} == {
        ("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z", "open")
    }


def test_a_page_says_whether_it_has_all_accounts(gate: RunningGate) -> None:
    adopt(gate, ["*"])
    fill(gate, "acme", "other")
    assert gate.call(MANY, token()).headers["x-watchword-accounts"] == "all"
    assert "x-watchword-accounts" not in gate.call(f"{MANY}?account=acme", token()).headers
    adopt(gate, ["acme"], generation=3)
    page = gate.call(MANY, token(), CSV)
    assert page.headers["x-watchword-accounts"] == "granted"
    assert {row["account"] for row in table(page)} == {"acme"}


def test_windows_and_groups_have_rows_of_their_own(gate: RunningGate) -> None:
    adopt(gate, ["acme"])
    regions = ["eu", "us", "ap", None]
    post(gate, *(event(n, data={"bytes": 1.5, "region": region}) for n, region in enumerate(regions)))
    rows = table(gate.call(f"{READ}?window=month&group_by=region", token(), CSV))
    assert [(row["meter"], row["region"], row["part"], row["amount"]) for row in rows] == [
        ("bytes", "", "total", "6"),
        ("bytes", "", "overflow", "3"),
        ("bytes", "eu", "group", "1.5"),
        ("bytes", "us", "group", "1.5"),
        ("hits", "", "total", "4"),
    ]
    days = table(gate.call(f"{READ}?window=day", token(), CSV))
    assert len(days) == 31 * 2
    assert [row["start"] for row in days if row["amount"] == "6"] == ["2027-01-15T00:00:00Z"]


def test_refusals_and_what_has_no_table_stay_json(gate: RunningGate) -> None:
    adopt(gate, ["acme"])
    fill(gate, "acme")
    assert gate.call(f"{MANY}?account=other", token(), CSV).json()["reason"] == "account_not_granted"
    assert gate.call(f"{READ}?shape=flat", token(), CSV).json()["reason"] == "shape_conflict"
    assert gate.call(METER_LIST, token(), CSV).json()["meters"]


def test_a_table_that_the_caller_has_is_not_sent_again(gate: RunningGate) -> None:
    adopt(gate, ["acme"])
    fill(gate, "acme")
    first = gate.call(READ, token(), CSV)
    assert first.headers["vary"] == "accept, authorization"
    again = [*CSV, ("if-none-match", first.headers["etag"])]
    assert gate.call(READ, token(), again).status_code == 304
    assert gate.call(READ, token()).headers["etag"] != first.headers["etag"]


def test_the_meters_say_how_late_an_event_may_be_where_that_is_bounded(gate: RunningGate) -> None:
    adopt(gate, ["acme"])
    assert "late_days" not in gate.call(METER_LIST, token()).json()
    adopt(gate, ["acme"], generation=3, lateDays=7)
    assert gate.call(METER_LIST, token()).json()["late_days"] == 7


@pytest.mark.parametrize("path", [f"{MANY}?limits=3", f"{READ}?limits=3"])
def test_a_misspelled_parameter_is_answered_with_all_that_there_are(gate: RunningGate, path: str) -> None:
    from watchword.gate.usage.openapi import openapi

    adopt(gate, ["acme"])
    problem = gate.call(path, token()).json()
    assert (problem["reason"], problem["parameter"]) == ("unknown_parameter", "limits")
    template = "/usage" if path.startswith(f"{MANY}?") else "/accounts/{account}/usage"
    documented = openapi("/api/internal")["paths"][template]["get"]["parameters"]
    names = {each["name"] for each in documented if each["in"] == "query"}
    assert set(problem["remedy"].removeprefix("use ").split(", ")) == names


def test_the_next_page_of_hostile_names_is_a_whole_link(gate: RunningGate) -> None:
    adopt(gate, ["*"])
    names = ['a>; rel="next"', "b&limit=9", "c%0D%0Ax: y", "d é\N{GRINNING FACE}"]
    fill(gate, *names)
    path, found = f"{MANY}?limit=1&after={quote('a')}", []
    for _ in names:
        page = gate.call(path, token(), CSV)
        found.append(table(page)[0]["account"])
        path = page.links["next"]["url"]
    assert found == names
