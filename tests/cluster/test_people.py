# SPDX-License-Identifier: Apache-2.0
"""What people may do with our kinds by the ClusterRoles that are installed, as the API server judges it.

Whoever may edit a TrustedWorkload grants access to its service, so the built-in role `edit` must not bring
that along by itself; and nobody but the operator writes a status.
"""

from __future__ import annotations

from typing import Any

import pytest

from testing.controlplane import Cluster
from tests.shipped import installed

RBAC = "rbac.authorization.k8s.io"
ROLES = ("watchword-view", "watchword-edit", "watchword-admin")
AGGREGATED = "rbac.authorization.k8s.io/aggregate-to-"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
OURS = ("protectedservices", "trustedworkloads")


@pytest.fixture(scope="module")
def people(crds: Cluster) -> Cluster:
    """A user for each role, with a binding in the namespace `tuist`."""
    for role in ROLES:
        crds.apply(installed("ClusterRole", role))
        crds.apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": {"namespace": "tuist", "name": role},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": RBAC, "kind": "User", "name": f"with-{role}"}],
            }
        )
    return crds


def may(cluster: Cluster, role: str, verb: str, resource: str, namespace: str = "tuist") -> bool:
    plural, _, subresource = resource.partition("/")
    attributes = {"group": "watchword.dev", "resource": plural, "verb": verb, "namespace": namespace}
    if subresource:
        attributes["subresource"] = subresource
    review: dict[str, Any] = {"spec": {"user": f"with-{role}", "resourceAttributes": attributes}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(cluster.request("POST", path, review)["status"]["allowed"])


@pytest.mark.parametrize("resource", OURS)
@pytest.mark.parametrize("role", ROLES)
def test_who_reads_and_who_writes(people: Cluster, role: str, resource: str) -> None:
    assert [verb for verb in READ if not may(people, role, verb, resource)] == []
    allowed = [verb for verb in WRITE if may(people, role, verb, resource)]
    assert allowed == ([] if role == "watchword-view" else list(WRITE))


@pytest.mark.parametrize("role", ROLES)
def test_nobody_writes_a_status_an_issuer_or_in_another_namespace(people: Cluster, role: str) -> None:
    asked = [
        *((verb, f"{resource}/status", "tuist") for verb in ("update", "patch") for resource in OURS),
        *((verb, "clustertrustedissuers", "") for verb in WRITE),
        *((verb, resource, "default") for verb in (*READ, *WRITE) for resource in OURS),
    ]
    assert [each for each in asked if may(people, role, *each)] == []


def test_the_built_in_roles_take_them_up_but_edit_does_not_bring_granting_along() -> None:
    taken = {
        role: sorted(
            label.removeprefix(AGGREGATED)
            for label, value in installed("ClusterRole", role)["metadata"]["labels"].items()
            if label.startswith(AGGREGATED) and value == "true"
        )
        for role in ROLES
    }
    assert taken == {"watchword-view": ["view"], "watchword-edit": [], "watchword-admin": ["admin"]}
