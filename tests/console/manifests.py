# SPDX-License-Identifier: Apache-2.0
"""Manifests that have something of everything the console shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testing.tokens import claims, signer

VERSION = "watchword.dev/v1alpha1"
SERVICE = "tuist/tuist-server"


def written(kind: str, namespace: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": {**place, "name": name, **metadata},
        "spec": spec,
    }


def service(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    return written(
        "ProtectedService",
        namespace,
        name,
        {"selector": {"matchLabels": {"app": name}}, "port": 8443, "upstreamPort": 8080, **spec},
    )


def workload(namespace: str, name: str, of: str, **spec: Any) -> dict[str, Any]:
    return written(
        "TrustedWorkload",
        namespace,
        name,
        {
            "serviceRef": {"name": of},
            "issuerRef": {"name": "atlas-production"},
            "serviceAccount": {"namespace": "atlas-production", "name": name},
            **spec,
        },
    )


def issuer(name: str, keys: dict[str, Any], url: str, **spec: Any) -> dict[str, Any]:
    return written("ClusterTrustedIssuer", "", name, {"issuer": url, "keys": keys, **spec})


def objects() -> list[dict[str, Any]]:
    """Three services, five workloads, two issuers, a desk with a client and a provider of agents."""
    read = {"scopes": ["account:usage:read", "account:projects:read"], "accounts": ["acme", "globex"]}
    cache = {"scopes": ["project:cache:write"], "accounts": ["acme"], "projects": ["ios"]}
    routes = [
        {"path": "/healthz", "methods": ["GET"], "public": True},
        {
            "path": "/api/accounts/{account}/projects",
            "methods": ["GET", "HEAD"],
            "scope": "account:projects:read",
        },
        {
            "path": "/api/accounts/{account}/projects/{project}/cache",
            "methods": ["PUT"],
            "scope": "project:cache:write",
        },
    ]
    return [
        issuer("atlas-production", {"inline": {"keys": [signer().jwk]}}, claims()["iss"]),
        issuer("this-cluster", {"cluster": {}}, "https://kubernetes.default.svc.cluster.local"),
        service(
            "tuist",
            "tuist-server",
            audiences=["tuist-server"],
            routes=routes,
            limits={"requestsPerSecond": 50, "burst": 100},
            tokenDeskRef={"name": "desk"},
            resourceServers=["cache-node"],
        ),
        service("tuist", "billing", routes=[], networkPolicy={"mode": "Preview"}),
        service("shop", "orders", networkPolicy={"mode": "Off"}),
        workload("tuist", "atlas", "tuist-server", grants=[read, cache], purposes=["cache-read"]),
        workload("tuist", "reports", "tuist-server", grants=[{**read, "accounts": ["*"]}], suspend=True),
        workload("tuist", "nightly", "tuist-server", grants=[read], expires="2020-01-01T00:00:00Z"),
        workload("tuist", "watcher", "tuist-server"),
        workload("shop", "lost", "no-such-service", grants=[read]),
        written(
            "TokenDesk",
            "watchword-system",
            "desk",
            {
                "issuer": "https://desk.example.com",
                "allowedNamespaces": {"matchLabels": {"kubernetes.io/metadata.name": "tuist"}},
            },
        ),
        written(
            "DeskClient",
            "watchword-system",
            "cache-node",
            {
                "deskRef": {"name": "desk"},
                "type": "ResourceServer",
                "authentication": {
                    "serviceAccount": {
                        "issuerRef": {"name": "atlas-production"},
                        "namespace": "cache",
                        "name": "node",
                    }
                },
                "serviceRefs": [{"namespace": "tuist", "name": "tuist-server"}],
            },
        ),
        written(
            "AgentProvider",
            "watchword-system",
            "helper",
            {
                "deskRef": {"name": "desk"},
                "issuer": "https://agents.example.net",
                "displayName": "Example Helper",
                "keys": {"discovery": {}},
                "clientIDs": ["helper-app"],
                "emailDomains": ["example.com"],
            },
        ),
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "tuist", "labels": {"kubernetes.io/metadata.name": "tuist"}},
        },
    ]


def write_manifests(path: Path, given: list[dict[str, Any]] | None = None, name: str = "all.json") -> None:
    """Write objects as one List."""
    listed = objects() if given is None else given
    document = {"apiVersion": "v1", "kind": "List", "items": listed}
    (path / name).write_text(json.dumps(document))
