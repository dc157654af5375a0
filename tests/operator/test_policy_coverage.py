# SPDX-License-Identifier: Apache-2.0
"""What a policy lets in and what runs here: the cases that an outage or an open door is made of."""

from typing import Any

import pytest

from testing.manifests import service, workload
from watchword.operator.pods import PodIndex
from watchword.trust import ProtectedService, TrustedWorkload
from watchword.trust.conditions import Verdict
from watchword.trust.objects import read_object
from watchword.trust.policy_coverage import PodGroup, narrowness, reachability

LABELS = {"atlas-production": {"team": "atlas"}, "other": {"team": "other"}, "tuist": {}}
ATLAS = ("atlas-production", "atlas")


def peer(**selectors: dict[str, str]) -> dict[str, Any]:
    return {f"{name}Selector": {"matchLabels": labels} for name, labels in selectors.items()}


def pods(*groups: PodGroup) -> PodIndex:
    index = PodIndex(lambda name: LABELS.get(name, {}))
    for number, group in enumerate(groups):
        index.take(f"uid-{number}", group)
    return index


def pod(namespace: str = ATLAS[0], account: str = ATLAS[1], host: bool = False, **labels: str) -> PodGroup:
    return PodGroup(namespace, account, tuple(sorted(labels.items())), host)


def read(*peers: dict[str, Any], **spec: Any) -> tuple[ProtectedService, TrustedWorkload]:
    protected = read_object(service(**spec)).resource
    trusted = read_object(workload(**{"from": list(peers)})).resource
    assert isinstance(protected, ProtectedService)
    assert isinstance(trusted, TrustedWorkload)
    return protected, trusted


CIDR = {"ipBlock": {"cidr": "10.0.0.0/8"}}
TEAM, OWN = peer(namespace={"team": "atlas"}), peer(pod={"app": "atlas"})
NAMED = peer(namespace={"kubernetes.io/metadata.name": ATLAS[0]})
REACH: list[tuple[str, list[dict[str, Any]], list[PodGroup], Verdict]] = [
    ("its namespace is let in", [TEAM], [pod()], Verdict.PEERS_MATCH),
    ("another namespace is let in", [peer(namespace={"team": "x"})], [pod()], Verdict.PODS_NOT_MATCHED),
    ("the name of a namespace is a label", [NAMED], [pod()], Verdict.PEERS_MATCH),
    ("a pod selector alone is of the service's namespace", [OWN], [pod(app="atlas")],
     Verdict.PODS_NOT_MATCHED),
    ("both selectors hold together", [TEAM | OWN], [pod(app="x")], Verdict.PODS_NOT_MATCHED),
    ("both selectors match", [TEAM | OWN], [pod(app="atlas")], Verdict.PEERS_MATCH),
    ("one of two Deployments is not let in", [TEAM | OWN], [pod(app="atlas"), pod(app="b")],
     Verdict.PODS_NOT_MATCHED),
    ("the host's network is matched by no selector, and its node's calls arrive", [TEAM], [pod(host=True)],
     Verdict.ON_HOST_NETWORK),
    ("one of two Deployments is on the host's network, and the other is matched", [TEAM],
     [pod(host=True), pod(app="b")], Verdict.ON_HOST_NETWORK),
    ("one of two Deployments is on the host's network, and the other is dropped", [TEAM | OWN],
     [pod(host=True), pod(app="b")], Verdict.PODS_NOT_MATCHED),
    ("addresses may be those of the nodes", [CIDR], [pod(host=True)], Verdict.BY_ADDRESS),
    ("addresses are not judged", [CIDR], [pod()], Verdict.BY_ADDRESS),
    ("a selector matches beside addresses", [CIDR, TEAM], [pod()], Verdict.PEERS_MATCH),
    ("nothing runs", [TEAM], [], Verdict.NO_PODS),
    ("another account's pods are not its own", [TEAM], [pod(account="b")], Verdict.NO_PODS),
    ("no peers", [], [pod()], Verdict.NO_PEERS),
    ("an empty selector is everything", [peer(namespace={})], [pod()], Verdict.PEERS_MATCH),
]  # fmt: skip


@pytest.mark.parametrize(("name", "peers", "groups", "verdict"), REACH, ids=[each[0] for each in REACH])
def test_whether_calls_arrive(
    name: str, peers: list[dict[str, Any]], groups: list[PodGroup], verdict: Verdict
) -> None:
    protected, trusted = read(*peers)
    said = reachability(
        protected, trusted, (), pods(*groups), lambda name: LABELS.get(name, {}), is_here=True
    )
    assert said.verdict is verdict


def test_a_peer_of_another_workload_lets_in_too() -> None:
    protected, trusted = read()
    _, other = read(TEAM)
    said = reachability(
        protected, trusted, other.spec.from_, pods(pod()), lambda name: LABELS[name], is_here=True
    )
    assert said.verdict is Verdict.PEERS_MATCH


def test_pods_of_another_cluster_are_not_seen() -> None:
    protected, trusted = read(TEAM)
    said = reachability(protected, trusted, (), pods(pod()), lambda name: LABELS[name], is_here=False)
    assert said.verdict is Verdict.OTHER_CLUSTER


@pytest.mark.parametrize("mode", ["Off", "Preview"])
def test_without_a_policy_everything_arrives(mode: str) -> None:
    protected, trusted = read(networkPolicy={"mode": mode})
    said = reachability(protected, trusted, (), pods(pod()), lambda name: LABELS[name], is_here=True)
    assert said.verdict is Verdict.NO_POLICY


NARROW: list[tuple[str, list[dict[str, Any]], list[PodGroup], Verdict]] = [
    ("only its own pods", [TEAM], [pod()], Verdict.ONLY_TRUSTED),
    ("a stranger in its namespace", [TEAM], [pod(), pod(account="stranger")], Verdict.STRANGERS_ADMITTED),
    ("a stranger elsewhere", [TEAM], [pod(), pod("other", "stranger")], Verdict.ONLY_TRUSTED),
    ("a stranger that the pod selector keeps out", [TEAM | OWN], [pod(account="stranger", app="x")],
     Verdict.ONLY_TRUSTED),
    ("the service's own pods are no strangers", [peer(pod={})], [pod("tuist", "default", app="tuist-server")],
     Verdict.ONLY_TRUSTED),
    ("addresses", [CIDR], [pod(account="stranger")], Verdict.NOT_KNOWN),
    ("no peers", [], [pod(account="stranger")], Verdict.NOT_KNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("name", "peers", "groups", "verdict"), NARROW, ids=[each[0] for each in NARROW])
def test_whether_strangers_are_let_in(
    name: str, peers: list[dict[str, Any]], groups: list[PodGroup], verdict: Verdict
) -> None:
    protected, trusted = read(*peers)
    assert narrowness(protected, trusted, frozenset({ATLAS}), pods(*groups)).verdict is verdict


@pytest.mark.parametrize(("number", "counted"), [(1, "1 ServiceAccount "), (2, "2 "), (20, "more than 10 ")])
def test_a_finding_counts_strangers_and_names_none_of_them(number: int, counted: str) -> None:
    protected, trusted = read(TEAM)
    index = pods(*(pod(account=f"s{place:02}") for place in range(number)))
    message = narrowness(protected, trusted, frozenset({ATLAS}), index).message
    assert f"pods of {counted}" in message
    assert "in other namespaces" in message
    assert "s00" not in message
    assert "atlas-production" not in message


def test_pods_are_groups_and_a_group_ends_with_its_last_pod() -> None:
    index = pods(pod(), pod(), pod())
    assert list(index.of_account(ATLAS)) == [pod()]
    assert index.remove("uid-0") is None
    assert index.remove("uid-1") is None
    assert index.remove("uid-2") == ATLAS[0]
    assert list(index.of_account(ATLAS)) == []
    assert index.remove("uid-2") is None


def test_a_pod_whose_labels_change_is_found_by_the_new_ones_only() -> None:
    index = pods(pod(app="atlas"))
    protected, trusted = read(TEAM | OWN)
    index.take("uid-0", pod(app="x"))
    said = reachability(protected, trusted, (), index, lambda name: LABELS[name], is_here=True)
    assert said.verdict is Verdict.PODS_NOT_MATCHED
