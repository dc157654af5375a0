# SPDX-License-Identifier: Apache-2.0
"""Usage over HTTP: only for whom it was granted, and every event answered by name."""

import json
from typing import Any

import pytest

from testing.manifests import workload
from testing.tokens import NOW, token
from tests.gate.running import RunningGate

EVENTS = "/api/internal/usage/events"
READ = "/api/internal/accounts/acme/usage"
BATCH = [("content-type", "application/cloudevents-batch+json")]


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "/cache",
        "type": "cache.hit",
        "subject": "acme",
        "time": "2027-01-15T08:00:00Z",
    } | changes


def post(gate: RunningGate, *events: dict[str, Any]) -> Any:
    return gate.call(EVENTS, token(), BATCH, "POST", json.dumps(events).encode())


def test_events_go_in_once_and_the_month_comes_out(gate: RunningGate) -> None:
    assert post(gate, event(1), event(2)).json()["stored"] == 2
    again = post(gate, event(1), event(3))
    assert (again.status_code, again.json()["stored"], again.json()["duplicates"]) == (200, 1, 1)
    answer = gate.call(READ, token())
    assert answer.status_code == 200
    assert answer.json() == {
        "account": "acme",
        "period": {"start": "2027-01-01T00:00:00Z", "end": "2027-02-01T00:00:00Z"},
        "meters": {"hits": 3},
    }
    assert gate.call(READ + "?shape=flat", token()).json() == {"current_month_hits": 3}


def test_an_unknown_account_is_not_found(gate: RunningGate) -> None:
    answer = gate.call(READ, token())
    assert (answer.status_code, answer.json()["reason"]) == (404, "account_not_found")


@pytest.mark.parametrize(
    ("reason", "path", "method"),
    [
        ("account_not_granted", "/api/internal/accounts/other/usage", "GET"),
        ("account_not_granted", "/api/internal/accounts/acmes/usage", "GET"),
    ],
)
def test_another_account_is_refused(gate: RunningGate, reason: str, path: str, method: str) -> None:
    assert gate.call(path, token(), method=method).json()["reason"] == reason


def test_without_the_scope_nothing_is_read_or_written(gate: RunningGate) -> None:
    from testing.manifests import issuer, service

    gate.adopt(issuer(), service(), workload(grants=[]), generation=2)
    assert gate.call(READ, token()).json()["reason"] == "insufficient_scope"
    assert post(gate, event(1)).json()["reason"] == "insufficient_scope"


def test_an_event_for_another_account_is_refused_by_name(gate: RunningGate) -> None:
    answer = post(gate, event(1), event(2, subject="other"))
    assert answer.status_code == 207
    assert [result["outcome"] for result in answer.json()["results"]] == ["stored", "refused"]
    assert answer.json()["results"][1]["code"] == "account_not_granted"
    assert post(gate, event(9, subject="other")).status_code == 403


def test_a_bad_event_is_refused_by_name_and_the_good_one_is_stored(gate: RunningGate) -> None:
    answer = post(gate, event(1, specversion="0.3"), event(2))
    assert answer.status_code == 207
    assert answer.json()["results"][0]["field"] == "specversion"
    assert post(gate, event(3, id="")).status_code == 422


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (400, BATCH, b"{"),
        (413, BATCH, b" " * (1024 * 1024 + 1)),
        (415, [("content-type", "text/plain")], b"{}"),
        (415, [], b"{}"),
    ],
)
def test_a_body_that_is_no_events_is_said_to_be_none(
    gate: RunningGate, status: int, headers: list[tuple[str, str]], content: bytes
) -> None:
    assert gate.call(EVENTS, token(), headers, "POST", content).status_code == status


@pytest.mark.parametrize(
    "query", ["from=yesterday", "window=hour", "shape=round", "nope=1", "window=day&window=day"]
)
def test_a_wrong_query_names_its_parameter(gate: RunningGate, query: str) -> None:
    answer = gate.call(f"{READ}?{query}", token())
    assert answer.status_code == 400
    assert answer.json()["parameter"] == query.partition("=")[0]


def test_the_wrong_method_is_told_the_right_one(gate: RunningGate) -> None:
    assert gate.call(READ, token(), method="DELETE").headers["allow"] == "GET"
    assert gate.call(EVENTS, token()).headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path", ["/api/internal//accounts/acme/usage", "/api/internal/accounts/ac%2Fme/usage"]
)
def test_an_ambiguous_path_is_no_endpoint(gate: RunningGate, path: str) -> None:
    assert gate.call(path, token()).status_code == 404


def test_a_foreign_token_neither_reads_nor_writes(gate: RunningGate) -> None:
    assert gate.call(READ).json()["reason"] == "missing_credential"
    assert gate.call(EVENTS, token(exp=NOW - 100), BATCH, "POST", b"[]").json()["reason"] == "expired"
