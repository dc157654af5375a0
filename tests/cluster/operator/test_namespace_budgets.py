# SPDX-License-Identifier: Apache-2.0
"""A namespace beyond its budget loses its newest workloads, says so, and no other namespace notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing.controlplane import ApiError, Cluster, wait_until
from testing.operated import Operated
from testing.operator_process import give_back_lease, kubeconfig_of, running_operator


def _is_served(cluster: Cluster) -> bool:
    try:
        cluster.request("GET", "/apis/watchword.dev/v1alpha1/trustedworkloads")
    except ApiError:
        return False
    return True


@pytest.fixture
def served(crd_cluster: Cluster) -> Cluster:
    """A cluster that has served our kinds for a moment: their history begins before the test does."""
    # Until then an API server that was given a definition just now answers 429.
    wait_until(lambda: _is_served(crd_cluster), what="the kinds are served")
    give_back_lease(crd_cluster)
    return crd_cluster


@pytest.mark.timeout(300)
@pytest.mark.brings_about(
    "TrustedWorkload/Ready/NamespaceBudgetExceeded",
    "TrustedWorkload/Event/NamespaceBudgetExceeded",
)
def test_what_is_over_a_namespaces_budget_is_out_says_so_and_comes_in_once_there_is_room(
    served: Cluster, tmp_path: Path
) -> None:
    flags = ("--namespace-max-workloads", "2")
    kubeconfig = kubeconfig_of(served, tmp_path / "kubeconfig")
    with running_operator(kubeconfig, tmp_path, *flags) as replica:
        replica.wait_until(replica.is_leading, "it leads and is warm", timeout_seconds=90)
        operated = Operated(served, replica, tmp_path / "audit.log", issuer="here")
        issuer = operated.trusted_issuer(name="here", keys={"cluster": {}})
        operated.apply(issuer)
        operated.wait_for(issuer, "Ready/KeysTrusted")
        place, neighbour = operated.new_namespace(), operated.new_namespace()
        for each in (place, neighbour):
            operated.apply(operated.service(each))
        made = []
        for name in ("a", "b", "c"):
            operated.account(place, name)
            made.append(operated.workload(place, name, (place, name)))
            operated.apply(made[-1])
        operated.wait_for(made[0], "Ready/Trusted")
        operated.wait_for(made[1], "Ready/Trusted")
        operated.wait_for(made[2], "Ready/NamespaceBudgetExceeded")
        operated.wait_for_event(made[2], "NamespaceBudgetExceeded", "Warning", "left out")
        bundle = operated.bundle(place)
        assert bundle is not None
        assert [row.name for row in bundle.workloads] == ["a", "b"]
        assert replica.metric("watchword_operator_workloads_over_budget") == 1
        operated.account(neighbour)
        other = operated.workload(neighbour)
        operated.apply(other)
        operated.wait_for(other, "Ready/Trusted")

        operated.delete(made[0])
        operated.wait_for(made[2], "Ready/Trusted")
        assert replica.metric("watchword_operator_workloads_over_budget") == 0
