# SPDX-License-Identifier: Apache-2.0
"""Assertions of providers (ID-JAG), attacked: whom they are for, who signed them, how often, about whom.

Each request has the status, the `error` and the `reason` that must come.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from testing.agent_providers import (
    CLIENT,
    EVENT_TYPE,
    ID_JAG,
    JAG_TYPE,
    OTHER_PROVIDER,
    PROVIDER,
    ProviderDesk,
    by_hand,
    event,
    flipped,
    id_jag,
    jag_claims,
    key,
    other_object,
    provider_desk,
    provider_object,
    signed,
)
from testing.agents import ALICE, JWT_BEARER, READ, said
from testing.running_desk import DESK_AUDIENCE, ISSUER, TARGET, TARGET_AUDIENCE, account_token, subject_token
from testing.tokens import Signer, b64, claims_of, compact, signer

Refusal = tuple[int, str, str]
_UNVERIFIED: Refusal = (400, "invalid_grant", "unverified_assertion")
_TYPE: Refusal = (400, "invalid_grant", "wrong_assertion_type")
_MALFORMED: Refusal = (400, "invalid_grant", "malformed_assertion")
_AUDIENCE: Refusal = (400, "invalid_grant", "wrong_assertion_audience")
_CLIENT: Refusal = (400, "invalid_grant", "client_not_enabled")
_TIME: Refusal = (400, "invalid_grant", "assertion_not_in_time")
_LOGIN: Refusal = (401, "login_required", "login_required")
_EMAIL: Refusal = (400, "invalid_grant", "missing_verified_email")
_DOMAIN: Refusal = (400, "invalid_grant", "domain_not_of_provider")
_BOUND: Refusal = (400, "invalid_grant", "assertion_bound_otherwise")
_KEY_BOUND: Refusal = (400, "invalid_grant", "key_bound_assertion")

RSA = signer("provider-rsa", "RS256")
IMPOSTOR = Signer("provider-1", "ES256")
P384 = Signer("provider-384", "ES384")


def now() -> int:
    return int(time.time())


@pytest.fixture(scope="module")
def desk() -> Iterator[ProviderDesk]:
    """A desk with a provider of three keys, and another provider with a key of the same kid."""
    with provider_desk(provider_object("helper", key(), RSA, P384), other_object()) as running:
        yield running


def with_hmac() -> str:
    """HS256 with the provider's public key as its secret."""
    head = {"alg": "HS256", "kid": key().kid, "typ": JAG_TYPE}
    signing = f"{b64(compact(head))}.{b64(compact(jag_claims()))}"
    secret = json.dumps(key().jwk).encode()
    return f"{signing}.{b64(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


def repeated(name: str, first: Any, second: Any) -> bytes:
    """The claims with one of them twice."""
    rest = compact(jag_claims(**{name: ...}))
    doubled = f"{json.dumps(name)}:{json.dumps(first)},{json.dumps(name)}:{json.dumps(second)}"
    return b"{" + doubled.encode() + b"," + rest[1:]


def other_claims_under(token: str) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{b64(compact(jag_claims(sub='mallory')))}.{signature}"


Make = Callable[[], str]
CASES: list[tuple[str, Refusal, Make]] = [
    # Who signed it.
    ("alg none", _UNVERIFIED, lambda: by_hand({"alg": "none", "typ": JAG_TYPE}, jag_claims(), b"x")),
    ("alg none and no signature", _UNVERIFIED,
     lambda: f"{b64(compact({'alg': 'none', 'typ': JAG_TYPE}))}.{b64(compact(jag_claims()))}."),
    ("HS256 with the public key", _UNVERIFIED, with_hmac),
    ("a signature with one bit changed", _UNVERIFIED, lambda: flipped(id_jag())),
    ("another payload under the signature", _UNVERIFIED, lambda: other_claims_under(id_jag())),
    ("an impostor's key under the kid", _UNVERIFIED, lambda: id_jag(IMPOSTOR)),
    ("the other provider's iss, signed by this one", _UNVERIFIED, lambda: id_jag(iss=OTHER_PROVIDER)),
    ("an unknown iss", _UNVERIFIED, lambda: id_jag(iss="https://agents.example.com")),
    *((f"iss {text!r}", _UNVERIFIED, partial(id_jag, iss=text))
      for text in (PROVIDER + "/", PROVIDER.upper(), PROVIDER + " ", "", PROVIDER[:-1],
                   "HTTPS" + PROVIDER[5:], PROVIDER + ".evil.com", [PROVIDER], {"iss": PROVIDER},
                   None, 7, ISSUER)),
    ("no iss", _UNVERIFIED, lambda: id_jag(iss=...)),
    ("an algorithm that is not listed", _UNVERIFIED, lambda: id_jag(P384)),
    ("RS256 said over an ES256 signature", _UNVERIFIED, lambda: id_jag(header={"alg": "RS256"})),
    ("ES256 said over the RSA key's kid", _UNVERIFIED, lambda: id_jag(header={"kid": RSA.kid})),
    ("no kid where there are several keys", _UNVERIFIED, lambda: id_jag(header={"kid": ...})),
    *((f"kid {kid!r}", _UNVERIFIED, partial(id_jag, header={"kid": kid}))
      for kid in ("", "unknown", None, 1, ["provider-1"], "Provider-1", "provider-1 ")),
    *((f"header {name}", _MALFORMED, partial(id_jag, header={name: value}))
      for name, value in (("jwk", IMPOSTOR.jwk), ("jku", "https://evil.example"), ("x5u", "https://e.test"),
                          ("crit", ["exp"]), ("b64", False), ("x5c", ["AA"]), ("zip", "DEF"))),
    ("a header that is never honored, not signed", _UNVERIFIED, lambda: id_jag(IMPOSTOR, {"x5t": "a"})),
    ("a claim twice, not signed", _UNVERIFIED,
     lambda: signed(repeated("sub", "user-1", "admin"), JAG_TYPE, IMPOSTOR)),
    # What it is.
    *((f"typ {kind!r}", _TYPE, partial(id_jag, header={"typ": kind}))
      for kind in (..., "JWT", "at+jwt", EVENT_TYPE, "application/oauth-id-jag+jwt", "OAUTH-ID-JAG+JWT",
                   "oauth-id-jag+jwt ", "watchword-agent-identity+jwt", "client-authentication+jwt",
                   "logout+jwt", None, [JAG_TYPE])),
    ("an event of the provider", _TYPE, event),
    ("a ServiceAccount's token for the desk", _TYPE, subject_token),
    ("a client assertion", _TYPE, lambda: account_token("caches", "cache")),
    # What it says.
    *((f"without {name}", _MALFORMED, partial(id_jag, **{name: ...}))
      for name in ("sub", "aud", "client_id", "jti", "iat", "exp")),
    *((f"{name} {value!r}", _MALFORMED, partial(id_jag, **{name: value}))
      for name, value in (
          ("sub", ""), ("sub", 7), ("sub", None), ("sub", ["user-1"]), ("sub", "a\nb"), ("sub", "x" * 256),
          ("sub", "a\u0000"), ("jti", ""), ("jti", 7), ("jti", "x" * 257), ("jti", "a\u200b"),
          ("exp", "soon"), ("exp", True), ("iat", None), ("iat", "0"), ("client_id", [CLIENT]),
          ("client_id", 1), ("aud", 7), ("aud", {"a": ISSUER}), ("aud", [7]), ("auth_time", "now"),
          ("auth_time", True), ("auth_time", None), ("email_verified", "true"), ("email_verified", 1),
          ("email_verified", None), ("email", ["alice@example.com"]), ("scope", ["a:b"]), ("nbf", "0"),
          ("resource", 1))),
    *((f"{told[0]} twice", _MALFORMED, lambda told=told: signed(repeated(*told), JAG_TYPE))  # type: ignore[misc]  # a default has no type here
      for told in (
          ("sub", "user-1", "admin"), ("aud", "https://other.example", ISSUER), ("email", "a@b.com", ALICE),
          ("iss", OTHER_PROVIDER, PROVIDER), ("email_verified", False, True), ("client_id", "x", CLIENT))),
    ("a list of claims", _MALFORMED, lambda: signed(b"[]", JAG_TYPE)),
    ("claims that are no JSON", _MALFORMED, lambda: signed(b"{", JAG_TYPE)),
    # Whom it is for.
    *((f"aud {audience!r}", _AUDIENCE, partial(id_jag, aud=audience))
      for audience in (
          "", "https://desk.example.com/", "https://desk.example.co", "https://desk.example.com.evil.com",
          "https://desk.example.com:443", "HTTPS://desk.example.com", "https://DESK.example.com",
          f"{ISSUER}/oauth2/token", f"{ISSUER}/agent/identity", f"{ISSUER} ", [], [ISSUER, ISSUER],
          [ISSUER, "https://other.example"], ["https://other.example", ISSUER], [f"{ISSUER}/"],
          PROVIDER, DESK_AUDIENCE, TARGET_AUDIENCE, "tuist/tuist-server", CLIENT, "*")),
    *((f"client_id {client!r}", _CLIENT, partial(id_jag, client_id=client))
      for client in ("", "helper", "helper-app-2", "Helper-App", "helper-app ", "*", ISSUER)),
    # When.
    ("it has ended", _TIME, lambda: id_jag(iat=now() - 400, exp=now() - 61)),
    ("it ends as it begins", _TIME, lambda: id_jag(iat=now(), exp=now())),
    ("it ends before it begins", _TIME, lambda: id_jag(iat=now() + 10, exp=now() - 10)),
    ("it lives for more than an hour", _TIME, lambda: id_jag(iat=now(), exp=now() + 3601)),
    ("it lives for ever", _TIME, lambda: id_jag(exp=10**12)),
    ("it is made in the future", _TIME, lambda: id_jag(iat=now() + 120, exp=now() + 300)),
    ("it is not to be used yet", _TIME, lambda: id_jag(nbf=now() + 120)),
    ("times beyond any number", _TIME, lambda: id_jag(iat=10**400, exp=10**400 + 60)),
    ("an exp beyond any number", _TIME, lambda: id_jag(exp=10**400)),
    ("a time of minus infinity", _TIME, lambda: id_jag(iat=-(10**400))),
    # What it is bound to.
    *((f"cnf {bound!r}", _KEY_BOUND, partial(id_jag, cnf=bound))
      for bound in ({"jkt": "x"}, {}, None, "")),
    *((f"{name}", _BOUND, partial(id_jag, **{name: value}))
      for name, value in (("authorization_details", []), ("tenant", "t-1"), ("tenant", None),
                          ("aud_tenant", "t-2"))),
    *((f"resource {value!r}", _BOUND, partial(id_jag, resource=value))
      for value in ("https://mcp.example.com", [], [ISSUER, "https://mcp.example.com"], "", f"{ISSUER}/")),
    # The person's sign-in.
    ("no auth_time", _LOGIN, lambda: id_jag(auth_time=...)),
    ("a sign-in of long ago", _LOGIN, lambda: id_jag(auth_time=now() - 3605)),
    ("a sign-in of the future", _LOGIN, lambda: id_jag(auth_time=now() + 120)),
    ("a sign-in of the epoch", _LOGIN, lambda: id_jag(auth_time=0)),
    ("a sign-in beyond any number", _LOGIN, lambda: id_jag(auth_time=10**400)),
    # The person's address.
    ("an address that is not verified", _EMAIL, lambda: id_jag(email_verified=False)),
    ("an address without a word on it", _EMAIL, lambda: id_jag(email_verified=...)),
    ("no address at all", _EMAIL, lambda: id_jag(email=..., sub="of-no-address")),
    *((f"address {text!r}", _EMAIL, partial(id_jag, email=text))
      for text in ("", "alice", "alice@", "@example.com", "alice@example.com ", "alice@example.com\n",
                   "Alice <alice@example.com>", "alice@example.com,bob@example.com", "alice@exämple.com",
                   "alice@example.com@example.com@", "älice@example.com", "alice@example.com\u0000")),
    *((f"domain {domain!r}", _DOMAIN, partial(id_jag, email=f"alice@{domain}"))
      for domain in ("sub.example.com", "example.com.evil.com", "xexample.com", "example.co", "example.org",
                     "example.com.br", "evil-example.com", "examp1e.com")),
]  # fmt: skip


@pytest.mark.parametrize(("_", "expected", "make"), CASES, ids=[each[0][:70] for each in CASES])
def test_an_assertion_that_is_not_whole_gives_nothing(
    desk: ProviderDesk, _: str, expected: Refusal, make: Make
) -> None:
    answer = desk.show(make())
    assert said(answer) == expected, answer.text
    document = answer.json()
    assert not {"identity", "claim", "id"} & document.keys()
    if expected is _LOGIN:
        assert document["max_age"] == 3600
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('AgentAuth error="login_required", error_description="')
        assert challenge.endswith(', max_age="3600"')


@pytest.mark.parametrize(
    ("token", "told"),
    [
        *((id_jag(header={name: "x"}), f"The header has {name},") for name in ("x5t", "x5t#S256", "jku")),
        (signed(repeated("sub", "user-1", "admin"), JAG_TYPE), "The payload is "),
        (id_jag(email_verified="true"), "email_verified is not true or false, which is not a text."),
        (id_jag(scope=[]), "scope is not a text, with one space between two scopes."),
        (id_jag(resource=None), "resource is not a text, or a list of one text."),
        (id_jag(aud=[7]), "aud is not a text, or a list of one text."),
        (id_jag(auth_time="1"), "auth_time is not a number of seconds since the epoch."),
        (id_jag(exp=...), "The assertion has no exp."),
        (id_jag(sub="a\nb"), "sub is not a name of 1 to 255 printable characters."),
        (id_jag(jti=""), "jti is not a name of 1 to 256 printable characters."),
    ],
    ids=lambda each: each if " " in each else "",
)
def test_what_is_wrong_with_a_form_is_named(desk: ProviderDesk, token: str, told: str) -> None:
    answer = desk.show(token)
    assert said(answer) == _MALFORMED
    assert told in answer.json()["message"]
    assert "each once" not in answer.json()["remedy"]


def test_a_text_that_is_too_long_is_said_to_be_with_the_limit(desk: ProviderDesk) -> None:
    answer = desk.show(id_jag(x="y" * 8200))
    assert said(answer) == (400, "invalid_request", "member_too_large")
    assert "at most 8192 are read" in answer.json()["message"]


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


BODIES: list[tuple[dict[str, Any], Refusal]] = [
    *(({"assertion_type": kind}, (400, "invalid_request", "unsupported_assertion_type"))
      for kind in ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token",
                   "urn:ietf:params:oauth:token-type:ID-JAG", "id-jag")),
    *(({"assertion_type": kind}, (400, "invalid_request", "missing_member")) for kind in (None, "", 7, [])),
    *(({"assertion": text}, (400, "invalid_request", "missing_member"))
      for text in (None, "", 7, ["a.b.c"], "a.b\n.c")),
    ({"assertion": "a" * 8193}, (400, "invalid_request", "member_too_large")),
    *(({"assertion": text}, (400, "invalid_grant", "unverified_assertion"))
      for text in ("a", "a.b", "a.b.c", "a.b.c.d", "..", "." * 100, "e30.e30.e30=", "é.é.é")),
    ({"assertion": "e30.e30.e30"}, (400, "invalid_grant", "wrong_assertion_type")),
    *(({"type": kind}, (400, "invalid_request", "unknown_type"))
      for kind in ("Identity_assertion", "id_jag", "identity_assertion ", "verified_email")),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), BODIES, ids=lambda each: str(each)[:60])
def test_a_body_of_another_form_is_refused(
    desk: ProviderDesk, changes: dict[str, Any], expected: Refusal
) -> None:
    assert said(desk.show(**({"assertion": id_jag()} | changes))) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"x-forwarded-host": "evil.example", "x-forwarded-proto": "http"},
        {"forwarded": "host=evil.example"},
        {"x-original-url": "https://evil.example/claim"},
    ],
    ids=lambda each: next(iter(each)),
)
def test_a_forged_host_changes_no_link_and_no_audience_of_a_whole_delegation(
    desk: ProviderDesk, headers: dict[str, str]
) -> None:
    agents, subject, address = desk.agents, str(uuid.uuid4()), next(desk.agents._people)

    def show(**changes: Any) -> Any:
        body = {"type": "identity_assertion", "assertion_type": ID_JAG, "assertion": id_jag(**changes)}
        return desk.http.post("/agent/identity", json=body, headers=headers)

    # The address that the request names is no audience, though it is the request's own host.
    for audience in ("https://evil.example", "http://evil.example", "evil.example"):
        assert said(show(aud=audience))[2] == "wrong_assertion_audience"
    asked = show(sub=subject, email=address).json()
    assert asked["error"] == "interaction_required"
    assert asked["claim"]["url"] == f"{ISSUER}/agent/identity/claim"
    link = asked["claim"]["attempt"]["verification_uri"]
    assert link.startswith(f"{ISSUER}/claim?attempt=wwa_")
    body = {"claim_token": asked["claim"]["token"], "user_code": agents.code_of(link)}
    done = desk.http.post("/agent/identity/claim/complete", json=body, headers=headers).json()
    assert claims_of(done["identity"]["assertion"])["aud"] == ISSUER
    again = show(sub=subject, email=address).json()
    assert claims_of(again["identity"]["assertion"])["iss"] == ISSUER
    form = {
        "grant_type": JWT_BEARER,
        "assertion": again["identity"]["assertion"],
        "audience": TARGET,
        "scope": READ,
        "account": "acme",
    }
    token = desk.http.post("/oauth2/token", data=form, headers=headers).json()["access_token"]
    assert (claims_of(token)["iss"], claims_of(token)["aud"]) == (ISSUER, TARGET_AUDIENCE)
    secevent = {**headers, "content-type": "application/secevent+jwt"}
    forged = event(sub=subject, aud="https://evil.example").encode()
    assert desk.http.post("/agent/event/notify", content=forged, headers=secevent).status_code == 400
    assert desk.running.introspect(token).json()["active"] is True
    good = event(sub=subject).encode()
    assert desk.http.post("/agent/event/notify", content=good, headers=secevent).status_code == 202
    assert desk.running.introspect(token).json() == {"active": False}


def test_the_desks_own_assertion_is_no_id_jag_and_an_id_jag_is_none_of_its_own(desk: ProviderDesk) -> None:
    own = desk.agents.anonymous()["identity"]["assertion"]
    assert said(desk.show(own)) == _TYPE
    access = desk.agents.good(desk.agents.token(own, account="trial"))["access_token"]
    assert said(desk.show(access)) == _TYPE
    token = id_jag(email=next(desk.agents._people))
    assert said(desk.agents.token(token)) == (400, "invalid_grant", "invalid_assertion")
    form = {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
    assert desk.running.exchange(token, **form).status_code == 400
    assert desk.running.introspect(token).json() == {"active": False}
    assert desk.running.revoke(token).status_code == 200
    # None of that used it up.
    assert desk.show(token).json()["error"] == "interaction_required"


def test_what_is_good_at_its_bounds_is_taken(desk: ProviderDesk) -> None:
    good = [
        id_jag(aud=[ISSUER]),
        id_jag(RSA),
        id_jag(iat=now() - 3590, exp=now() + 10, auth_time=now() - 3590),
        id_jag(iat=now() + 30, exp=now() + 90, auth_time=now() + 30),
        id_jag(iat=now() - 300, exp=now() - 30),
        id_jag(iat=time.time() - 1.5, exp=time.time() + 99.5),
        id_jag(resource=ISSUER),
        id_jag(resource=[ISSUER], act={"sub": "agent"}, amr=["pwd"], acr="x", unknown={"a": [1]}),
        id_jag(sub="x" * 255, jti=f"{'x' * 200}{uuid.uuid4()}"),
        id_jag(email="alice@EXAMPLE.com"),
    ]
    for each in good:
        assert desk.show(each).json()["error"] == "interaction_required", claims_of(each)


def test_the_only_key_needs_no_kid_and_no_second_one_is_guessed() -> None:
    with provider_desk() as desk:
        assert desk.show(id_jag(header={"kid": ...})).json()["error"] == "interaction_required"
        for kid in ("", None, "unknown"):
            assert said(desk.show(id_jag(header={"kid": kid}))) == _UNVERIFIED
        desk.agents.trust(provider_object("helper", key(), Signer("second", "ES256")))
        assert said(desk.show(id_jag(header={"kid": ...}))) == _UNVERIFIED


def test_an_audience_of_its_own_takes_the_place_of_the_issuer() -> None:
    with provider_desk(provider_object(audience="https://api.example.com/")) as desk:
        for audience in (ISSUER, "https://api.example.com", [ISSUER, "https://api.example.com/"]):
            assert said(desk.show(id_jag(aud=audience))) == _AUDIENCE
        assert desk.show(id_jag(aud="https://api.example.com/")).json()["error"] == "interaction_required"


@pytest.mark.parametrize(
    "objects",
    [
        [],
        [provider_object(suspended=True)],
        [provider_object(deskRef={"name": "another"})],
        [provider_object(namespace="tuist")],
        [provider_object("one"), provider_object("two")],
        [provider_object("one"), provider_object("two", suspended=True)],
        [provider_object(issuer="https://desk.example.com")],
    ],
    ids=[
        "none",
        "suspended",
        "of another desk",
        "of another namespace",
        "two",
        "two of which one",
        "its own",
    ],
)
def test_a_provider_that_does_not_count_gives_nothing(objects: list[Any]) -> None:
    counted = provider_object("counts", issuer="https://third.example", emailDomains=["example.net"])
    with provider_desk(counted, *objects) as desk:
        issuer = ISSUER if objects and objects[0]["spec"]["issuer"] == ISSUER else PROVIDER
        assert said(desk.show(id_jag(iss=issuer))) == _UNVERIFIED
    with provider_desk(*(objects or [counted])) as desk:
        if not objects:
            desk.agents.trust()
        assert desk.show(id_jag(iss=issuer)).json()["reason"] == "unknown_type"
        metadata = desk.http.get("/.well-known/oauth-authorization-server").json()["agent_auth"]
        assert "identity_assertion" not in metadata
        assert "identity_assertion" not in metadata["identity_types_supported"]
        assert "events_endpoint" not in metadata


def test_where_no_one_can_claim_no_assertion_is_taken() -> None:
    with provider_desk() as desk:
        desk.agents.change(claimed=None)
        assert said(desk.show(id_jag())) == (400, "invalid_request", "unknown_type")


def test_an_assertion_is_good_once_whatever_came_of_it(desk: ProviderDesk) -> None:
    replayed = (400, "invalid_grant", "assertion_replayed")
    for token in (
        id_jag(email=next(desk.agents._people)),
        # Refused after it was used up: it names no one whom the desk could ask.
        id_jag(sub="no-link", email=..., email_verified=...),
    ):
        first = desk.show(token)
        assert first.status_code in (400, 401)
        assert said(desk.show(token)) == replayed
    # The same id of another provider is another one; the same id with other words is the same.
    one = str(uuid.uuid4())
    assert desk.show(id_jag(jti=one)).json()["error"] == "interaction_required"
    assert said(desk.show(id_jag(jti=one, sub="user-2"))) == replayed
    event_of_that_id = event(jti=one, sub="user-nowhere")
    assert desk.notify(event_of_that_id).status_code == 202


def test_forty_at_once_use_one_assertion_once(desk: ProviderDesk) -> None:
    token = id_jag(sub="forty", email=next(desk.agents._people))
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: desk.show(token).json()["reason"], range(40)))
    assert sorted(set(answers)) == ["assertion_replayed", "interaction_required"]
    assert answers.count("interaction_required") == 1


def test_registrations_that_are_full_use_up_the_assertion_all_the_same() -> None:
    spec = {"scopes": ["account:usage:read"], "maxRegistrations": 1}
    with provider_desk() as desk:
        desk.agents.change(unclaimed=spec)
        desk.asked(sub="one")
        token = id_jag(sub="two")
        assert said(desk.show(token)) == (429, "rate_limit_exceeded", "registrations_full")
        assert said(desk.show(token))[2] == "assertion_replayed"
        # Who waits already may ask again: it takes its own place.
        desk.asked(sub="one")


def test_registrations_of_one_address_are_bounded_and_known_agents_come_in() -> None:
    with provider_desk(registrations_per_hour=2) as desk:
        desk.linked()
        desk.asked(sub="user-2")
        answer = desk.show(id_jag(sub="user-3"))
        assert said(answer)[2] == "agent_rate_limited"
        assert int(answer.headers["retry-after"]) > 0
        for _ in range(5):
            assert desk.show(id_jag()).status_code == 200


def test_the_agent_does_not_choose_whom_the_page_asks(desk: ProviderDesk) -> None:
    made = desk.asked(sub="chosen", email=next(desk.agents._people))
    body = {"type": "service_auth", "claim_token": made["claim"]["token"], "login_hint": "bob@example.com"}
    answer = desk.agents.post("/agent/identity/claim", body)
    assert said(answer) == (400, "invalid_request", "claim_by_assertion")


def test_a_person_who_refuses_makes_no_link(desk: ProviderDesk) -> None:
    address = next(desk.agents._people)
    made = desk.asked(sub="refused", email=address)
    secret = desk.agents.secret_of(made["claim"]["attempt"]["verification_uri"])
    assert desk.agents.decide(secret, "refuse").status_code == 200
    assert said(desk.agents.complete(made, "000000"))[2] == "claim_denied"
    assert desk.show(id_jag(sub="refused", email=address)).json()["error"] == "interaction_required"


def test_a_registration_that_no_one_confirmed_gives_nothing(desk: ProviderDesk) -> None:
    made = desk.asked(sub="waiting", email=next(desk.agents._people))
    assert not {"identity", "refresh_token", "access_token"} & {*made, *made["claim"]}
    assert said(desk.agents.complete(made, "123456"))[2] == "claim_not_confirmed"
    assert desk.running.revoke(made["claim"]["token"]).status_code == 200
    assert said(desk.agents.complete(made, "123456"))[2] == "claim_revoked"


def test_addresses_that_may_claim_and_that_may_not_look_alike(desk: ProviderDesk) -> None:
    known = desk.show(id_jag(sub="known", email=next(desk.agents._people)))
    unknown = desk.show(id_jag(sub="unknown", email="stranger@example.com"))
    assert known.status_code == unknown.status_code == 401
    assert known.json().keys() == unknown.json().keys()
    assert known.json()["claim"].keys() == unknown.json()["claim"].keys()
    assert known.json()["scopes"] == unknown.json()["scopes"]


def test_what_is_not_verified_looks_alike_for_providers_that_are_there_and_that_are_not(
    desk: ProviderDesk,
) -> None:
    members = ("error", "error_description", "message", "reason", "remedy")
    answers = [
        desk.show(each)
        for each in (id_jag(IMPOSTOR), id_jag(IMPOSTOR, iss="https://unknown.example"), with_hmac())
    ]
    told = [{name: each.json()[name] for name in members} for each in answers]
    assert told[0] == told[1] == told[2]


def test_no_secret_of_a_claim_is_in_a_log_or_in_the_audit(
    desk: ProviderDesk, caplog: pytest.LogCaptureFixture
) -> None:
    token = id_jag(sub="very-private-subject", email="alice@example.com")
    made = desk.show(token).json()
    text = caplog.text + json.dumps(desk.agents.audit())
    for secret in (
        token,
        token.split(".")[2],
        made["claim"]["token"],
        made["claim"]["attempt"]["verification_uri"],
        "very-private-subject",
        "alice@example.com",
    ):
        assert secret not in text
    rows = desk.running.desk._store.look("SELECT * FROM agent", ())
    assert "very-private-subject" not in str(rows)
