# SPDX-License-Identifier: Apache-2.0
"""Requests that ask for what is not the caller's, or in a form that two readers could take differently."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from testing.running_desk import (
    ACCESS_TOKEN,
    CLIENT_ASSERTION,
    CLUSTER_URL,
    DESK,
    DESK_AUDIENCE,
    EXCHANGE,
    ISSUER,
    JWT,
    NAMESPACE,
    SERVICE,
    TARGET,
    TARGET_AUDIENCE,
    RunningDesk,
    Source,
    account_token,
    default_objects,
    desk_object,
    exchange_form,
    running_desk,
    subject_token,
)
from testing.tokens import Signer, claims_of


def details(*grants: dict[str, Any]) -> str:
    return json.dumps([{"type": "watchword_grant", **each} for each in grants])


SHORT = {"scope": None, "account": None, "project": None}
# Changes of a good exchange: the RFC's error and the reason that must come.
EXCHANGES: list[tuple[str, dict[str, Any], str, str]] = [
    # grant types
    (
        "an exchange by client credentials",
        {"grant_type": "client_credentials"},
        "invalid_scope",
        "admin_token_has_no_grants",
    ),
    ("no grant type", {"grant_type": None}, "invalid_request", "missing_parameter"),
    ("an empty grant type", {"grant_type": ""}, "invalid_request", "missing_parameter"),
    *(
        (f"grant type {kind}", {"grant_type": kind}, "unsupported_grant_type", "unsupported_grant_type")
        for kind in (
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "authorization_code",
            "password",
            "refresh_token",
            "implicit",
            EXCHANGE.upper(),
            EXCHANGE + " ",
            "token-exchange",
        )
    ),
    # token types
    ("no subject token", {"subject_token": None}, "invalid_request", "missing_parameter"),
    ("no subject token type", {"subject_token_type": None}, "invalid_request", "missing_parameter"),
    *(
        (
            f"subject type {kind}",
            {"subject_token_type": kind},
            "invalid_request",
            "unsupported_subject_token_type",
        )
        for kind in (
            ACCESS_TOKEN,
            "urn:ietf:params:oauth:token-type:id_token",
            "urn:ietf:params:oauth:token-type:refresh_token",
            "urn:ietf:params:oauth:token-type:saml2",
            "urn:ietf:params:oauth:token-type:id-jag",
            "jwt",
            JWT.upper(),
        )
    ),
    *(
        (
            f"requested type {kind}",
            {"requested_token_type": kind},
            "invalid_request",
            "unsupported_requested_token_type",
        )
        for kind in (
            "urn:ietf:params:oauth:token-type:refresh_token",
            "urn:ietf:params:oauth:token-type:id_token",
            "urn:ietf:params:oauth:token-type:id-jag",
            "urn:ietf:params:oauth:token-type:txn_token",
            "opaque",
        )
    ),
    # delegation
    (
        "an actor token",
        {"actor_token": "x", "actor_token_type": JWT},
        "invalid_request",
        "actor_not_supported",
    ),
    ("an actor token without its type", {"actor_token": "x"}, "invalid_request", "actor_not_supported"),
    ("an actor's type without a token", {"actor_token_type": JWT}, "invalid_request", "actor_not_supported"),
    # targets
    ("no audience", {"audience": None}, "invalid_request", "missing_parameter"),
    ("two audiences", {"audience": [TARGET, TARGET]}, "invalid_target", "several_targets"),
    ("two other audiences", {"audience": [TARGET, "x/y"]}, "invalid_target", "several_targets"),
    ("a resource", {"resource": "https://server.example"}, "invalid_target", "resource_not_supported"),
    (
        "a resource and no audience",
        {"resource": "https://server.example", "audience": None},
        "invalid_target",
        "resource_not_supported",
    ),
    *(
        (f"target {name!r}", {"audience": name}, "invalid_target", "target_unavailable")
        for name in (
            "tuist/other",
            "other/tuist-server",
            SERVICE,
            f"{TARGET}/",
            f"/{TARGET}",
            f"{TARGET} ",
            TARGET.upper(),
            "tuist/tuist-serve",
            "tuist/tuist-server2",
            "tuist//tuist-server",
            "../tuist/tuist-server",
            "tuist%2ftuist-server",
            "*",
            "tuist/*",
            DESK_AUDIENCE,
            ISSUER,
            CLUSTER_URL,
            f"{TARGET_AUDIENCE}/",
            TARGET_AUDIENCE.replace("dev/", "prod/", 1),
            TARGET_AUDIENCE.upper(),
            "watchword.dev/services/other/tuist/tuist-server",
            "x" * 2000,
        )
    ),
    # what is asked for
    ("nothing", SHORT, "invalid_request", "no_grant_requested"),
    ("only an account", {"scope": None, "project": None}, "invalid_request", "missing_parameter"),
    (
        "both forms",
        {"authorization_details": details({"actions": ["cache:read"]})},
        "invalid_request",
        "two_grant_forms",
    ),
    *(
        (f"scope {scope!r}", {"scope": scope}, "invalid_scope", "malformed_scope")
        for scope in (
            "*",
            "cache:*",
            "cache:read cache:*",
            "cache",
            "cache:read:",
            "Cache:read",
            "cache:read  cache:write",
            "cache:read ",
            "cache:read,cache:write",
            'cache:read"',
            "cache:read cache:read",
            "a" * 200 + ":read",
        )
    ),
    *(
        (f"scope {scope!r} that is not granted", {"scope": scope}, "invalid_scope", "grant_not_covered")
        for scope in ("cache:rea", "cache:read-all", "cache:part:read", "cache:read cache:delete", "openid:x")
    ),
    *(
        (f"account {name!r}", {"account": name}, "invalid_scope", "grant_not_covered")
        for name in ("acme2", "acm", "Acme", "acme ", " acme", "аcme", "*", "other", "acme/ios", "acme%00")
    ),
    *(
        (f"project {name!r}", {"project": name}, "invalid_scope", "grant_not_covered")
        for name in ("ios-app", "io", "iOS", "ios ", "*", "web")
    ),
    ("the account itself", {"project": None}, "invalid_scope", "grant_not_covered"),
    (
        "the scope without an account",
        {"project": None, "account": None},
        "invalid_scope",
        "grant_not_covered",
    ),
    (
        "a project of a scope for accounts",
        {"scope": "account:usage:read"},
        "invalid_scope",
        "grant_not_covered",
    ),
    ("a pattern as account", {"account": "ac*"}, "invalid_scope", "malformed_scope"),
    ("two accounts in one", {"account": "acme,other"}, "invalid_scope", "malformed_scope"),
    ("a project and no account", {"account": None}, "invalid_scope", "malformed_scope"),
    *(
        (
            f"details {grants}",
            SHORT | {"authorization_details": details(*grants)},
            "invalid_authorization_details",
            "grant_not_covered",
        )
        for grants in (
            ({"actions": ["cache:read"], "accounts": ["*"], "projects": ["ios"]},),
            ({"actions": ["cache:read"], "accounts": ["acme"], "projects": ["*"]},),
            ({"actions": ["cache:read"], "accounts": ["acme"]},),
            ({"actions": ["cache:read"]},),
            ({"actions": ["cache:read"], "accounts": ["acme", "other"], "projects": ["ios"]},),
            ({"actions": ["cache:read"], "accounts": ["acme"], "projects": ["ios", "web"]},),
            (
                {"actions": ["cache:read"], "accounts": ["acme"], "projects": ["ios"]},
                {"actions": ["cache:read"], "accounts": ["other"], "projects": ["ios"]},
            ),
            ({"actions": ["account:usage:read", "cache:read"], "accounts": ["acme"]},),
        )
    ),
    *(
        (
            f"details {text[:60]}",
            SHORT | {"authorization_details": text},
            "invalid_authorization_details",
            "malformed_authorization_details",
        )
        for text in (
            "[]",
            "{}",
            "null",
            "[null]",
            "[" * 5000,
            '[{"type":"watchword_grant"}]',
            '[{"type":"other","actions":["cache:read"]}]',
            '[{"type":"watchword_grant","actions":["cache:read"],"accounts":[]}]',
            '[{"type":"watchword_grant","actions":["cache:read"],"accounts":["acme"],"accounts":["other"]}]',
            '[{"type":"watchword_grant","actions":["cache:read"],"privileges":["admin"]}]',
            '[{"type":"watchword_grant","actions":["cache:read"]}],"details":[]',
            '[{"type":"watchword_grant","actions":["cache:read"]}]}//',
            details(*[{"actions": ["cache:read"]}] * 9),
            details({"actions": ["cache:read"], "accounts": ["acme", "*"]}),
        )
    ),
    # purposes
    ("a purpose that is not allowed", {"purpose": "publish"}, "invalid_scope", "purpose_not_allowed"),
    ("a purpose that begins like one", {"purpose": "war"}, "invalid_scope", "purpose_not_allowed"),
    ("a purpose that goes on like one", {"purpose": "warm-up"}, "invalid_scope", "purpose_not_allowed"),
    *(
        (f"purpose {word[:20]!r}", {"purpose": word}, "invalid_request", "malformed_purpose")
        for word in ("Warm", "warm up", "warm*", "warm/x", "w" * 65, "wärm")
    ),
    # clients
    ("another client_id", {"client_id": "cache"}, "invalid_client", "invalid_client_authentication"),
    (
        "a client's secret",
        {"client_id": "cache", "client_secret": "x"},
        "invalid_client",
        "invalid_client_authentication",
    ),
]
LIFETIMES = ("expires_in", "exp", "lifetime", "requested_expires_in", "max_age")


@pytest.mark.parametrize(
    ("name", "changes", "error", "reason"), EXCHANGES, ids=[each[0] for each in EXCHANGES]
)
def test_an_exchange_that_asks_for_too_much_is_refused(
    desk: RunningDesk, name: str, changes: dict[str, Any], error: str, reason: str
) -> None:
    answer = desk.exchange(**changes)

    said = answer.json()
    assert (said["error"], said["reason"]) == (error, reason), said
    assert answer.status_code == (401 if error == "invalid_client" else 400)
    assert answer.headers["cache-control"] == "no-store"
    assert "access_token" not in said
    assert set(said) == {"error", "error_description", "reason", "remedy", "request_id"}
    # RFC 6749, section 5.2: what a description may hold.
    assert all(
        char in "\x20\x21" or "\x23" <= char <= "\x5b" or "\x5d" <= char <= "\x7e"
        for char in said["error_description"]
    )
    # What the workload holds besides is the owner's to know.
    assert "android" not in answer.text


@pytest.mark.parametrize("name", LIFETIMES)
def test_no_parameter_makes_a_token_live_longer(desk: RunningDesk, name: str) -> None:
    claims = claims_of(desk.minted(**{name: "86400"}))
    assert claims["exp"] - claims["iat"] <= 600


def test_a_token_never_ends_after_the_one_that_it_was_made_from(desk: RunningDesk) -> None:
    ends = int(time.time()) + 100
    claims = claims_of(desk.minted(subject_token(exp=ends)))
    assert claims["exp"] == ends


BODIES: list[tuple[str, bytes, str, str]] = [
    ("a parameter twice", b"scope=a:b&scope=a:b", "invalid_request", "repeated_parameter"),
    ("the grant type twice", b"grant_type=a&grant_type=a", "invalid_request", "repeated_parameter"),
    ("the subject token twice", b"subject_token=a&subject_token=b", "invalid_request", "repeated_parameter"),
    ("twice with another spelling", b"scope=a&sc%6fpe=b", "invalid_request", "repeated_parameter"),
    ("twice, once empty", b"token=&token=x", "invalid_request", "repeated_parameter"),
    ("an unknown one twice", b"x=1&x=2", "invalid_request", "repeated_parameter"),
    ("a null byte", b"scope=a%00b", "invalid_request", "malformed_form"),
    ("a raw null byte", b"scope=a\x00b", "invalid_request", "malformed_form"),
    ("a line break", b"scope=a%0d%0aX: y", "invalid_request", "malformed_form"),
    ("no UTF-8", b"scope=%ff", "invalid_request", "malformed_form"),
    ("an overlong encoding", b"scope=%c0%af", "invalid_request", "malformed_form"),
    ("a surrogate", b"scope=%ed%a0%80", "invalid_request", "malformed_form"),
    ("a broken escape", b"scope=%4", "invalid_request", "malformed_form"),
    ("no equals sign", b"scope", "invalid_request", "malformed_form"),
    ("an empty part", b"scope=a:b&&account=b", "invalid_request", "malformed_form"),
    ("JSON", b'{"grant_type": "x"}', "invalid_request", "malformed_form"),
    ("33 parameters", b"&".join(b"p%d=1" % each for each in range(33)), "invalid_request", "malformed_form"),
    ("100,000 parameters", b"a=1&" * 8000 + b"b=1", "invalid_request", "malformed_form"),
    ("a huge form", b"a=" + b"x" * 40_000, "invalid_request", "form_too_large"),
    ("nothing", b"", "invalid_request", "missing_parameter"),
]


@pytest.mark.parametrize("path", ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"])
@pytest.mark.parametrize(("name", "body", "error", "reason"), BODIES, ids=[each[0] for each in BODIES])
def test_a_form_that_is_not_strict_is_refused(
    desk: RunningDesk, path: str, *, name: str, body: bytes, error: str, reason: str
) -> None:
    answer = desk.http.post(path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    said = answer.json()
    if not body and path == "/oauth2/introspect":
        error, reason = "invalid_client", "missing_client_authentication"
    assert (said["error"], said["reason"]) == (error, reason)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"token=eyJ.secret%0a", "token"),
        ("subject_token=a\u00a0secret".encode(), "subject_token"),
        ("scope=a:b\u200bsecret".encode(), "scope"),
        (b"client_secret=%ffsecret", "client_secret"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_and_not_quoted(
    desk: RunningDesk, body: bytes, named: str
) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = desk.http.post("/oauth2/token", content=body, headers=headers)
    assert f"The parameter {named} is not" in answer.json()["error_description"]
    assert "line end" in answer.json()["remedy"]
    assert "secret" not in answer.text.replace("client_secret", "")


def test_a_scope_that_is_named_twice_is_said_to_be(desk: RunningDesk) -> None:
    answer = desk.exchange(scope="cache:read cache:read")
    assert answer.json()["reason"] == "malformed_scope"
    assert "twice" in answer.json()["error_description"]


def test_the_admin_api_on_the_wrong_port_is_said_to_have_its_own(desk: RunningDesk) -> None:
    assert "--admin-listen" in desk.http.get("/admin/v1/tokens").json()["remedy"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded;charset=utf-16",
    ],
)
@pytest.mark.parametrize("path", ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"])
def test_another_media_type_is_refused(desk: RunningDesk, path: str, content_type: str) -> None:
    answer = desk.http.post(path, content=b"token=x", headers={"Content-Type": content_type})
    assert answer.json()["reason"] == "wrong_media_type"


@pytest.mark.parametrize("path", ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_another_method_is_refused(desk: RunningDesk, path: str, method: str) -> None:
    answer = desk.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/oauth2/token/",
        "/oauth2//token",
        "/OAuth2/token",
        "/oauth2/token;x",
        "/oauth2/%74oken",
        "/oauth2/../oauth2/token",
        "/oauth2/authorize",
        "/oauth2/register",
        "/admin/audit",
        "/metrics",
        "/readyz",
        "/.well-known/openid-configuration",
        "/.well-known/jwks.json/",
    ],
)
def test_there_is_no_other_door(desk: RunningDesk, path: str) -> None:
    # As written: httpx would tidy the path up.
    where = urlsplit(desk.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    assert answer.status == 404
    assert said["reason"] == "unknown_endpoint"


@pytest.mark.parametrize("path", ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"])
def test_parameters_in_the_url_are_refused(desk: RunningDesk, path: str) -> None:
    answer = desk.http.post(f"{path}?client_secret=x&grant_type={EXCHANGE}", data={"token": "x"})
    assert answer.json()["reason"] == "malformed_form"


HOSTS = ["evil.example", "desk.example.com.evil.example", "desk.example.com:1", "x", "[::1]", "evil.example#"]
DOCUMENTS = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource",
    "/.well-known/jwks.json",
]


@pytest.mark.parametrize("path", DOCUMENTS)
@pytest.mark.parametrize("host", HOSTS)
def test_the_documents_say_the_same_whatever_the_host_header_says(
    desk: RunningDesk, path: str, host: str
) -> None:
    good = desk.http.get(path)
    hostile = desk.http.get(
        path,
        headers={
            "Host": host,
            "X-Forwarded-Host": host,
            "X-Forwarded-Proto": "http",
            "Forwarded": f"host={host}",
            "X-Original-URL": "/oauth2/token",
        },
    )
    assert hostile.status_code in (200, 400)
    if hostile.status_code == 200:
        assert hostile.content == good.content
        assert host not in hostile.text.replace("desk.example.com", "") or host == "x"


def test_the_token_says_the_desks_issuer_whatever_the_host_header_says(desk: RunningDesk) -> None:
    answer = desk.http.post("/oauth2/token", data=exchange_form(), headers={"Host": "evil.example"})
    assert claims_of(answer.json()["access_token"])["iss"] == ISSUER


def test_keys_that_are_served_are_public(desk: RunningDesk) -> None:
    [key] = desk.http.get("/.well-known/jwks.json").json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert key["kid"].startswith("wd-")


SUBJECTS: list[tuple[str, dict[str, Any], str]] = [
    ("the service's own audience", {"aud": [TARGET_AUDIENCE]}, "wrong_audience"),
    ("the API server's", {"aud": [CLUSTER_URL]}, "wrong_audience"),
    ("another desk's", {"aud": ["watchword.dev/desks/dev/watchword-desk/other"]}, "wrong_audience"),
    (
        "a service of the desk's name",
        {"aud": ["watchword.dev/services/dev/watchword-desk/desk"]},
        "wrong_audience",
    ),
    (
        "this desk of another cluster",
        {"aud": ["watchword.dev/desks/prod/watchword-desk/desk"]},
        "wrong_audience",
    ),
    ("the desk's and more", {"aud": [DESK_AUDIENCE, "other"]}, "several_audiences"),
    ("the desk's in both ways", {"aud": [DESK_AUDIENCE, ISSUER]}, "several_audiences"),
    ("the desk's twice", {"aud": [DESK_AUDIENCE, DESK_AUDIENCE]}, "several_audiences"),
    ("the issuer with a slash", {"aud": [ISSUER + "/"]}, "wrong_audience"),
    ("the token endpoint", {"aud": [ISSUER + "/oauth2/token"]}, "wrong_audience"),
    ("the issuer in capitals", {"aud": [ISSUER.upper()]}, "wrong_audience"),
    ("no audience", {"aud": []}, "wrong_audience"),
    ("bound to a key", {"cnf": {"jkt": "x"}}, "confirmation_not_supported"),
    ("bound to nothing", {"cnf": None}, "confirmation_not_supported"),
    (
        "not of a pod",
        {
            "kubernetes.io": {
                "namespace": "atlas-production",
                "serviceaccount": {"name": "atlas", "uid": "sa-1"},
            }
        },
        "not_bound",
    ),
    ("the desk itself as issuer", {"iss": ISSUER}, "wrong_issuer"),
    (
        "a desk's subject",
        {"sub": "workload:atlas-production:atlas-production:atlas"},
        "not_a_service_account",
    ),
    ("an agent", {"sub": "agent:1"}, "not_a_service_account"),
]


@pytest.mark.parametrize(("name", "changes", "reason"), SUBJECTS, ids=[each[0] for each in SUBJECTS])
def test_a_token_that_is_not_for_this_desk_alone_is_refused(
    desk: RunningDesk, name: str, changes: dict[str, Any], reason: str
) -> None:
    answer = desk.exchange(subject_token(**changes))
    assert answer.status_code == 400
    assert answer.json()["reason"] == reason
    assert answer.json()["error"] == "invalid_request"


def test_both_audiences_of_the_desk_are_taken(desk: RunningDesk) -> None:
    assert desk.exchange(subject_token(aud=[ISSUER])).status_code == 200
    assert desk.exchange(subject_token(aud=DESK_AUDIENCE)).status_code == 200


def test_a_token_that_is_already_of_the_desk_is_never_a_subject(desk: RunningDesk) -> None:
    token = desk.minted()
    for kind in (JWT, ACCESS_TOKEN):
        answer = desk.exchange(token, subject_token_type=kind)
        assert answer.json()["reason"] in ("desk_token_as_subject", "unsupported_subject_token_type")
    # Nor as a client, nor to say who revokes.
    answer = desk.introspect(token, assertion=token)
    assert answer.status_code == 401


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT"])
def test_a_clusters_token_that_says_to_be_a_desks_is_none_of_either(desk: RunningDesk, kind: str) -> None:
    token = subject_token(header={"alg": "RS256", "kid": "key-1", "typ": kind})
    assert desk.exchange(token).json()["reason"] == "desk_token_as_subject"


def test_a_clusters_token_with_the_kid_of_the_desk_is_refused(desk: RunningDesk) -> None:
    state = desk.desk.state
    assert state is not None
    assert state.signing is not None
    token = subject_token(header={"alg": "RS256", "kid": state.signing.kid})
    assert desk.exchange(token).json()["reason"] == "desk_token_as_subject"


def test_the_same_token_may_be_exchanged_again_and_gives_another_one(desk: RunningDesk) -> None:
    subject = subject_token()
    one, two = desk.minted(subject), desk.minted(subject)
    assert claims_of(one)["jti"] != claims_of(two)["jti"]


def test_what_a_stranger_is_told_is_the_same_for_any_target(desk: RunningDesk) -> None:
    stranger = subject_token(Signer("nobody"))
    answers = [desk.exchange(stranger, audience=each).json() for each in (TARGET, "tuist/none", "x")]
    for each in answers:
        each.pop("request_id")
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["reason"] == "unknown_key"


def test_what_a_proven_workload_is_told_is_the_same_for_unknown_and_untrusting_targets(
    desk: RunningDesk,
) -> None:
    untrusted = account_token("atlas-production", "other", DESK_AUDIENCE)
    answers = [
        desk.exchange(untrusted, audience=each).json() for each in (TARGET, "tuist/none", f"{NAMESPACE}/x")
    ]
    for each in answers:
        each.pop("request_id")
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["error"] == "invalid_target"


def test_no_answer_holds_what_was_sent(desk: RunningDesk) -> None:
    secret = "s3cr3t-" + "x" * 30
    answers = [
        desk.exchange(secret),
        desk.introspect(secret, assertion=secret),
        desk.revoke(secret, client_secret=secret, client_id="cache"),
        desk.exchange(subject_token(), audience=secret),
        desk.http.post("/oauth2/token", data={secret: "1"}),
    ]
    assert all(secret not in each.text for each in answers)


def test_an_assertion_of_the_wrong_kind_is_no_client(desk: RunningDesk) -> None:
    for kind in ("", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", CLIENT_ASSERTION.upper()):
        answer = desk.introspect("x", client_assertion_type=kind or None)
        assert answer.status_code == 401, kind
        assert answer.json()["error"] == "invalid_client"
        assert answer.headers["www-authenticate"].startswith("Basic ")


def test_two_desks_never_take_each_others_tokens(desk: RunningDesk) -> None:
    other = Source()
    other.objects = [each for each in default_objects() if each["kind"] != "TokenDesk"]
    other.objects.append(desk_object(issuer="https://other.example.com"))
    assert other.desk == DESK
    with running_desk(other) as second:
        token = desk.minted()
        assert second.introspect(
            token, account_token("caches", "cache", "https://other.example.com")
        ).json() == {"active": False}
        assert second.revoke(token).status_code == 200
        assert desk.introspect(token).json()["active"] is True
        # An assertion for one desk's issuer is none for the other's.
        assert second.introspect(token, account_token("caches", "cache", ISSUER)).status_code == 401


def test_a_flood_of_parts_of_requests_leaves_the_desk_alive(desk: RunningDesk) -> None:
    where = urlsplit(desk.url)
    assert where.hostname is not None
    assert where.port is not None
    for head in (
        b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n",
        b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"\x00" * 5000,
        b"GET " + b"/" * 20_000,
    ):
        with socket.create_connection((where.hostname, where.port)) as link:
            link.sendall(head)
    assert desk.exchange().status_code == 200


def test_an_unknown_client_is_answered_as_a_known_one(desk: RunningDesk) -> None:
    known, unknown = (
        desk.http.post("/oauth2/introspect", data={"token": "x"}, auth=(name, "wrong"))
        for name in ("cache", "unknown")
    )
    assert (known.status_code, unknown.status_code) == (401, 401)
    assert {**known.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}
    assert known.headers["www-authenticate"] == unknown.headers["www-authenticate"]
