# SPDX-License-Identifier: Apache-2.0
"""Each condition that is no everyday one, brought about on a real API server, with its Event."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, NamedTuple

import pytest

from testing.controlplane import ApiError, wait_until
from testing.operated import Operated, signed
from testing.tokens import Signer


def peer(**selectors: dict[str, str]) -> dict[str, Any]:
    return {f"{name}Selector": {"matchLabels": labels} for name, labels in selectors.items()}


CIDR = {"ipBlock": {"cidr": "10.0.0.0/8"}}
OWN = peer(pod={"app": "atlas"})


class Drift(NamedTuple):
    """Peers, pods as (ServiceAccount, labels), and the reasons of Reachable and PeersNarrow."""

    peers: list[dict[str, Any]]
    pods: list[tuple[str, dict[str, str]]]
    reach: str
    narrow: str


DRIFT = [
    Drift([OWN], [("atlas", {"app": "atlas"})], "PeersMatch", "OnlyTrusted"),
    Drift([OWN], [("atlas", {"app": "b"})], "PodsNotMatched", "OnlyTrusted"),
    Drift([], [("atlas", {})], "NoPeers", "Unknown"),
    Drift([OWN], [], "NoPods", "OnlyTrusted"),
    Drift([CIDR], [("atlas", {})], "ByAddressOnly", "Unknown"),
    Drift([peer(pod={})], [("atlas", {}), ("b", {})], "PeersMatch", "StrangersAdmitted"),
]


@pytest.mark.brings_about(
    "TrustedWorkload/Ready/CallsDropped",
    *(f"TrustedWorkload/Reachable/{each.reach}" for each in DRIFT),
    *(f"TrustedWorkload/PeersNarrow/{each.narrow}" for each in DRIFT),
    "TrustedWorkload/Event/PodsNotMatched",
    "TrustedWorkload/Event/NoPeers",
    "TrustedWorkload/Event/StrangersAdmitted",
)
@pytest.mark.parametrize("case", DRIFT, ids=[f"{each.reach}-{each.narrow}" for each in DRIFT])
def test_drift_is_told(operated: Operated, place: str, case: Drift) -> None:
    workload = operated.workload(place, **{"from": case.peers})
    operated.apply(operated.service(place), workload)
    for account, labels in case.pods:
        operated.pod(place, account, **labels)
    # One answer to whether it works: it does not for calls that never arrive.
    ready = "CallsDropped" if case.reach in ("PodsNotMatched", "NoPeers") else "Trusted"
    operated.wait_for(workload, f"Ready/{ready}", f"Reachable/{case.reach}", f"PeersNarrow/{case.narrow}")
    for reason in {case.reach, case.narrow} & {"PodsNotMatched", "NoPeers", "StrangersAdmitted"}:
        operated.wait_for_event(workload, reason, "Warning", "spec.from")


def test_drift_follows_the_pods(operated: Operated, place: str) -> None:
    workload = operated.workload(place, **{"from": [OWN]})
    operated.apply(operated.service(place), workload)
    pod = operated.pod(place, "atlas", app="b")
    operated.wait_for(workload, "Ready/CallsDropped", "Reachable/PodsNotMatched")
    operated.merge(f"/api/v1/namespaces/{place}/pods/{pod}", {"metadata": {"labels": {"app": "atlas"}}})
    operated.wait_for(workload, "Ready/Trusted", "Reachable/PeersMatch")
    operated.cluster.delete_pod(place, pod)
    operated.wait_for(workload, "Reachable/NoPods")


@pytest.mark.brings_about(
    "ProtectedService/Gated/NoPods",
    "ProtectedService/Gated/PodsWithoutGate",
    "ProtectedService/Gated/PodsHaveGates",
    "ProtectedService/Event/PodsWithoutGate",
)
def test_a_pod_without_a_gate_does_not_go_unnoticed(operated: Operated, place: str) -> None:
    service = operated.service(place)
    operated.apply(service)
    operated.wait_for(service, "Ready/BundleCurrent", "Gated/NoPods")
    gated = {"name": "watchword-gate", "image": "registry.invalid/gate:1", "restartPolicy": "Always"}
    first = operated.pod(place, "api", init_containers=[gated], app="api")
    operated.wait_for(service, "Gated/PodsHaveGates")
    # The very same labels: a Deployment from before the label, and one that another selector also meets.
    bare = [operated.pod(place, "api", app="api") for _ in range(2)]
    operated.pod(place, "api", app="other")

    def says(text: str) -> None:
        wait_until(
            lambda: text in operated.condition(service, "Gated").get("message", ""),
            what=f"Gated says {text!r}",
            timeout_seconds=60,
        )

    says("2 pods that it selects have no gate")
    operated.wait_for_event(service, "PodsWithoutGate", "Warning", "no gate")
    # The second pod of a group is no news to policies; here it is.
    operated.cluster.delete_pod(place, bare.pop())
    says("1 pod that it selects has no gate")
    operated.merge(f"/api/v1/namespaces/{place}/pods/{bare[0]}", {"metadata": {"labels": {"app": None}}})
    operated.wait_for(service, "Gated/PodsHaveGates")
    operated.cluster.delete_pod(place, first)
    operated.wait_for(service, "Gated/NoPods")


@pytest.mark.brings_about("TrustedWorkload/Reachable/HostNetwork")
def test_a_caller_on_the_hosts_network_is_not_said_to_be_dropped(operated: Operated, place: str) -> None:
    workload = operated.workload(place, **{"from": [OWN]})
    operated.apply(operated.service(place), workload)
    operated.pod(place, "atlas", host_network=True, app="atlas")
    # Seen on a node with policies: the node reaches its own pods, whatever they say.
    operated.wait_for(workload, "Ready/Trusted", "Reachable/HostNetwork")
    operated.pod(place, "atlas", app="b")
    operated.wait_for(workload, "Ready/CallsDropped", "Reachable/PodsNotMatched")


@pytest.mark.brings_about("TrustedWorkload/Reachable/NoPolicy", "TrustedWorkload/Reachable/OtherCluster")
def test_what_cannot_be_judged_is_said_to_be_so(operated: Operated, place: str) -> None:
    cluster = Signer("elsewhere")
    issuer = operated.trusted_issuer(cluster)
    workload = operated.workload(place, issuerRef={"name": issuer["metadata"]["name"]}, **{"from": [CIDR]})
    service = operated.service(place)
    operated.apply(issuer, service, workload)
    operated.wait_for(workload, "Ready/Trusted", "Reachable/OtherCluster")
    operated.edit(service, networkPolicy={"mode": "Off"})
    operated.wait_for(workload, "Reachable/NoPolicy")


@pytest.mark.brings_about(
    "ProtectedService/PolicyApplied/SelectorsOverlap", "ProtectedService/Event/SelectorsOverlap"
)
def test_two_services_on_the_same_pods_are_told_that_one_opens_the_others_app(
    operated: Operated, place: str
) -> None:
    one = operated.service(place, "one", selector={"matchLabels": {"app": "a"}})
    two = operated.service(place, "two", selector={"matchLabels": {"team": "t"}}, upstreamPort=9000)
    operated.apply(one, two)
    for service in (one, two):
        operated.wait_for(service, "PolicyApplied/Enforced", "Ready/BundleCurrent")
    # By their labels they need not meet; on this pod they do.
    pod = operated.pod(place, "atlas", app="a", team="t")
    for service in (one, two):
        operated.wait_for(service, "PolicyApplied/SelectorsOverlap", "Ready/PolicyNotApplied")
    operated.wait_for_event(one, "SelectorsOverlap", "Warning", "two, which selects the same pods")
    operated.cluster.delete_pod(place, pod)
    for service in (one, two):
        operated.wait_for(service, "PolicyApplied/Enforced")
    operated.edit(two, selector={"matchLabels": {"app": "a", "team": None}})
    operated.wait_for(one, "PolicyApplied/SelectorsOverlap")


@pytest.mark.brings_about("ProtectedService/PolicyApplied/GatePortOpened")
def test_two_gates_before_one_app_are_told_that_each_opens_the_others_port(
    operated: Operated, place: str
) -> None:
    pods = {"selector": {"matchLabels": {"app": "a"}}}
    one, two = operated.service(place, "one", **pods), operated.service(place, "two", port=9443, **pods)
    operated.apply(one, two)
    for service, port in ((one, 8443), (two, 9443)):
        operated.wait_for(service, "PolicyApplied/GatePortOpened", "Ready/BundleCurrent")
        assert f"opens port {port} to every source" in operated.condition(service, "PolicyApplied")["message"]
    operated.delete(two)
    operated.wait_for(one, "PolicyApplied/Enforced")


@pytest.mark.brings_about(
    "ProtectedService/BundlePublished/TooLarge",
    "ProtectedService/Event/TooLarge",
    "TrustedWorkload/Ready/BundleTooLarge",
    "TrustedWorkload/Event/BundleTooLarge",
)
def test_a_large_bundle_is_packed_and_one_that_fits_nowhere_lets_nobody_in_and_still_puts_out(
    operated: Operated, place: str
) -> None:
    cluster = Signer("large")
    issuer = operated.trusted_issuer(cluster)
    name = issuer["metadata"]["name"]
    service, workload = operated.service(place), operated.workload(place, issuerRef={"name": name})
    operated.apply(issuer, service, workload)
    operated.wait_for(workload, "Ready/Trusted")
    token = signed(cluster, place)
    small = operated.config_map(place)
    assert small is not None
    assert "data" in small

    def fat(number: int) -> list[dict[str, Any]]:
        """Workloads that are as large as may be, and together nearly half of a bundle."""
        made = []
        for part in range(12):
            names = [name_that_packs_badly(number, part, each) for each in range(332)]
            grants = [{"scopes": ["account:usage:read"], "accounts": names}]
            account = f"fat{number}-{part}" if part else f"fat{number}"
            made.append(
                operated.workload(place, account, (place, account), issuerRef={"name": name}, grants=grants)
            )
        return made

    operated.apply(*fat(0))
    operated.wait_for(fat(0)[0], "Ready/Trusted")
    operated.wait_for(fat(0)[-1], "Ready/Trusted")
    packed = operated.config_map(place)
    assert packed is not None
    assert ("binaryData" in packed, "data" in packed) == (True, False)
    assert operated.decision(token, place) == "allowed"

    for number in range(1, 4):
        operated.apply(*fat(number))
    operated.wait_for(service, "BundlePublished/TooLarge", "Ready/BundleNotPublished")
    operated.wait_for_event(service, "TooLarge", "Warning", "1048576")
    operated.wait_for(fat(3)[0], "Ready/BundleTooLarge")
    operated.wait_for_event(fat(3)[0], "BundleTooLarge", "Warning", "no room")
    assert operated.decision(token, place) == "allowed"
    assert operated.decision(signed(cluster, place, "fat3"), place) == "unknown_workload"

    # Who fills the bundle must not keep anyone in by it. What gates run on is read for that; and once more
    # where the watch tells of the write, which is large, before the write itself is answered.
    operated.settle(quiet_seconds=8)
    made = operated.requests_of(lambda: operated.edit(workload, suspend=True))
    assert made["patch", "configmaps"] == 1
    assert made["get", "configmaps"] in (1, 2), operated.requests()[-12:]
    operated.replica.wait_until(
        lambda: operated.decision(token, place) == "suspended", "a suspended caller is out"
    )
    operated.delete(workload)
    operated.replica.wait_until(
        lambda: operated.decision(token, place) == "unknown_workload", "a deleted one is out"
    )
    operated.apply(workload)
    operated.wait_for(workload, "Ready/BundleTooLarge")
    assert operated.decision(token, place) == "unknown_workload"

    for number in range(4):
        for each in fat(number):
            operated.delete(each)
    operated.replica.wait_until(
        lambda: "data" in (operated.config_map(place) or {}), "the bundle is small again, and written out"
    )
    operated.wait_for(service, "BundlePublished/Published", "Ready/BundleCurrent")
    assert operated.decision(token, place) == "allowed"


def name_that_packs_badly(*numbers: int) -> str:
    digests = (hashlib.sha512(f"{half}/{numbers}".encode()).digest() for half in range(2))
    return base64.urlsafe_b64encode(b"".join(digests)).decode()[:120]


@pytest.mark.brings_about(
    "ProtectedService/BundlePublished/WriteRefused",
    "ProtectedService/PolicyApplied/WriteRefused",
    "ProtectedService/Event/WriteRefused",
)
@pytest.mark.parametrize(
    ("resource", "type_"), [("configmaps", "BundlePublished"), ("networkpolicies", "PolicyApplied")]
)
def test_a_write_that_is_refused_is_told_and_tried_again(
    operated: Operated, place: str, resource: str, type_: str
) -> None:
    group = "" if resource == "configmaps" else "networking.k8s.io"
    name = f"refuse-{resource}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": ["v1"],
                        "operations": ["*"],
                        "resources": [resource],
                    }
                ]
            },
            "validations": [
                {"expression": f"object.metadata.namespace != '{place}'", "message": "not in this place"}
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    operated.apply(policy, binding)
    service = operated.service(place)
    try:
        operated.replica.wait_until(lambda: _is_refused(operated, place, resource), "the policy is in force")
        operated.apply(service)
        operated.wait_for(service, f"{type_}/WriteRefused")
        operated.wait_for_event(service, "WriteRefused", "Warning", "not in this place")
    finally:
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            operated.cluster.request("DELETE", f"/apis/admissionregistration.k8s.io/v1/{kind}/{name}")
    operated.wait_for(service, "Ready/BundleCurrent", "PolicyApplied/Enforced")


def _is_refused(operated: Operated, place: str, resource: str) -> bool:
    kind, api = ("ConfigMap", "v1") if resource == "configmaps" else ("NetworkPolicy", "networking.k8s.io/v1")
    spec = {} if kind == "ConfigMap" else {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    probe = {"apiVersion": api, "kind": kind, "metadata": {"namespace": place, "name": "probe"}, **spec}
    try:
        operated.apply(probe)
    except ApiError as error:
        return "not in this place" in json.dumps(error.message)
    return False
