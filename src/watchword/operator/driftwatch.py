# SPDX-License-Identifier: Apache-2.0
"""Which workloads' drift conditions pods that came or went may have changed.

Pods change all the time and drift hardly ever does: only what could see those pods is looked at again.
"""

from collections.abc import Collection, Iterator

from watchword.operator.entries import Key
from watchword.operator.names import Name
from watchword.operator.outcomes import Outcome
from watchword.operator.world import World
from watchword.trust.conditions import WORKLOAD
from watchword.trust.specs import Peer, TrustedWorkload


def affected(world: World, namespaces: Collection[str]) -> Iterator[Key]:
    """The trusted workloads whose pods, or whose peers' pods, may be in these namespaces."""
    for service, outcome in world.outcomes.items():
        if outcome.service is None or outcome.service.spec.network_policy.mode != "Enforce":
            continue
        for name, workload in outcome.trusted.items():
            if _sees(world, service, outcome, workload, namespaces):
                yield WORKLOAD, service[0], name


def _sees(
    world: World, service: Name, outcome: Outcome, workload: TrustedWorkload, namespaces: Collection[str]
) -> bool:
    if outcome.is_here(workload) and workload.spec.service_account.namespace in namespaces:
        return True
    return any(
        _may_match(world, service, peer, namespace)
        for peer in workload.spec.from_
        if peer.ip_block is None
        for namespace in namespaces
    )


def _may_match(world: World, service: Name, peer: Peer, namespace: str) -> bool:
    if peer.namespace_selector is None:
        return namespace == service[0]
    labels = {**world.store.labels_of(namespace), "kubernetes.io/metadata.name": namespace}
    return all(labels.get(key) == value for key, value in peer.namespace_selector.match_labels.items())
