# SPDX-License-Identifier: Apache-2.0
"""What the operator makes stays as it made it, and what others made stays theirs."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from testing.operated import Operated
from watchword.trust import decode_bundle, encode_bundle, seal
from watchword.trust.bundle_forms import ENTRIES

PEER = {"namespaceSelector": {"matchLabels": {"team": "atlas"}}}
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


@pytest.fixture
def place(operated: Operated) -> str:
    """A namespace with a service that trusts its ServiceAccount `atlas`, settled."""
    namespace = operated.new_namespace()
    operated.account(namespace)
    workload = operated.workload(namespace, **{"from": [PEER]})
    operated.apply(operated.service(namespace), workload)
    operated.wait_for(workload, "Ready/Trusted")
    operated.wait_for(operated.service(namespace), "Ready/BundleCurrent")
    return namespace


def path_of_map(place: str) -> str:
    return f"/api/v1/namespaces/{place}/configmaps/watchword-bundle-api"


def path_of_policy(place: str, name: str = "watchword-api") -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{place}/networkpolicies/{name}"


def collect_garbage(operated: Operated, place: str) -> None:
    """Delete what belonged to a deleted service, as Kubernetes' garbage collector does; none runs here."""
    name = "watchword-bundle-api"
    paths = [path_of_map(place), path_of_policy(place)]
    paths += [f"{RBAC}/{place}/roles/{name}", f"{RBAC}/{place}/rolebindings/{name}"]
    for path in paths:
        if operated.get(path) is not None:
            operated.cluster.request("DELETE", path)


def generation_of(operated: Operated, place: str) -> int:
    bundle = operated.bundle(place)
    return 0 if bundle is None else bundle.generation


def test_a_gate_of_the_service_may_read_its_bundle_and_nothing_else(operated: Operated, place: str) -> None:
    role = operated.get(f"{RBAC}/{place}/roles/watchword-bundle-api")
    binding = operated.get(f"{RBAC}/{place}/rolebindings/watchword-bundle-api")
    assert role is not None
    assert binding is not None
    [rule] = role["rules"]
    assert (rule["resources"], rule["resourceNames"]) == (["configmaps"], ["watchword-bundle-api"])
    assert sorted(rule["verbs"]) == ["get", "list", "watch"]
    assert [each["name"] for each in binding["subjects"]] == ["default"]

    operated.edit(operated.service(place), serviceAccountName="gate")
    operated.replica.wait_until(
        lambda: (
            (operated.get(f"{RBAC}/{place}/rolebindings/watchword-bundle-api") or {})["subjects"][0]["name"]
            == "gate"
        ),
        "the binding names the other ServiceAccount",
    )


def test_every_object_goes_with_its_service(operated: Operated, place: str) -> None:
    service = operated.read(operated.service(place))
    assert service is not None
    for path in (
        path_of_map(place),
        path_of_policy(place),
        f"{RBAC}/{place}/roles/watchword-bundle-api",
        f"{RBAC}/{place}/rolebindings/watchword-bundle-api",
    ):
        made = operated.get(path)
        assert made is not None, path
        [owner] = made["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (service["metadata"]["uid"], True)
        assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "watchword"
        assert not made["metadata"].get("finalizers")


HAND_EDITS: list[tuple[str, str, dict[str, Any]]] = [
    ("a policy's rules", "policy", {"spec": {"ingress": [{}]}}),
    ("a policy's pods", "policy", {"spec": {"podSelector": {"matchLabels": {"app": "other"}}}}),
    ("a policy's label", "policy", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}),
    ("a bundle's text", "map", {"data": {"bundle.json": "{}"}}),
    ("a bundle's newer form", "map", {"data": {"bundle.v2.json": "{}"}}),
    ("a bundle without its newer form", "map", {"data": {"bundle.v2.json": None}}),
    ("a bundle's digest", "map", {"metadata": {"annotations": {"watchword.dev/digest": "x"}}}),
    ("a bundle's generation", "map", {"metadata": {"annotations": {"watchword.dev/generation": "1"}}}),
    ("a bundle's label", "map", {"metadata": {"labels": {"watchword.dev/service": "other"}}}),
]


@pytest.mark.brings_about("ProtectedService/Event/HandEditUndone")
@pytest.mark.parametrize(("what", "which", "patch"), HAND_EDITS, ids=[each[0] for each in HAND_EDITS])
def test_a_hand_edit_is_undone_and_said(
    operated: Operated, place: str, what: str, which: str, patch: dict[str, Any]
) -> None:
    path = path_of_policy(place) if which == "policy" else path_of_map(place)
    before = operated.get(path)
    assert before is not None
    operated.merge(path, patch)

    def is_back() -> bool:
        now = operated.get(path)
        return (
            now is not None
            and all(now.get(part) == before.get(part) for part in ("spec", "binaryData"))
            and (
                now["metadata"]["labels"] == before["metadata"]["labels"]
                and now["metadata"].get("ownerReferences") == before["metadata"]["ownerReferences"]
                and which in ("policy", _is_whole(now))
            )
        )

    operated.replica.wait_until(is_back, f"{what} is as it was")
    operated.wait_for_event(operated.service(place), "HandEditUndone", "Warning", "was put back")


def _is_whole(config_map: dict[str, Any]) -> str:
    try:
        old, bundle = (decode_bundle(config_map["data"][name].encode()) for name in sorted(ENTRIES))
    except (ValueError, KeyError):
        return "no"
    if old.generation != bundle.generation:
        return "no"
    notes = config_map["metadata"]["annotations"]
    is_whole = notes["watchword.dev/digest"] == bundle.digest
    return "map" if is_whole and notes["watchword.dev/generation"] == str(bundle.generation) else "no"


@pytest.mark.parametrize("which", ["policy", "map", "roles", "rolebindings"])
def test_what_is_deleted_by_hand_is_made_again_and_said(operated: Operated, place: str, which: str) -> None:
    path = {"policy": path_of_policy(place), "map": path_of_map(place)}.get(
        which, f"{RBAC}/{place}/{which}/watchword-bundle-api"
    )
    generation = generation_of(operated, place)
    operated.cluster.request("DELETE", path)
    operated.replica.wait_until(lambda: operated.get(path) is not None, f"{which} is there again")
    operated.wait_for_event(operated.service(place), "HandEditUndone", "Warning", "was deleted")
    assert generation_of(operated, place) >= generation


def test_a_forged_bundle_of_a_later_generation_is_followed_by_a_later_one_of_ours(
    operated: Operated, place: str
) -> None:
    bundle = operated.bundle(place)
    assert bundle is not None
    forged = seal(bundle, bundle.generation + 1_000)
    operated.merge(path_of_map(place), {"data": {"bundle.json": encode_bundle(forged).decode()}})
    operated.replica.wait_until(
        lambda: generation_of(operated, place) > forged.generation, "ours is later than the forged one"
    )


FORGED = {
    "near the last exact number": 2**53 - 1,
    "beyond it": 2**53,
    "the largest that is stored": 10**18 - 1,
    "an hour ahead": None,
}


@pytest.mark.parametrize("which", FORGED)
@pytest.mark.parametrize("has_our_content", [True, False], ids=["our content", "other content"])
def test_a_forged_generation_of_the_far_future_is_overwritten_by_one_of_now(
    operated: Operated, place: str, which: str, has_our_content: bool
) -> None:
    """Without a restart: gates refuse the forged one, and must get the next that takes trust away."""
    ahead = FORGED[which] or int(time.time() + 3600) * 1000
    bundle = operated.bundle(place)
    assert bundle is not None
    if not has_our_content:
        bundle = msgspec.structs.replace(bundle, workloads=())
    forged = seal(bundle, ahead)
    note = {"watchword.dev/generation": str(ahead), "watchword.dev/digest": forged.digest}
    data = {"bundle.json": encode_bundle(forged).decode(), "bundle.v2.json": None}
    operated.merge(path_of_map(place), {"data": data, "metadata": {"annotations": note}})
    operated.replica.wait_until(
        lambda: 0 < generation_of(operated, place) < (time.time() + 300) * 1000, "ours is of now"
    )
    restored = operated.bundle(place)
    assert restored is not None
    assert len(restored.workloads) == 1
    # And it goes on from there.
    before = generation_of(operated, place)
    operated.edit(operated.workload(place), suspend=True)
    operated.replica.wait_until(lambda: generation_of(operated, place) > before, "the next one follows")
    suspended = operated.bundle(place)
    assert suspended is not None
    assert suspended.workloads[0].suspended
    said = operated.wait_for(operated.service(place), "Ready/BundleCurrent")["status"]["bundle"]["generation"]
    assert abs(said - time.time() * 1000) < 300_000


def test_what_others_add_to_our_objects_is_theirs_and_no_hand_edit(operated: Operated, place: str) -> None:
    notes = {"metadata": {"annotations": {"example.com/seen": "yes"}, "labels": {"team": "x"}}}
    for path in (path_of_map(place), path_of_policy(place)):
        operated.merge(path, notes)
    operated.settle()
    for path in (path_of_map(place), path_of_policy(place)):
        stored = operated.get(path)
        assert stored is not None
        assert stored["metadata"]["annotations"]["example.com/seen"] == "yes"
    assert not operated.events(operated.service(place), "HandEditUndone")
    operated.wait_for(operated.service(place), "Ready/BundleCurrent")


def test_policies_of_others_are_never_touched(operated: Operated, place: str) -> None:
    theirs = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "namespace": place,
            "name": "theirs",
            "labels": {"app.kubernetes.io/managed-by": "watchword"},
        },
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    operated.apply(theirs)
    before = operated.get(path_of_policy(place, "theirs"))
    operated.edit(operated.service(place), networkPolicy={"mode": "Off"})
    operated.replica.wait_until(lambda: operated.policy(place) is None, "ours is gone")
    operated.settle()
    assert operated.get(path_of_policy(place, "theirs")) == before


@pytest.mark.brings_about(
    "ProtectedService/PolicyApplied/NameTaken",
    "ProtectedService/Event/NameTaken",
    "ProtectedService/BundlePublished/NameTaken",
    "ProtectedService/Ready/PolicyNotApplied",
    "ProtectedService/Event/PolicyNotApplied",
    "ProtectedService/Ready/BundleNotPublished",
    "ProtectedService/Event/BundleNotPublished",
)
def test_an_object_of_somebody_else_keeps_its_name(operated: Operated) -> None:
    place = operated.new_namespace()
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": place, "name": "watchword-api"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": place, "name": "watchword-bundle-other"},
        "data": {"mine": "yes"},
    }
    operated.apply(policy, config_map)
    api, other = operated.service(place), operated.service(place, "other")
    operated.apply(api, other)
    operated.wait_for(api, "PolicyApplied/NameTaken", "Ready/PolicyNotApplied", "BundlePublished/Published")
    operated.wait_for(
        other, "BundlePublished/NameTaken", "Ready/BundleNotPublished", "PolicyApplied/Enforced"
    )
    for service, reason in ((api, "NameTaken"), (api, "PolicyNotApplied"), (other, "BundleNotPublished")):
        operated.wait_for_event(service, reason, "Warning")
    stored = operated.config_map(place, "other")
    assert stored is not None
    assert stored["data"] == {"mine": "yes"}

    operated.cluster.request("DELETE", path_of_policy(place))
    operated.cluster.request("DELETE", f"/api/v1/namespaces/{place}/configmaps/watchword-bundle-other")
    # Whoever makes room says so by touching the service; nothing of somebody else's is watched.
    for service in (api, other):
        operated.edit(service, limits={"requestsPerSecond": 5, "burst": 9})
        operated.wait_for(service, "Ready/BundleCurrent", "PolicyApplied/Enforced")


@pytest.mark.brings_about("ProtectedService/PolicyApplied/Previewed", "ProtectedService/PolicyApplied/Off")
def test_the_modes_of_a_policy_are_what_they_say(operated: Operated, place: str) -> None:
    service = operated.service(place)
    enforced = operated.policy(place)
    assert enforced is not None

    operated.edit(service, networkPolicy={"mode": "Preview"})
    stored = operated.wait_for(service, "PolicyApplied/Previewed", "Ready/BundleCurrent")
    assert operated.policy(place) is None
    assert json.loads(stored["status"]["networkPolicyPreview"])["spec"] == enforced["spec"]

    operated.edit(service, networkPolicy={"mode": "Off"})
    stored = operated.wait_for(service, "PolicyApplied/Off")
    assert "networkPolicyPreview" not in stored["status"]

    operated.edit(service, networkPolicy={"mode": "Enforce"})
    operated.wait_for(service, "PolicyApplied/Enforced")
    again = operated.policy(place)
    assert again is not None
    assert again["spec"] == enforced["spec"]


def test_a_service_made_anew_goes_on_above_what_gates_may_hold(operated: Operated, place: str) -> None:
    service, generation = operated.service(place), generation_of(operated, place)
    operated.delete(service)
    collect_garbage(operated, place)
    operated.settle()
    operated.apply(service)
    operated.wait_for(service, "Ready/BundleCurrent")
    assert generation_of(operated, place) > generation
