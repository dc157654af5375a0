# SPDX-License-Identifier: Apache-2.0
"""Two services on the same pods: the NetworkPolicy of one opens the app's port of the other.

Policies only ever add up. Each leaves all ports but its own two as they were, and so lets everyone in to the
ports that the other one closes; neither object shows it.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from watchword.trust.api.v1alpha1 import ProtectedService
from watchword.trust.conflicts import problem_of
from watchword.trust.label_selectors import selects
from watchword.trust.problems import Problem, ProblemReason


def opens_app_port_of(one: ProtectedService, other: ProtectedService) -> bool:
    """Whether, on a pod that both select, the policy of `one` lets strangers in to the app of `other`."""
    if "Off" in (one.spec.network_policy.mode, other.spec.network_policy.mode):
        return False
    # The gate's port of `one` is open to its callers, and everything but its two ports to everyone.
    return other.spec.upstream_port != one.spec.upstream_port


def opens_gate_port_of(one: ProtectedService, other: ProtectedService) -> bool:
    """Whether, on such a pod, the policy of `one` lets strangers in to the gate of `other`.

    Where two gates stand before one app that is what comes of it: no problem, since a gate asks everyone who
    they are, and yet not what the owner's `from` says.
    """
    if "Off" in (one.spec.network_policy.mode, other.spec.network_policy.mode):
        return False
    return other.spec.port not in (one.spec.port, one.spec.upstream_port)


def selects_all_of(one: ProtectedService, other: ProtectedService) -> bool:
    """Whether every pod that `other` selects is selected by `one` too."""
    return matches(one, other.spec.selector.match_labels)


def matches(service: ProtectedService, labels: Mapping[str, str]) -> bool:
    """Whether a service selects a pod with these labels."""
    return selects(service.spec.selector, labels)


def problems_of_overlaps(services: Iterable[ProtectedService]) -> Iterator[Problem]:
    """One problem for each service whose app's port another one opens, on pods that both must select."""
    by_namespace: dict[str, list[ProtectedService]] = {}
    for service in services:
        by_namespace.setdefault(service.metadata.namespace, []).append(service)
    for neighbors in by_namespace.values():
        for one, other in combinations(sorted(neighbors, key=lambda each: each.metadata.name), 2):
            if selects_all_of(one, other) or selects_all_of(other, one):
                for opened, by in ((one, other), (other, one)):
                    if opens_app_port_of(by, opened):
                        yield problem_of_overlap(opened, by)


def problem_of_overlap(opened: ProtectedService, by: ProtectedService) -> Problem:
    """The problem of a service whose app's port is opened by the policy of another one."""
    port, name = opened.spec.upstream_port, by.metadata.name
    detail = f"the NetworkPolicy of {name}, which selects the same pods, opens the app's port {port}"
    remedy = "select pods that no other ProtectedService selects, or give both the same upstreamPort"
    return problem_of(opened, "spec.selector", ProblemReason.SELECTORS_OVERLAP, detail, remedy)
