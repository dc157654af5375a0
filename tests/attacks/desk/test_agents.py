# SPDX-License-Identifier: Apache-2.0
"""Agents that want more than they may: each request with the status and the error that must come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from testing.agents import ALICE, JWT_BEARER, READ, AgentDesk, agent_desk, said
from testing.running_desk import (
    CLIENT_ASSERTION,
    DESK_AUDIENCE,
    EXCHANGE,
    ISSUER,
    JWT,
    TARGET,
    TARGET_AUDIENCE,
    account_token,
    subject_token,
)
from testing.tokens import claims_of, signer
from watchword.desk.agents.assertions import ASSERTION_TYPE
from watchword.desk.minting import SigningKey
from watchword.identity.encoding import encode_base64url


@pytest.fixture(scope="module")
def desk() -> Iterator[AgentDesk]:
    with agent_desk() as running:
        yield running


@pytest.fixture(scope="module")
def unclaimed(desk: AgentDesk) -> dict[str, Any]:
    return desk.anonymous()


@pytest.fixture(scope="module")
def claimed(desk: AgentDesk) -> dict[str, Any]:
    return desk.claimed()


ADDRESSES = [
    *(None, "", 7, True, [ALICE], {"a": 1}, "alice", "@example.com", "alice@", "alice@example"),
    *(
        " alice@example.com",
        "alice@example.com ",
        "alice@example.com\n",
        "alice@example.com\r\nBcc: bob@x.com",
    ),
    *("alice@example.com,bob@example.com", "alice@example.com;bob@example.com", "<alice@example.com>"),
    *(
        '"alice"@example.com',
        "Alice <alice@example.com>",
        "alice@[127.0.0.1]",
        "alice@example.com.",
        "a b@x.com",
    ),
    *(
        "alice@exämple.com",
        "älice@example.com",
        "alice@xn--.com-",
        "alice@example..com",
        "alice@-example.com",
    ),
    *(
        "alice@@example.com",
        "alice@example.com@evil.com@",
        "al\x00ice@example.com",
        "alice%00@example.com\x00",
    ),
    *("a" * 65 + "@example.com", "a@" + "b" * 64 + ".com", "a@" + ("b" * 60 + ".") * 5 + "com"),
    *("alice\u2024b@example.com", "alice@example\u3002com", "\uff41lice@example.com", "..@example.com"),
]


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda each: ascii(each)[:50])
def test_what_is_not_one_whole_address_is_no_login_hint(desk: AgentDesk, address: object) -> None:
    answer = desk.post("/agent/identity", {"type": "service_auth", "login_hint": address})
    assert said(answer) == (400, "invalid_login_hint", "invalid_login_hint")


BODIES: list[tuple[str, bytes, str, int, str]] = [
    ("no body", b"", "application/json", 400, "malformed_json"),
    ("a list", b"[]", "application/json", 400, "malformed_json"),
    ("a text", b'"anonymous"', "application/json", 400, "malformed_json"),
    ("two types", b'{"type":"anonymous","type":"refresh"}', "application/json", 400, "malformed_json"),
    ("not UTF-8", b'{"type":"\xff"}', "application/json", 400, "malformed_json"),
    ("half", b'{"type":"anonymous"', "application/json", 400, "malformed_json"),
    ("two documents", b'{"type":"anonymous"}{}', "application/json", 400, "malformed_json"),
    ("deep", b'{"type":' + b"[" * 5000 + b"]" * 5000 + b"}", "application/json", 400, "malformed_json"),
    ("a form", b"type=anonymous", "application/x-www-form-urlencoded", 400, "wrong_json_type"),
    ("JSON as a form", b'{"type":"anonymous"}', "text/plain", 400, "wrong_json_type"),
    ("another charset", b'{"type":"anonymous"}', "application/json; charset=utf-16", 400, "wrong_json_type"),
    ("too much", b'{"type":"' + b"a" * 40_000 + b'"}', "application/json", 413, "form_too_large"),
    ("no type", b"{}", "application/json", 400, "missing_member"),
    ("a null type", b'{"type":null}', "application/json", 400, "missing_member"),
    ("a number", b'{"type":1}', "application/json", 400, "missing_member"),
    ("an empty type", b'{"type":""}', "application/json", 400, "missing_member"),
    ("a type with a line break", b'{"type":"anonymous\\n"}', "application/json", 400, "missing_member"),
    *(
        (f"type {name}", b'{"type":"%b"}' % name.encode(), "application/json", 400, "unknown_type")
        for name in (
            "Anonymous",
            "identity_assertion",
            "verified_email",
            "claim",
            "admin",
            "workload",
            "user",
        )
    ),
    ("refresh of nothing", b'{"type":"refresh"}', "application/json", 400, "missing_member"),
]


@pytest.mark.parametrize("case", BODIES, ids=[each[0] for each in BODIES])
def test_a_body_that_is_not_a_registration(desk: AgentDesk, case: tuple[str, bytes, str, int, str]) -> None:
    _, body, kind, status, reason = case
    answer = desk.http.post("/agent/identity", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


@pytest.mark.parametrize(
    "path", ["/agent/identity", "/agent/identity/claim", "/agent/identity/claim/complete"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_a_post_registers_or_claims(desk: AgentDesk, path: str, method: str) -> None:
    answer = desk.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path", ["/agent/identity?type=anonymous", "/claim/confirm?secret=wwm_x&decision=allow"]
)
def test_nothing_is_read_from_the_url_of_a_post(desk: AgentDesk, path: str) -> None:
    body = {"json": {"type": "anonymous"}} if "identity" in path else {"data": {"decision": "allow"}}
    assert desk.http.post(path, **body).status_code == 400  # type: ignore[arg-type]


TOKENS: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("no assertion", {"assertion": None}, 400, "invalid_request", "missing_parameter"),
    ("no audience", {"audience": None}, 400, "invalid_request", "missing_parameter"),
    ("two audiences", {"audience": [TARGET, TARGET]}, 400, "invalid_target", "several_targets"),
    ("no scope", {"scope": None, "account": None}, 400, "invalid_request", "no_grant_requested"),
    ("a purpose", {"purpose": "warm"}, 400, "invalid_scope", "purpose_not_allowed"),
    *(
        (f"target {name}", {"audience": name}, 400, "invalid_target", "agent_target_unavailable")
        for name in ("tuist/other", "*", ISSUER, DESK_AUDIENCE, f"{TARGET}/", TARGET.upper(), "tuist-server")
    ),
    *(
        (f"scope {scope}", {"scope": scope}, 400, "invalid_scope", "beyond_ceiling")
        for scope in ("account:usage:write", "cache:read", f"{READ} cache:read", "service:status:write")
    ),
    *(
        (f"account {name}", {"account": name}, 400, "invalid_scope", "beyond_ceiling")
        for name in ("umbrella", "trial2", "Trial", "tria", "*")
    ),
    ("a project", {"project": "ios"}, 400, "invalid_scope", "beyond_ceiling"),
    ("two forms", {"authorization_details": "[]"}, 400, "invalid_request", "two_grant_forms"),
    *(
        (f"assertion {text[:12]!r}", {"assertion": text}, 400, "invalid_grant", "invalid_assertion")
        for text in ("x", "a.b.c", "..", "e30.e30.", "wwr_" + "a" * 43, "wwc_" + "a" * 43, "null", "{}")
    ),
    ("a pod's token", {"assertion": subject_token()}, 400, "invalid_grant", "invalid_assertion"),
    ("a client", {"assertion": account_token("caches", "cache")}, 400, "invalid_grant", "invalid_assertion"),
    ("another grant type", {"grant_type": JWT_BEARER.upper()}, 400, *["unsupported_grant_type"] * 2),
    (
        "a client besides",
        {"client_assertion": account_token("caches", "cache"), "client_assertion_type": CLIENT_ASSERTION},
        *(400, "unauthorized_client", "client_not_allowed"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", TOKENS, ids=[each[0] for each in TOKENS])
def test_an_agent_gets_no_token_beyond_what_it_may(
    desk: AgentDesk,
    unclaimed: dict[str, Any],
    case: tuple[str, dict[str, Any], int, str, str],
) -> None:
    _, changes, status, error, reason = case
    answer = desk.token(unclaimed["identity"]["assertion"], **({"account": "trial"} | changes))
    assert said(answer) == (status, error, reason)


def forged(key: SigningKey, header: dict[str, Any], **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": "agent:reg_" + "0" * 32,
        "jti": "j",
        "iat": now,
        "exp": now + 600,
        "epoch": 0,
    } | changes
    said_header = {"alg": "ES256", "typ": ASSERTION_TYPE, "kid": key.kid} | header
    return key.sign_bytes(
        json.dumps({k: v for k, v in said_header.items() if v is not None}).encode(),
        json.dumps({k: v for k, v in claims.items() if v is not ...}).encode(),
    )


FORGERIES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("typ at+jwt", {"typ": "at+jwt"}, {}),
    ("typ JWT", {"typ": "JWT"}, {}),
    ("typ of an ID-JAG", {"typ": "oauth-id-jag+jwt"}, {}),
    ("no typ", {"typ": None}, {}),
    ("alg none", {"alg": "none"}, {}),
    ("alg HS256", {"alg": "HS256"}, {}),
    ("crit", {"crit": ["b64"]}, {}),
    ("jwk", {"jwk": signer().jwk}, {}),
    ("another kid", {"kid": "wd-" + "A" * 43}, {}),
    ("another iss", {}, {"iss": "https://evil.example"}),
    ("another aud", {}, {"aud": TARGET_AUDIENCE}),
    ("several aud", {}, {"aud": [ISSUER, "https://evil.example"]}),
    ("a list as aud", {}, {"aud": [ISSUER]}),
    ("sub of a workload", {}, {"sub": "workload:atlas-production:atlas-production:atlas"}),
    ("sub of a client", {}, {"sub": "client:cache"}),
    ("sub of nothing", {}, {"sub": "agent:"}),
    ("sub with a path", {}, {"sub": "agent:../reg_" + "0" * 32}),
    ("no epoch", {}, {"epoch": ...}),
    ("an epoch that is a text", {}, {"epoch": "0"}),
    ("no end", {}, {"exp": ...}),
    ("an end long ago", {}, {"exp": 1}),
    ("a claim more", {}, {"scope": "*"}),
]


@pytest.mark.parametrize(("name", "header", "claims"), FORGERIES, ids=[each[0] for each in FORGERIES])
def test_even_with_the_desks_own_key_an_assertion_has_one_form(
    desk: AgentDesk, unclaimed: dict[str, Any], name: str, header: dict[str, Any], claims: dict[str, Any]
) -> None:
    del name
    key = desk.running.source.keys[0].key
    sub = f"agent:{unclaimed['id']}"
    good = forged(key, {}, sub=sub)
    assert desk.token(good, account="trial").status_code == 200
    answer = desk.token(forged(key, header, **({"sub": sub} | claims)), account="trial")
    assert said(answer) == (400, "invalid_grant", "invalid_assertion")


def test_an_assertion_of_another_key_or_of_no_registration_is_none(desk: AgentDesk) -> None:
    assert said(desk.token(forged(SigningKey.generate(), {})))[2] == "invalid_assertion"
    assert said(desk.token(forged(desk.running.source.keys[0].key, {})))[2] == "agent_ended"


def test_an_assertion_is_no_token_anywhere_else(desk: AgentDesk, unclaimed: dict[str, Any]) -> None:
    assertion = unclaimed["identity"]["assertion"]
    assert desk.running.introspect(assertion).json() == {"active": False}
    exchanged = desk.running.exchange(assertion)
    assert exchanged.status_code == 400
    as_client = {"client_assertion": assertion, "client_assertion_type": CLIENT_ASSERTION, "token": "x"}
    assert desk.http.post("/oauth2/introspect", data=as_client).status_code == 401


def test_an_agents_token_is_no_subject_token_and_no_client(desk: AgentDesk, claimed: dict[str, Any]) -> None:
    token = desk.good(desk.token(claimed["identity"]["assertion"]))["access_token"]
    assert desk.running.exchange(token).json()["reason"] == "desk_token_as_subject"
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": JWT}
    assert desk.http.post("/oauth2/token", data=form).status_code == 400
    assert said(desk.token(token)) == (400, "invalid_grant", "invalid_assertion")
    as_client = {"client_assertion": token, "client_assertion_type": CLIENT_ASSERTION, "token": "x"}
    assert desk.http.post("/oauth2/introspect", data=as_client).status_code == 401


FORGED_ORIGINS = [
    {"host": "evil.example"},
    {"x-forwarded-host": "evil.example"},
    {"x-forwarded-proto": "http", "x-forwarded-host": "evil.example:1"},
    {"forwarded": "host=evil.example;proto=http"},
    {"x-original-url": "https://evil.example/claim"},
    {"origin": "https://evil.example"},
]


@pytest.mark.parametrize("headers", FORGED_ORIGINS, ids=lambda each: next(iter(each)))
def test_no_link_or_document_is_made_of_a_request(desk: AgentDesk, headers: dict[str, str]) -> None:
    paths = ("/auth.md", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource")
    for path in paths:
        plain, forged_one = desk.http.get(path), desk.http.get(path, headers=headers)
        assert plain.content == forged_one.content
    body = {"type": "service_auth", "login_hint": next(desk._people)}
    made = desk.good(desk.http.post("/agent/identity", json=body, headers=headers))
    link = made["claim"]["attempt"]["verification_uri"]
    assert link.startswith(f"{ISSUER}/claim?attempt=wwa_")
    assert made["claim"]["url"] == f"{ISSUER}/agent/identity/claim"
    before = len(desk.mails.mails)
    fields = {"attempt": link.partition("attempt=")[2]}
    assert desk.http.post("/claim/mail", data=fields, headers=headers).status_code == 200
    assert desk.mails.link(before + 1).startswith(f"{ISSUER}/claim?secret=")


QUERIES = [
    *("", "?", "?attempt=", "?attempt=x", "?secret=x", "?secret=", "?attempt=wwa_" + "a" * 43),
    *("?secret=wwm_" + "a" * 43, "?attempt=wwa_x&attempt=wwa_y", "?attempt=wwa_x&secret=wwm_y"),
    *("?attempt=%00", "?attempt=%zz", "?attempt=<script>", "?x=" + "a" * 2000, "?attempt=wwa_" + "a" * 3000),
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda each: each[:40])
def test_a_page_for_nothing_is_an_error_page_that_runs_nothing(desk: AgentDesk, query: str) -> None:
    shown = desk.http.get(f"/claim{query}")
    assert shown.status_code in (400, 410)
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert shown.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")
    assert "<script" not in shown.text
    assert shown.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/auth.md", "/agent/identity", "/agent/identity/claim", "/claim", "/claim/confirm", "/claim/style.css"],
)
def test_without_agents_in_the_token_desk_nothing_of_it_is_there(path: str) -> None:
    from testing.running_desk import running_desk

    with running_desk() as desk:
        for method in ("GET", "POST"):
            assert desk.http.request(method, path).status_code == 404
        metadata = desk.http.get("/.well-known/oauth-authorization-server").json()
        assert "agent_auth" not in metadata
        assert metadata["grant_types_supported"] == [EXCHANGE, "client_credentials"]
        form = {"grant_type": JWT_BEARER, "assertion": "x", "audience": TARGET, "scope": READ}
        assert desk.http.post("/oauth2/token", data=form).json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize("kind", ["anonymous", "service_auth"])
def test_what_is_switched_off_is_refused_and_not_said_to_be_there(kind: str) -> None:
    with agent_desk() as desk:
        desk.change(**{"unclaimed" if kind == "anonymous" else "claimed": None})
        answer = desk.post("/agent/identity", {"type": kind, "login_hint": ALICE})
        assert said(answer)[1] == f"{kind}_registration_disabled"
        metadata = desk.http.get("/.well-known/oauth-authorization-server").json()
        assert kind not in metadata["agent_auth"]["identity_types_supported"]


def test_a_storm_of_registrations_is_bounded_by_address_by_minute_and_by_rows() -> None:
    with agent_desk(registrations_per_hour=5, registrations_per_minute=0) as desk:
        answers = [desk.post("/agent/identity", {"type": "anonymous"}) for _ in range(50)]
        assert [each.status_code for each in answers].count(200) == 5
        assert all(int(each.headers["retry-after"]) > 0 for each in answers[5:])
    with agent_desk(registrations_per_hour=0, registrations_per_minute=10) as desk:
        answers = [desk.post("/agent/identity", {"type": "anonymous"}) for _ in range(50)]
        assert 10 <= [each.status_code for each in answers].count(200) < 20
    with agent_desk() as desk:
        unclaimed = {"scopes": [READ], "accounts": ["trial"], "maxRegistrations": 7}
        desk.change(unclaimed=unclaimed)
        answers = [desk.post("/agent/identity", {"type": "anonymous"}) for _ in range(50)]
        assert [each.status_code for each in answers].count(200) == 7
        assert said(answers[-1]) == (429, "rate_limit_exceeded", "registrations_full")
        # The other kind has room of its own, and so has a workload.
        assert desk.service_auth()
        assert desk.running.exchange().status_code == 200


def test_what_a_storm_is_refused_costs_the_store_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with agent_desk(registrations_per_hour=0, registrations_per_minute=1) as desk:
        assert desk.post("/agent/identity", {"type": "anonymous"}).status_code == 200
        store = desk.running.desk._store
        calls: list[str] = []
        for name in ("write", "look", "find"):
            kept = getattr(store, name)
            monkeypatch.setattr(
                store, name, lambda *given, name=name, kept=kept: calls.append(name) or kept(*given)
            )
        body = {"type": "service_auth", "login_hint": ALICE}
        storm = [desk.post("/agent/identity", body).json()["reason"] for _ in range(100)]
        assert storm.count("agent_rate_limited") >= 98
        assert len(calls) <= 100 - storm.count("agent_rate_limited")
        # What was refused is in the log all the same, once a minute.
        counted = {reason: count for (_, reason), count in desk.running.desk.strangers._counts.items()}
        assert counted["agent_rate_limited"] >= 98


def test_no_secret_and_no_address_is_in_the_audit_log_or_the_store_in_plain(desk: AgentDesk) -> None:
    done = desk.claimed()
    secrets = [
        done["claim"]["token"],
        done["identity"]["refresh_token"]["value"],
        done["identity"]["assertion"],
    ]
    log = json.dumps(desk.audit())
    assert "@example.com" not in log
    tables = ("agent", "agent_attempt", "agent_use", "agent_person")
    rows = str([desk.running.desk._store.look(f"SELECT * FROM {each}", ()) for each in tables])  # noqa: S608
    assert not any(each in log or each in rows for each in secrets)


def test_the_header_of_an_agents_token_is_a_desk_tokens(desk: AgentDesk, claimed: dict[str, Any]) -> None:
    token = desk.good(desk.token(claimed["identity"]["assertion"]))["access_token"]
    claims = claims_of(token)
    assert claims["exp"] <= claims["iat"] + 900
    assert claims["aud"] == TARGET_AUDIENCE
    assert claims["authorization_details"] == [
        {"type": "watchword_grant", "actions": [READ], "accounts": ["acme"]}
    ]
    assert encode_base64url(b"{") not in token.split(".")[2]
