# SPDX-License-Identifier: Apache-2.0
"""Where a NetworkPolicy and the pods that run here disagree: calls that are dropped, and strangers let in.

A workload that is trusted and cannot reach the gate is an outage that no one's object shows; a peer that also
matches other pods is a door that is wider than meant. Both are findings about pods that are there now. Only
selectors are judged: an address, behind SNAT or a load balancer, says nothing about a pod.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

import msgspec

from watchword.trust.api.v1alpha1 import Peer, ProtectedService, TrustedWorkload
from watchword.trust.conditions import ConditionValue, Verdict
from watchword.trust.label_selectors import selects, selects_namespace
from watchword.trust.overlapping_selectors import matches

Account = tuple[str, str]
# Counted up to here, so that a message does not change with every pod.
_MOST_COUNTED: Final = 10


class PodGroup(msgspec.Struct, frozen=True):
    """Pods that neither a policy nor what they run can tell apart.

    Attributes:
        namespace: where they run.
        service_account: the name of their ServiceAccount there.
        labels: their labels.
        host_network: they call with the node's address, which no selector matches.
        has_gate: one of their containers is a gate.
    """

    namespace: str
    service_account: str
    labels: tuple[tuple[str, str], ...]
    host_network: bool = False
    has_gate: bool = False


class Pods(Protocol):
    """The pods that run here."""

    @property
    def counts(self) -> Mapping[str, Mapping[PodGroup, int]]:
        """How many pods there are of each group, by namespace."""

    def of_account(self, account: Account) -> Iterable[PodGroup]:
        """The pods of a ServiceAccount (namespace, name)."""

    def admitted_by(self, peer: Peer, namespace: str) -> Iterable[PodGroup]:
        """The pods that a peer with selectors matches, in the policy of a service of this namespace."""


def admits(peer: Peer, namespace: str, pods: PodGroup, labels_of_namespace: Mapping[str, str]) -> bool:
    """Whether a peer's selectors match pods (networking.k8s.io/v1 NetworkPolicyPeer).

    Args:
        peer: the peer.
        namespace: of the policy.
        pods: the pods.
        labels_of_namespace: of the pods' namespace.
    """
    if peer.ip_block is not None or pods.host_network:
        return False
    if peer.namespace_selector is None:
        if pods.namespace != namespace:
            return False
    elif not selects_namespace(peer.namespace_selector, pods.namespace, labels_of_namespace):
        return False
    return peer.pod_selector is None or selects(peer.pod_selector, dict(pods.labels))


def reachability(
    service: ProtectedService,
    workload: TrustedWorkload,
    peers: Iterable[Peer],
    pods: Pods,
    labels_of: Callable[[str], Mapping[str, str]],
    *,
    is_here: bool,
) -> ConditionValue:
    """Whether the pods of a trusted workload can reach the gate.

    Args:
        service: the service.
        workload: one that it trusts.
        peers: all peers of the service's policy.
        pods: the pods that run here.
        labels_of: gives a Namespace's labels.
        is_here: whether the workload's issuer is this cluster.
    """
    if service.spec.network_policy.mode != "Enforce":
        return Verdict.NO_POLICY.with_message()
    # Its own peers first: they are the likely ones, and others need not be looked at then.
    known = (*workload.spec.from_, *peers)
    if not known:
        return Verdict.NO_PEERS.with_message()
    if not is_here:
        return Verdict.OTHER_CLUSTER.with_message()
    account = workload.spec.service_account
    groups = list(pods.of_account((account.namespace, account.name)))
    if not groups:
        return Verdict.NO_PODS.with_message()
    namespace = service.metadata.namespace
    of_namespace = labels_of(account.namespace)
    dropped = [
        group for group in groups if not any(admits(peer, namespace, group, of_namespace) for peer in known)
    ]
    if not dropped:
        return Verdict.PEERS_MATCH.with_message()
    if any(peer.ip_block is not None for peer in known):
        return Verdict.BY_ADDRESS.with_message()
    if all(group.host_network for group in dropped):
        # Kubernetes lets a node always reach its own pods; how other nodes arrive, each network decides.
        return Verdict.ON_HOST_NETWORK.with_message()
    who = f"pods of the ServiceAccount {account.namespace}/{account.name}"
    return Verdict.PODS_NOT_MATCHED.with_message(f"no peer matches {who}: their calls are dropped")


def narrowness(
    service: ProtectedService, workload: TrustedWorkload, trusted: frozenset[Account], pods: Pods
) -> ConditionValue:
    """Whether a workload's own peers let in pods of ServiceAccounts that the service does not trust.

    Args:
        service: the service.
        workload: one that it trusts.
        trusted: the ServiceAccounts of this cluster that it trusts.
        pods: the pods that run here.
    """
    selecting = [peer for peer in workload.spec.from_ if peer.ip_block is None]
    if not selecting or service.spec.network_policy.mode != "Enforce":
        return Verdict.NOT_KNOWN.with_message()
    strangers = {
        (group.namespace, group.service_account)
        for peer in selecting
        for group in pods.admitted_by(peer, service.metadata.namespace)
        if (group.namespace, group.service_account) not in trusted and not _is_own(service, group)
    }
    if not strangers:
        return Verdict.ONLY_TRUSTED.with_message()
    # Counts only: anyone who reads this object may not see the namespaces that its selectors reach into.
    elsewhere = sum(namespace != service.metadata.namespace for namespace, _ in strangers)
    accounts = "ServiceAccount" if len(strangers) == 1 else "ServiceAccounts"
    detail = (
        f"spec.from also lets in pods of {_counted(len(strangers))} {accounts} that the service does "
        f"not trust ({_counted(elsewhere)} of them in other namespaces)"
    )
    return Verdict.STRANGERS_ADMITTED.with_message(detail)


def _counted(number: int) -> str:
    return f"more than {_MOST_COUNTED}" if number > _MOST_COUNTED else str(number or "none")


def _is_own(service: ProtectedService, group: PodGroup) -> bool:
    return group.namespace == service.metadata.namespace and matches(service, dict(group.labels))
