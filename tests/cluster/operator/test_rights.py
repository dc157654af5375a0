# SPDX-License-Identifier: Apache-2.0
"""The operator under the very role that is shipped: nothing that it asks for is denied, and nothing that it
may do goes unused.

The whole life of an installation happens here once; the judge is the API server's own audit log. A right that
nobody uses is one that a stolen token has for nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from testing.controlplane import ApiError, Binaries, Cluster, Etcd, start_cluster, wait_until
from testing.controlplane.audit import AuditLog
from testing.keys.authority import Authority
from testing.keys.endpoint import always, answer, endpoint
from testing.manifests import issuer, service, workload
from testing.operator_process import LEASE, NAMESPACE, delete_lease, kubeconfig_of, running_operator
from tests.shipped import access_of, admission_policies, rights_of, user
from watchword.trust.crd.definitions import KINDS, definitions

ACCOUNT = "watchword-operator"
PLURALS = {kind.name: kind.plural for kind in KINDS}
RBAC = "rbac.authorization.k8s.io"
MERGE = "application/merge-patch+json"
# What every ServiceAccount may ask in any cluster (ClusterRole `system:discovery`).
DISCOVERY = ("/api", "/apis", "/version", "/openapi")

Object = dict[str, Any]


class Life:
    """An installation whose objects come, change and go."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def stored(self, document: Object) -> Object:
        return self.cluster.request("GET", self._path(document))

    def _path(self, document: Object) -> str:
        metadata = document["metadata"]
        place = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        version, kind = document["apiVersion"], document["kind"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural = PLURALS.get(kind) or {"NetworkPolicy": "networkpolicies"}.get(kind) or f"{kind.lower()}s"
        return f"{group}{place}/{plural}/{metadata['name']}"

    def is_there(self, document: Object) -> bool:
        try:
            self.stored(document)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def says(self, document: Object, type_: str, reason: str) -> None:
        """Wait until a condition of the object has this reason."""

        def is_said() -> bool:
            conditions = self.stored(document).get("status", {}).get("conditions", [])
            return any(each["type"] == type_ and each["reason"] == reason for each in conditions)

        name = document["metadata"]["name"]
        wait_until(is_said, what=f"{name}: {type_} is {reason}", timeout_seconds=60)

    def edit(self, document: Object, **change: Any) -> None:
        self.cluster.request("PATCH", self._path(document), change, content_type=MERGE)

    def delete(self, document: Object) -> None:
        self.cluster.request("DELETE", self._path(document))

    def tells(self, reason: str, words: str) -> None:
        """Wait for an Event with these words."""

        def is_told() -> bool:
            events = self.cluster.request("GET", "/api/v1/events")["items"]
            return any(each["reason"] == reason and words in each["message"] for each in events)

        wait_until(is_told, what=f"the Event {reason}", timeout_seconds=60)


def kept(kind: str, name: str) -> Object:
    """An object that the operator keeps, by name."""
    version = {"ConfigMap": "v1", "NetworkPolicy": "networking.k8s.io/v1"}.get(kind, f"{RBAC}/v1")
    return {"apiVersion": version, "kind": kind, "metadata": {"namespace": "tuist", "name": name}}


def live_through(life: Life, jwks_url: str, authority: Authority) -> None:
    """Every kind of issuer, every mode of a policy, every hand that meddles, every end."""
    cluster = life.cluster
    jwks = json.dumps(issuer()["spec"]["keys"]["inline"])
    entry = {"metadata": {"name": "keys", "namespace": "tuist"}, "data": {"jwks.json": jwks}}
    cluster.request("POST", "/api/v1/namespaces/tuist/configmaps", entry)
    metadata = {
        "name": "credential",
        "labels": {"watchword.dev/issuer-credential": "far"},
        "annotations": {"watchword.dev/host": jwks_url.split("/")[2]},
    }
    secret = {"metadata": metadata, "data": {"token": base64.b64encode(b"secret").decode()}}
    cluster.request("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)
    credential = {"namespace": NAMESPACE, "name": "credential"}
    discovery = {"jwksURL": jwks_url, "caBundle": authority.pem, "credentialSecretRef": credential}
    here = issuer("here", keys={"cluster": {}})
    far = issuer("far", keys={"discovery": discovery})
    mapped = issuer("mapped", keys={"configMap": {"namespace": "tuist", "name": "keys"}})
    for document in (here, far):
        cluster.apply(document)
        life.says(document, "KeysFresh", "Fetched")
    # The same key under two issuers would be a conflict: one after the other.
    life.delete(far)
    cluster.apply(mapped)
    life.says(mapped, "KeysFresh", "Fetched")

    protected = service()
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "tuist"}}}]
    trusted = workload(
        issuerRef={"name": "here"},
        serviceAccount={"namespace": "tuist", "name": "atlas"},
        **{"from": peers},
    )
    cluster.apply(trusted)
    cluster.apply(protected)
    life.says(protected, "PolicyApplied", "Enforced")
    life.says(trusted, "Ready", "Trusted")

    bundle = "watchword-bundle-tuist-server"
    life.edit(kept("ConfigMap", bundle), data={"bundle.json": "{}"})
    life.tells("HandEditUndone", "ConfigMap")
    life.edit(kept("ConfigMap", bundle), immutable=True)
    life.edit(trusted, spec={"suspend": True})
    life.tells("HandEditUndone", "immutable")
    life.edit(trusted, spec={"suspend": False})
    life.says(trusted, "Ready", "Trusted")
    life.edit(kept("Role", bundle), rules=[])
    life.tells("HandEditUndone", "Role ")
    life.edit(kept("RoleBinding", bundle), subjects=[])
    life.tells("HandEditUndone", "RoleBinding")
    policy = kept("NetworkPolicy", "watchword-tuist-server")
    life.edit(policy, spec={"ingress": [{}]})
    wait_until(lambda: life.stored(policy)["spec"]["ingress"] != [{}], what="the policy is put right")
    life.delete(kept("Role", "watchword-bundle-tuist-server"))
    wait_until(lambda: life.is_there(kept("Role", "watchword-bundle-tuist-server")), what="the Role is back")

    life.edit(protected, spec={"networkPolicy": {"mode": "Preview"}})
    life.says(protected, "PolicyApplied", "Previewed")
    wait_until(lambda: not life.is_there(policy), what="the policy is gone")
    cluster.delete_service_account("tuist", "atlas")
    life.says(trusted, "Ready", "ServiceAccountGone")
    life.edit(trusted, spec={"suspend": True})
    life.says(trusted, "Ready", "Suspended")
    for document in (trusted, protected, mapped, here):
        life.delete(document)


@pytest.fixture(scope="module")
def audit(
    control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AuditLog]:
    """The audit log of a cluster in which the operator has lived a whole life under its own roles."""
    folder = tmp_path_factory.mktemp("rights")
    log, authority = AuditLog(folder / "audit", [user(ACCOUNT)]), Authority()
    with ExitStack() as stack:
        cluster = stack.enter_context(
            start_cluster(folder / "cluster", etcd=etcd, binaries=control_plane, flags=log.flags)
        )
        for definition in definitions():
            cluster.apply(definition)
        for document in (*access_of(ACCOUNT), *admission_policies()):
            cluster.apply(document)
        cluster.create_namespace("tuist")
        cluster.create_service_account("tuist", "atlas")
        cluster.create_pod("tuist", "atlas", "atlas")
        keys = json.dumps(issuer()["spec"]["keys"]["inline"]).encode()
        away = stack.enter_context(endpoint(authority.server(folder), always(answer(keys))))
        bearer = cluster.token(NAMESPACE, ACCOUNT, expiration_seconds=3600)
        kubeconfig = kubeconfig_of(cluster, folder / "kubeconfig", bearer=bearer)
        flags = ("--watch-window-seconds", "5", "--allow-key-address", "127.0.0.0/8")
        operator = stack.enter_context(running_operator(kubeconfig, folder, *flags))
        operator.wait_until(operator.is_leading, "it leads", timeout_seconds=90)
        live_through(Life(cluster), away.url(), authority)
        delete_lease(cluster)
        operator.wait_until(lambda: bool(operator.says("no longer leading")), "the term ends")
        operator.wait_until(operator.is_leading, "it leads again", timeout_seconds=90)
        assert operator.stop() == 0
        yield log


def test_nothing_that_it_asks_for_is_denied(audit: AuditLog) -> None:
    requests = list(audit.requests(user(ACCOUNT)))
    assert len(requests) > 100
    assert sorted({str(each.access) for each in requests if each.status in (401, 403)}) == []


def test_nothing_that_it_may_do_goes_unused(audit: AuditLog) -> None:
    used = {right for request in audit.requests(user(ACCOUNT)) for right in request.uses}
    assert sorted(str(each) for each in rights_of(ACCOUNT) - used) == []


def test_it_asks_for_nothing_that_its_roles_do_not_name(audit: AuditLog) -> None:
    """What is allowed here by another role may be denied in the next cluster."""
    used = {right for request in audit.requests(user(ACCOUNT)) for right in request.uses}
    asked = used - rights_of(ACCOUNT)
    assert sorted(str(each) for each in asked if not each.resource.startswith(DISCOVERY)) == []


def test_in_its_own_namespace_it_touches_only_its_lease_and_the_secret_that_an_issuer_names(
    audit: AuditLog,
) -> None:
    touched = {
        (each.access.resource, each.name)
        for each in audit.requests(user(ACCOUNT))
        if each.namespace == NAMESPACE
    }
    assert touched == {("leases", LEASE), ("secrets", "credential")}
