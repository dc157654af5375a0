# SPDX-License-Identifier: Apache-2.0
"""A dry run says what an exchange would answer: each case is asked of both, and they agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.running_desk import (
    CLUSTER_URL,
    TARGET,
    TARGET_AUDIENCE,
    Object,
    RunningDesk,
    account_token,
    issuer_object,
    service_object,
    workload_object,
)
from testing.tokens import signer
from tests.desk.admin.world import objects

WHO = ("atlas-production", "atlas-production", "atlas")
IOS = {"scope": "cache:read", "account": "acme", "project": "ios"}
# What is changed of the objects, who asks, for what; and the condition that does not hold, or none.
CASES: dict[str, tuple[list[Object], tuple[str, str, str], dict[str, Any], str]] = {
    "all is well": ([], WHO, IOS, ""),
    "by the audience": ([], WHO, IOS | {"service": TARGET_AUDIENCE}, ""),
    "a whole account": ([], WHO, {"scope": "account:usage:read", "account": "acme"}, ""),
    "a purpose": ([], WHO, IOS | {"purpose": "warm"}, ""),
    "details": (
        [],
        WHO,
        {
            "authorization_details": [
                {
                    "type": "watchword_grant",
                    "actions": ["cache:read"],
                    "accounts": ["acme"],
                    "projects": ["ios"],
                }
            ]
        },
        "",
    ),
    "no such service": ([], WHO, IOS | {"service": "tuist/other"}, "service_relies_on_the_desk"),
    "a service that names no desk": (
        [service_object(tokenDeskRef=None, resourceServers=None)],
        WHO,
        IOS,
        "service_relies_on_the_desk",
    ),
    "a prefix of its name": ([], WHO, IOS | {"service": "tuist/tuist"}, "service_relies_on_the_desk"),
    "another ServiceAccount": (
        [],
        ("atlas-production", "atlas-production", "other"),
        IOS,
        "workload_is_trusted",
    ),
    "its name as a prefix": (
        [],
        ("atlas-production", "atlas-production", "atla"),
        IOS,
        "workload_is_trusted",
    ),
    "its name elsewhere": ([], ("atlas-production", "elsewhere", "atlas"), IOS, "workload_is_trusted"),
    "suspended": ([workload_object(suspend=True)], WHO, IOS, "workload_is_not_suspended"),
    "ended": ([workload_object(expires="2020-01-01T00:00:00Z")], WHO, IOS, "trust_has_not_ended"),
    "a scope that it lacks": ([], WHO, IOS | {"scope": "cache:delete"}, "grants_cover_the_request"),
    "an account that it lacks": ([], WHO, IOS | {"account": "umbrella"}, "grants_cover_the_request"),
    "a prefix of its account": ([], WHO, IOS | {"account": "acm"}, "grants_cover_the_request"),
    "a project that it lacks": ([], WHO, IOS | {"project": "web"}, "grants_cover_the_request"),
    "every project": ([], WHO, IOS | {"project": "*"}, "grants_cover_the_request"),
    "no project": ([], WHO, {"scope": "cache:read", "account": "acme"}, "grants_cover_the_request"),
    "one scope of two": (
        [],
        WHO,
        IOS | {"scope": "cache:read account:usage:read"},
        "grants_cover_the_request",
    ),
    "another purpose": ([], WHO, IOS | {"purpose": "cool"}, "purpose_is_allowed"),
    "a purpose that is none": ([], WHO, IOS | {"purpose": "Warm!"}, "request_is_well_formed"),
    "nothing is asked for": ([], WHO, {}, "request_is_well_formed"),
    "a scope that is none": ([], WHO, IOS | {"scope": "*"}, "request_is_well_formed"),
    "a project of no account": ([], WHO, {"scope": "cache:read", "project": "ios"}, "request_is_well_formed"),
    "both forms": ([], WHO, IOS | {"authorization_details": []}, "request_is_well_formed"),
    "a revoked key": (
        [issuer_object(revoked=[{"keyThumbprint": signer().key.thumbprint}])],
        WHO,
        IOS,
        "issuer_is_trusted",
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_a_dry_run_and_an_exchange_agree(desk: RunningDesk, what: str) -> None:
    changed, (issuer, namespace, account), asked, failing = CASES[what]
    token = desk.admin_token().json()["access_token"]
    desk.change(*objects(*changed))
    asked = dict(asked)
    service = asked.pop("service", TARGET)
    question = {"issuer": issuer, "namespace": namespace, "service_account": account, "service": service}
    answer = desk.admin("POST", "/explain", token, json=question | asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    failed = [each for each in found["conditions"] if each["holds"] is False]
    form = dict.fromkeys(("scope", "account", "project")) | asked
    if "authorization_details" in form:
        form["authorization_details"] = json.dumps(form["authorization_details"])
    exchanged = desk.exchange(account_token(namespace, account), audience=service, **form)
    assert found["allowed"] == (exchanged.status_code == 200), (found, exchanged.text)
    assert [each["name"] for each in failed][:1] == ([failing] if failing else [])
    assert all(each["detail"] and each["remedy"] for each in failed)
    # No one got a token by asking.
    jtis = desk.admin("GET", "/tokens", token, params={"kind": "workload"}).json()["tokens"]
    assert len(jtis) == (1 if exchanged.status_code == 200 else 0)


def test_an_issuer_that_no_one_relies_on_is_said(desk: RunningDesk) -> None:
    question = {"issuer": "other", "namespace": "a", "service_account": "b", "service": TARGET}
    found = desk.admin("POST", "/explain", json=question | IOS).json()
    said = {each["name"]: each for each in found["conditions"]}
    assert said["issuer_is_trusted"]["holds"] is False
    assert said["workload_is_trusted"]["holds"] is False
    assert said["grants_cover_the_request"]["holds"] is None
    assert CLUSTER_URL not in str(found)
