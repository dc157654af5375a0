# SPDX-License-Identifier: Apache-2.0
"""A gate that accepts a desk's tokens: what they allow is what the token and its workload both do.

And they end with whatever they came from: a key, a pod, a token, a ServiceAccount, the workload's trust, or a
word of the desk itself, also where the decision is remembered.
"""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest

from testing.desk import (
    DESK_URL,
    RULES,
    WORKLOAD_SUBJECT,
    desk,
    desk_service,
    desk_signer,
    desk_token,
    desk_world,
    from_origin,
    granting,
)
from testing.manifests import issuer, parsed
from testing.tokens import NOW, Signer, kubernetes, signer, token
from tests.gate.running import RunningGate
from watchword.gate.authz_request import find_credential
from watchword.identity import Refusal
from watchword.trust import compile_resources, load
from watchword.trust.desk_revocations import Revocations, RevokedSubject
from watchword.trust.desks import DeskKeys

READ = "account:usage:read"
WIDE = [
    {"scopes": [READ, "account:usage:write"], "accounts": ["acme", "other"]},
    {"scopes": ["project:read"], "accounts": ["acme"], "projects": ["ios", "android"]},
]
USAGE = "/authz/nginx"


@pytest.fixture
def gate(bare_gate: RunningGate) -> RunningGate:
    adopt(bare_gate, grants=WIDE)
    return bare_gate


def adopt(gate: RunningGate, *others: dict[str, Any], keys: DeskKeys | None = None, **spec: Any) -> None:
    """Run under the desk's world from now on."""
    gate.engine.adopt(load(desk_world(*others, keys=keys, **spec).bundles[0]))


def ask(gate: RunningGate, path: str, given: bytes) -> str:
    """The reason of a refusal, or the empty string."""
    headers = [("x-original-method", "GET"), ("x-original-uri", path)]
    answer = gate.call("/authz/nginx", given, headers)
    return answer.headers.get("x-watchword-reason", "")


def reason(gate: RunningGate, given: bytes) -> str:
    return gate.call("/authz", given).headers.get("x-watchword-reason", "")


def narrow(*accounts: str, actions: tuple[str, ...] = (READ,), projects: tuple[str, ...] = ()) -> bytes:
    detail: dict[str, Any] = {"actions": list(actions), "accounts": list(accounts)}
    return desk_token(**granting(detail | ({"projects": list(projects)} if projects else {})))


def test_a_token_allows_no_more_than_it_says(gate: RunningGate) -> None:
    mine = narrow("acme")
    assert ask(gate, "/accounts/acme/usage", mine) == ""
    assert ask(gate, "/accounts/other/usage", mine) == "not_in_token"
    assert ask(gate, "/accounts/acme/projects/ios", mine) == "not_in_token"
    assert ask(gate, "/accounts/other/usage", token()) == ""


def test_a_token_allows_no_more_than_its_workload(gate: RunningGate) -> None:
    greedy = narrow("*", actions=(READ, "admin:all"))
    assert ask(gate, "/accounts/acme/usage", greedy) == ""
    assert ask(gate, "/accounts/mallory/usage", greedy) == "account_not_granted"
    adopt(gate, grants=[{"scopes": ["project:read"], "accounts": ["acme"]}])
    assert ask(gate, "/accounts/acme/usage", greedy) == "insufficient_scope"


def test_a_token_for_one_project_opens_neither_the_other_nor_the_account(gate: RunningGate) -> None:
    ios = narrow("acme", actions=("project:read", READ), projects=("ios",))
    assert ask(gate, "/accounts/acme/projects/ios", ios) == ""
    assert ask(gate, "/accounts/acme/projects/android", ios) == "not_in_token"
    assert ask(gate, "/accounts/acme/projects/ios2", ios) == "account_not_granted"
    assert ask(gate, "/accounts/acme/usage", ios) == "not_in_token"


def test_headers_show_what_both_allow(gate: RunningGate) -> None:
    given = narrow("acme", "mallory", actions=(READ, "admin:all"))
    for _ in range(2):
        whole = gate.call("/authz", given).headers
        assert whole["x-watchword-scopes"] == READ
        assert whole["x-watchword-accounts"] == "acme"
        assert json.loads(whole["x-watchword-grants"]) == [{"scopes": [READ], "accounts": ["acme"]}]
        assert whole["x-watchword-workload"] == "tuist/atlas"
        assert whole["x-watchword-subject"] == "system:serviceaccount:atlas-production:atlas"
    headers = [("x-original-method", "GET"), ("x-original-uri", "/accounts/acme/usage")]
    decided = gate.call("/authz/nginx", given, headers).headers
    assert (decided["x-watchword-scopes"], decided["x-watchword-accounts"]) == (READ, "acme")


def test_lines_of_one_tokens_grants_are_never_anothers(gate: RunningGate) -> None:
    # The grants of a desk token live no longer than its entry: what is remembered by their identity alone
    # would be told of whatever comes to lie at the same place in memory.
    for number in range(300):
        account = ("acme", "other")[number % 2]
        detail = {"actions": [READ], "accounts": [account]}
        given = desk_token(jti=f"t-{number}", **granting(detail))
        headers = [("x-original-method", "GET"), ("x-original-uri", f"/accounts/{account}/usage")]
        assert gate.call("/authz/nginx", given, headers).headers["x-watchword-accounts"] == account
        assert gate.call("/authz", given).headers["x-watchword-accounts"] == account


def test_a_token_for_a_purpose_passes_on_its_routes_and_nowhere_else(gate: RunningGate) -> None:
    for_cache = desk_token(purpose="cache-read")
    assert ask(gate, "/accounts/acme/cache", for_cache) == ""
    assert ask(gate, "/accounts/acme/usage", for_cache) == "wrong_purpose"
    for _ in range(2):
        assert reason(gate, for_cache) == "wrong_purpose"
    for path in ("accounts/acme/usage", "usage", "usage/meters"):
        answer = gate.call(f"/api/internal/{path}", for_cache)
        assert answer.headers["x-watchword-reason"] == "wrong_purpose", path
    event = json.dumps({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "acme"})
    posted = gate.call(
        "/api/internal/usage/events",
        for_cache,
        [("content-type", "application/cloudevents+json")],
        "POST",
        event.encode(),
    )
    assert posted.headers["x-watchword-reason"] == "wrong_purpose"


def test_a_route_for_a_purpose_takes_no_other_token(gate: RunningGate) -> None:
    assert ask(gate, "/accounts/acme/cache", token()) == "wrong_purpose"
    assert ask(gate, "/accounts/acme/cache", desk_token()) == "wrong_purpose"


def test_a_purpose_that_was_taken_away_ends_its_tokens(gate: RunningGate) -> None:
    for_cache = desk_token(purpose="cache-read")
    assert ask(gate, "/accounts/acme/cache", for_cache) == ""
    adopt(gate, grants=WIDE, purposes=["other"])
    assert ask(gate, "/accounts/acme/cache", for_cache) == "wrong_purpose"


def test_usage_is_read_for_the_tokens_own_accounts_only(gate: RunningGate) -> None:
    asyncio.run(gate.usage.use_meters(()))
    mine = narrow("acme")
    assert gate.call("/api/internal/accounts/acme/usage", mine).status_code in (200, 404)
    other = gate.call("/api/internal/accounts/other/usage", mine)
    assert other.headers["x-watchword-reason"] == "not_in_token"
    assert (
        gate.call("/api/internal/usage?account=other", mine).headers["x-watchword-reason"] == "not_in_token"
    )
    assert gate.call("/api/internal/usage", mine).status_code == 200


REVOKED_BY_ISSUER = {
    "the token behind it": [{"tokenId": "7b1c1d0e-0000-4000-8000-000000000001"}],
    "its pod": [{"podUid": "p-1"}],
    "its ServiceAccount": [{"serviceAccountUid": "sa-1"}],
    "all tokens of the issuer until now": [{"issuedBefore": "2027-01-15T08:00:00Z"}],
    "the key that signed it": [{"keyThumbprint": signer().key.thumbprint}],
}


@pytest.mark.parametrize("what", REVOKED_BY_ISSUER)
def test_what_ends_the_origin_ends_the_desk_token(gate: RunningGate, what: str) -> None:
    assert reason(gate, desk_token()) == ""
    revoking = issuer("production", signer(), signer("key-2"), revoked=REVOKED_BY_ISSUER[what])
    adopt(gate, revoking)
    assert (reason(gate, desk_token()), reason(gate, token())) == ("revoked", "revoked")
    other_key = signer("key-2").key.thumbprint
    other = {"iat": int(NOW), "pod_uid": "p-2", "token_id": "t", "service_account_uid": "sa-2"}
    assert reason(gate, desk_token(**from_origin(**other, key=other_key))) == ""


def test_a_key_that_left_its_issuer_takes_the_desk_tokens_along(gate: RunningGate) -> None:
    assert reason(gate, desk_token()) == ""
    adopt(gate, issuer("production", signer("key-2")))
    assert reason(gate, desk_token()) == "origin_key_unknown"


def test_the_same_key_of_another_issuer_keeps_nothing_alive(gate: RunningGate) -> None:
    other = issuer("staging", signer(), issuer="https://staging.example")
    adopt(gate, issuer("production", signer("key-2")), other)
    assert reason(gate, desk_token()) == "origin_key_unknown"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [({"suspend": True}, "suspended"), ({"expires": "2026-01-01T00:00:00Z"}, "trust_expired")],
)
def test_a_workloads_trust_that_ends_ends_its_desk_tokens(
    gate: RunningGate, spec: dict[str, Any], expected: str
) -> None:
    assert reason(gate, desk_token()) == ""
    adopt(gate, **spec)
    assert (reason(gate, desk_token()), reason(gate, token())) == (expected, expected)


def test_another_account_of_the_same_name_has_no_use_of_it(bare_gate: RunningGate) -> None:
    from testing.desk import workload

    objects = [issuer(keys={"cluster": {}}), desk_service(), desk(), workload()]
    jwks = json.dumps({"keys": [signer().jwk]}).encode()
    for uid, expected in (("sa-1", ""), ("sa-9", "stale_identity"), ("", "stale_identity")):
        made = compile_resources(
            parsed(*objects).resources,
            keys={"production": jwks},
            live_uids={("atlas-production", "atlas"): uid},
            audiences=RULES,
            desk_keys={("watchword-desk", "desk"): DeskKeys((desk_signer().jwk,))},
        )
        bare_gate.engine.adopt(load(made.bundles[0]))
        assert reason(bare_gate, desk_token()) == expected
        assert reason(bare_gate, token()) == expected


def test_a_desks_key_that_was_revoked_ends_its_tokens_and_no_others(gate: RunningGate) -> None:
    second = desk_signer("second")
    adopt(gate, keys=DeskKeys((second.jwk,), (desk_signer().jwk,)))
    assert (reason(gate, desk_token()), reason(gate, desk_token(second))) == ("revoked", "")
    assert reason(gate, token()) == ""


def test_two_keys_of_a_desk_are_accepted_while_it_rotates(gate: RunningGate) -> None:
    adopt(gate, keys=DeskKeys((desk_signer().jwk, desk_signer("second").jwk)))
    assert [reason(gate, desk_token(each)) for each in (desk_signer(), desk_signer("second"))] == ["", ""]


def test_a_desk_that_the_service_names_no_more_is_a_strangers(gate: RunningGate) -> None:
    assert reason(gate, desk_token()) == ""
    adopt(gate, desk_service(tokenDeskRef=None, routes=[]))
    assert reason(gate, desk_token()) == "unsupported_header"


@pytest.mark.parametrize(
    "revocations",
    [
        Revocations({"desk-token-1": int(NOW) + 300}),
        Revocations({}, {WORKLOAD_SUBJECT: RevokedSubject(int(NOW), int(NOW) + 300)}),
    ],
    ids=["by its id", "by its subject and time"],
)
def test_what_the_desk_took_back_is_refused_though_it_is_remembered(
    gate: RunningGate, revocations: Revocations
) -> None:
    mine, later, own = desk_token(), desk_token(jti="later", iat=int(NOW)), token()
    for given in (mine, later, own):
        assert [reason(gate, given) for _ in range(2)] == ["", ""]
    remembered, ruleset = len(gate.engine.active.yes), gate.engine.active  # type: ignore[union-attr]
    gate.engine.revoke(revocations)
    assert [reason(gate, mine) for _ in range(2)] == ["revoked", "revoked"]
    assert (reason(gate, later), reason(gate, own)) == ("", "")
    # Neither a new ruleset nor a new cache.
    assert gate.engine.active is ruleset
    assert len(ruleset.yes) == remembered  # type: ignore[union-attr]
    # And a new bundle brings nothing back.
    adopt(gate, grants=WIDE)
    assert reason(gate, desk_token()) == "revoked"
    gate.engine.revoke(Revocations())
    assert reason(gate, desk_token()) == "revoked"


def test_a_cold_token_that_was_taken_back_is_refused_as_well(gate: RunningGate) -> None:
    gate.engine.revoke(Revocations({"desk-token-1": int(NOW) + 300}))
    assert [reason(gate, desk_token()) for _ in range(2)] == ["revoked", "revoked"]


def test_a_token_that_was_taken_back_stays_so_where_a_bundle_lets_tokens_live_longer(
    gate: RunningGate,
) -> None:
    end = int(NOW) + 300
    given = desk_token(exp=end)
    adopt(gate, desk_service(token={"clockSkewSeconds": 0}), grants=WIDE)
    gate.engine.revoke(Revocations({"desk-token-1": end}))
    # Over for this bundle, and forgotten by it: each list is looked through again.
    gate.now = end + 299
    gate.engine.revoke(Revocations())
    assert reason(gate, given) == "expired"
    adopt(gate, desk_service(token={"clockSkewSeconds": 300}), grants=WIDE)
    assert reason(gate, given) == "revoked"
    assert reason(gate, desk_token(exp=end, jti="another")) == ""


def test_revoking_in_a_loop_fills_nothing(gate: RunningGate) -> None:
    for number in range(2000):
        gate.now += 1
        gate.engine.revoke(Revocations({f"t-{number}": int(gate.now) + 60}))
    # Those of the last 60 seconds, and of the 300 more in which a gate may still take what has ended.
    assert len(gate.engine.revoked) <= 361


def test_a_gate_that_waits_for_the_list_refuses_desk_tokens_alone(gate: RunningGate) -> None:
    gate.engine.revoked.is_known = False
    assert gate.call("/authz", desk_token()).status_code == 503
    assert (reason(gate, desk_token()), reason(gate, token())) == ("revocations_unknown", "")
    gate.engine.revoke(Revocations())
    assert reason(gate, desk_token()) == ""


def test_the_audit_log_names_the_token_its_origin_and_its_purpose(gate: RunningGate) -> None:
    gate.call("/authz", desk_token())
    ask(gate, "/accounts/acme/cache", desk_token(purpose="cache-read"))
    gate.engine.revoke(Revocations({"desk-token-1": int(NOW) + 300}))
    gate.call("/authz", desk_token())
    gate.audit.close(30)
    lines = [json.loads(line) for line in gate.audit_stream.getvalue().splitlines()]
    assert [each["token_id"] for each in lines] == ["desk-token-1"] * 3
    assert lines[0]["desk"] == "watchword-desk/desk"
    assert lines[0]["origin_token_id"] == "7b1c1d0e-0000-4000-8000-000000000001"
    assert (lines[1]["purpose"], lines[2]["reason"]) == ("cache-read", "revoked")
    assert lines[0]["key_thumbprint"] == desk_signer().key.thumbprint
    assert lines[2]["workload"] == "tuist/atlas"


def test_an_issuer_that_serves_a_desks_kid_is_left_without_that_key(bare_gate: RunningGate) -> None:
    thief = Signer("wd-stolen")
    made = desk_world(issuer("production", signer(), thief))
    assert {problem.reason for problem in made.problems} == {"BadKey"}
    bare_gate.engine.adopt(load(made.bundles[0]))
    assert (reason(bare_gate, token(thief)), reason(bare_gate, token())) == ("unknown_key", "")
    assert reason(bare_gate, desk_token(thief, iss=DESK_URL)) == "unknown_key"


def test_an_issuer_that_serves_the_desks_own_key_signs_nothing_with_it(bare_gate: RunningGate) -> None:
    # The key under a kid of its own: a cluster's token by it is a cluster's, and a desk's by it is not.
    copied = issuer("production", signer(), issuer=DESK_URL + "/x")
    copied["spec"]["keys"]["inline"]["keys"].append(desk_signer().jwk | {"kid": "copied"})
    adopt(bare_gate, copied)
    assert reason(bare_gate, desk_token(header={"kid": "copied"})) == "unsupported_header"
    assert reason(bare_gate, desk_token()) == ""
    bound = token(signer(), kubernetes=kubernetes())
    assert reason(bare_gate, bound) == "wrong_issuer"


@pytest.mark.parametrize("names", [1, 100, 700])
def test_remembered_desk_tokens_take_no_more_memory_than_they_are_accounted_with(
    gate: RunningGate, names: int
) -> None:
    accounts = [f"a{number}" for number in range(names)]
    adopt(gate, grants=[{"scopes": [READ], "accounts": ["*"]}])
    made = [
        desk_token(jti=f"t-{number}", **granting({"actions": [READ], "accounts": accounts}))
        for number in range(100)
    ]
    active = gate.engine.active
    assert active is not None
    credentials = [find_credential([(b"authorization", b"Bearer " + each)]) for each in made]
    assert not isinstance(gate.engine.authenticate(active, credentials[0]), Refusal)
    before = active.yes.used_bytes
    tracemalloc.start()
    try:
        for each in credentials[1:]:
            gate.engine.authenticate(active, each)
        allocated = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(active.yes) == len(made)
    assert allocated <= (active.yes.used_bytes - before) * 1.05
