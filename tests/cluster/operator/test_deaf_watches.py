# SPDX-License-Identifier: Apache-2.0
"""kopf's watches go deaf, and nobody is told: the connections stand, and no event ever comes again.

The operator's other watches see that something happened, and it asks. Their window is as in production, so
what is seen here was seen before any watch was made anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import kopf
import pytest

from tests.controlplane import ApiError, Cluster, wait_until
from tests.operatorprocess import kubeconfig_of
from tests.trust.manifests import issuer, service, workload
from watchword.operator import handlers
from watchword.operator.connection import connect
from watchword.operator.core import Operator
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.settings import OperatorSettings
from watchword.operator.term import Term
from watchword.trust import decode_bundle

PLACE = "/apis/watchword.dev/v1alpha1"
MERGE = "application/merge-patch+json"
_WINDOW_SECONDS = 60


class Leads:
    """The only operator there is."""

    def is_held(self) -> bool:
        return True


class World:
    """A term in this process whose kopf can be made deaf, and the bundle that it publishes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.is_deaf = cluster, threading.Event()

    def put(self, *manifests: Mapping[str, Any]) -> None:
        for manifest in manifests:
            self.cluster.apply(dict(manifest))

    def edit(self, path: str, body: Mapping[str, Any]) -> None:
        self.cluster.request("PATCH", path, dict(body), content_type=MERGE)

    def trusted(self) -> dict[str, bool]:
        """Name and whether it is suspended of each workload in the bundle."""
        try:
            path = "/api/v1/namespaces/tuist/configmaps/watchword-bundle-tuist-server"
            stored = self.cluster.request("GET", path)
        except ApiError:
            return {}
        bundle = decode_bundle(stored["data"]["bundle.json"].encode())
        return {each.name: each.suspended for each in bundle.workloads}

    def wait_for(self, trusted: Mapping[str, bool]) -> None:
        wait_until(lambda: self.trusted() == trusted, what=f"the bundle trusts {trusted}", timeout_seconds=30)


@pytest.fixture(scope="module")
def world(crd_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(crd_cluster)
    crd_cluster.create_namespace("tuist")
    registry = handlers.registry

    def deafened(take: handlers.Take) -> kopf.OperatorRegistry:
        def hear(kind: str, is_gone: bool, document: Mapping[str, Any]) -> None:
            if not made.is_deaf.is_set():
                take(kind, is_gone, document)

        return registry(hear)

    connection = connect(str(kubeconfig_of(crd_cluster, tmp_path_factory.mktemp("deaf") / "kubeconfig")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handlers, "registry", deafened)
        work = Operator(OperatorSettings(), connection, Leads(), OperatorMetrics())
        term = Term(work, connection, window_seconds=_WINDOW_SECONDS)
        term.start()
        try:
            wait_until(term.is_warm, what="the term is warm", timeout_seconds=60)
            yield made
            assert not term.ended.done(), "the term ended by itself"
        finally:
            term.stop()
            term.ended.result(30)


def test_everything_that_is_edited_while_kopf_is_deaf_comes_into_the_bundle(world: World) -> None:
    world.put(issuer(), service(), workload("stays"), workload("leaves", "other"))
    world.wait_for({"stays": False, "leaves": False})
    world.is_deaf.set()
    workloads = f"{PLACE}/namespaces/tuist/trustedworkloads"
    world.put(workload("comes", "third"))
    world.wait_for({"stays": False, "leaves": False, "comes": False})
    world.edit(f"{workloads}/stays", {"spec": {"suspend": True}})
    world.wait_for({"stays": True, "leaves": False, "comes": False})
    world.cluster.request("DELETE", f"{workloads}/leaves")
    world.wait_for({"stays": True, "comes": False})
    world.edit(
        f"{PLACE}/clustertrustedissuers/production",
        {"spec": {"allowedNamespaces": {"matchLabels": {"team": "a"}}}},
    )
    world.wait_for({})
    world.edit("/api/v1/namespaces/tuist", {"metadata": {"labels": {"team": "a"}}})
    world.wait_for({"stays": True, "comes": False})
