# SPDX-License-Identifier: Apache-2.0
"""Tokens of agents at a gate: only where the service has a ceiling, and never beyond it.

All of them are signed with the desk's own key: what a desk may say about agents is bounded by the service.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from testing.desk import desk_claims, desk_service, desk_token, desk_world
from testing.tokens import NOW
from watchword.identity import Identity, Refusal, verify
from watchword.trust import authorize, held_grants, load
from watchword.trust.bundle import BundleError, BundleGrant, seal
from watchword.trust.bundle_forms import PREVIOUS_ENTRY, entries_of

AGENT = "agent:reg_" + "0123456789abcdef" * 2
READ, WRITE = "account:usage:read", "account:usage:write"
CEILING = {"scopes": [READ], "accounts": ["acme", "trial"]}


def bundle(ceiling: dict[str, Any] | None = CEILING) -> Any:
    service = desk_service() if ceiling is None else desk_service(agents=ceiling)
    return desk_world(service).bundles[0]


POLICY = load(bundle()).policy


def agents(**changes: Any) -> dict[str, Any]:
    """The claims of an agent's token."""
    said = {
        "sub": AGENT,
        "client_id": AGENT,
        "watchword": {"kind": "agent"},
        "authorization_details": [{"type": "watchword_grant", "actions": [READ], "accounts": ["acme"]}],
    } | changes
    return desk_claims(**said)


def judged(policy: Any = POLICY, **changes: Any) -> Identity | Refusal:
    said = agents(**changes)
    return verify(desk_token(**said), policy, NOW)


def test_an_agent_is_let_in_with_what_the_ceiling_and_its_token_both_allow() -> None:
    found = judged()
    assert isinstance(found, Identity)
    assert found.subject == found.workload == AGENT
    assert found.issuer == "watchword-desk/desk"
    assert found.pod == ""
    assert [each.accounts for each in held_grants(found)] == [("acme",)]
    assert not isinstance(authorize(found, READ, "acme"), Refusal)
    for scope, account, project in (
        (READ, "trial", None),
        (READ, "umbrella", None),
        (READ, "acme", "ios"),
        (WRITE, "acme", None),
        ("project:read", "acme", "ios"),
    ):
        assert isinstance(authorize(found, scope, account, project), Refusal), (scope, account, project)
    assert isinstance(authorize(found, READ, "acme", None, "cache-read"), Refusal)


def test_what_a_desk_signs_beyond_the_ceiling_counts_for_nothing() -> None:
    wide = [{"type": "watchword_grant", "actions": [READ, WRITE], "accounts": ["*"]}]
    found = judged(authorization_details=wide, scope=f"{READ} {WRITE}")
    assert isinstance(found, Identity)
    assert not isinstance(authorize(found, READ, "trial"), Refusal)
    for scope, account in ((READ, "umbrella"), (WRITE, "acme")):
        assert isinstance(authorize(found, scope, account), Refusal)
    assert [each.scopes for each in held_grants(found)] == [(READ,)]


def test_without_a_ceiling_no_agent_passes_and_the_owner_is_told_where_it_is_set() -> None:
    found = judged(load(bundle(None)).policy)
    assert isinstance(found, Refusal)
    assert found.reason.code == "wrong_token_kind"
    assert "spec.agents" in found.remedy


@pytest.mark.parametrize("kind", ["admin", "client"])
def test_a_ceiling_lets_in_agents_and_no_other_kind(kind: str) -> None:
    found = judged(watchword={"kind": kind}, sub=f"{kind}:x", client_id=f"{kind}:x")
    assert isinstance(found, Refusal)
    assert found.reason.code == "wrong_token_kind"


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("a workload's sub", {"sub": "workload:production:atlas-production:atlas"}, "inconsistent_claims"),
    ("no registration", {"sub": "agent:", "client_id": "agent:"}, "inconsistent_claims"),
    ("a name for an id", {"sub": "agent:alice", "client_id": "agent:alice"}, "inconsistent_claims"),
    ("an id that is longer", {"sub": AGENT + "0", "client_id": AGENT + "0"}, "inconsistent_claims"),
    ("an id with a line break", {"sub": AGENT + "\n", "client_id": AGENT + "\n"}, "inconsistent_claims"),
    ("capitals", {"sub": AGENT.upper(), "client_id": AGENT.upper()}, "inconsistent_claims"),
    ("another client_id", {"client_id": "agent:reg_" + "f" * 32}, "inconsistent_claims"),
    ("a client as client_id", {"client_id": "cache"}, "inconsistent_claims"),
    ("a purpose", {"purpose": "cache-read"}, "wrong_purpose"),
    ("another audience", {"aud": "watchword.dev/services/dev/tuist/other"}, "wrong_audience"),
    ("another issuer", {"iss": "https://evil.example"}, "wrong_issuer"),
    ("an end long ago", {"exp": int(NOW) - 3600, "iat": int(NOW) - 4200}, "expired"),
    ("a life of a day", {"exp": int(NOW) + 86_400}, "lifetime_too_long"),
    ("a scope that its details lack", {"scope": WRITE}, "malformed_claims"),
    ("an origin", {"watchword": desk_claims()["watchword"] | {"kind": "agent"}}, "malformed_claims"),
    ("no kind", {"watchword": {}}, "malformed_claims"),
    ("another kind", {"watchword": {"kind": "user"}}, "malformed_claims"),
    ("a member more", {"watchword": {"kind": "agent", "person": "alice"}}, "malformed_claims"),
]


@pytest.mark.parametrize(("name", "changes", "reason"), WRONG, ids=[each[0] for each in WRONG])
def test_a_token_of_an_agent_has_one_form(name: str, changes: dict[str, Any], reason: str) -> None:
    del name
    found = judged(**changes)
    assert isinstance(found, Refusal), found
    assert found.reason.code == reason


@pytest.mark.parametrize("ceiling", [{"projects": ("ios",)}, {"accounts": ("a\n",)}])
def test_a_bundle_with_another_ceiling_than_the_operator_writes_is_refused(ceiling: dict[str, Any]) -> None:
    made = bundle()
    strange = BundleGrant(**({"scopes": (READ,)} | ceiling))
    changed = msgspec.structs.replace(made, desk=msgspec.structs.replace(made.desk, agents=strange))
    with pytest.raises(BundleError, match=r"desk\.agents"):
        load(seal(changed, made.generation))


def test_the_form_of_the_last_release_knows_no_agent() -> None:
    assert b"agent" not in entries_of(bundle())[PREVIOUS_ENTRY]
