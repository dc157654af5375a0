# SPDX-License-Identifier: Apache-2.0
"""A real API server with its controllers, the operator under the rights that are shipped, and desks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.controlplane import (
    ApiError,
    Binaries,
    Cluster,
    Etcd,
    wait_until,
)
from testing.manifests import API
from testing.operator_process import NAMESPACE, Replica, give_back_lease, kubeconfig_of, running_operator
from tests.cluster.governed import governed_cluster
from watchword.trust.crd.definitions import KINDS

DESKS = "watchword-desk"
ACCOUNT = "watchword-operator"
# Of what the chart installs.
LABELS = {"app.kubernetes.io/component": "desk"}
TENANTS = {"tenant-a": "alice", "tenant-b": "bob"}
# Of the desks' namespace: who may edit clients, and who may make admins of them as well.
CLERK, GRANTER = "carol", "grace"
_RBAC = "rbac.authorization.k8s.io"
_RULES = Path(__file__).parents[3] / "charts" / "watchword" / "files" / "rules"
_PLURALS = {kind.name: kind.plural for kind in KINDS}

Object = dict[str, Any]


@dataclass
class World:
    """The cluster, its operator, and two tenants who may edit their own namespace each."""

    cluster: Cluster
    operator: Replica
    bearers: dict[str, str]

    def get(self, path: str, bearer: str | None = None) -> Object | None:
        """An object, or None where there is none."""
        try:
            return self.cluster.request("GET", path, bearer=bearer)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def secrets(self) -> list[Object]:
        """The desk's signing keys."""
        path = f"/api/v1/namespaces/{DESKS}/secrets"
        return list(self.cluster.request("GET", path)["items"])

    def config_map(self, namespace: str, name: str) -> Object | None:
        return self.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    def desk(self, name: str = "desk", namespace: str = DESKS) -> Object:
        found = self.get(f"/apis/{API}/namespaces/{namespace}/tokendesks/{name}")
        assert found is not None
        return found

    def condition(self, kind: str, namespace: str, name: str, type_: str = "Ready") -> tuple[str, str]:
        """A condition's status and reason; empty texts where it is not stated."""
        found = self.get(f"/apis/{API}/namespaces/{namespace}/{_PLURALS[kind]}/{name}")
        conditions = (found or {}).get("status", {}).get("conditions", ())
        return next(
            ((each["status"], each["reason"]) for each in conditions if each["type"] == type_), ("", "")
        )

    def apply(self, document: Object, bearer: str | None = None) -> Object:
        return self.cluster.apply(document) if bearer is None else self._apply_as(document, bearer)

    def _apply_as(self, document: Object, bearer: str) -> Object:
        metadata = document["metadata"]
        place = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        group = "/apis" if "/" in document["apiVersion"] else "/api"
        plural = _PLURALS.get(document["kind"]) or f"{document['kind'].lower()}s"
        path = f"{group}/{document['apiVersion']}{place}/{plural}/{metadata['name']}"
        return self.cluster.request(
            "PATCH",
            path,
            document,
            content_type="application/apply-patch+yaml",
            parameters={"fieldManager": "tenant", "force": "true"},
            bearer=bearer,
        )

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.cluster.request("DELETE", f"/apis/{API}/namespaces/{namespace}/{_PLURALS[kind]}/{name}")

    def wait(self, condition: Any, what: str) -> None:
        self.operator.wait_until(condition, what)


def desk_rights() -> list[Object]:
    """What the chart gives operator and desk where there is a desk, from the chart's own rules."""
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    made: list[Object] = []
    for kind, name, file in (
        ("ClusterRole", f"{ACCOUNT}-desk", "operator-desk-cluster.yaml"),
        ("Role", ACCOUNT, "operator-desk.yaml"),
    ):
        metadata: Object = {"name": name, "labels": LABELS} | ({"namespace": DESKS} if kind == "Role" else {})
        rules = yaml.safe_load((_RULES / file).read_text())
        reference = {"apiGroup": _RBAC, "kind": kind, "name": name}
        made += [
            {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules},
            {"apiVersion": f"{_RBAC}/v1", "kind": f"{kind}Binding", "metadata": metadata,
             "roleRef": reference, "subjects": [account]},
        ]  # fmt: skip
    return made


@pytest.fixture(scope="module")
def world(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything in force, and the operator warm."""
    folder = tmp_path_factory.mktemp("desk")
    with governed_cluster(folder, control_plane, etcd, [*TENANTS.values(), CLERK, GRANTER]) as cluster:
        give_back_lease(cluster)
        cluster.create_namespace(DESKS)
        for document in desk_rights():
            cluster.apply(document)
        for namespace, person in TENANTS.items():
            cluster.apply(
                {"apiVersion": "v1", "kind": "Namespace",
                 "metadata": {"name": namespace, "labels": {"desk": "yes"}}}
            )  # fmt: skip
            cluster.apply(
                {"apiVersion": f"{_RBAC}/v1", "kind": "RoleBinding",
                 "metadata": {"namespace": namespace, "name": "edit"},
                 "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "edit"},
                 "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": person}]}
            )  # fmt: skip
        kubeconfig = kubeconfig_of(
            cluster, folder / "kubeconfig", bearer=cluster.token(NAMESPACE, ACCOUNT, expiration_seconds=7200)
        )
        with running_operator(kubeconfig, folder / "operator", "--desk-namespace", DESKS) as operator:
            operator.wait_until(operator.is_leading, "the operator leads", timeout_seconds=120)
            bearers = {namespace: cluster.bearer(person) for namespace, person in TENANTS.items()}
            made = World(cluster, operator, bearers)
            wait_until(
                lambda: _may_edit(made), what="tenants may edit their own namespace", timeout_seconds=60
            )
            yield made


def _may_edit(world: World) -> bool:
    try:
        for namespace, bearer in world.bearers.items():
            world.cluster.request(
                "POST",
                f"/api/v1/namespaces/{namespace}/configmaps",
                {"metadata": {"generateName": "own-"}},
                bearer=bearer,
                parameters={"dryRun": "All"},
            )
    except ApiError:
        return False
    return True
