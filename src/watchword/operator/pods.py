# SPDX-License-Identifier: Apache-2.0
"""The pods that run here, kept as groups that no policy can tell apart.

A cluster has tens of thousands of pods and far fewer Deployments: what is judged, and what is kept, is one
entry for all pods of the same namespace, ServiceAccount and labels that all have a gate or all have none.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from watchword.kube.names import NamespacedName, ObjectKey
from watchword.operator.status import ServiceResult, ServiceResults
from watchword.trust.api.v1alpha1 import Peer, TrustedWorkload
from watchword.trust.conditions import WORKLOAD
from watchword.trust.label_selectors import selects_namespace
from watchword.trust.policy_coverage import Account, PodGroup, admits

# Answers kept between two changes of the pods; a peer is asked about once for each workload that has it.
_MAX_ANSWERS: Final = 4096
# Groups that are gone stay in the pool until it is full.
_MAX_POOLED: Final = 8192
LabelsOf = Callable[[str], Mapping[str, str]]


class GroupPool:
    """One object for all pods of a group, before they are in any index.

    A watch keeps what it told. Without this it would hold ten thousand equal sets of labels, each its own.
    """

    def __init__(self, most: int = _MAX_POOLED) -> None:
        """Remember so many groups; then start again, at the price of a second object for some of them."""
        self._most = most
        self._groups: dict[PodGroup, PodGroup] = {}

    def shared(self, group: PodGroup) -> PodGroup:
        """The group, or one that is equal to it and was here before."""
        if len(self._groups) >= self._most:
            self._groups.clear()
        return self._groups.setdefault(group, group)


class PodIndex:
    """Pods by UID, in groups. The answers are those of now.

    Attributes:
        counts: how many pods there are of each group, by namespace.
    """

    def __init__(self, labels_of: LabelsOf) -> None:
        """Start empty; `labels_of` gives a Namespace's labels by its name."""
        self._labels_of = labels_of
        self._group_of: dict[str, PodGroup] = {}
        self._groups: dict[PodGroup, PodGroup] = {}
        self._by_account: dict[Account, set[PodGroup]] = {}
        self.counts: dict[str, dict[PodGroup, int]] = {}
        self._answers: dict[object, tuple[PodGroup, ...]] = {}

    def take(self, uid: str, pods: PodGroup) -> str | None:
        """Take a pod as it is now. Returns the namespace in which something changed, or None."""
        before = self._group_of.get(uid)
        if before == pods:
            return None
        if before is not None:
            self._leave(before)
        # The one object of the group, so that ten thousand equal pods are one in memory too.
        known = self._group_of[uid] = self._groups.setdefault(pods, pods)
        counts = self.counts.setdefault(known.namespace, {})
        count = counts.get(known, 0)
        counts[known] = count + 1
        if count == 0:
            self._by_account.setdefault((known.namespace, known.service_account), set()).add(known)
            self._answers.clear()
        return known.namespace if count == 0 or before is not None else None

    def remove(self, uid: str) -> str | None:
        """Take it that a pod is gone. Returns the namespace in which something changed, or None."""
        group = self._group_of.pop(uid, None)
        return group.namespace if group is not None and self._leave(group) else None

    def forget_answers(self) -> None:
        """Namespaces' labels have changed."""
        self._answers.clear()

    def of_account(self, account: Account) -> Iterable[PodGroup]:
        """The pods of a ServiceAccount (namespace, name)."""
        return self._by_account.get(account, ())

    def in_namespace(self, namespace: str) -> Iterable[PodGroup]:
        """The pods of a namespace."""
        return self.counts.get(namespace, ())

    def admitted_by(self, peer: Peer, namespace: str) -> Iterable[PodGroup]:
        """The pods that a peer with selectors matches, in the policy of a service of this namespace."""
        # A selector holds a dict, and so cannot be looked up by itself.
        asked = (repr(peer), namespace if peer.namespace_selector is None else "")
        answer = self._answers.get(asked)
        if answer is None:
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            places = self.counts if peer.namespace_selector is not None else (namespace,)
            answer = self._answers[asked] = tuple(
                group
                for place in places
                for group in self.counts.get(place, ())
                if admits(peer, namespace, group, self._labels_of(place))
            )
        return answer

    def _leave(self, group: PodGroup) -> bool:
        counts = self.counts[group.namespace]
        counts[group] -= 1
        if counts[group]:
            return False
        del counts[group], self._groups[group]
        self._by_account[group.namespace, group.service_account].discard(group)
        self._answers.clear()
        return True

    def __len__(self) -> int:
        return len(self._group_of)


def workloads_seeing(
    results: ServiceResults, labels_of: LabelsOf, namespaces: Collection[str]
) -> Iterator[ObjectKey]:
    """The trusted workloads whose pods, or whose peers' pods, may be in these namespaces.

    Pods change all the time, and whether policies cover them hardly ever does: only what could see the pods
    that came or went is looked at again.

    Args:
        results: of each service's last reconcile.
        labels_of: gives a Namespace's labels by its name.
        namespaces: where pods have come or gone.
    """
    for service, result in results.items():
        if result.service is None or result.service.spec.network_policy.mode != "Enforce":
            continue
        for name, workload in result.trusted.items():
            if _sees(labels_of, service, result, workload, namespaces):
                yield ObjectKey(WORKLOAD, service.namespace, name)


def _sees(
    labels_of: LabelsOf,
    service: NamespacedName,
    result: ServiceResult,
    workload: TrustedWorkload,
    namespaces: Collection[str],
) -> bool:
    if result.is_here(workload) and workload.spec.service_account.namespace in namespaces:
        return True
    return any(
        _may_match(labels_of, service, peer, namespace)
        for peer in workload.spec.from_
        if peer.ip_block is None
        for namespace in namespaces
    )


def _may_match(labels_of: LabelsOf, service: NamespacedName, peer: Peer, namespace: str) -> bool:
    if peer.namespace_selector is None:
        return namespace == service.namespace
    return selects_namespace(peer.namespace_selector, namespace, labels_of(namespace))
