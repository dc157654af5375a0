# SPDX-License-Identifier: Apache-2.0
"""A small company on two networks: its services, whom they trust, and everybody who might knock.

`TO_THE_GATE` is written by hand from what the docs promise, not from the code: the gate's port is for the
`from` peers of trusted workloads and for `allowFrom`, the app's port is for nobody, and all other ports are
as they were without us.
"""

from __future__ import annotations

from typing import Any

from testing.manifests import issuer, service, workload
from tests.policies.evaluator import Peer, Protocol

NAMESPACES = {name: {"kubernetes.io/metadata.name": name} for name in (
    "tuist", "atlas-production", "atlas-staging", "ingress", "monitoring", "mallory",
)}  # fmt: skip
NAMESPACES["atlas-production"]["env"] = NAMESPACES["ingress"]["env"] = "production"


def pod(ip: str, namespace: str, **labels: str) -> Peer:
    """A pod of this cluster."""
    return Peer(ip, namespace, labels, NAMESPACES[namespace])


def in_namespace(name: str) -> dict[str, Any]:
    """A selector of one namespace, by the label that the API server gives it."""
    return {"matchLabels": {"kubernetes.io/metadata.name": name}}


def pods(**labels: str) -> dict[str, Any]:
    """A selector of pods."""
    return {"matchLabels": labels}


def trusted(name: str, *peers: dict[str, Any], to: str = "tuist-server", **spec: Any) -> dict[str, Any]:
    """A TrustedWorkload with peers."""
    return workload(name, name, serviceRef={"name": to}, **spec, **{"from": list(peers)})


MANIFESTS = (
    issuer(),
    # The gate on 8443 before the app on 8080.
    service("tuist-server", networkPolicy={"allowFrom": [{"namespaceSelector": in_namespace("ingress")}]}),
    trusted(
        "atlas", {"namespaceSelector": in_namespace("atlas-production"), "podSelector": pods(app="atlas")}
    ),
    trusted("batch", {"podSelector": pods(app="batch")}),
    trusted("far", {"ipBlock": {"cidr": "10.20.0.0/16", "except": ["10.20.5.0/24"]}}),
    trusted("far-six", {"ipBlock": {"cidr": "2001:db8:20::/48", "except": ["2001:db8:20:5::/64"]}}),
    trusted("paused", {"podSelector": pods(app="paused")}, suspend=True),
    # Another service of the same namespace, with neighboring ports and callers of its own.
    service("cache", port=7000, upstreamPort=7001),
    trusted("builder", {"namespaceSelector": pods(env="production")}, to="cache"),
    # Nobody is trusted yet.
    service("lonely", port=8443, upstreamPort=8080),
    # The ends of the range.
    service("edges", port=65535, upstreamPort=1, networkPolicy={"allowFrom": [{"podSelector": pods()}]}),
    service("open", networkPolicy={"mode": "Off"}),
    service("previewed", networkPolicy={"mode": "Preview"}),
)

RECEIVERS = {
    "tuist-server": pod("10.1.0.1", "tuist", app="tuist-server", tier="web"),
    "cache": pod("10.1.0.2", "tuist", app="cache"),
    "lonely": pod("10.1.0.3", "tuist", app="lonely"),
    "edges": pod("10.1.0.4", "tuist", app="edges"),
    "open": pod("10.1.0.5", "tuist", app="open"),
    "previewed": pod("10.1.0.6", "tuist", app="previewed"),
    "a bystander": pod("10.1.0.7", "tuist", app="postgres"),
    "a namesake": pod("10.2.0.1", "atlas-staging", app="tuist-server"),
}

SENDERS = {
    "atlas": pod("10.3.0.1", "atlas-production", app="atlas"),
    "atlas with more labels": pod("10.3.0.2", "atlas-production", app="atlas", tier="web"),
    "another app beside atlas": pod("10.3.0.3", "atlas-production", app="mallory"),
    "atlas of staging": pod("10.2.0.2", "atlas-staging", app="atlas"),
    "batch": pod("10.1.0.8", "tuist", app="batch"),
    "batch of mallory": pod("10.4.0.1", "mallory", app="batch"),
    "paused": pod("10.1.0.9", "tuist", app="paused"),
    "a neighbor": pod("10.1.0.10", "tuist", app="postgres"),
    "ingress": pod("10.5.0.1", "ingress", app="nginx"),
    "the scraper": pod("10.6.0.1", "monitoring", app="prometheus"),
    "mallory": pod("10.4.0.2", "mallory", app="mallory"),
    # The node's own kubelet is let through by every network (Kubernetes, "Network Policies"), whatever a
    # policy says; what is asked here is what the policy says of a node's address.
    "a node": Peer("192.168.0.10"),
    "far": Peer("10.20.1.1"),
    "far, excepted": Peer("10.20.5.9"),
    "far-six": Peer("2001:db8:20:1::1"),
    "far-six, excepted": Peer("2001:db8:20:5::9"),
    "the internet": Peer("203.0.113.7"),
    "the internet, six": Peer("2001:db8:ffff::1"),
}

# What is asked of every pair: a name, a port and a protocol.
PORTS: dict[str, dict[str, tuple[int, Protocol]]] = {
    "tuist-server": {
        "gate": (8443, "TCP"), "app": (8080, "TCP"), "ops": (9090, "TCP"), "below gate": (8442, "TCP"),
        "above gate": (8444, "TCP"), "below app": (8079, "TCP"), "above app": (8081, "TCP"),
        "first": (1, "TCP"), "last": (65535, "TCP"), "gate/UDP": (8443, "UDP"), "app/UDP": (8080, "UDP"),
        "app/SCTP": (8080, "SCTP"), "gate/SCTP": (8443, "SCTP"), "dns": (53, "UDP"),
    },
    "cache": {
        "gate": (7000, "TCP"), "app": (7001, "TCP"), "ops": (9090, "TCP"), "below": (6999, "TCP"),
        "above": (7002, "TCP"), "the other's app": (8080, "TCP"), "app/UDP": (7001, "UDP"),
    },
    "edges": {
        "gate": (65535, "TCP"), "app": (1, "TCP"), "second": (2, "TCP"), "last but one": (65534, "TCP"),
        "ops": (9090, "TCP"),
    },
}  # fmt: skip
for _name in ("lonely", "open", "previewed", "a bystander", "a namesake"):
    PORTS[_name] = PORTS["tuist-server"]

# Who reaches the gate of each; to all others it is closed. The app is closed to everybody.
TO_THE_GATE: dict[str, set[str]] = {
    "tuist-server": {"atlas", "atlas with more labels", "batch", "ingress", "far", "far-six"},
    "cache": {"atlas", "atlas with more labels", "another app beside atlas", "ingress"},
    "lonely": set(),
    "edges": {"batch", "paused", "a neighbor"},
}
# Pods that no policy of ours is for: everything arrives.
UNTOUCHED = ("open", "previewed", "a bystander", "a namesake")


def is_expected(sender: str, receiver: str, port: str) -> bool:
    """Whether a packet should arrive."""
    if receiver in UNTOUCHED:
        return True
    if port == "gate":
        return sender in TO_THE_GATE[receiver]
    return port != "app"
