# SPDX-License-Identifier: Apache-2.0
"""/authz and its variants: the same answer cold and from the cache, and no word taken from the caller."""

import json

import pytest

from testing.manifests import issuer, service, workload
from testing.tokens import NOW, Signer, token
from tests.gate.running import RunningGate

IDENTITY_HEADERS = ["subject", "issuer", "workload", "scopes", "accounts", "decision-id"]
INGRESS = [("x-original-method", "GET"), ("x-original-url", "https://gate.example/app/acme")]
NGINX = [("x-original-method", "GET"), ("x-original-uri", "/app/acme?x=1")]
FORWARDED = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/app/acme?x=1")]


def test_a_gate_without_a_bundle_says_so(bare_gate: RunningGate) -> None:
    answer = bare_gate.call("/authz", token())
    assert (answer.status_code, answer.json()["reason"]) == (503, "not_ready")
    assert answer.headers["retry-after"] == "1"


def test_a_yes_says_who_is_calling(gate: RunningGate) -> None:
    answer = gate.call("/authz", token())
    assert answer.status_code == 200
    assert answer.headers["x-watchword-subject"] == "system:serviceaccount:atlas-production:atlas"
    assert answer.headers["x-watchword-issuer"] == "production"
    assert answer.headers["x-watchword-workload"] == "tuist/atlas"
    assert answer.headers["x-watchword-scopes"] == "account:usage:read account:usage:write"
    assert answer.headers["x-watchword-accounts"] == "acme"


def test_every_identity_header_is_there_even_when_it_is_empty(bare_gate: RunningGate) -> None:
    bare_gate.adopt(issuer(), service(), workload(grants=[]))
    answer = bare_gate.call("/authz", token())
    assert [name for name in IDENTITY_HEADERS if f"x-watchword-{name}" not in answer.headers] == []
    assert answer.headers["x-watchword-scopes"] == answer.headers["x-watchword-accounts"] == ""


def test_a_refusal_explains_itself_in_body_and_headers(gate: RunningGate) -> None:
    answer = gate.call("/authz", token(aud=["other"]))
    body = answer.json()
    assert answer.status_code == body["status"] == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-watchword-reason"] == body["reason"] == "wrong_audience"
    assert answer.headers["x-watchword-decision-id"] == body["decision_id"]
    assert answer.headers["www-authenticate"].startswith('Bearer realm="watchword", error="invalid_token"')
    assert "tuist-server" in body["remedy"]
    assert set(body) == {"type", "title", "status", "detail", "reason", "remedy", "decision_id"}


REFUSED = [
    (400, "malformed_credential", [("authorization", "Basic eDp5")]),
    (400, "malformed_credential", [("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")]),
    (400, "malformed_credential", [("authorization", "Bearer a.b.c, Bearer a.b.c")]),
    (400, "malformed_credential", [("authorization", "Bearer a b")]),
    (400, "malformed_credential", [("authorization", "Bearer")]),
    (401, "missing_credential", []),
    (401, "missing_credential", [("cookie", "authorization=Bearer a.b.c")]),
    (401, "missing_credential", [("x-authorization", "Bearer a.b.c")]),
    (401, "token_too_large", [("authorization", "Bearer " + "a" * 8193)]),
    (401, "malformed_token", [("authorization", "Bearer a.b")]),
]


@pytest.mark.parametrize(("status", "reason", "headers"), REFUSED)
def test_a_credential_that_is_not_one_token_is_refused(
    gate: RunningGate, status: int, reason: str, headers: list[tuple[str, str]]
) -> None:
    answer = gate.call("/authz", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


def test_the_cache_answers_what_the_checks_answered(gate: RunningGate) -> None:
    for given in (token(), token(aud=["x"]), token(Signer("key-1")), token(sub="x"), token(exp=NOW - 100)):
        cold, cached = gate.call("/authz", given), gate.call("/authz", given)
        assert cold.status_code == cached.status_code
        drop = {"x-watchword-decision-id", "content-length"}
        assert {k: v for k, v in cold.headers.items() if k not in drop} == {
            k: v for k, v in cached.headers.items() if k not in drop
        }
    assert (gate.counted("hit"), gate.counted("refusal_hit"), gate.counted("miss")) == (1, 4, 5)


def test_a_remembered_yes_ends_with_the_token(gate: RunningGate) -> None:
    given = token(exp=NOW + 10)
    assert gate.call("/authz", given).status_code == 200
    gate.now = NOW + 71
    assert gate.call("/authz", given).json()["reason"] == "expired"


def test_a_remembered_yes_is_no_yes_before_its_time(gate: RunningGate) -> None:
    given = token(iat=NOW, nbf=NOW)
    assert gate.call("/authz", given).status_code == 200
    gate.now = NOW - 61
    assert gate.call("/authz", given).json()["reason"] == "issued_in_future"


def test_a_refusal_for_now_is_not_remembered(gate: RunningGate) -> None:
    given = token(iat=NOW + 61, nbf=NOW + 61, exp=NOW + 600)
    assert gate.call("/authz", given).json()["reason"] == "issued_in_future"
    gate.now = NOW + 2
    assert gate.call("/authz", given).status_code == 200


def test_a_new_bundle_forgets_what_the_old_one_said(gate: RunningGate) -> None:
    given = token()
    assert gate.call("/authz", given).status_code == 200
    gate.adopt(issuer(), service(), generation=2)
    assert gate.call("/authz", given).json()["reason"] == "unknown_workload"
    gate.adopt(issuer(), service(), workload(), generation=3)
    assert gate.call("/authz", given).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/authz/nginx", NGINX),
        ("/authz/ingress-nginx", INGRESS),
        ("/authz/traefik", FORWARDED),
        ("/authz/caddy", FORWARDED),
        ("/authz/envoy/app/acme?x=1", []),
    ],
)
def test_each_proxy_says_the_original_request_its_own_way(
    gate: RunningGate, path: str, headers: list[tuple[str, str]]
) -> None:
    assert gate.call(path, token(), headers).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://gate/app/acme",
        "https://gate.example:8443/app/acme?next=https://x/y#",
        "https://[::1]:443/app/acme?a=b c".replace(" ", "%20"),
        "http://10.0.0.1/app/acme?",
    ],
)
def test_ingress_nginx_says_the_whole_url(gate: RunningGate, url: str) -> None:
    headers = [("x-original-method", "GET"), ("x-original-url", url)]
    assert gate.call("/authz/ingress-nginx", token(), headers).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "/app/acme",
        "ftp://gate/app/acme",
        "HTTP://gate/app/acme",
        "http:///app/acme",
        "http://gate",
        # nginx lets no slash through in a host (tests/proxies/test_ingress_nginx.py); nothing else hides one.
        "http://evil?/app/acme",
        "http://evil#/app/acme",
        "http://evil%2Fapp/acme/admin",
        "http://user@gate/app/acme",
        "http://evil\\/app/acme",
        "http://gatehttp://gate/app/acme",
        "http://gate//app/acme",
        "http://gate/x/../app/acme",
        " http://gate/app/acme",
        "https://gate/app/acme,https://gate/app/acme",
    ],
)
def test_a_url_that_ingress_nginx_does_not_write_has_no_route(gate: RunningGate, url: str) -> None:
    headers = [("x-original-method", "GET"), ("x-original-url", url)]
    answer = gate.call("/authz/ingress-nginx", token(), headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "no_route")


SPOOFED = [
    ("/authz/ingress-nginx", NGINX),
    ("/authz/ingress-nginx", FORWARDED),
    ("/authz/ingress-nginx", [*INGRESS, ("x-original-url", "http://gate/app/acme")]),
    ("/authz/nginx", INGRESS),
    ("/authz/nginx", FORWARDED),
    ("/authz/traefik", NGINX),
    ("/authz/caddy", NGINX),
    ("/authz/nginx", [NGINX[0], ("x-original-uri", "/admin"), *FORWARDED]),
    ("/authz/traefik", [FORWARDED[0], ("x-forwarded-uri", "/admin"), *NGINX]),
    ("/authz/envoy/admin", [*NGINX, *FORWARDED]),
    ("/authz/envoy/admin", [("x-envoy-original-path", "/app/acme")]),
    ("/authz/nginx", [*NGINX, ("x-original-uri", "/app/acme")]),
    ("/authz/nginx", [NGINX[0], ("x-original-uri", "")]),
    ("/authz/nginx", [("x-original-uri", "/app/acme")]),
    ("/authz/nginx", [("x-original-method", "POST"), NGINX[1]]),
    ("/authz/nginx", [NGINX[0], ("x-original-uri", "/app/acme/../../admin")]),
    ("/authz/nginx", [NGINX[0], ("x-original-uri", "/app/acme%2fx")]),
    ("/authz/nginx", [NGINX[0], ("x-original-uri", "/app/acme, /admin")]),
    ("/authz/nginx", [NGINX[0], ("x-original-uri", "/app/acme?a b")]),
    ("/authz/nginx", [("x_original_method", "GET"), ("x_original_uri", "/app/acme")]),
    ("/authz/envoy", []),
    ("/authz/nginx/app/acme", NGINX),
]


@pytest.mark.parametrize(("path", "headers"), SPOOFED)
def test_no_other_header_chooses_the_path_that_is_checked(
    gate: RunningGate, path: str, headers: list[tuple[str, str]]
) -> None:
    assert gate.call(path, token(), headers).status_code in {403, 404}


def test_the_same_token_gets_another_answer_on_another_route(gate: RunningGate) -> None:
    given = token()
    assert gate.call("/authz/envoy/app/acme", given).status_code == 200
    assert gate.call("/authz/envoy/app/other", given).json()["reason"] == "account_not_granted"
    assert gate.call("/authz/envoy/admin", given).json()["reason"] == "insufficient_scope"
    assert gate.call("/authz/envoy/nowhere", given).json()["reason"] == "no_route"
    assert gate.call("/authz", given).status_code == 200


def test_a_workload_over_its_rate_is_told_when_to_come_back(bare_gate: RunningGate) -> None:
    routes = [{"path": "/x", "methods": ["GET"], "scope": "account:usage:read"}]
    limits = {"requestsPerSecond": 1, "burst": 2}
    bare_gate.adopt(issuer(), service(routes=routes, limits=limits), workload())
    answers = [bare_gate.call("/authz/envoy/x", token(jti=str(n))) for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["reason"] == "rate_limited"
    assert answers[2].headers["retry-after"] == "1"
    bare_gate.now += 1
    assert bare_gate.call("/authz/envoy/x", token()).status_code == 200


def test_a_callers_own_identity_headers_never_come_back(gate: RunningGate) -> None:
    own = [
        ("X-Watchword-Subject", "evil"),
        ("x_watchword_subject", "evil"),
        ("connection", "x-watchword-issuer"),
    ]
    answer = gate.call("/authz", token(), own)
    assert "evil" not in str(answer.headers)
    assert answer.headers["x-watchword-issuer"] == "production"


def test_a_forged_host_changes_nothing(gate: RunningGate) -> None:
    assert gate.call("/authz/envoy/admin", token(), [("host", "x/app/acme?y=")]).status_code == 403


def test_the_audit_log_names_the_decision_and_never_the_token(gate: RunningGate) -> None:
    given = token()
    allowed = gate.call("/authz/envoy/app/acme", given)
    gate.call("/authz", token(Signer("key-1"), sub="never-proven"))
    gate.audit.close()
    lines = [json.loads(line) for line in gate.audit_stream.getvalue().splitlines()]
    assert lines[0]["decision_id"] == allowed.headers["x-watchword-decision-id"]
    assert (lines[0]["outcome"], lines[0]["route"], lines[0]["account"]) == (
        "allowed",
        "/app/{account}",
        "acme",
    )
    assert (lines[1]["outcome"], lines[1]["reason"]) == ("refused", "bad_signature")
    written = gate.audit_stream.getvalue()
    assert given not in written
    assert given.split(b".")[2] not in written
    assert b"never-proven" not in written


def test_nothing_else_answers(gate: RunningGate) -> None:
    for path in (
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/quitquitquit",
        "/authz/",
        "/authz/other",
        "/app/acme",
    ):
        assert gate.call(path, token()).status_code == 404
