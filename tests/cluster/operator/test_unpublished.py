# SPDX-License-Identifier: Apache-2.0
"""A bundle that cannot be written: each status says what gates really do, and trust can be withdrawn.

`kubectl wait --for=condition=Ready` must not succeed for a workload that no bundle holds, and no suspended
workload may say that its calls are refused while every gate lets them in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from testing.controlplane import ApiError
from testing.operated import Operated, signed
from testing.tokens import Signer

ADMISSION = "admissionregistration.k8s.io/v1"
Object = dict[str, Any]


@pytest.fixture
def signer() -> Signer:
    return Signer("unpublished")


@pytest.fixture
def issuer(operated: Operated, signer: Signer) -> Iterator[str]:
    """An issuer whose tokens the test signs."""
    made = operated.trusted_issuer(signer)
    operated.apply(made)
    operated.wait_for(made, "Ready/KeysTrusted")
    yield made["metadata"]["name"]
    operated.delete(made)


@pytest.fixture
def place(operated: Operated, issuer: str) -> str:
    """A namespace with a service that trusts `atlas` and `other`, published."""
    namespace = operated.new_namespace()
    trusted = [workload_of(operated, namespace, issuer, name) for name in ("atlas", "other")]
    operated.apply(operated.service(namespace), *trusted)
    for each in trusted:
        operated.wait_for(each, "Ready/Trusted")
    operated.wait_for(operated.service(namespace), "Ready/BundleCurrent")
    return namespace


def workload_of(operated: Operated, place: str, issuer: str, name: str) -> Object:
    return operated.workload(place, name, (place, name), issuerRef={"name": issuer})


def path_of_map(place: str) -> str:
    return f"/api/v1/namespaces/{place}/configmaps/watchword-bundle-api"


def message_of(operated: Operated, manifest: Object, type_: str) -> str:
    return str(operated.condition(manifest, type_)["message"])


@contextmanager
def denied_by_policy(operated: Operated, place: str) -> Iterator[None]:
    """Each write of a ConfigMap in a place is denied by somebody's admission policy."""
    name = f"deny-{place}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule | {"resources": ["configmaps"]}]},
        "validations": [{"expression": f"object.metadata.namespace != '{place}'", "message": "not here"}],
    }
    bound = {"policyName": name, "validationActions": ["Deny"]}
    metadata = {"name": name}
    kind = "ValidatingAdmissionPolicy"
    operated.apply(
        {"apiVersion": ADMISSION, "kind": kind, "metadata": metadata, "spec": spec},
        {"apiVersion": ADMISSION, "kind": f"{kind}Binding", "metadata": metadata, "spec": bound},
    )

    def is_in_force() -> bool:
        probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": place, "name": "probe"}}
        try:
            operated.apply(probe)
        except ApiError:
            return True
        return False

    operated.replica.wait_until(is_in_force, "the policy is in force")
    try:
        yield
    finally:
        for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            operated.cluster.request("DELETE", f"/apis/{ADMISSION}/{plural}/{name}")


@contextmanager
def owned_by_nobody(operated: Operated, place: str) -> Iterator[None]:
    """Somebody removed the owner of the bundle's ConfigMap: it is a stranger's, and holds our bundle."""
    stored = operated.config_map(place)
    assert stored is not None
    operated.merge(path_of_map(place), {"metadata": {"ownerReferences": None}})
    try:
        yield
    finally:
        operated.merge(
            path_of_map(place), {"metadata": {"ownerReferences": stored["metadata"]["ownerReferences"]}}
        )


OBSTACLES: dict[str, tuple[Callable[[Operated, str], AbstractContextManager[None]], str, str]] = {
    "an admission policy": (denied_by_policy, "WriteRefused", "ValidatingAdmissionPolicy deny-"),
    "a stranger's ConfigMap": (owned_by_nobody, "NameTaken", "delete or rename it"),
}


@pytest.mark.brings_about(
    "TrustedWorkload/Ready/NotPublished",
    "TrustedWorkload/Ready/ChangeNotPublished",
    "TrustedWorkload/Ready/WithdrawalNotPublished",
    "TrustedWorkload/Event/NotPublished",
    "TrustedWorkload/Event/ChangeNotPublished",
    "TrustedWorkload/Event/WithdrawalNotPublished",
)
@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_while_nothing_can_be_published_each_status_says_what_gates_do(
    operated: Operated, place: str, issuer: str, signer: Signer, obstacle: str
) -> None:
    hinder, reason, remedy = OBSTACLES[obstacle]
    service = operated.service(place)
    atlas, other, third = (workload_of(operated, place, issuer, name) for name in ("atlas", "other", "third"))
    tokens = {name: signed(signer, place, name) for name in ("atlas", "other", "third")}
    bundle = operated.bundle(place)
    assert bundle is not None
    with hinder(operated, place):
        operated.edit(atlas, suspend=True)
        operated.edit(other, grants=[{"scopes": ["account:usage:write"], "accounts": ["acme"]}])
        operated.apply(third)
        operated.wait_for(atlas, "Ready/WithdrawalNotPublished")
        operated.wait_for(other, "Ready/ChangeNotPublished")
        operated.wait_for(third, "Ready/NotPublished")
        stored = operated.wait_for(service, f"BundlePublished/{reason}", "Ready/BundleNotPublished")
        for each, told in (
            (atlas, "WithdrawalNotPublished"),
            (other, "ChangeNotPublished"),
            (third, "NotPublished"),
        ):
            assert operated.condition(each, "Ready")["status"] == "False"
            assert f"generation {bundle.generation}" in message_of(operated, each, "Ready")
            operated.wait_for_event(each, told, "Warning")
        said = message_of(operated, service, "BundlePublished")
        assert f"generation {bundle.generation}" in said
        assert "lacks 1 workload" in said
        assert "holds 1 workload in an earlier version" in said
        assert "still lets in 1 workload" in said
        assert remedy in said
        assert stored["status"]["workloads"]["trusted"] == 2
        # What is said is what gates do.
        assert operated.decision(tokens["atlas"], place) == "allowed"
        assert operated.decision(tokens["other"], place) == "allowed"
        assert operated.decision(tokens["third"], place) == "unknown_workload"
        assert operated.replica.metric("watchword_operator_withdrawals_unpublished") >= 1
        assert operated.replica.metric("watchword_operator_bundles_unpublished") >= 1
        # A workload that is deleted has no status: its service counts it.
        operated.delete(atlas)
        operated.replica.wait_until(
            lambda: "still lets in 1 workload" in message_of(operated, service, "BundlePublished"),
            "a deleted workload that is let in is counted",
        )
    operated.wait_for(service, "Ready/BundleCurrent")
    operated.wait_for(other, "Ready/Trusted")
    operated.wait_for(third, "Ready/Trusted")
    assert operated.decision(tokens["atlas"], place) == "unknown_workload"
    assert operated.decision(tokens["third"], place) == "allowed"


@pytest.mark.parametrize("edit", ["suspended", "deleted"])
def test_an_immutable_bundle_is_made_again_so_that_trust_can_be_withdrawn(
    operated: Operated, place: str, issuer: str, signer: Signer, edit: str
) -> None:
    atlas, token = workload_of(operated, place, issuer, "atlas"), signed(signer, place, "atlas")
    before = operated.bundle(place)
    assert before is not None
    operated.merge(path_of_map(place), {"immutable": True})
    if edit == "deleted":
        operated.delete(atlas)
        operated.wait_for_decision(token, "unknown_workload", place)
    else:
        operated.edit(atlas, suspend=True)
        operated.wait_for(atlas, "Ready/Suspended")
        assert operated.decision(token, place) == "suspended"
    operated.wait_for_event(operated.service(place), "HandEditUndone", "Warning", "made immutable")
    operated.wait_for(operated.service(place), "Ready/BundleCurrent")
    stored, after = operated.config_map(place), operated.bundle(place)
    assert stored is not None
    assert after is not None
    assert not stored.get("immutable")
    assert after.generation > before.generation


def test_an_immutable_bundle_that_a_finalizer_holds_is_said_to_let_in(
    operated: Operated, place: str, issuer: str, signer: Signer
) -> None:
    atlas, token = workload_of(operated, place, issuer, "atlas"), signed(signer, place, "atlas")
    operated.merge(path_of_map(place), {"immutable": True, "metadata": {"finalizers": ["example.com/keep"]}})
    operated.edit(atlas, suspend=True)
    operated.wait_for(atlas, "Ready/WithdrawalNotPublished")
    operated.wait_for(operated.service(place), "BundlePublished/WriteRefused")
    assert "finalizers" in message_of(operated, operated.service(place), "BundlePublished")
    assert operated.decision(token, place) == "allowed"
    operated.merge(path_of_map(place), {"metadata": {"finalizers": None}})
    operated.wait_for(atlas, "Ready/Suspended")
    assert operated.decision(token, place) == "suspended"


def full_quota(operated: Operated, place: str, used: int) -> str:
    """A ResourceQuota of ConfigMaps that is used up, with the status that its controller would write."""
    path = f"/api/v1/namespaces/{place}/resourcequotas"
    body: Object = {"metadata": {"name": "full"}, "spec": {"hard": {"configmaps": str(used)}}}
    operated.cluster.request("POST", path, body)
    counts = {"configmaps": str(used)}
    operated.merge(f"{path}/full/status", {"status": {"hard": counts, "used": counts}})
    return f"{path}/full"


def test_a_full_quota_stops_no_withdrawal_and_a_new_bundle_says_which_quota(
    operated: Operated, place: str, issuer: str, signer: Signer
) -> None:
    atlas, token = workload_of(operated, place, issuer, "atlas"), signed(signer, place, "atlas")
    quota = full_quota(operated, place, 1)
    operated.edit(atlas, suspend=True)
    operated.wait_for(atlas, "Ready/Suspended")
    assert operated.decision(token, place) == "suspended"

    second = operated.service(place, "second")
    late = operated.workload(
        place, "late", (place, "late"), issuerRef={"name": issuer}, serviceRef={"name": "second"}
    )
    operated.apply(second, late)
    operated.wait_for(second, "BundlePublished/WriteRefused")
    operated.wait_for(late, "Ready/NotPublished")
    assert "ResourceQuota full" in message_of(operated, second, "BundlePublished")
    assert "no bundle" in message_of(operated, late, "Ready")
    operated.cluster.request("DELETE", quota)
    operated.wait_for(late, "Ready/Trusted")


def test_in_a_namespace_that_is_being_deleted_the_remedy_is_not_the_cluster_role(
    operated: Operated, place: str
) -> None:
    service = operated.service(place)
    operated.cluster.request("DELETE", f"/api/v1/namespaces/{place}")
    operated.cluster.request("DELETE", path_of_map(place))
    operated.wait_for(service, "BundlePublished/WriteRefused")
    said = message_of(operated, service, "BundlePublished")
    assert "the namespace is being deleted" in said
    assert "ClusterRole" not in said
