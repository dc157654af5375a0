# SPDX-License-Identifier: Apache-2.0
"""The witness of `brings_about` sees what came and went while it watched, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from testing.controlplane import Cluster
from tests.cluster.witness import Witness, clusters_of, said_by


def tell(cluster: Cluster, namespace: str, reason: str) -> None:
    about = {"kind": "TrustedWorkload", "name": "atlas", "namespace": namespace}
    event = {"metadata": {"name": reason.lower()}, "involvedObject": about, "reason": reason}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/events", event)


def test_what_was_told_before_and_what_never_was_are_no_deeds_of_the_test(
    cluster: Cluster, new_namespace: Callable[..., str]
) -> None:
    namespace = new_namespace(cluster)
    tell(cluster, namespace, "Before")
    witness = Witness.from_now_on(cluster)
    tell(cluster, namespace, "Meanwhile")
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/events/meanwhile")
    claims = {f"TrustedWorkload/Event/{reason}" for reason in ("Before", "Meanwhile", "Never")}
    assert witness.seen_by_now(claims) == {"TrustedWorkload/Event/Meanwhile"}
    # From then on it is as if it had come.
    tell(cluster, namespace, "After")
    assert witness.seen({*claims, "TrustedWorkload/Event/After"}) == {"TrustedWorkload/Event/After"}


def test_conditions_are_named_as_marks_name_them() -> None:
    document = {"status": {"conditions": [{"type": "Ready", "reason": "Trusted"}]}}
    assert list(said_by(document, "TrustedWorkload")) == ["TrustedWorkload/Ready/Trusted"]
    assert list(said_by({}, "TrustedWorkload")) == []


def test_a_cluster_is_found_inside_of_what_a_fixture_gives(cluster: Cluster) -> None:
    assert clusters_of([1, "a", (cluster, "b"), [cluster]]) == [cluster]
