# SPDX-License-Identifier: Apache-2.0
"""Several accounts, the meters, groups and caches: each account at the caller's grants, each bound said."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.manifests import issuer, service, workload
from testing.tokens import token
from tests.gate.running import RunningGate
from tests.gate.usage.test_api import BATCH, EVENTS, READ, event, post
from watchword.usage.events import account_flaw

MANY = "/api/internal/usage"
METER_LIST = "/api/internal/usage/meters"
SCOPES = ["account:usage:read", "account:usage:write"]
METERS = [
    {"name": "hits", "eventType": "cache.hit", "aggregation": "count"},
    {
        "name": "bytes",
        "eventType": "cache.hit",
        "aggregation": "sum",
        "value": "/bytes",
        "groupBy": [{"name": "region", "value": "/region"}],
        "maxGroups": 2,
        "unit": "bytes",
        "retentionDays": 400,
    },
]


def adopt(gate: RunningGate, accounts: list[str], generation: int = 2, **usage: Any) -> None:
    grants = [{"scopes": SCOPES, "accounts": accounts}]
    rules = {"meters": METERS} | usage
    gate.adopt(issuer(), service(usage=rules), workload(grants=grants), generation=generation)


def fill(gate: RunningGate, *accounts: str) -> None:
    events = [
        event(place, subject=account, data={"bytes": 5, "region": "eu"})
        for place, account in enumerate(accounts)
    ]
    assert post(gate, *events).json()["stored"] == len(accounts)


def test_accounts_are_read_by_name(gate: RunningGate) -> None:
    adopt(gate, ["*"])
    fill(gate, "acme", "b c", "umbrella")
    answer = gate.call(f"{MANY}?account=umbrella&account=b%20c&account=nobody", token()).json()
    assert answer == {
        "period": {"start": "2027-01-01T00:00:00Z", "end": "2027-02-01T00:00:00Z"},
        "accounts": [
            {"account": "umbrella", "meters": {"hits": 1, "bytes": 5}},
            {"account": "b c", "meters": {"hits": 1, "bytes": 5}},
        ],
        "unknown": ["nobody"],
    }


def test_one_account_of_several_that_is_not_granted_refuses_all(gate: RunningGate) -> None:
    adopt(gate, ["acme", "umbrella"])
    answer = gate.call(f"{MANY}?account=acme&account=other", token())
    assert (answer.status_code, answer.json()["reason"]) == (403, "account_not_granted")
    assert "other" in answer.json()["detail"]


@pytest.mark.parametrize("granted", [["*"], [f"a{n:02}" for n in range(7)]])
def test_pages_have_every_known_account_that_was_granted_once(gate: RunningGate, granted: list[str]) -> None:
    adopt(gate, ["*"])
    names = [f"a{n:02}" for n in range(7)]
    fill(gate, *names, *([] if granted == ["*"] else ["stranger"]))
    adopt(gate, granted, generation=3)
    found: list[str] = []
    after = ""
    for _ in range(10):
        page = gate.call(f"{MANY}?limit=3&after={after}", token()).json()
        assert page["limit"] == 3
        found += [each["account"] for each in page["accounts"]]
        if "next" not in page:
            break
        after = page["next"]
    assert found == names


def test_a_limit_beyond_the_bound_is_the_bound_and_says_so(gate: RunningGate) -> None:
    adopt(gate, ["*"])
    fill(gate, "acme")
    assert gate.call(f"{MANY}?limit=5000", token()).json()["limit"] == 100


@pytest.mark.parametrize(
    ("query", "parameter", "reason"),
    [
        ("limit=0", "limit", "invalid_limit"),
        ("limit=-1", "limit", "invalid_limit"),
        ("limit=ten", "limit", "invalid_limit"),
        ("limit=٣", "limit", "invalid_limit"),
        ("limit=1&limit=2", "limit", "repeated_parameter"),
        ("account=a&account=a", "account", "repeated_account"),
        ("account=", "account", "invalid_account"),
        ("account=a&after=b", "after", "page_of_names"),
        ("&".join(f"account=a{n}" for n in range(101)), "account", "too_many_accounts"),
        ("shape=flat", "shape", "shape_conflict"),
        ("window=year", "window", "invalid_window"),
        ("group_by=region,region", "group_by", "invalid_group"),
        ("group_by=%27%3B+DROP+TABLE+event%3B--", "group_by", "invalid_group"),
    ],
)
def test_a_wrong_question_names_its_parameter_and_its_bound(
    gate: RunningGate, query: str, parameter: str, reason: str
) -> None:
    from urllib.parse import quote

    adopt(gate, ["*"])
    answer = gate.call(f"{MANY}?{quote(query, safe='=&%+')}", token())
    assert (answer.status_code, answer.json()["parameter"], answer.json()["reason"]) == (
        400,
        parameter,
        reason,
    )
    assert answer.json()["remedy"]


def test_groups_are_answered_with_the_one_for_all_others(gate: RunningGate) -> None:
    adopt(gate, ["acme"])
    regions = ["eu", "us", "ap", "sa", None]
    post(gate, *(event(n, data={"bytes": 1.5, "region": region}) for n, region in enumerate(regions)))
    answer = gate.call(f"{READ}?group_by=region", token()).json()
    assert answer["groups"] == {
        "bytes": [
            {"overflow": True, "value": 4.5},
            {"region": "eu", "value": 1.5},
            {"region": "us", "value": 1.5},
        ]
    }
    offered = gate.call(f"{READ}?group_by=country", token()).json()["remedy"]
    assert "region" in offered


def test_the_meters_are_listed_with_their_units_and_since_when(gate: RunningGate) -> None:
    adopt(gate, ["acme"])
    hits, sums = gate.call(METER_LIST, token()).json()["meters"]
    assert hits.keys() == {"name", "event_type", "aggregation", "since"}
    assert sums.pop("since") >= hits["since"]
    assert sums == {
        "name": "bytes",
        "event_type": "cache.hit",
        "aggregation": "sum",
        "value": "/bytes",
        "unit": "bytes",
        "group_by": ["region"],
        "max_groups": 2,
        "retention_days": 400,
    }


def test_a_meter_that_comes_after_events_were_given_up_says_from_when_it_is_whole(gate: RunningGate) -> None:
    import asyncio

    adopt(gate, ["acme"], eventRetentionDays=10)
    post(gate, event(1, time="2026-12-30T00:00:00Z", data={"bytes": 1, "region": "eu"}))
    ruleset = gate.engine.active
    assert ruleset is not None
    gate.now += 20 * 86_400
    asyncio.run(gate.usage.store.expire(ruleset.ruleset, gate.now))
    late = {"name": "late", "eventType": "cache.hit", "aggregation": "count"}
    fresh = token(iat=gate.now, exp=gate.now + 600)
    grants = [{"scopes": SCOPES, "accounts": ["acme"]}]
    rules = {"meters": [*METERS, late], "eventRetentionDays": 10}
    gate.adopt(issuer(), service(usage=rules), workload(grants=grants), generation=3)
    answer = gate.call(f"{READ}?from=2026-12-01&to=2027-02-01", fresh).json()
    assert answer["meters"] == {"hits": 1, "bytes": 1, "late": 0}
    assert list(answer["incomplete_before"]) == ["late"]
    refused = gate.call(
        EVENTS, fresh, BATCH, "POST", json.dumps([event(2, time="2026-12-30T00:00:00Z")]).encode()
    )
    assert refused.json()["results"][0]["code"] == "event_too_late"


def test_an_event_for_a_month_that_is_over_is_said_to_be_late(gate: RunningGate) -> None:
    answer = post(gate, event(1, time="2026-12-31T23:59:59Z"), event(2, time="2027-01-01T00:00:00Z")).json()
    assert answer["results"] == [
        {"index": 0, "outcome": "stored", "late": True},
        {"index": 1, "outcome": "stored"},
    ]


def test_events_beyond_the_window_are_refused_by_name(gate: RunningGate) -> None:
    adopt(gate, ["acme"], lateDays=5, futureSeconds=0)
    data = {"bytes": 1, "region": "eu"}
    answer = post(
        gate,
        event(1, time="2027-01-01T00:00:00Z", data=data),
        event(2, time="2027-01-15T09:00:00Z", data=data),
        event(3, time="2027-01-15T07:00:00Z", data=data),
    ).json()
    assert [each.get("code") for each in answer["results"]] == [
        "event_too_late",
        "event_from_the_future",
        None,
    ]


@pytest.mark.parametrize("path", [READ, f"{READ}?window=day", MANY, METER_LIST])
def test_an_answer_that_the_caller_has_is_not_sent_again(gate: RunningGate, path: str) -> None:
    post(gate, event(1))
    first = gate.call(path, token())
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "accept, authorization"
    for known in (tag, f'"other", W/{tag}', "*"):
        again = gate.call(path, token(), [("if-none-match", known)])
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    if path != METER_LIST:
        post(gate, event(2))
        assert gate.call(path, token(), [("if-none-match", tag)]).status_code == 200


def test_whoever_may_no_longer_read_gets_no_304(gate: RunningGate) -> None:
    post(gate, event(1))
    tag = gate.call(READ, token()).headers["etag"]
    adopt(gate, ["other"])
    assert gate.call(READ, token(), [("if-none-match", tag)]).status_code == 403


# From the field: names that are stored and that no path of segments can hold without two readings.
ODD = ["acme/web", "100%", "a;b", "what?", "a#1", "back\\slash", "50%2F50", "/", "%"]


@pytest.mark.parametrize("account", ODD)
def test_an_account_that_its_path_cannot_name_is_told_where_it_is_read(
    gate: RunningGate, account: str
) -> None:
    adopt(gate, ["*"])
    fill(gate, account)
    own = f"/api/internal/accounts/{quote(account, safe='')}/usage"
    refused = gate.call(own, token())
    assert (refused.status_code, refused.json()["reason"]) == (404, "account_not_in_path")
    assert f"{MANY}?account=" in refused.json()["remedy"]
    answer = gate.call(f"{MANY}?account={quote(account, safe='')}", token()).json()
    assert answer["accounts"] == [{"account": account, "meters": {"hits": 1, "bytes": 5}}]


def test_a_stranger_is_not_told_where_accounts_are_read(gate: RunningGate) -> None:
    adopt(gate, ["*"])
    refused = gate.call("/api/internal/accounts/acme%2Fweb/usage")
    assert (refused.status_code, refused.json()["reason"]) == (401, "missing_credential")


def can_be_stored(text: str) -> bool:
    # `.` and `..` in a path never leave an HTTP client.
    return account_flaw(text) is None and text not in {".", ".."}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(account=st.text(min_size=1, max_size=12).filter(can_be_stored))
def test_every_account_that_is_stored_is_read_by_its_path_or_by_what_its_refusal_says(
    gate: RunningGate, account: str
) -> None:
    adopt(gate, ["*"])
    assert post(gate, event(0, subject=account, id=f"of {account}", data={"bytes": 5})).status_code in (
        200,
        207,
    )
    own = gate.call(f"/api/internal/accounts/{quote(account, safe='')}/usage", token())
    if own.status_code == 404:
        assert own.json()["reason"] == "account_not_in_path", account
        own = gate.call(f"{MANY}?account={quote(account, safe='')}", token())
    assert own.status_code == 200, account


def test_a_path_below_accounts_that_is_no_accounts_usage_is_still_nothing(gate: RunningGate) -> None:
    adopt(gate, ["*"])
    for path in (
        "/api/internal/accounts/a%2Fb",
        "/api/internal/accounts//usage",
        "/else/accounts/a%2Fb/usage",
    ):
        assert gate.call(path, token()).json().get("reason") != "account_not_in_path", path


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("after=%ff", "after"),
        ("account=%ff", "account"),
        ("account=acme&account=a%c3", "account"),
        ("after=%ed%a0%80", "after"),
        ("limit=1&after=%f4%90%80%80", "after"),
        ("%ff=1", "\\udcff"),
        ("from=%ff", "from"),
    ],
)
def test_a_query_that_is_no_utf8_is_refused_by_name_and_not_read_as_another(
    gate: RunningGate, query: str, parameter: str
) -> None:
    adopt(gate, ["*"])
    fill(gate, "acme", "\ufffd")
    for path in (MANY, READ):
        answer = gate.call(f"{path}?{query}", token())
        assert answer.status_code == 400, answer.text
        problem = answer.json()
        assert (problem["reason"], problem["parameter"]) == ("not_utf8", parameter)
        assert "UTF-8" in problem["detail"]
        assert "percent-encode" in problem["remedy"]
    found = gate.call(f"{MANY}?account={quote(chr(0xFFFD))}", token()).json()
    assert [each["account"] for each in found["accounts"]] == ["\ufffd"]
    assert gate.call("/api/internal/accounts/%ff/usage", token()).status_code in (400, 404)
