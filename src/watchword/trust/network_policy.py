# SPDX-License-Identifier: Apache-2.0
"""The NetworkPolicy of one service: the gate's port for its callers, the app's port for no one.

A policy sees addresses, never identities; it narrows who can knock, and the gate decides who comes in. Ports
that are not Watchword's business stay as they were, said as ranges, since a policy has no "all but".
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from watchword.trust.api.v1alpha1 import Peer, ProtectedService, TrustedWorkload

_LAST_PORT = 65_535


def network_policy(service: ProtectedService, workloads: Iterable[TrustedWorkload]) -> dict[str, Any] | None:
    """The NetworkPolicy (networking.k8s.io/v1) that a service asks for, or None with `mode: Off`.

    Args:
        service: the service.
        workloads: those that it trusts.
    """
    spec = service.spec
    if spec.network_policy.mode == "Off":
        return None
    peers = _distinct(
        _peer(peer)
        for part in (
            *(workload.spec.from_ for workload in workloads if not workload.spec.suspend),
            spec.network_policy.allow_from,
        )
        for peer in part
    )
    ingress: list[dict[str, Any]] = []
    # A rule without peers would let everyone in; without a rule, no one reaches the port.
    if peers:
        ingress.append({"from": peers, "ports": [{"protocol": "TCP", "port": spec.port}]})
    open_ports = [*_ranges_without(spec.port, spec.upstream_port), {"protocol": "UDP"}, {"protocol": "SCTP"}]
    ingress.append({"ports": open_ports})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "namespace": service.metadata.namespace,
            "name": f"watchword-{service.metadata.name}",
            "labels": {
                "app.kubernetes.io/managed-by": "watchword",
                "watchword.dev/service": service.metadata.name[:63],
            },
        },
        "spec": {
            "podSelector": {"matchLabels": dict(sorted(spec.selector.match_labels.items()))},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def _ranges_without(*closed: int) -> list[dict[str, Any]]:
    ranges = []
    start = 1
    for port in [*sorted(closed), _LAST_PORT + 1]:
        if start == port - 1:
            ranges.append({"protocol": "TCP", "port": start})
        elif start < port - 1:
            ranges.append({"protocol": "TCP", "port": start, "endPort": port - 1})
        start = port + 1
    return ranges


def _peer(peer: Peer) -> dict[str, Any]:
    if peer.ip_block is not None:
        block: dict[str, Any] = {"cidr": peer.ip_block.cidr}
        if peer.ip_block.except_:
            block["except"] = list(peer.ip_block.except_)
        return {"ipBlock": block}
    selectors = (("namespaceSelector", peer.namespace_selector), ("podSelector", peer.pod_selector))
    # An API server leaves empty labels away: written so, what is stored is what was applied.
    return {
        name: {"matchLabels": dict(sorted(selector.match_labels.items()))} if selector.match_labels else {}
        for name, selector in selectors
        if selector is not None
    }


def _distinct(peers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    by_text = {msgspec.json.encode(peer, order="deterministic"): peer for peer in peers}
    return [by_text[text] for text in sorted(by_text)]
