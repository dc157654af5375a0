# SPDX-License-Identifier: Apache-2.0
"""Manifests from a good default and one change."""

import json
from collections.abc import Sequence
from typing import Any

from testing.tokens import AUDIENCE, URL, Signer, signer
from watchword.trust import Compilation, Manifests, compile_resources, parse_manifests

API = "watchword.dev/v1alpha1"
GRANTS = [{"scopes": ["account:usage:read"], "accounts": ["*"]}]


def issuer(
    name: str = "production", *signers: Signer, created: str | None = None, **spec: Any
) -> dict[str, Any]:
    """A ClusterTrustedIssuer with inline keys."""
    keys = {"inline": {"keys": [each.jwk for each in signers or (signer(),)]}}
    return _object("ClusterTrustedIssuer", "", name, {"issuer": URL, "keys": keys} | spec, created)


def service(name: str = "tuist-server", **spec: Any) -> dict[str, Any]:
    """A ProtectedService."""
    default: dict[str, Any] = {
        "audiences": [AUDIENCE],
        "selector": {"matchLabels": {"app": name}},
        "port": 8443,
        "upstreamPort": 8080,
    }
    return _object("ProtectedService", "tuist", name, default | spec, None)


def workload(
    name: str = "atlas",
    account: str = "atlas",
    *,
    namespace: str = "atlas-production",
    created: str | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A TrustedWorkload for the default token's subject."""
    default: dict[str, Any] = {
        "serviceRef": {"name": "tuist-server"},
        "issuerRef": {"name": "production"},
        "serviceAccount": {"namespace": namespace, "name": account},
        "grants": GRANTS,
    }
    return _object("TrustedWorkload", "tuist", name, default | spec, created)


def token_desk(
    name: str = "desk",
    namespace: str = "watchword-desk",
    *,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A TokenDesk that namespaces with these labels may name, by default with `desk: "yes"`."""
    default: dict[str, Any] = {
        "issuer": f"https://{name}.example.com",
        "allowedNamespaces": {"matchLabels": labels or {"desk": "yes"}},
    }
    return _object("TokenDesk", namespace, name, default | spec, None)


def desk_client(
    name: str = "cache",
    namespace: str = "watchword-desk",
    *,
    issuer: str = "production",
    account: tuple[str, str] = ("tuist", "cache"),
    service: tuple[str, str] = ("tuist", "tuist-server"),
    **spec: Any,
) -> dict[str, Any]:
    """A DeskClient: a resource server for one service, known by its ServiceAccount's token.

    Args:
        name: of the object.
        namespace: of its desk.
        issuer: whose token it is.
        account: namespace and name of the ServiceAccount.
        service: namespace and name of the ProtectedService.
    """
    default: dict[str, Any] = {
        "deskRef": {"name": "desk"},
        "type": "ResourceServer",
        "authentication": {
            "serviceAccount": {"issuerRef": {"name": issuer}, "namespace": account[0], "name": account[1]}
        },
        "serviceRefs": [{"namespace": service[0], "name": service[1]}],
    }
    return _object("DeskClient", namespace, name, default | spec, None)


def agent_provider(
    name: str = "helper",
    namespace: str = "watchword-desk",
    *,
    keys: Sequence[dict[str, Any]] = (),
    **spec: Any,
) -> dict[str, Any]:
    """An AgentProvider that may name people of example.com.

    Args:
        name: of the object.
        namespace: of its desk.
        keys: its inline keys, as JWKs.
        spec: what else it says.
    """
    default: dict[str, Any] = {
        "deskRef": {"name": "desk"},
        "issuer": "https://agents.example.net",
        "displayName": "Example Helper",
        "keys": {"inline": {"keys": list(keys)}},
        "clientIDs": ["helper-app"],
        "emailDomains": ["example.com"],
    }
    return _object("AgentProvider", namespace, name, default | spec, None)


def _object(
    kind: str, namespace: str, name: str, spec: dict[str, Any], created: str | None
) -> dict[str, Any]:
    metadata = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if created:
        metadata["creationTimestamp"] = created
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def parsed(*objects: dict[str, Any]) -> Manifests:
    """The objects, each in a file of its own."""
    return parse_manifests((f"{n}.json", json.dumps(each).encode()) for n, each in enumerate(objects))


def reporting_namespace(name: str = "tuist", label: str = "allowed") -> dict[str, Any]:
    """A Namespace in which report only is allowed."""
    labels = {"watchword.dev/report-only": label}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def compiled(*objects: dict[str, Any], generation: int = 1, now: float | None = None) -> Compilation:
    """The objects, compiled; they must parse."""
    manifests = parsed(*objects)
    assert not manifests.problems, manifests.problems
    return compile_resources(manifests.resources, generation=generation, now=now)
