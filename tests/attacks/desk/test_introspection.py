# SPDX-License-Identifier: Apache-2.0
"""Who may ask about which token, and what is never said: why a token is inactive, or that it is another's."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from testing.running_desk import (
    CLIENT_ASSERTION,
    CLUSTER_URL,
    DESK,
    DESK_AUDIENCE,
    GRANTS,
    ISSUER,
    NAMESPACE,
    SERVICE,
    TARGET_AUDIENCE,
    Object,
    RunningDesk,
    Source,
    account_token,
    client_object,
    default_objects,
    desk_object,
    issuer_object,
    running_desk,
    service_object,
    subject_token,
    workload_object,
)
from testing.tokens import Signer, b64, claims_of, compact, signer
from watchword.desk.minting import SigningKey
from watchword.desk.store import KnownToken
from watchword.trust.desk_tokens import read_desk_claims

INACTIVE = {"active": False}
OWN_KEY = Signer("own-1", "ES256")


def with_clients(**service: Any) -> list[Object]:
    """Clients of all kinds next to the one that may ask."""
    secret = {"secretRef": {"name": "by-secret", "key": "sha256"}}
    names = ["cache", "by-key", "by-secret", "unnamed"]
    elsewhere = {"serviceRefs": [{"namespace": NAMESPACE, "name": "other"}]}
    return [
        *(each for each in default_objects() if each["kind"] != "ProtectedService"),
        service_object(resourceServers=[*names[:3], "elsewhere", "robot"], **service),
        client_object("by-key", authentication={"jwks": {"keys": [OWN_KEY.jwk]}}),
        client_object("by-secret", authentication=secret),
        # Names the service, which does not name it.
        client_object("unnamed"),
        # Is named by the service, and names another one.
        client_object("elsewhere", **elsewhere),
        client_object(
            "robot",
            type="AdminServiceAccount",
            adminServiceAccount=True,
            grantedBy="a@example.com",
            serviceRefs=[],
        ),
    ]


@pytest.fixture(scope="module")
def clients() -> Iterator[RunningDesk]:
    """A desk with clients of all kinds."""
    source = Source()
    source.objects = with_clients()
    source.secrets = {("by-secret", "sha256"): hashlib.sha256(b"correct horse").hexdigest()}
    with running_desk(source) as running:
        assert not running.source.problems, [str(each) for each in running.source.problems]
        yield running


def own_assertion(by: Signer = OWN_KEY, header: Object | None = None, **changes: Any) -> str:
    """What the client `by-key` signs."""
    now = int(time.time())
    said: Object = {
        "iss": "by-key",
        "sub": "by-key",
        "aud": ISSUER,
        "exp": now + 120,
        "iat": now,
        "jti": str(uuid.uuid4()),
    }
    claims = {name: value for name, value in (said | changes).items() if value is not ...}
    head = (
        {"alg": by.algorithm, "kid": by.kid, "typ": "client-authentication+jwt"} if header is None else header
    )
    return by.sign(compact(head), compact(claims)).decode()


def test_the_answer_has_the_very_claims_of_the_token(clients: RunningDesk) -> None:
    token = clients.minted(purpose="warm")
    answer = clients.introspect(token)
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert said.pop("active") is True
    assert said.pop("token_type") == "Bearer"
    assert said == claims_of(token)


def test_hints_lie_and_are_not_believed(clients: RunningDesk) -> None:
    token = clients.minted()
    for hint in ("refresh_token", "access_token", "pct", "x" * 100):
        assert clients.introspect(token, token_type_hint=hint).json()["active"] is True


def test_each_way_to_authenticate_works(clients: RunningDesk) -> None:
    token = clients.minted()
    assert clients.introspect(token, own_assertion()).json()["active"] is True
    assert clients.introspect(token, own_assertion(aud=[ISSUER])).json()["active"] is True
    by_secret = {"client_id": "by-secret", "client_secret": "correct horse", "token": token}
    assert clients.http.post("/oauth2/introspect", data=by_secret).json()["active"] is True
    basic = clients.http.post(
        "/oauth2/introspect", data={"token": token}, auth=("by-secret", "correct horse")
    )
    assert basic.json()["active"] is True


@pytest.mark.parametrize("name", ["unnamed", "elsewhere"])
def test_a_client_that_is_not_named_by_both_sides_learns_nothing(clients: RunningDesk, name: str) -> None:
    token = clients.minted()
    answer = clients.introspect(token, account_token("caches", name))
    assert answer.status_code == 200
    assert answer.json() == INACTIVE


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unnamed", "spec.resourceServers of the ProtectedService tuist/tuist-server"),
        ("elsewhere", "spec.serviceRefs of the DeskClient"),
    ],
)
def test_why_a_token_is_inactive_is_in_the_log_and_in_no_answer(
    clients: RunningDesk, caplog: pytest.LogCaptureFixture, name: str, why: str
) -> None:
    caplog.set_level("INFO", "watchword")
    answer = clients.introspect(clients.minted(), account_token("caches", name))
    [said] = [each for each in caplog.records if each.getMessage() == "a token was said to be inactive"]
    assert said.__dict__["request_id"] == answer.headers["x-request-id"]
    assert said.__dict__["detail"].startswith(why)


def test_which_check_a_client_failed_is_in_the_log_and_in_no_answer(
    clients: RunningDesk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "watchword")
    answer = clients.introspect(clients.minted(), account_token("caches", "stranger"))
    assert answer.json()["reason"] == "invalid_client_authentication"
    assert "a caller was refused" in answer.json()["remedy"]
    [said] = [each for each in caplog.records if each.getMessage() == "a caller was refused"]
    assert said.__dict__["request_id"] == answer.headers["x-request-id"]
    assert "no DeskClient authenticates by" in said.__dict__["detail"]


def test_an_admin_client_may_not_introspect(clients: RunningDesk) -> None:
    answer = clients.introspect(clients.minted(), account_token("caches", "robot"))
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


def test_a_workload_is_no_client(clients: RunningDesk) -> None:
    assert clients.introspect(clients.minted(), subject_token(aud=[ISSUER])).status_code == 401


def test_a_client_may_not_exchange(clients: RunningDesk) -> None:
    answer = clients.exchange(
        client_assertion=account_token("caches", "cache"), client_assertion_type=CLIENT_ASSERTION
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    # As a subject it is a workload that no service trusts.
    answer = clients.exchange(account_token("caches", "cache"))
    assert answer.json()["error"] == "invalid_target"


ASSERTIONS: list[tuple[str, Any]] = [
    ("for the desk's derived audience", lambda: account_token("caches", "cache", DESK_AUDIENCE)),
    ("for the token endpoint", lambda: account_token("caches", "cache", f"{ISSUER}/oauth2/token")),
    (
        "for the introspection endpoint",
        lambda: account_token("caches", "cache", f"{ISSUER}/oauth2/introspect"),
    ),
    ("for the issuer with a slash", lambda: account_token("caches", "cache", f"{ISSUER}/")),
    (
        "for the issuer and another one",
        lambda: account_token("caches", "cache", [ISSUER, "https://x.example"]),
    ),
    ("for the API server", lambda: account_token("caches", "cache", CLUSTER_URL)),
    ("for a service", lambda: account_token("caches", "cache", TARGET_AUDIENCE)),
    ("of another namespace", lambda: account_token("other", "cache")),
    ("of another name", lambda: account_token("caches", "cache2")),
    ("of the account default", lambda: account_token("caches", "default")),
    ("that has ended", lambda: account_token("caches", "cache", exp=int(time.time()) - 100)),
    ("without an end", lambda: account_token("caches", "cache", exp=...)),
    ("that lives for a year", lambda: account_token("caches", "cache", exp=int(time.time()) + 31_000_000)),
    (
        "of no pod",
        lambda: account_token(
            "caches",
            "cache",
            **{"kubernetes.io": {"namespace": "caches", "serviceaccount": {"name": "cache", "uid": "u"}}},
        ),
    ),
    (
        "signed by another key of the kid",
        lambda: subject_token(Signer("key-1"), aud=[ISSUER], sub="system:serviceaccount:caches:cache"),
    ),
    ("of another issuer", lambda: account_token("caches", "cache", iss="https://other.example")),
    ("bound to a key", lambda: account_token("caches", "cache", cnf={"jkt": "x"})),
    ("that is text", lambda: "cache"),
    ("that is empty parts", lambda: ".."),
    ("of five parts", lambda: "a.b.c.d.e"),
    ("own key: signed by another", lambda: own_assertion(Signer("own-1", "ES256"))),
    ("own key: with alg none", lambda: own_assertion(header={"alg": "none", "kid": "own-1"})),
    ("own key: with HS256", lambda: own_assertion(header={"alg": "HS256", "kid": "own-1"})),
    (
        "own key: with its key in the header",
        lambda: own_assertion(header={"alg": "ES256", "kid": "own-1", "jwk": OWN_KEY.jwk}),
    ),
    ("own key: with crit", lambda: own_assertion(header={"alg": "ES256", "kid": "own-1", "crit": ["exp"]})),
    (
        "own key: an access token",
        lambda: own_assertion(header={"alg": "ES256", "kid": "own-1", "typ": "at+jwt"}),
    ),
    (
        "own key: a DPoP proof",
        lambda: own_assertion(header={"alg": "ES256", "kid": "own-1", "typ": "dpop+jwt"}),
    ),
    ("own key: for the token endpoint", lambda: own_assertion(aud=f"{ISSUER}/oauth2/token")),
    ("own key: for two", lambda: own_assertion(aud=[ISSUER, "x"])),
    ("own key: for none", lambda: own_assertion(aud=[])),
    ("own key: iss of another client", lambda: own_assertion(iss="cache")),
    ("own key: sub of another client", lambda: own_assertion(sub="cache")),
    ("own key: both of another client", lambda: own_assertion(iss="cache", sub="cache")),
    ("own key: without jti", lambda: own_assertion(jti=...)),
    ("own key: an empty jti", lambda: own_assertion(jti="")),
    ("own key: a huge jti", lambda: own_assertion(jti="x" * 300)),
    ("own key: without exp", lambda: own_assertion(exp=...)),
    ("own key: exp in the past", lambda: own_assertion(exp=int(time.time()) - 5)),
    ("own key: exp in two hours", lambda: own_assertion(exp=int(time.time()) + 7200)),
    ("own key: exp as text", lambda: own_assertion(exp="9999999999")),
    ("own key: of the future", lambda: own_assertion(iat=int(time.time()) + 1000)),
    ("own key: not yet", lambda: own_assertion(nbf=int(time.time()) + 1000)),
    ("own key: claims that are no object", lambda: f"{b64(b'{}')}.{b64(b'[]')}.{b64(b'x')}"),
]


@pytest.mark.parametrize(("name", "build"), ASSERTIONS, ids=[each[0] for each in ASSERTIONS])
def test_an_assertion_that_proves_nothing_is_401_and_never_inactive(
    clients: RunningDesk, name: str, build: Any
) -> None:
    token = clients.minted()
    # A workload that is no client may say who it is; it revokes nothing of others (test_revocation).
    is_workload = name.startswith(("of another n", "of the account"))
    for path in ("/oauth2/introspect",) if is_workload else ("/oauth2/introspect", "/oauth2/revoke"):
        form = {"token": token, "client_assertion": build(), "client_assertion_type": CLIENT_ASSERTION}
        answer = clients.http.post(path, data=form)
        assert answer.status_code == 401, (path, answer.text)
        assert answer.json()["error"] == "invalid_client"
        # Why is for the desk's owner: an answer that names the check helps whoever guesses.
        assert answer.json()["reason"] == "invalid_client_authentication"
    assert clients.introspect(token).json()["active"] is True


def test_an_own_assertion_is_used_once(clients: RunningDesk) -> None:
    token, assertion = clients.minted(), own_assertion()
    assert clients.introspect(token, assertion).json()["active"] is True
    answer = clients.introspect(token, assertion)
    assert (answer.status_code, answer.json()["reason"]) == (401, "replayed_assertion")


def test_a_projected_token_is_used_as_often_as_it_lives(clients: RunningDesk) -> None:
    token, assertion = clients.minted(), account_token("caches", "cache")
    for _ in range(3):
        assert clients.introspect(token, assertion).json()["active"] is True


SECRETS: list[tuple[str, dict[str, str], tuple[str, str] | None]] = [
    ("a wrong secret", {"client_id": "by-secret", "client_secret": "wrong"}, None),
    (
        "its digest as secret",
        {"client_id": "by-secret", "client_secret": hashlib.sha256(b"correct horse").hexdigest()},
        None,
    ),
    ("no name", {"client_secret": "correct horse"}, None),
    ("another name", {"client_id": "by-key", "client_secret": "correct horse"}, None),
    ("a client without one", {"client_id": "cache", "client_secret": "0" * 64}, None),
    ("an admin", {"client_id": "robot", "client_secret": "correct horse"}, None),
    ("a wrong secret as Basic", {}, ("by-secret", "wrong")),
    ("no secret as Basic", {}, ("by-secret", "")),
    ("another name as Basic", {}, ("by-secret2", "correct horse")),
    ("Basic and another client_id", {"client_id": "cache"}, ("by-secret", "correct horse")),
]


@pytest.mark.parametrize(("name", "form", "auth"), SECRETS, ids=[each[0] for each in SECRETS])
def test_a_secret_that_is_not_the_clients_is_401(
    clients: RunningDesk, name: str, form: dict[str, str], auth: tuple[str, str] | None
) -> None:
    answer = clients.http.post("/oauth2/introspect", data={"token": clients.minted(), **form}, auth=auth)
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Bearer x", "Basic " + "A" * 4000, "basic Og=="])
def test_a_strange_authorization_header_is_401(clients: RunningDesk, header: str) -> None:
    answer = clients.http.post("/oauth2/introspect", data={"token": "x"}, headers={"Authorization": header})
    assert answer.status_code == 401


def test_two_ways_at_once_are_refused(clients: RunningDesk) -> None:
    form = {
        "token": "x",
        "client_assertion": account_token("caches", "cache"),
        "client_assertion_type": CLIENT_ASSERTION,
    }
    both = clients.http.post("/oauth2/introspect", data=form, auth=("by-secret", "correct horse"))
    assert both.json()["reason"] == "second_client_authentication"
    with_secret = clients.http.post("/oauth2/introspect", data=form | {"client_secret": "x"})
    assert with_secret.json()["reason"] == "second_client_authentication"


def test_no_client_is_401_and_not_inactive(clients: RunningDesk) -> None:
    answer = clients.http.post("/oauth2/introspect", data={"token": clients.minted()})
    assert (answer.status_code, answer.json()["reason"]) == (401, "missing_client_authentication")


def _forged(desk: RunningDesk, key: SigningKey | None = None, **changes: Any) -> str:
    """A token with the claims of a real one and changes, signed by the desk's own key or another."""
    state = desk.desk.state
    assert state is not None
    signing = key or state.signing
    assert signing is not None
    said = claims_of(desk.minted()) | changes
    claims = read_desk_claims(json.dumps(said).encode())
    assert not isinstance(claims, Exception)
    token = signing.sign(claims)  # type: ignore[arg-type]
    assert token is not None
    return token


def _mangled(token: str, part: int, change: Any) -> str:
    parts = token.split(".")
    parts[part] = change(parts[part])
    return ".".join(parts)


TOKENS: list[tuple[str, Any]] = [
    ("nothing of a token", lambda desk: "x"),
    ("dots", lambda desk: ".."),
    ("a cluster's token", lambda desk: subject_token()),
    ("the client's own assertion", lambda desk: account_token("caches", "cache")),
    ("a signature cut off", lambda desk: _mangled(desk.minted(), 2, lambda part: part[:-4])),
    ("a signature of zeros", lambda desk: _mangled(desk.minted(), 2, lambda part: b64(bytes(64)))),
    ("no signature", lambda desk: _mangled(desk.minted(), 2, lambda part: "")),
    ("padding", lambda desk: desk.minted() + "="),
    (
        "another header",
        lambda desk: _mangled(desk.minted(), 0, lambda part: b64(b'{"alg":"none","typ":"at+jwt"}')),
    ),
    ("another key of the desk's name", lambda desk: _forged(desk, SigningKey.generate())),
    # Signed by the desk itself, and never issued by it: what a leaked key makes.
    ("a jti that was never issued", lambda desk: _forged(desk, jti="0" * 32)),
    ("an issuer that is not the desk's", lambda desk: _forged(desk, iss="https://other.example.com")),
    ("an audience of no service", lambda desk: _forged(desk, aud="watchword.dev/services/dev/tuist/none")),
    (
        "an audience of another cluster",
        lambda desk: _forged(desk, aud="watchword.dev/services/prod/tuist/tuist-server"),
    ),
    (
        "an end that has passed",
        lambda desk: _forged(desk, exp=int(time.time()) - 1, iat=int(time.time()) - 100),
    ),
]


@pytest.mark.parametrize(("name", "build"), TOKENS, ids=[each[0] for each in TOKENS])
def test_what_is_no_active_token_of_the_desk_is_inactive_and_nothing_more(
    clients: RunningDesk, name: str, build: Any
) -> None:
    answer = clients.introspect(build(clients))
    assert answer.status_code == 200
    assert answer.json() == INACTIVE
    assert answer.headers["cache-control"] == "no-store"


def _changed(**changes: list[Object]) -> list[Object]:
    """The objects with all of a kind replaced."""
    kept = [each for each in default_objects() if each["kind"] not in changes]
    return [*kept, *(each for objects in changes.values() for each in objects)]


def _origin(**revoked: Any) -> Any:
    def build(token: str) -> list[Object]:
        origin = claims_of(token)["watchword"]["origin"]
        entries = {name: value(origin) for name, value in revoked.items()}
        return _changed(ClusterTrustedIssuer=[issuer_object(revoked=[entries])])

    return build


WITHDRAWN: list[tuple[str, Any]] = [
    ("suspended", lambda _: _changed(TrustedWorkload=[workload_object(suspend=True)])),
    ("expired", lambda _: _changed(TrustedWorkload=[workload_object(expires="2020-01-01T00:00:00Z")])),
    ("deleted", lambda _: _changed(TrustedWorkload=[])),
    ("of another account", lambda _: _changed(TrustedWorkload=[workload_object(account="other")])),
    ("without the grant", lambda _: _changed(TrustedWorkload=[workload_object(grants=GRANTS[1:])])),
    ("not linked any more", lambda _: _changed(ProtectedService=[service_object(tokenDeskRef=None)])),
    ("of a service that is gone", lambda _: _changed(ProtectedService=[])),
    (
        "without the resource server",
        lambda _: _changed(ProtectedService=[service_object(resourceServers=None)]),
    ),
    ("without the client", lambda _: _changed(DeskClient=[])),
    ("of an issuer that is gone", lambda _: _changed(ClusterTrustedIssuer=[])),
    (
        "of an issuer with other keys",
        lambda _: _changed(ClusterTrustedIssuer=[issuer_object("atlas-production", signer("key-2"))]),
    ),
    (
        "of a namespace that the desk no longer allows",
        lambda _: _changed(TokenDesk=[desk_object(allowedNamespaces={"matchLabels": {"desk": "no"}})]),
    ),
    ("revoked by token", _origin(tokenId=lambda origin: origin["token_id"])),
    ("revoked by pod", _origin(podUid=lambda origin: origin["pod_uid"])),
    ("revoked by account", _origin(serviceAccountUid=lambda origin: origin["service_account_uid"])),
    (
        "revoked by time",
        _origin(
            issuedBefore=lambda origin: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(origin["iat"] + 1))
        ),
    ),
    ("revoked by key", _origin(keyThumbprint=lambda origin: origin["key"])),
]
# Then the resource server that asks is not known either: its object, its service or its own issuer is gone.
WITHOUT_RESOURCE_SERVER = {
    "not linked any more",
    "of a service that is gone",
    "without the client",
    "of an issuer that is gone",
    "of an issuer with other keys",
    "of a namespace that the desk no longer allows",
    "revoked by key",
}


@pytest.mark.parametrize(("name", "build"), WITHDRAWN, ids=[each[0] for each in WITHDRAWN])
def test_a_token_dies_with_what_it_was_made_from(name: str, build: Any) -> None:
    with running_desk() as desk:
        # Older than the assertions that follow: what is revoked up to its time leaves those as they are.
        issued_at = int(time.time()) - 60
        token = desk.minted(subject_token(iat=issued_at, nbf=issued_at))
        assert desk.introspect(token).json()["active"] is True

        desk.change(*build(token))

        answer = desk.introspect(token)
        if name in WITHOUT_RESOURCE_SERVER:
            assert answer.status_code == 401
        else:
            assert (answer.status_code, answer.json()) == (200, INACTIVE)
        assert desk.introspect(token).text.count("cache:read") == 0
        # What was revoked by its id or its time is one token; the pod may come with its next one.
        if name not in (
            "without the resource server",
            "without the client",
            "revoked by token",
            "revoked by time",
        ):
            assert desk.exchange().status_code == 400


REVOKED_CLIENTS: list[tuple[str, Object]] = [
    ("pod", {"podUid": "p-cache"}),
    ("account", {"serviceAccountUid": "sa-cache"}),
    ("key", {"keyThumbprint": signer().key.thumbprint}),
    ("time", {"issuedBefore": "2100-01-01T00:00:00Z"}),
]


@pytest.mark.parametrize(("name", "entry"), REVOKED_CLIENTS, ids=[each[0] for each in REVOKED_CLIENTS])
def test_a_client_whose_own_token_is_revoked_is_none(name: str, entry: Object) -> None:
    with running_desk() as desk:
        token = desk.minted()
        desk.change(*_changed(ClusterTrustedIssuer=[issuer_object(revoked=[entry])]))
        assert desk.introspect(token).status_code == 401


def test_a_key_of_the_desk_that_is_revoked_ends_its_tokens_at_once() -> None:
    with running_desk() as desk:
        token = desk.minted()
        state = desk.desk.state
        assert state is not None
        assert state.signing is not None
        revoked = desk_object(signing={"revoked": [state.signing.key.thumbprint]})
        desk.change(*_changed(TokenDesk=[revoked]))
        assert desk.introspect(token).json() == INACTIVE
        answer = desk.exchange()
        assert (answer.status_code, answer.json()["reason"]) == (503, "not_ready")
        assert answer.headers["retry-after"]
        assert desk.http.get("/.well-known/jwks.json").json() == {"keys": []}


def test_an_answer_says_no_more_than_the_workload_still_may() -> None:
    with running_desk() as desk:
        details = json.dumps(
            [
                {
                    "type": "watchword_grant",
                    "actions": ["cache:read"],
                    "accounts": ["acme"],
                    "projects": ["android", "ios"],
                }
            ]
        )
        token = desk.minted(scope=None, account=None, project=None, authorization_details=details)
        less = [{"scopes": ["cache:read"], "accounts": ["acme"], "projects": ["ios"]}]
        desk.change(*_changed(TrustedWorkload=[workload_object(grants=less)]))
        said = desk.introspect(token).json()
        assert said["authorization_details"] == [
            {"type": "watchword_grant", "actions": ["cache:read"], "accounts": ["acme"], "projects": ["ios"]}
        ]


def test_a_purpose_that_is_taken_away_ends_its_tokens() -> None:
    with running_desk() as desk:
        token = desk.minted(purpose="warm")
        desk.change(*_changed(TrustedWorkload=[workload_object(purposes=["other"])]))
        assert desk.introspect(token).json() == INACTIVE


def test_a_desk_and_a_service_of_one_name_have_nothing_in_common() -> None:
    source = Source()
    source.objects = [
        *default_objects(),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": DESK[0], "labels": {"desk": "yes"}}},
        service_object(DESK[1], DESK[0], resourceServers=[]),
    ]
    with running_desk(source) as desk:
        # A token for the desk is none for the service of its name, and the other way round.
        same_name = f"watchword.dev/services/dev/{DESK[0]}/{DESK[1]}"
        assert desk.exchange(subject_token(aud=[same_name])).json()["reason"] == "wrong_audience"
        assert desk.exchange(audience="/".join(DESK)).json()["reason"] == "target_unavailable"
        assert desk.exchange(audience=DESK_AUDIENCE).json()["reason"] == "target_unavailable"


def test_a_client_of_another_desk_is_none_here() -> None:
    source = Source()
    source.objects = _changed(DeskClient=[client_object(deskRef={"name": "other"})])
    with running_desk(source) as desk:
        assert desk.introspect(desk.minted()).status_code == 401


def test_two_clients_with_one_account_are_neither() -> None:
    source = Source()
    account = {"issuerRef": {"name": "atlas-production"}, "namespace": "caches", "name": "cache"}
    source.objects = [*default_objects(), client_object("double", authentication={"serviceAccount": account})]
    with running_desk(source) as desk:
        assert desk.introspect(desk.minted()).status_code == 401
        assert any("double" in each for each in (desk.desk.state.problems if desk.desk.state else ()))


def test_nothing_secret_is_in_the_repr_of_what_the_desk_holds() -> None:
    with running_desk() as desk:
        state = desk.desk.state
        assert state is not None
        assert state.signing is not None
        assert "PRIVATE" not in repr(state)
        secret = msgspec.json.encode(state.signing.jwk).decode()
        assert '"d"' not in secret
        assert SERVICE in repr(state.targets)


def test_an_inactive_token_costs_the_desk_the_same_look_as_an_active_one(
    desk: RunningDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long an answer takes must not say why a token is inactive. Counted: time is not asserted."""
    looked: list[str] = []
    store = desk.desk._store
    find = store.find

    def counting(token_id: str) -> KnownToken | None:
        looked.append(token_id)
        return find(token_id)

    active, revoked = desk.minted(), desk.minted()
    desk.revoke(revoked)
    monkeypatch.setattr(store, "find", counting)
    tokens = {
        "active": active,
        "revoked": revoked,
        "of another signature": active[:-4] + "AAAA",
        "a cluster's": subject_token(),
        "nothing": "x",
        "long": "x" * 8000,
    }
    for name, token in tokens.items():
        looked.clear()
        assert desk.introspect(token).json()["active"] is (name == "active")
        assert len(looked) == 1, name
