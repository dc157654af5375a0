# SPDX-License-Identifier: Apache-2.0
"""`watchword diff` says of each edit about agents what it opens and what it closes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from watchword.cli.agent_changes import agents_changes, ceiling_changes
from watchword.trust.api.v1alpha1 import AgentsSpec
from watchword.trust.bundle import BundleDesk, BundleGrant

SCOPES = {"scopes": ["a:b"]}
FULL: dict[str, Any] = {
    "unclaimed": SCOPES | {"accounts": ["trial"]},
    "claimed": SCOPES,
    "people": [{"address": "alice@example.com", "accounts": ["acme"]}],
    "domains": [{"domain": "corp.example", "issuer": "https://idp.example", "clientId": "d"}],
    "mail": {"host": "smtp.example.com", "from": "desk@example.com"},
}
EDITS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"unclaimed": None}, ("loses", "unclaimed agents may not have the scope a:b")),
    (
        {"unclaimed": SCOPES | {"accounts": ["trial", "acme"]}},
        ("gains", "unclaimed agents may act in the account acme"),
    ),
    ({"claimed": {"scopes": ["a:b", "a:c"]}}, ("gains", "claimed agents may have the scope a:c")),
    ({"people": []}, ("loses", "may no longer claim an agent by a mail: alice@example.com (acme)")),
    (
        {"people": [{"address": "alice@example.com", "accounts": ["acme", "umbrella"]}]},
        ("gains", "may claim an agent by a mail: alice@example.com (acme, umbrella)"),
    ),
    (
        {"domains": []},
        ("loses", "may no longer sign in as: corp.example at https://idp.example as d (no account)"),
    ),
    (
        {"domains": [FULL["domains"][0] | {"issuer": "https://evil.example"}]},
        ("gains", "may claim an agent by signing in: corp.example at https://evil.example as d (no account)"),
    ),
    ({"mail": FULL["mail"] | {"host": "other.example.com"}}, ("changes", "mails are sent in another way")),
    ({"claimed": SCOPES | {"lifetimeSeconds": 3600}}, ("changes", "how long and how many agents are kept")),
]  # fmt: skip


def spec(**changes: Any) -> AgentsSpec:
    said = {name: value for name, value in (FULL | changes).items() if value is not None}
    return msgspec.convert(said, AgentsSpec)


@pytest.mark.parametrize(("edit", "line"), EDITS, ids=lambda each: str(each)[:60])
def test_each_edit_of_a_desks_agents_is_a_line(edit: dict[str, Any], line: tuple[str, str]) -> None:
    assert line in list(agents_changes(spec(), spec(**edit)))
    assert list(agents_changes(spec(), spec())) == []


def test_agents_that_are_switched_on_or_off_are_said_first() -> None:
    assert next(agents_changes(None, spec())) == ("gains", "agents may register")
    assert next(agents_changes(spec(), None)) == ("loses", "no agent may register")


def test_what_a_service_lets_agents_do_is_compared_word_by_word() -> None:
    def desk(*scopes: str, accounts: tuple[str, ...] = ()) -> BundleDesk:
        grant = BundleGrant(scopes=scopes, accounts=accounts) if scopes else None
        return BundleDesk(namespace="a", name="b", issuer="https://c", audience="d", keys=(), agents=grant)

    assert list(ceiling_changes(desk(), desk())) == []
    assert list(ceiling_changes(None, desk("a:b", accounts=("*",)))) == [
        ("gains", "agents are let in"),
        ("gains", "agents may use the scope a:b"),
        ("gains", "agents may act in the account *"),
    ]
    assert list(ceiling_changes(desk("a:b", "a:c"), desk("a:b"))) == [
        ("loses", "agents may no longer use the scope a:c")
    ]
    assert next(ceiling_changes(desk("a:b"), None)) == ("loses", "no agent is let in")
