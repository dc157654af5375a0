# SPDX-License-Identifier: Apache-2.0
"""The same world as `world.py`, as a person writes it: issuers, one service, its workloads, its routes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from testing.attacks.world import AUDIENCE, HOUR, NOW, PINNED, TRUSTED, key

Document = dict[str, Any]


def moment(seconds: float) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def issuer(name: str = "atlas-production", **spec: Any) -> Document:
    """A ClusterTrustedIssuer with its keys written out."""
    pinned = [key(kid) for kid, owner in PINNED.items() if owner.name == name]
    base: Document = {
        "issuer": next(iter(next(owner for owner in PINNED.values() if owner.name == name).urls)),
        "keys": {"inline": {"keys": [each.jwk for each in pinned]}},
    }
    return document("ClusterTrustedIssuer", name, base | spec)


ROUTES = [
    {"path": "/api/accounts/{account}/usage", "methods": ["GET"], "scope": "account:usage:read"},
    {"path": "/api/accounts/{account}/projects/{project}", "methods": ["GET"], "scope": "project:read"},
    {"path": "/api/accounts/{account}/cache", "methods": ["GET"], "scope": "project:read"},
    {"path": "/api/status", "methods": ["GET"], "scope": "project:read"},
    {"path": "/api/accounts/{account}/usage", "methods": ["DELETE"], "scope": "account:usage:delete"},
    {
        "path": "/api/search",
        "methods": ["GET", "POST", "PUT", "DELETE"],
        "scope": "account:usage:read",
        "query": {"tenant_id": "account"},
    },
    {"path": "/site/Admin", "methods": ["POST"], "scope": "account:usage:delete"},
    {"path": "/site/files/{account}/{path...}", "methods": ["GET"], "scope": "account:usage:read"},
    {"path": "/site/users/Me", "methods": ["GET"], "scope": "account:usage:delete"},
    {"path": "/site/users/{user}", "methods": ["GET"], "scope": "account:usage:read"},
    {"path": "/site/{path...}", "methods": ["GET"], "scope": "account:usage:read"},
]
GRANTS = [
    {"scopes": ["account:usage:read", "account:usage:write"], "accounts": ["acme", "prj_a"]},
    {"scopes": ["project:read"], "accounts": ["acme", "prj_a"], "projects": ["prj_a"]},
]
PROJECT_GRANTS = [
    {
        "scopes": ["project:read", "account:usage:read", "account:usage:write"],
        "accounts": ["acme"],
        "projects": ["ios"],
    }
]


def service(name: str = "tuist-server", namespace: str = "tuist", **spec: Any) -> Document:
    """A ProtectedService."""
    base = {
        "audiences": [AUDIENCE],
        "selector": {"matchLabels": {"app": name}},
        "port": 8443,
        "upstreamPort": 8080,
        "routes": ROUTES,
    }
    return document("ProtectedService", name, base | spec, namespace)


def workload(
    name: str = "atlas", subject: str = TRUSTED["tuist/atlas"], namespace: str = "tuist", **spec: Any
) -> Document:
    """A TrustedWorkload of the main issuer."""
    _, _, account_namespace, account = subject.split(":")
    base = {
        "serviceRef": {"name": "tuist-server"},
        "issuerRef": {"name": "atlas-production"},
        "serviceAccount": {"namespace": account_namespace, "name": account},
        "grants": GRANTS,
    }
    return document("TrustedWorkload", name, base | spec, namespace)


def document(kind: str, name: str, spec: Mapping[str, Any], namespace: str = "") -> Document:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "watchword.dev/v1alpha1", "kind": kind, "metadata": metadata,
            "spec": {field: value for field, value in spec.items() if value is not ...}}  # fmt: skip


def world() -> list[Document]:
    """Everything that `world.policy()` says."""
    return [
        issuer("atlas-production"),
        issuer("atlas-staging"),
        issuer("narrow", algorithms=["ES256"]),
        service(),
        workload(),
        workload("certificates", TRUSTED["tuist/certificates"]),
        workload("builder", TRUSTED["tuist/builder"], grants=PROJECT_GRANTS),
        workload("suspended", TRUSTED["tuist/suspended"], suspend=True),
        workload("expired", TRUSTED["tuist/expired"], expires=moment(NOW - HOUR)),
    ]


def text(*documents: object) -> bytes:
    """A file of several documents."""
    return b"\n---\n".join(json.dumps(each).encode() for each in documents)
