# SPDX-License-Identifier: Apache-2.0
"""A desk as others see it: its manifests, its keys, and tokens from a good default and one change."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from testing.manifests import GRANTS, desk_client, issuer, parsed, service, token_desk, workload
from testing.tokens import NOW, SUBJECT, Signer, compact, signer
from watchword.trust import Compilation, compile_resources
from watchword.trust.audience import AudienceRules
from watchword.trust.derived_audience import derived_audience
from watchword.trust.desk_tokens import desk_kid
from watchword.trust.desks import DeskKeys

CLUSTER = "dev"
DESK_URL = "https://desk.example.com"
DESK_NAMESPACE, DESK = "watchword-desk", "desk"
SERVICE_AUDIENCE = derived_audience(CLUSTER, "tuist", "tuist-server")
RULES = AudienceRules(CLUSTER)
WORKLOAD_SUBJECT = "workload:production:atlas-production:atlas"


def desk(name: str = DESK, namespace: str = DESK_NAMESPACE, **spec: Any) -> dict[str, Any]:
    """A TokenDesk that every namespace of the tests may name."""
    labels = {"kubernetes.io/metadata.name": "tuist"}
    return token_desk(name, namespace, labels=labels, **({"issuer": DESK_URL} | spec))


def client(name: str = "cache", **spec: Any) -> dict[str, Any]:
    """A DeskClient: a resource server that proves itself by its own token."""
    return desk_client(name, DESK_NAMESPACE, **spec)


@cache
def desk_signer(name: str = "first", algorithm: str = "ES256") -> Signer:
    """A desk's signing key under the kid that the operator gives it, made once per test run."""
    made = Signer(name, algorithm)
    made.kid = desk_kid(made.key.thumbprint)
    made.jwk |= {"kid": made.kid}
    return made


def desk_service(**spec: Any) -> dict[str, Any]:
    """A ProtectedService that names the desk, with one route for an account, a project and a purpose."""
    routes = [
        {"path": "/accounts/{account}/usage", "methods": ["GET"], "scope": "account:usage:read"},
        {"path": "/accounts/{account}/projects/{project}", "methods": ["GET"], "scope": "project:read"},
        {
            "path": "/accounts/{account}/cache",
            "methods": ["GET"],
            "scope": "account:usage:read",
            "purpose": "cache-read",
        },
    ]
    return service(**({"tokenDeskRef": {"name": DESK}, "routes": routes} | spec))


def desk_world(*others: dict[str, Any], keys: DeskKeys | None = None, **of_workload: Any) -> Compilation:
    """One service that names the desk, and one workload; `others` replace objects of the same kind."""
    default = {"grants": GRANTS, "purposes": ["cache-read"]}
    objects = [issuer(), desk_service(), desk(), workload(**(default | of_workload))]
    kinds = {each["kind"] for each in others}
    manifests = parsed(*others, *(each for each in objects if each["kind"] not in kinds))
    assert not manifests.problems, manifests.problems
    held = keys if keys is not None else DeskKeys((desk_signer().jwk,), (desk_signer("revoked").jwk,))
    return compile_resources(manifests.resources, audiences=RULES, desk_keys={(DESK_NAMESPACE, DESK): held})


def origin(**changes: Any) -> dict[str, Any]:
    """The default token of `testing.tokens` as an origin; `...` removes a member."""
    document = {
        "issuer": "production",
        "subject": SUBJECT,
        "service_account_uid": "sa-1",
        "pod": "atlas-0",
        "pod_uid": "p-1",
        "token_id": "7b1c1d0e-0000-4000-8000-000000000001",
        "iat": int(NOW) - 60,
        "key": signer().key.thumbprint,
    } | changes
    return {name: value for name, value in document.items() if value is not ...}


def desk_claims(**changes: Any) -> dict[str, Any]:
    """What a desk signs for the default workload, for all that it may do; `...` removes a claim."""
    document: dict[str, Any] = {
        "iss": DESK_URL,
        "sub": WORKLOAD_SUBJECT,
        "aud": SERVICE_AUDIENCE,
        "client_id": WORKLOAD_SUBJECT,
        "scope": "account:usage:read",
        "jti": "desk-token-1",
        "iat": int(NOW) - 30,
        "exp": int(NOW) + 300,
        "authorization_details": [
            {"type": "watchword_grant", "actions": ["account:usage:read"], "accounts": ["acme"]}
        ],
        "watchword": {"kind": "workload", "origin": origin()},
    } | changes
    return {name: value for name, value in document.items() if value is not ...}


def desk_token(
    by: Signer | None = None,
    *,
    header: Mapping[str, Any] | None = None,
    payload: bytes | None = None,
    **changes: Any,
) -> bytes:
    """A desk token; keyword arguments change claims, `header` members (`...` removes one)."""
    by = by or desk_signer()
    members = {"alg": by.algorithm, "typ": "at+jwt", "kid": by.kid} | dict(header or {})
    head = compact({name: value for name, value in members.items() if value is not ...})
    return by.sign(head, compact(desk_claims(**changes)) if payload is None else payload)


def granting(*details: dict[str, Any]) -> dict[str, Any]:
    """Changes that make a token allow exactly this, `scope` with it."""
    listed = [{"type": "watchword_grant"} | each for each in details]
    scope = " ".join(sorted({action for each in details for action in each["actions"]}))
    return {"authorization_details": listed, "scope": scope}


def from_origin(**changes: Any) -> dict[str, Any]:
    """Changes that give a token another origin."""
    return {"watchword": {"kind": "workload", "origin": origin(**changes)}}
