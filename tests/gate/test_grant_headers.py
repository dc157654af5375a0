# SPDX-License-Identifier: Apache-2.0
"""What a yes says of grants: which one let the request pass, what was decided on, all of them at /authz.

An app that reads a project's account as its own to give opens the account after all.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import token
from tests.gate.fast_path.ways import both_ways
from tests.gate.running import RunningGate
from watchword.gate.cache import GrantLines
from watchword.gate.responses import MAX_GRANTS_BYTES, encoded_grants, grant_lines
from watchword.identity import Grant
from watchword.trust import load

PREFIX = "x-watchword-"
ROUTES = [
    {"path": "/{account}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/status", "methods": ["GET"], "scope": "status:read"},
]
GRANTS: list[dict[str, Any]] = [
    {"scopes": ["cache:read", "builds:read"], "accounts": ["acme"], "projects": ["ios", "my app"]},
    {"scopes": ["cache:read", "status:read"], "accounts": ["globex"]},
]


@pytest.fixture
def gate(bare_gate: RunningGate) -> RunningGate:
    """A gate with a workload that has one grant for projects and one for an account."""
    bare_gate.adopt(issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    return bare_gate


def told(gate: RunningGate, uri: str | None) -> dict[str, str]:
    headers = [("x-original-method", "GET"), ("x-original-uri", uri)] if uri else []
    answer = gate.call("/authz/nginx" if uri else "/authz", token(), headers)
    assert answer.status_code == 200, answer.text
    return {name[len(PREFIX) :]: value for name, value in answer.headers.items() if name.startswith(PREFIX)}


@pytest.mark.parametrize(
    ("uri", "granted", "account", "project"),
    [
        ("/acme/ios/cache", ("builds:read cache:read", "acme"), "acme", "ios"),
        ("/acme/my%20app/cache", ("builds:read cache:read", "acme"), "acme", "my%20app"),
        ("/globex/cache", ("cache:read status:read", "globex"), "globex", ""),
        ("/status", ("cache:read status:read", "globex"), "", ""),
    ],
)
def test_a_decision_names_the_grant_that_let_it_pass_and_what_it_was_about(
    gate: RunningGate, uri: str, granted: tuple[str, str], account: str, project: str
) -> None:
    for _ in range(2):
        found = told(gate, uri)
        assert (found["scopes"], found["accounts"]) == granted
        assert (found["account"], found["project"], found["grants"]) == (account, project, "")


def test_authz_leaves_out_the_accounts_of_grants_for_projects_and_sends_all_grants(gate: RunningGate) -> None:
    for _ in range(2):
        found = told(gate, None)
        assert (found["accounts"], found["account"], found["project"]) == ("globex", "", "")
        assert found["scopes"] == "builds:read cache:read status:read"
        assert json.loads(found["grants"]) == [
            {"scopes": ["builds:read", "cache:read"], "accounts": ["acme"], "projects": ["ios", "my app"]},
            {"scopes": ["cache:read", "status:read"], "accounts": ["globex"]},
        ]


def test_every_project_is_no_account_either(bare_gate: RunningGate) -> None:
    grants = [{"scopes": ["cache:read"], "accounts": ["*"], "projects": ["*"]}]
    bare_gate.adopt(issuer(), service(routes=ROUTES), workload(grants=grants))
    assert told(bare_gate, None)["accounts"] == ""
    assert told(bare_gate, "/any/any/cache")["project"] == "any"
    refused = bare_gate.call(
        "/authz/nginx", token(), [("x-original-method", "GET"), ("x-original-uri", "/any/cache")]
    )
    assert refused.json()["reason"] == "account_not_granted"


def test_a_workload_without_grants_has_a_list_without_entries(bare_gate: RunningGate) -> None:
    bare_gate.adopt(issuer(), service(routes=ROUTES), workload(grants=[]))
    found = told(bare_gate, None)
    assert (found["scopes"], found["accounts"], found["grants"]) == ("", "", "[]")


_HOLDERS = st.lists(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="*,/"),
        min_size=1,
        max_size=8,
    )
    .filter(str.isprintable)
    .filter(lambda name: name.strip() == name),
    min_size=1,
    max_size=3,
    unique=True,
)
_GRANTS = st.lists(
    st.fixed_dictionaries(
        {"scopes": st.just(["cache:read"])}, optional={"accounts": _HOLDERS, "projects": _HOLDERS}
    ),
    max_size=3,
)
_TARGETS = (None, "/acme/cache", "/acme/ios/cache", "/%C3%A9/cache", "/status")


@given(_GRANTS, st.lists(st.sampled_from(_TARGETS), min_size=2, max_size=5))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_the_fast_path_and_the_slow_one_say_the_same_of_grants(
    grants: list[dict[str, Any]], targets: list[str | None]
) -> None:
    usual: dict[str, Any] = {"scopes": ["cache:read"], "accounts": ["acme"], "projects": ["ios"]}
    objects = (issuer(), service(routes=ROUTES), workload(grants=[*grants, usual]))
    rules = load(compiled(*objects).bundles[0])
    sent = [_request(target) for target in targets]
    fast, slow = both_ways([each for each in sent for _ in range(2)], rules)
    assert (fast.written, fast.audited) == (slow.written, slow.audited)
    for head in fast.written.split(b"HTTP/1.1 200")[1:]:
        names = [line.partition(b":")[0] for line in head.split(b"\r\n")]
        for name in (b"scopes", b"accounts", b"account", b"project", b"grants"):
            assert names.count(b"x-watchword-" + name) == 1


def _request(target: str | None) -> bytes:
    head = [b"GET /authz" + (b"/nginx" if target else b"") + b" HTTP/1.1", b"Host: gate"]
    if target:
        head += [b"X-Original-Method: GET", b"X-Original-URI: " + target.encode()]
    return b"\r\n".join([*head, b"Authorization: Bearer " + token()]) + b"\r\n\r\n"


@given(st.lists(st.builds(Grant, *[st.lists(st.text(max_size=9), max_size=3).map(tuple)] * 3), max_size=4))
def test_encoded_grants_are_visible_ascii_and_say_what_they_are_of(grants: list[Grant]) -> None:
    encoded = encoded_grants(grants)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    document = json.loads(encoded)
    if isinstance(document, dict):
        assert (document["omitted"], document["grants"]) == ("too_long", len(set(grants)))
        assert document["bytes"] > MAX_GRANTS_BYTES
        return
    assert len(encoded) <= MAX_GRANTS_BYTES
    rows = {
        (tuple(row.get("scopes", ())), tuple(row.get("accounts", ())), tuple(row.get("projects", ())))
        for row in document
    }
    assert rows == {(each.scopes, each.accounts, each.projects) for each in grants}


def test_grants_that_are_too_long_are_omitted_and_never_cut() -> None:
    sizes = []
    for number in range(1, 60):
        encoded = encoded_grants([Grant((f"s{n}:read",), ("a" * 50,), ("p",)) for n in range(number)])
        assert len(encoded) <= MAX_GRANTS_BYTES
        sizes.append(type(json.loads(encoded)))
    # A whole list while it fits, and no list at all from there on.
    assert [after for before, after in pairwise(sizes) if before is not after] == [dict]
    said = json.loads(encoded_grants([Grant(("s:read",), ("a" * 4000,))]))
    assert (said["omitted"], said["grants"]) == ("too_long", 1)
    assert said["bytes"] > 4000


def test_lines_of_grants_are_remembered_within_their_bound() -> None:
    lines = GrantLines(limit_bytes=10_000)
    held = [(Grant((f"s{n}:read",), tuple(f"account-{n}-{m}" for m in range(50))),) for n in range(100)]
    for grants in held:
        assert lines.of_all(grants) == grant_lines(grants)
        assert lines.used_bytes == sum(map(len, lines.lines.values())) <= 10_000
    assert len(lines.lines) > 1
    huge = (Grant(("s:read",), ("x" * 20_000,)),)
    assert b"x" * 20_000 in lines.of_all(huge)
    assert id(huge) not in lines.lines
