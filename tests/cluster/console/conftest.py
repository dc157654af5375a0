# SPDX-License-Identifier: Apache-2.0
"""An API server with a running operator for the console's tests, and people with rights of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Binaries, Cluster, Etcd, start_cluster
from testing.operated import OPERATOR_USER, Operated, audit_flags
from testing.operator_process import give_back_lease, kubeconfig_of, running_operator
from tests.cluster.keys.contexts import write_contexts
from watchword.console.cluster import ClusterSource
from watchword.trust.crd.definitions import definitions

ROUTES = [
    {"path": "/projects/{account}", "methods": ["GET"], "scope": "projects:read"},
    {"path": "/projects/{account}", "methods": ["PUT"], "scope": "projects:write"},
]
GRANTS = [{"scopes": ["projects:read"], "accounts": ["acme"]}]
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture(scope="module")
def operated(
    control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operated]:
    """A cluster with an operator, and the issuer `here` that is the cluster itself."""
    folder = tmp_path_factory.mktemp("console-cluster")
    users = {OPERATOR_USER: ["system:masters"]}
    with start_cluster(
        folder, etcd=etcd, binaries=control_plane, users=users, flags=audit_flags(folder)
    ) as cluster:
        for definition in definitions():
            cluster.apply(definition)
        give_back_lease(cluster)
        config = kubeconfig_of(cluster, folder / "operator-config", bearer=cluster.bearer(OPERATOR_USER))
        with running_operator(config, tmp_path_factory.mktemp("console-operator")) as replica:
            replica.wait_until(replica.is_leading, "the operator leads and is warm")
            here = Operated(cluster, replica, folder / "audit.log", issuer="here")
            issuer = here.trusted_issuer(name="here", keys={"cluster": {}})
            here.apply(issuer)
            here.wait_for(issuer, "Ready/KeysTrusted")
            yield here


@dataclass
class Place:
    """A namespace with the service `api`, which trusts the ServiceAccount `atlas` of the same namespace."""

    operated: Operated
    namespace: str
    service: dict[str, Any]
    workload: dict[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.namespace}/api"

    def admin(self, *namespaces: str) -> ClusterSource:
        """The cluster as its administrator reads it."""
        path = self.folder / "kubeconfig"
        write_contexts(path, {"here": self.operated.cluster})
        return ClusterSource("here", str(path), namespaces)

    def person(self, name: str, rules: list[dict[str, Any]], *namespaces: str) -> ClusterSource:
        """The cluster as a person reads it who has these rules in the namespace, and nothing else."""
        cluster = self.operated.cluster
        cluster.create_service_account(self.namespace, name)
        metadata = {"namespace": self.namespace, "name": name}
        subject = {"kind": "ServiceAccount", "namespace": self.namespace, "name": name}
        reference = {"apiGroup": RBAC, "kind": "Role", "name": name}
        for kind, rest in (
            ("Role", {"rules": rules}),
            ("RoleBinding", {"roleRef": reference, "subjects": [subject]}),
        ):
            cluster.apply({"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, **rest})
        path = self.folder / f"{name}-kubeconfig"
        path.write_text(json.dumps(_config(cluster, cluster.token(self.namespace, name), self.namespace)))
        return ClusterSource(None, str(path), namespaces)


def _config(cluster: Cluster, token: str, namespace: str) -> dict[str, Any]:
    server = {"server": cluster.url, "certificate-authority": str(cluster.authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": server}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "me", "context": {"cluster": "here", "user": "me", "namespace": namespace}}],
        "current-context": "me",
    }


@pytest.fixture
def place(operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A namespace with a service that one workload may call, published."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    namespace = operated.new_namespace()
    operated.account(namespace)
    service = operated.service(namespace, routes=ROUTES)
    workload = operated.workload(namespace, grants=GRANTS)
    operated.apply(service, workload)
    operated.wait_for(workload, "Ready/Trusted")
    return Place(operated, namespace, service, workload, tmp_path)
