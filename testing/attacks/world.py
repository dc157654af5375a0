# SPDX-License-Identifier: Apache-2.0
"""The world that is attacked: one service, three issuers that share one `iss`, a key of each algorithm.

Everything is relative to the moment of import, because a real gate reads a real clock. Margins are minutes,
so that a slow machine changes no answer.
"""

import time
from functools import cache
from typing import Any

from testing import tokens
from testing.tokens import Signer, compact, signer
from watchword.identity import ALGORITHMS, Issuer, PinnedKey, Policy, Workload
from watchword.trust.audience import DEFAULT_RESERVED, AudienceRules
from watchword.trust.derived_audience import derived_audience

NOW = float(int(time.time()))
HOUR = 3600
AUDIENCE, SUBJECT, URL = tokens.AUDIENCE, tokens.SUBJECT, tokens.URL
CLUSTER_ID, FORMER_ID = "7e0a3b52-6f0d-4d6c-9a0e-2f0a51c0d9e7", "3c6f1f0e-52f3-4a55-8a5b-6f3cf0b3a001"
RULES = AudienceRules(CLUSTER_ID, (FORMER_ID,), DEFAULT_RESERVED)
OWN_AUDIENCE = derived_audience(CLUSTER_ID, "tuist", "tuist-server")
FORMER_AUDIENCE = derived_audience(FORMER_ID, "tuist", "tuist-server")

ATLAS = Issuer("atlas-production", frozenset({URL}), ALGORITHMS)
STAGING = Issuer("atlas-staging", frozenset({URL}), ALGORITHMS)
NARROW = Issuer("narrow", frozenset({"https://narrow.example"}), frozenset({"ES256"}))

TRUSTED = {
    "tuist/atlas": SUBJECT,
    "tuist/certificates": "system:serviceaccount:kube-system:cert-manager.io",
    "tuist/builder": "system:serviceaccount:atlas-production:builder",
    "tuist/suspended": "system:serviceaccount:atlas-production:suspended",
    "tuist/expired": "system:serviceaccount:atlas-production:expired",
}


def key(kid: str) -> Signer:
    """The signer of a pinned key: rsa, es256, es384, es512, staging, narrow."""
    return signer(
        kid, {"es256": "ES256", "es384": "ES384", "es512": "ES512", "narrow": "ES256"}.get(kid, "RS256")
    )


PINNED = {
    "rsa": ATLAS,
    "es256": ATLAS,
    "es384": ATLAS,
    "es512": ATLAS,
    "staging": STAGING,
    "narrow": NARROW,
}


@cache
def policy() -> Policy:
    """What the service asks."""
    workloads = {(ATLAS.name, subject): Workload(name) for name, subject in TRUSTED.items()}
    workloads[ATLAS.name, TRUSTED["tuist/suspended"]] = Workload("tuist/suspended", suspended=True)
    workloads[ATLAS.name, TRUSTED["tuist/expired"]] = Workload("tuist/expired", expires_at=NOW - HOUR)
    return Policy(
        frozenset({AUDIENCE, OWN_AUDIENCE, FORMER_AUDIENCE}),
        {kid: (PinnedKey(key(kid).key, issuer),) for kid, issuer in PINNED.items()},
        workloads,
    )


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims of this moment; `...` removes one."""
    times = {"iat": int(NOW) - 300, "nbf": int(NOW) - 300, "exp": int(NOW) + 2400}
    return tokens.claims(**(times | changes))


def subject(namespace: str, name: str, **changes: Any) -> dict[str, Any]:
    """Changes that make a token speak for another ServiceAccount, consistently."""
    kubernetes = tokens.kubernetes(namespace=namespace, serviceaccount={"name": name, "uid": "sa-2"})
    return {"sub": f"system:serviceaccount:{namespace}:{name}", "kubernetes.io": kubernetes} | changes


def payload(**changes: Any) -> bytes:
    """The good payload with changes, as Kubernetes writes it."""
    return compact(claims(**changes))


def token(
    kid: str = "rsa", header: bytes | dict[str, Any] | None = None, body: bytes | None = None, **changes: Any
) -> bytes:
    """A token signed by a pinned key; `header` adds members or, as bytes, replaces it all."""
    by = key(kid)
    if not isinstance(header, bytes):
        members = {"alg": by.algorithm, "kid": kid} | (header or {})
        header = compact({name: value for name, value in members.items() if value is not ...})
    return by.sign(header, payload(**changes) if body is None else body)
