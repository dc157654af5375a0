# SPDX-License-Identifier: Apache-2.0
"""What a person made stays, whatever its name and labels; what the operator made is its own by UID alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.operated import Operated
from watchword.trust import compile_resources, parse_manifests

RBAC = "rbac.authorization.k8s.io/v1"
LABELS = {"app.kubernetes.io/managed-by": "watchword", "watchword.dev/service": "api"}
SUBJECT = {"kind": "ServiceAccount", "name": "app"}
BINDS = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "watchword-bundle-api"}
KINDS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "NetworkPolicy": (
        "networking.k8s.io/v1",
        "networkpolicies",
        "watchword-api",
        {"spec": {"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress"]}},
    ),
    "ConfigMap": ("v1", "configmaps", "watchword-bundle-api", {"data": {"mine": "yes"}}),
    "Role": (RBAC, "roles", "watchword-bundle-api", {"rules": []}),
    "RoleBinding": (RBAC, "rolebindings", "watchword-bundle-api", {"roleRef": BINDS, "subjects": [SUBJECT]}),
}
# How a person's object may look like one of the operator's.
LIKENESSES: dict[str, dict[str, Any]] = {
    "labels as compile prints them": {"labels": LABELS},
    "another controller": {
        "labels": LABELS,
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u-1", "controller": True}
        ],
    },
    "a deleted service": {
        "labels": LABELS,
        "ownerReferences": [
            {
                "apiVersion": "watchword.dev/v1alpha1",
                "kind": "ProtectedService",
                "name": "api",
                "uid": "00000000-0000-4000-8000-000000000000",
                "controller": True,
            }
        ],
    },
}


def path_of(place: str, kind: str) -> str:
    version, plural, name, _ = KINDS[kind]
    group = "/api/v1" if version == "v1" else f"/apis/{version}"
    return f"{group}/namespaces/{place}/{plural}/{name}"


def theirs(place: str, kind: str, likeness: dict[str, Any]) -> dict[str, Any]:
    version, _, name, content = KINDS[kind]
    metadata = {"namespace": place, "name": name} | likeness
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def condition_of(kind: str) -> str:
    return "PolicyApplied" if kind == "NetworkPolicy" else "BundlePublished"


@pytest.mark.parametrize("likeness", LIKENESSES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_persons_object_is_neither_changed_nor_deleted_and_the_status_says_so(
    operated: Operated, kind: str, likeness: str
) -> None:
    place = operated.new_namespace()
    operated.apply(theirs(place, kind, LIKENESSES[likeness]))
    before = operated.get(path_of(place, kind))
    service = operated.service(place)
    operated.apply(service)
    stored = operated.wait_for(service, f"{condition_of(kind)}/NameTaken")
    [said] = [each for each in stored["status"]["conditions"] if each["type"] == condition_of(kind)]
    assert f"{kind} {KINDS[kind][2]}" in said["message"]
    assert ("garbage collector" in said["message"]) == (likeness == "a deleted service")
    for mode in ("Off", "Enforce"):
        operated.edit(service, networkPolicy={"mode": mode})
        operated.settle()
        assert operated.get(path_of(place, kind)) == before, mode
    operated.cluster.request("DELETE", path_of(place, kind))
    operated.wait_for(service, "Ready/BundleCurrent", "PolicyApplied/Enforced")


def test_the_policy_that_compile_prints_stays_where_the_service_asks_for_none(operated: Operated) -> None:
    place = operated.new_namespace()
    manifest = operated.service(place, networkPolicy={"mode": "Off"})
    asked = json.dumps(operated.service(place)).encode()
    found = parse_manifests([("service.json", asked)])
    [policy] = compile_resources(found.resources).network_policies
    operated.apply(policy)
    before = operated.get(path_of(place, "NetworkPolicy"))
    operated.apply(manifest)
    operated.wait_for(manifest, "PolicyApplied/Off", "Ready/BundleCurrent")
    operated.settle()
    assert operated.get(path_of(place, "NetworkPolicy")) == before


@pytest.fixture
def place(operated: Operated) -> str:
    """A namespace with a service that trusts its ServiceAccount `atlas`, settled."""
    namespace = operated.new_namespace()
    operated.account(namespace)
    workload = operated.workload(namespace)
    operated.apply(operated.service(namespace), workload)
    operated.wait_for(workload, "Ready/Trusted")
    operated.wait_for(operated.service(namespace), "Ready/BundleCurrent")
    return namespace


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_that_is_removed_by_hand_makes_it_a_strangers_until_it_is_handed_back(
    operated: Operated, place: str, kind: str
) -> None:
    path, service = path_of(place, kind), operated.service(place)
    stored = operated.get(path)
    assert stored is not None
    owners = stored["metadata"]["ownerReferences"]
    operated.merge(path, {"metadata": {"ownerReferences": None}})
    operated.wait_for(service, f"{condition_of(kind)}/NameTaken")
    operated.wait_for_event(service, "NameTaken", "Warning", "ownerReferences")
    kept = operated.get(path)
    operated.edit(service, networkPolicy={"mode": "Off"})
    operated.settle()
    assert operated.get(path) == kept, json.dumps(kept)
    operated.edit(service, networkPolicy={"mode": "Enforce"})
    operated.wait_for(service, f"{condition_of(kind)}/NameTaken")

    operated.merge(path, {"metadata": {"ownerReferences": owners}})
    operated.wait_for(service, "Ready/BundleCurrent", "PolicyApplied/Enforced")


def test_a_policy_of_ours_without_its_label_is_still_ours(operated: Operated, place: str) -> None:
    path = path_of(place, "NetworkPolicy")
    operated.merge(path, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    operated.replica.wait_until(
        lambda: (
            (operated.get(path) or {})["metadata"]["labels"].get("app.kubernetes.io/managed-by")
            == "watchword"
        ),
        "the label is back",
    )
    operated.wait_for(operated.service(place), "PolicyApplied/Enforced")
