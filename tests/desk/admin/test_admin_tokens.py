# SPDX-License-Identifier: Apache-2.0
"""Tokens of admin clients: who gets one, what it opens, and when it opens nothing any more."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from testing.manifests import parsed as parsed_of
from testing.running_desk import (
    CLIENT_ASSERTION,
    ISSUER,
    TARGET,
    RunningDesk,
    Source,
    account_token,
    admin_object,
    client_object,
    running_desk,
    service_object,
    subject_token,
    workload_object,
)
from testing.tokens import Signer, claims_of, compact
from tests.desk.admin.world import KEY, objects
from tests.gate.running import RunningGate
from watchword.desk.admin.changes import admin_changes
from watchword.trust import load


def reason(answer: httpx.Response) -> tuple[int, str]:
    document = answer.json()
    assert document["remedy"]
    assert document["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, document["reason"]


def own_assertion(by: Signer = KEY, name: str = "nightly", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": name, "sub": name, "aud": ISSUER, "exp": now + 60, "iat": now, "jti": str(uuid.uuid4())}
    head = compact({"alg": by.algorithm, "typ": "client-authentication+jwt", "kid": by.kid})
    return by.sign(head, compact(claims | changes)).decode()


def test_an_admin_client_gets_a_token_that_says_what_it_is(desk: RunningDesk) -> None:
    answer = desk.admin_token()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert document.keys() == {"access_token", "token_type", "expires_in"}
    claims = claims_of(document["access_token"])
    assert claims["sub"] == claims["client_id"] == "client:automation"
    assert claims["aud"] == "watchword.dev/desks/dev/watchword-desk/desk"
    assert claims["watchword"] == {"kind": "admin"}
    assert claims["scope"] == ""
    assert claims["authorization_details"] == []
    assert 0 < claims["exp"] - time.time() <= 900


def test_a_token_does_not_outlive_the_projected_token_that_it_was_got_by(desk: RunningDesk) -> None:
    ends = int(time.time()) + 100
    answer = desk.admin_token(client_assertion=account_token("automation", "automation", exp=ends))
    assert claims_of(answer.json()["access_token"])["exp"] == ends


def test_a_client_with_a_key_of_its_own_proves_itself_once_with_each_assertion(desk: RunningDesk) -> None:
    assertion = own_assertion()
    first = desk.admin_token(client_assertion=assertion)
    assert first.status_code == 200
    # It is not the assertion's minute that the token lives for.
    assert claims_of(first.json()["access_token"])["exp"] > time.time() + 300
    assert reason(desk.admin_token(client_assertion=assertion)) == (401, "replayed_assertion")
    assert desk.admin("GET", "/clients", first.json()["access_token"]).status_code == 200


REFUSED: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "no proof": (
        {"client_assertion": None, "client_assertion_type": None},
        (401, "missing_client_authentication"),
    ),
    "a name alone": (
        {"client_assertion": None, "client_assertion_type": None, "client_id": "automation"},
        (401, "missing_client_authentication"),
    ),
    "a secret": (
        {
            "client_assertion": None,
            "client_assertion_type": None,
            "client_id": "automation",
            "client_secret": "s",
        },
        (401, "invalid_client_authentication"),
    ),
    "two proofs": ({"client_secret": "s"}, (400, "second_client_authentication")),
    "another's key": (
        {"client_assertion": own_assertion(Signer("mallory"))},
        (401, "invalid_client_authentication"),
    ),
    "another client's name": ({"client_id": "nightly"}, (401, "invalid_client_authentication")),
    "a ServiceAccount of the same name elsewhere": (
        {"client_assertion": account_token("elsewhere", "automation")},
        (401, "invalid_client_authentication"),
    ),
    "a workload": (
        {"client_assertion": subject_token(aud=[ISSUER])},
        (401, "invalid_client_authentication"),
    ),
    "a token for another audience": (
        {"client_assertion": account_token("automation", "automation", "https://other.example.com")},
        (401, "invalid_client_authentication"),
    ),
    "a token for two audiences": (
        {
            "client_assertion": account_token(
                "automation", "automation", [ISSUER, "https://other.example.com"]
            )
        },
        (401, "invalid_client_authentication"),
    ),
    "a resource server": (
        {"client_assertion": account_token("caches", "cache")},
        (400, "client_not_allowed"),
    ),
    **{
        f"a grant by {name}": ({name: value}, (400, "admin_token_has_no_grants"))
        for name, value in (
            ("scope", "cache:read"),
            ("account", "acme"),
            ("project", "ios"),
            ("purpose", "warm"),
            ("authorization_details", "[]"),
            ("audience", TARGET),
            ("resource", "https://a.example.com"),
            ("subject_token", "x"),
        )
    },
}


@pytest.mark.parametrize("what", REFUSED)
def test_no_one_else_gets_one(desk: RunningDesk, what: str) -> None:
    changes, expected = REFUSED[what]
    assert reason(desk.admin_token(**changes)) == expected


@pytest.mark.parametrize("flag", [None, False])
def test_without_the_flag_a_client_gets_none(desk: RunningDesk, flag: bool | None) -> None:
    desk.change(*objects(admin_object(adminServiceAccount=flag, grantedBy=None)))
    assert reason(desk.admin_token()) == (400, "not_an_admin_client")


def test_a_flag_that_is_withdrawn_counts_no_more_on_the_next_call(desk: RunningDesk) -> None:
    token = desk.admin_token().json()["access_token"]
    assert desk.admin("GET", "/tokens", token).status_code == 200
    # The desk itself has not taken the change: what counts is read for each call.
    desk.source.objects = objects(admin_object(adminServiceAccount=False))
    assert reason(desk.admin("GET", "/tokens", token)) == (403, "not_an_admin")
    # Set again it is another grant: the token of before the withdrawal stays without effect.
    desk.source.objects = objects()
    assert reason(desk.admin("GET", "/tokens", token)) == (403, "not_an_admin")
    token = desk.admin_token().json()["access_token"]
    assert desk.admin("GET", "/tokens", token).status_code == 200
    # The client is gone, and then another one has its name.
    desk.source.objects = [each for each in objects() if each["metadata"]["name"] != "automation"]
    assert reason(desk.admin("GET", "/tokens", token)) == (403, "not_an_admin")


@pytest.mark.parametrize(
    "change",
    [
        {"authentication": {"jwks": {"keys": [Signer("mallory").jwk]}}},
        {"grantedBy": "mallory"},
        {"deskRef": {"name": "other"}},
        {"type": "ResourceServer", "adminServiceAccount": None, "grantedBy": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_token_dies_with_the_version_of_the_client_that_it_was_issued_for(
    desk: RunningDesk, change: dict[str, Any]
) -> None:
    token = desk.admin_token().json()["access_token"]
    desk.source.objects = objects(admin_object(**change))
    assert reason(desk.admin("GET", "/tokens", token)) == (403, "not_an_admin")


def test_two_clients_of_one_service_account_are_neither(desk: RunningDesk) -> None:
    token = desk.admin_token().json()["access_token"]
    by = admin_object()["spec"]["authentication"]
    desk.source.objects = [*objects(), client_object("twin", authentication=by)]
    assert reason(desk.admin("GET", "/tokens", token)) == (403, "not_an_admin")
    desk.change(*desk.source.objects)
    assert reason(desk.admin_token()) == (401, "invalid_client_authentication")


def test_a_token_that_was_revoked_or_ended_opens_nothing(desk: RunningDesk) -> None:
    token, other = (desk.admin_token().json()["access_token"] for _ in range(2))
    assert desk.revoke(token).status_code == 200
    assert reason(desk.admin("GET", "/tokens", token)) == (401, "invalid_admin_token")
    assert desk.admin("GET", "/tokens", other).status_code == 200
    desk.desk.clock = lambda: time.time() + 1000
    assert reason(desk.admin("GET", "/tokens", other)) == (401, "invalid_admin_token")
    # Gates need not know: no service's list has it.
    assert not desk.source.revocations.services


def test_tokens_of_others_open_no_admin_route(desk: RunningDesk) -> None:
    workload = desk.minted()
    for path, method in (("/tokens", "GET"), ("/clients", "GET"), ("/audit", "GET"), ("/explain", "POST")):
        assert reason(desk.admin(method, path, workload)) == (403, "wrong_token_kind")
        for stranger in (account_token("automation", "automation"), "x", "a.b.c", own_assertion()):
            answer = desk.http.request(
                method, f"{desk.admin_url}/admin/v1{path}", headers={"Authorization": f"Bearer {stranger}"}
            )
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert reason(desk.http.get(f"{desk.admin_url}/admin/v1/tokens")) == (401, "missing_admin_token")


def test_a_token_of_an_admin_s_shape_that_the_store_does_not_know_opens_nothing(desk: RunningDesk) -> None:
    state = desk.desk.state
    assert state is not None
    assert state.signing is not None
    from watchword.trust.desk_tokens import admin_claims

    now = int(time.time())
    for token_id in ("0" * 32, claims_of(desk.minted())["jti"]):
        claims = admin_claims(
            issuer=state.issuer,
            audience=state.audience,
            client="automation",
            token_id=token_id,
            issued_at=now,
            expires_at=now + 600,
        )
        forged = state.signing.sign(claims)
        assert forged is not None
        assert reason(desk.admin("GET", "/tokens", forged)) == (401, "invalid_admin_token")


OTHER_ENDPOINTS = ("/oauth2/token", "/oauth2/introspect", "/oauth2/revoke")


@pytest.mark.parametrize("path", OTHER_ENDPOINTS)
def test_an_admin_token_is_a_wrong_kind_at_every_endpoint_of_the_public_port(
    desk: RunningDesk, path: str
) -> None:
    token = desk.admin_token().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    for form in ({}, {"token": token}, {"grant_type": "client_credentials"}, {"grant_type": "x"}):
        assert reason(desk.http.post(path, data=form, headers=headers)) == (403, "wrong_token_kind")


def test_an_admin_token_is_nothing_where_another_token_belongs(desk: RunningDesk) -> None:
    token = desk.admin_token().json()["access_token"]
    assert reason(desk.exchange(token)) == (400, "desk_token_as_subject")
    assert desk.introspect(token).json() == {"active": False}
    assert reason(desk.introspect(desk.minted(), token)) == (401, "invalid_client_authentication")
    assert reason(desk.admin_token(client_assertion=token)) == (401, "invalid_client_authentication")
    # An admin proves itself and still may not ask about accounts' tokens.
    as_admin = account_token("automation", "automation")
    assert reason(desk.introspect(desk.minted(), as_admin)) == (400, "client_not_allowed")
    form = {"client_assertion": as_admin, "client_assertion_type": CLIENT_ASSERTION}
    assert reason(desk.exchange(**form)) == (400, "client_not_allowed")


GATE_ROUTES: tuple[tuple[str, str, list[tuple[str, str]]], ...] = (
    *(
        (f"/authz/{proxy}", "GET", headers)
        for proxy, headers in (
            ("traefik", [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/acme/ios/cache")]),
            ("caddy", [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/acme/ios/cache")]),
            ("nginx", [("x-original-method", "GET"), ("x-original-uri", "/acme/ios/cache")]),
            ("ingress-nginx", [("x-original-method", "GET"), ("x-original-url", "https://a/acme/ios/cache")]),
            ("envoy/acme/ios/cache", []),
        )
    ),
    ("/authz", "GET", []),
    ("/api/internal/accounts/acme/usage", "GET", []),
    ("/api/internal/usage?account=acme", "GET", []),
    ("/api/internal/usage/meters", "GET", []),
    ("/api/internal/usage/events", "POST", [("content-type", "application/cloudevents+json")]),
)


@pytest.mark.parametrize("path", [each[0] for each in GATE_ROUTES])
def test_an_admin_token_is_403_on_every_route_of_gate_and_usage(
    desk: RunningDesk, tmp_path: Path, path: str
) -> None:
    [(_, method, headers)] = [each for each in GATE_ROUTES if each[0] == path]
    gate = RunningGate(tmp_path)
    try:
        gate.engine.adopt(load(desk.source.bundles[0]))
        gate.now = time.time()
        token = desk.admin_token().json()["access_token"]
        answer = gate.call(path, token.encode(), headers, method, b"{}" if method == "POST" else b"")
        assert answer.status_code == 403, answer.text
        assert answer.json()["reason"] == "wrong_token_kind"
    finally:
        gate.close()


def test_a_name_that_is_also_someone_else_s_changes_nothing(desk: RunningDesk) -> None:
    """A client called like a workload, a service, a person or a workload's subject is itself alone."""
    names = ("atlas", "tuist-server", "grace", "workload")
    desk.change(
        *objects(workload_object("automation", "ci"), service_object()),
        *(admin_object(each) for each in names),
    )
    for name in names:
        token = desk.admin_token(name).json()["access_token"]
        assert claims_of(token)["sub"] == f"client:{name}"
        assert desk.admin("GET", "/clients", token).status_code == 200
    # The TrustedWorkload that is called like the admin is what it was, and no admin.
    minted = desk.minted(account_token("atlas-production", "ci"))
    assert claims_of(minted)["sub"] == "workload:atlas-production:atlas-production:ci"
    assert reason(desk.admin("GET", "/clients", minted)) == (403, "wrong_token_kind")


def test_each_step_is_in_the_audit_log_with_who_and_by_which_request(desk: RunningDesk) -> None:
    token = desk.admin_token().json()["access_token"]
    jti = claims_of(token)["jti"]
    target = claims_of(desk.minted())["jti"]
    answers = [
        desk.admin("GET", "/clients", token),
        desk.admin("POST", f"/tokens/{target}/revoke", token),
        desk.admin("GET", f"/tokens/{'0' * 32}", token),
    ]
    entries = [each["entry"] for each in desk.admin("GET", "/audit", token).json()["entries"]]
    [issued] = [each for each in entries if each["event"] == "admin_token_issued"]
    assert (issued["subject"], issued["granted_by"], issued["token_id"]) == (
        "client:automation",
        "grace",
        jti,
    )
    calls = {each["request_id"]: each for each in entries if each["event"] == "admin_called"}
    found = [calls[each.headers["x-request-id"]] for each in answers]
    assert [(each["operation"], each["reason"]) for each in found] == [
        ("list_clients", "ok"),
        ("revoke_token", "ok"),
        ("show_token", "not_found"),
    ]
    assert all((each["subject"], each["token_id"]) == ("client:automation", jti) for each in found)
    [revoked] = [each for each in entries if each["event"] == "token_revoked"]
    assert (revoked["token_id"], revoked["by"]) == (target, "client:automation")
    assert token not in json.dumps(entries)
    desk.source.objects = objects(admin_object(adminServiceAccount=False))
    refused = desk.admin("GET", "/clients", token)
    desk.source.objects = objects()
    token = desk.admin_token().json()["access_token"]
    entries = [each["entry"] for each in desk.admin("GET", "/audit", token).json()["entries"]]
    [entry] = [each for each in entries if each.get("request_id") == refused.headers["x-request-id"]]
    assert (entry["event"], entry["reason"]) == ("request_refused", "not_an_admin")
    assert "adminServiceAccount" in entry["internal"]


def test_what_was_revoked_by_an_admin_is_told_to_gates(desk: RunningDesk) -> None:
    token = desk.minted()
    jti = claims_of(token)["jti"]
    answer = desk.admin("POST", f"/tokens/{jti}/revoke")
    assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    assert desk.introspect(token).json() == {"active": False}
    # Again is the same answer, and no second entry.
    assert desk.admin("POST", f"/tokens/{jti}/revoke").json()["state"] == "revoked"
    deadline = time.monotonic() + 30
    while TARGET not in desk.source.revocations.services and time.monotonic() < deadline:
        time.sleep(0.05)
    assert jti in str(desk.source.revocations.services[TARGET])


def test_what_becomes_of_admin_clients_is_noted_once_however_often_it_is_seen(tmp_path: Path) -> None:
    source = Source()
    source.objects = objects()
    store = f"sqlite:///{tmp_path}/desk.db"

    def changes(desk: RunningDesk) -> list[tuple[str, str]]:
        token = desk.admin_token().json()["access_token"]
        query = {"event": "admin_client_changed"}
        entries = desk.admin("GET", "/audit", token, params=query).json()["entries"]
        found = [each["entry"] for each in reversed(entries)]
        assert all(each["granted_by"] == "grace" for each in found if each["change"] == "granted")
        return [(each["subject"].removeprefix("client:"), each["change"]) for each in found]

    both = [("automation", "granted"), ("nightly", "granted")]
    # Seen at the start, and again after a restart.
    for _ in range(2):
        with running_desk(source, store=store, admin_listen="127.0.0.1:0") as desk:
            assert changes(desk) == both
    parsed = {
        name: next(each for each in parsed_of(*given).resources.clients if each.metadata.name == "nightly")
        for name, given in {
            "set": objects(),
            "unset": objects(admin_object("nightly", adminServiceAccount=False)),
        }.items()
    }
    withdrawn = admin_changes([parsed["set"]], [parsed["unset"]], 1.0)
    removed = admin_changes([parsed["set"]], [], 1.0)
    assert [each.event.fields["change"] for each in (*withdrawn, *removed) if each.event] == [
        "withdrawn",
        "removed",
    ]
    assert admin_changes([parsed["set"]], [parsed["set"]], 1.0) == []
    # Deleted and made again between two looks: another object.
    again = msgspec.structs.replace(
        parsed["set"], metadata=msgspec.structs.replace(parsed["set"].metadata, uid="other")
    )
    said = [each.event.fields for each in admin_changes([parsed["set"]], [again], 1.0) if each.event]
    assert [(each["change"], each["uid"]) for each in said] == [("removed", ""), ("granted", "other")]
