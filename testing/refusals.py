# SPDX-License-Identifier: Apache-2.0
"""Every reason provoked: what is sent, what a reader of the refusal alone would do, and what that changes.

One world of a service, four issuers and some workloads; each case is one request that is refused there. Its
fix is what the refusal says to do, by the caller (another request) or by an owner (another world), and then
the same request must be let in.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from testing import tokens
from testing.manifests import issuer, service, workload
from testing.tokens import URL, Signer, compact, kubernetes, signer
from watchword.trust import Bundle, compile_resources, parse_manifests

HOUR = 3600
UID, FORMER_UID = "sa-1", "sa-0"
BURST = 20
Objects = dict[str, dict[str, Any]]
LiveUids = dict[tuple[str, str], str]
PATH = "/api/accounts/acme/projects"
ROUTES = [
    {"path": "/api/accounts/{account}/projects", "methods": ["GET"], "scope": "account:projects:read"},
    {
        "path": "/api/projects/{account}/{project}/builds",
        "methods": ["GET", "POST"],
        "scope": "project:builds:read",
    },
    {"path": "/api/accounts/{account}/cache", "methods": ["PUT"], "scope": "account:cache:write"},
    {
        "path": "/api/projects",
        "methods": ["GET"],
        "scope": "account:projects:read",
        "query": {"tenant_id": "account"},
    },
]
READ = {"scopes": ["account:projects:read"], "accounts": ["acme"]}
PRODUCTION, LOCAL, LEAKED, OLD, STRANGE = (
    signer("production-1"),
    signer("this-cluster-1"),
    signer("leaked-1"),
    signer("old-1"),
    signer("staging-1"),
)


def subject(name: str, namespace: str = "atlas-production") -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def token(
    by: Signer = PRODUCTION, account: str = "atlas", *, now: float | None = None, **changes: Any
) -> bytes:
    """A good token of a ServiceAccount of `atlas-production`, issued a minute before `now`."""
    at = int(time.time() if now is None else now)
    given: dict[str, Any] = {
        "iat": at - 60,
        "nbf": at - 60,
        "exp": at + 600,
        "sub": subject(account),
        "kubernetes.io": kubernetes(serviceaccount={"name": account, "uid": UID}),
    }
    return tokens.token(by, **(given | changes))


def objects() -> Objects:
    """The world: each object by a name of its own."""
    revoked = [
        {"tokenId": "revoked-token"},
        {"podUid": "revoked-pod"},
        {"serviceAccountUid": "revoked-account"},
        {"keyThumbprint": LEAKED.key.thumbprint},
    ]
    old = [{"issuedBefore": "2099-01-01T00:00:00Z"}]
    return {
        "production": issuer("production", PRODUCTION, LEAKED, revoked=revoked),
        "this-cluster": issuer("this-cluster", keys={"cluster": {}}),
        "old": issuer("old", OLD, issuer="https://old.example.com", revoked=old),
        "service": service(routes=ROUTES, limits={"requestsPerSecond": 1, "burst": BURST}),
        "atlas": workload(grants=[READ]),
        "builds": workload(
            "builds",
            "builds",
            grants=[{"scopes": ["project:builds:read"], "accounts": ["acme"], "projects": ["ios"]}],
        ),
        "eager": workload("eager", "eager", grants=[READ]),
        "paused": workload("paused", "paused", grants=[READ], suspend=True),
        "former": workload("former", "former", grants=[READ], expires="2026-01-01T00:00:00Z"),
        "gone": workload("gone", "gone", grants=[READ], issuerRef={"name": "this-cluster"}),
        "again": workload("again", "again", grants=[READ], issuerRef={"name": "this-cluster"}),
        "of-old": workload("of-old", "atlas", grants=[READ], issuerRef={"name": "old"}),
    }


LIVE: LiveUids = {("atlas-production", "gone"): "", ("atlas-production", "again"): UID}


@dataclass(frozen=True)
class World:
    """What a gate runs on."""

    objects: Objects = field(default_factory=objects)
    live: LiveUids = field(default_factory=lambda: dict(LIVE))

    def bundle(self) -> Bundle:
        """The bundle of the one service; what is wrong with an object fails the test."""
        text = "\n---\n".join(json.dumps(each) for each in self.objects.values()).encode()
        manifests = parse_manifests([("objects.yaml", text)])
        keys = {"this-cluster": json.dumps({"keys": [LOCAL.jwk]}).encode()}
        made = compile_resources(manifests.resources, keys=keys, live_uids=self.live)
        assert not (*manifests.problems, *made.problems), [*manifests.problems, *made.problems]
        return made.bundles[0]

    def with_spec(self, name: str, **spec: Any) -> World:
        """The world with another spec of one object; None removes a field."""
        old = self.objects[name]
        merged = {key: value for key, value in (old["spec"] | spec).items() if value is not None}
        return replace(self, objects=self.objects | {name: old | {"spec": merged}})

    def with_object(self, name: str, made: dict[str, Any]) -> World:
        """The world with one object more."""
        return replace(self, objects=self.objects | {name: made})


@dataclass(frozen=True)
class Ask:
    """One request, as a proxy asks about it.

    Attributes:
        token: the token; None: what `authorization` says.
        authorization: the whole header instead; None: no header.
        method: of the original request.
        path: of the original request.
        before: how many of the same come first, to be let in.
    """

    token: bytes | None = None
    authorization: bytes | None = None
    method: str = "GET"
    path: str = PATH
    before: int = 0

    def header(self) -> bytes | None:
        """The value of the Authorization header."""
        return b"Bearer " + self.token if self.token is not None else self.authorization


@dataclass(frozen=True)
class Case:
    """A refusal that was provoked.

    Attributes:
        name: what is wrong, in a few words.
        reason: the code that must come.
        ask: the request.
        tried: what a reader of the refusal did, in words.
        fixed: the request that the caller sends then; None: the same.
        edit: what an owner changed; None: nothing.
    """

    name: str
    reason: str
    ask: Ask
    tried: str
    fixed: Ask | None = None
    edit: Callable[[World], World] | None = None

    def __str__(self) -> str:
        return self.name


_AGAIN = "sent the pod's projected token"


def _signed(claims: Mapping[str, Any]) -> bytes:
    return PRODUCTION.sign(compact({"alg": "RS256", "kid": PRODUCTION.kid}), compact(claims))


def _legacy() -> bytes:
    """A token of a Secret, as Kubernetes wrote them before 1.24 (pkg/serviceaccount/legacy.go)."""
    return _signed(
        {
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": "atlas-production",
            "kubernetes.io/serviceaccount/secret.name": "atlas-token-x7x2z",
            "kubernetes.io/serviceaccount/service-account.name": "atlas",
            "kubernetes.io/serviceaccount/service-account.uid": UID,
            "sub": subject("atlas"),
        }
    )


def _unsigned() -> bytes:
    head, body = (base64.urlsafe_b64encode(compact(each)).rstrip(b"=") for each in ({"alg": "none"}, {}))
    return head + b"." + body + b"." + base64.urlsafe_b64encode(b"x").rstrip(b"=")


def _changed(good: bytes) -> bytes:
    head, body, signature = good.split(b".")
    return b".".join((head, body, signature[:-8] + (b"AAAAAAAA"[:7] + signature[-1:])))


def cases(now: float) -> list[Case]:
    """Every case, with tokens as of `now` (seconds since the epoch): some are refused for a minute only."""
    of, at = partial(token, now=now), int(now)
    good = Ask(of())

    def headed(**header: Any) -> bytes:
        return of(header={"alg": "RS256", "kid": PRODUCTION.kid} | header)

    return [
        Case("no header", "missing_credential", Ask(), _AGAIN, good),
        Case("nothing behind Bearer", "malformed_credential", Ask(authorization=b"Bearer "), _AGAIN, good),
        Case("a token without Bearer", "malformed_credential", Ask(authorization=of()), _AGAIN, good),
        Case("another scheme", "malformed_credential", Ask(authorization=b"Basic YTpi"), _AGAIN, good),
        Case(
            "Bearer twice",
            "malformed_credential",
            Ask(authorization=b"Bearer Bearer " + of()),
            "wrote Bearer once",
            good,
        ),
        Case(
            "a variable that was not replaced",
            "malformed_credential",
            Ask(authorization=b"Bearer ${TOKEN}"),
            "sent the file's content",
            good,
        ),
        Case(
            "a token in quotes", "malformed_credential", Ask(b'"' + of() + b'"'), "took the quotes off", good
        ),
        Case("a token of 9 KiB", "token_too_large", Ask(b"a" * 9000), _AGAIN, good),
        Case(
            "the path of the file",
            "malformed_token",
            Ask(b"/var/run/secrets/watchword.dev/token"),
            "sent the file's content",
            good,
        ),
        Case("a token cut short", "malformed_token", Ask(of().rpartition(b".")[0]), "sent all of it", good),
        Case("a password", "malformed_token", Ask(b"hunter2"), _AGAIN, good),
        Case("an encrypted token", "malformed_token", Ask(b"a.b.c.d.e"), _AGAIN, good),
        Case("padding", "malformed_token", Ask(of() + b"=="), "sent the file's content as it is", good),
        Case("a session token (HS256)", "unsupported_algorithm", Ask(headed(alg="HS256")), _AGAIN, good),
        Case("an unsigned token", "unsupported_algorithm", Ask(_unsigned()), _AGAIN, good),
        Case(
            "an algorithm of another key",
            "unsupported_algorithm",
            Ask(of(signer(PRODUCTION.kid, "ES256"))),
            "compared the cluster's key with the ClusterTrustedIssuer, and pinned it",
            edit=lambda world: world.with_spec(
                "production", keys={"inline": {"keys": [signer(PRODUCTION.kid, "ES256").jwk]}}
            ),
        ),
        Case("an OAuth access token", "unsupported_header", Ask(headed(typ="at+jwt")), _AGAIN, good),
        Case("a key in the header", "unsupported_header", Ask(headed(jku="https://x")), _AGAIN, good),
        Case("no kid", "missing_key_id", Ask(of(header={"alg": "RS256"})), _AGAIN, good),
        Case(
            "a key that is not known",
            "unknown_key",
            Ask(of(STRANGE)),
            "looked at the ClusterTrustedIssuer: its keys are inline, and the cluster had rotated them; "
            "pinned the new set",
            edit=lambda world: world.with_spec("production", keys={"inline": {"keys": [STRANGE.jwk]}}),
        ),
        Case("a changed signature", "bad_signature", Ask(_changed(of())), "read the file again", good),
        Case("exp as text", "malformed_claims", Ask(of(exp=str(at + 600))), _AGAIN, good),
        Case("aud as a number", "malformed_claims", Ask(of(aud=7)), _AGAIN, good),
        Case(
            "iss with a slash more",
            "wrong_issuer",
            Ask(of(iss=URL + "/")),
            "added the URL to additionalIssuers",
            edit=lambda world: world.with_spec("production", additionalIssuers=[URL + "/"]),
        ),
        Case(
            "iss of another URL",
            "wrong_issuer",
            Ask(of(iss="https://eks.example.com/1")),
            "saw that the API server signs with it, and added the URL to additionalIssuers",
            edit=lambda world: world.with_spec("production", additionalIssuers=["https://eks.example.com/1"]),
        ),
        Case("a legacy token of a Secret", "wrong_issuer", Ask(_legacy()), "mounted a projected token", good),
        Case(
            "the pod's default token",
            "wrong_audience",
            Ask(of(aud=[URL])),
            "mounted one for tuist-server",
            good,
        ),
        Case(
            "a token for another service",
            "wrong_audience",
            Ask(of(aud=["watchword.dev/services/c1/billing/billing"])),
            "asked for a token for this service",
            good,
        ),
        Case(
            "an audience in capitals", "wrong_audience", Ask(of(aud=["Tuist-Server"])), "wrote it small", good
        ),
        Case(
            "another audience", "wrong_audience", Ask(of(aud=["vault"])), "set audience: tuist-server", good
        ),
        Case("no exp", "missing_time", Ask(of(exp=...)), _AGAIN, good),
        Case("no iat", "missing_time", Ask(of(iat=...)), _AGAIN, good),
        Case(
            "a clock ahead",
            "issued_in_future",
            Ask(of(iat=at + 7200, nbf=..., exp=at + 9000)),
            "set the clock of the issuing control plane",
            good,
        ),
        Case("iat in milliseconds", "issued_in_future", Ask(of(iat=at * 1000)), _AGAIN, good),
        Case(
            "nbf ahead",
            "not_yet_valid",
            Ask(of(nbf=at + 7200, exp=at + 9000, iat=at)),
            "set the clock of the issuing control plane",
            good,
        ),
        Case(
            "a token that was read once",
            "expired",
            Ask(of(iat=at - HOUR, exp=at - 600)),
            "read the file before each request",
            good,
        ),
        Case("exp before iat", "expired", Ask(of(iat=at, exp=at - 10)), _AGAIN, good),
        Case(
            "a day's token",
            "lifetime_too_long",
            Ask(of(iat=at - 60, exp=at - 60 + 24 * HOUR)),
            "set expirationSeconds: 3600",
            Ask(of(iat=at - 60, exp=at - 60 + HOUR)),
        ),
        Case(
            "a token half a second too long",
            "lifetime_too_long",
            Ask(of(iat=at - 60, exp=at - 60 + HOUR + 0.5)),
            "set expirationSeconds: 3600",
            Ask(of(iat=at - 60, exp=at - 60 + HOUR)),
        ),
        Case("a person", "not_a_service_account", Ask(of(sub="alice@example.com")), _AGAIN, good),
        Case(
            "claims that differ",
            "inconsistent_claims",
            Ask(of(**{"kubernetes.io": kubernetes(namespace="other")})),
            _AGAIN,
            good,
        ),
        Case("no Kubernetes claims", "inconsistent_claims", Ask(of(**{"kubernetes.io": ...})), _AGAIN, good),
        Case(
            "kubectl create token",
            "not_bound",
            Ask(of(**{"kubernetes.io": kubernetes(pod=...)})),
            "set spec.token.binding: Any",
            edit=lambda world: world.with_spec("service", token={"binding": "Any"}),
        ),
        Case(
            "a revoked token",
            "revoked",
            Ask(of(jti="revoked-token")),
            "restarted the pod",
            good,
        ),
        Case(
            "a revoked pod",
            "revoked",
            Ask(
                of(
                    **{
                        "kubernetes.io": kubernetes(
                            pod={"name": "atlas-0", "uid": "revoked-pod"},
                            serviceaccount={"name": "atlas", "uid": UID},
                        )
                    }
                )
            ),
            "deleted the pod",
            good,
        ),
        Case(
            "a revoked ServiceAccount",
            "revoked",
            Ask(
                of(
                    **{
                        "kubernetes.io": kubernetes(
                            serviceaccount={"name": "atlas", "uid": "revoked-account"}
                        )
                    }
                )
            ),
            "deleted and created the ServiceAccount, restarted its pods",
            good,
        ),
        Case(
            "issued before a time",
            "revoked",
            Ask(of(OLD, iss="https://old.example.com")),
            "restarted the pod once that time was over",
            edit=lambda world: world.with_spec("old", revoked=[{"issuedBefore": "2020-01-01T00:00:00Z"}]),
        ),
        Case(
            "a revoked key",
            "revoked",
            Ask(of(LEAKED)),
            "restarted the pod after the cluster's rotation",
            good,
        ),
        Case(
            "a ServiceAccount that was deleted",
            "stale_identity",
            Ask(of(LOCAL, "gone")),
            "created the ServiceAccount again, restarted the pod",
            edit=lambda world: replace(world, live=world.live | {("atlas-production", "gone"): UID}),
        ),
        Case(
            "a ServiceAccount that was created again",
            "stale_identity",
            Ask(
                of(
                    LOCAL,
                    "again",
                    **{"kubernetes.io": kubernetes(serviceaccount={"name": "again", "uid": FORMER_UID})},
                )
            ),
            "restarted the pod",
            Ask(of(LOCAL, "again")),
        ),
        Case(
            "a stranger of a trusted cluster",
            "unknown_workload",
            Ask(of(account="reports")),
            "applied the TrustedWorkload that `watchword verify` printed",
            edit=lambda world: world.with_object("reports", workload("reports", "reports", grants=[READ])),
        ),
        Case(
            "trust that is suspended",
            "suspended",
            Ask(of(account="paused")),
            "ran the kubectl patch",
            edit=lambda world: world.with_spec("paused", suspend=False),
        ),
        Case(
            "trust that has expired",
            "trust_expired",
            Ask(of(account="former")),
            "set a later spec.expires",
            edit=lambda world: world.with_spec("former", expires="2099-01-01T00:00:00Z"),
        ),
        Case(
            "a path without a route",
            "no_route",
            replace(good, path="/admin"),
            "added a route to the ProtectedService",
            edit=lambda world: world.with_spec(
                "service",
                routes=[*ROUTES, {"path": "/admin", "methods": ["GET"], "scope": "account:projects:read"}],
            ).with_spec("atlas", grants=[{"scopes": ["account:projects:read"]}]),
        ),
        Case("a method without a route", "no_route", replace(good, method="DELETE"), "sent GET", good),
        Case(
            "a parameter that binds the account comes twice",
            "ambiguous_query",
            replace(good, path="/api/projects?tenant_id=acme&tenant_id=other"),
            "sent tenant_id once",
            replace(good, path="/api/projects?tenant_id=acme"),
        ),
        Case("a trailing slash", "no_route", replace(good, path=PATH + "/"), "left the slash out", good),
        Case(
            "another case",
            "no_route",
            replace(good, path="/API/accounts/acme/projects"),
            "wrote it small",
            good,
        ),
        Case(
            "a path that is read in two ways",
            "no_route",
            replace(good, path="/api/accounts/../accounts/acme/projects"),
            "sent the plain path",
            good,
        ),
        Case(
            "a scope that is not granted",
            "insufficient_scope",
            replace(good, method="PUT", path="/api/accounts/acme/cache"),
            "added the scope to the TrustedWorkload",
            edit=lambda world: world.with_spec(
                "atlas", grants=[READ, {"scopes": ["account:cache:write"], "accounts": ["acme"]}]
            ),
        ),
        Case(
            "another account",
            "account_not_granted",
            replace(good, path="/api/accounts/globex/projects"),
            "added the account to the TrustedWorkload",
            edit=lambda world: world.with_spec("atlas", grants=[READ | {"accounts": ["acme", "globex"]}]),
        ),
        Case(
            "another project",
            "account_not_granted",
            Ask(of(account="builds"), path="/api/projects/acme/android/builds"),
            "added the project to the TrustedWorkload",
            edit=lambda world: world.with_spec(
                "builds",
                grants=[
                    {"scopes": ["project:builds:read"], "accounts": ["acme"], "projects": ["android", "ios"]}
                ],
            ),
        ),
        Case(
            "a workload over its rate",
            "rate_limited",
            Ask(of(account="eager"), before=BURST),
            "waited for Retry-After",
            Ask(of(account="eager")),
        ),
    ]
