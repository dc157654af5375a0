# SPDX-License-Identifier: Apache-2.0
"""One edit passes few modules of the operator: who reads how an edit becomes a bundle has little to open.

Counted on a real manager and a real API server. What also runs while nothing is edited is not the edit's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from testing.controlplane import Cluster, wait_until
from testing.manifests import issuer, service, workload
from testing.operator_process import kubeconfig_of
from watchword.kube.kubeconfig import connect
from watchword.kube.leases import LeaseHold
from watchword.operator.leadership import LeadershipThread
from watchword.operator.manager import Manager
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.settings import OperatorSettings

PLACE = "/apis/watchword.dev/v1alpha1/namespaces/tuist"
MERGE = "application/merge-patch+json"
FOLDER = "/watchword/operator/"
MOST = 8


class Trace:
    """The functions of the operator that were called, in threads that began after it."""

    def __init__(self) -> None:
        self.called: set[CodeType] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and FOLDER in frame.f_code.co_filename:
            self.called.add(frame.f_code)

    @contextmanager
    def installed(self) -> Iterator[None]:
        threading.setprofile(self)
        try:
            yield
        finally:
            threading.setprofile(None)

    def take(self) -> set[CodeType]:
        called, self.called = self.called, set()
        return called


def module_of(code: CodeType) -> str:
    return code.co_filename.rpartition(FOLDER)[2].removesuffix(".py").replace("/", ".")


def test_one_edit_passes_at_most_eight_modules(crd_cluster: Cluster, tmp_path_factory: Any) -> None:
    crd_cluster.create_namespace("tuist")
    connection = connect(str(kubeconfig_of(crd_cluster, tmp_path_factory.mktemp("trace") / "kubeconfig")))
    hold, trace = LeaseHold(), Trace()
    hold.held_until, hold.leads_from = float("inf"), 0.0
    work = Manager(OperatorSettings(), connection, hold, OperatorMetrics())
    leadership = LeadershipThread(work, connection, window_seconds=60)

    def stored(path: str) -> dict[str, Any]:
        return crd_cluster.request("GET", f"{PLACE}/{path}")

    def is_told(generation: int) -> bool:
        status = stored("trustedworkloads/atlas").get("status", {})
        return status.get("observedGeneration") == generation

    with trace.installed():
        leadership.start()
    try:
        wait_until(leadership.is_warm, what="it is warm", timeout_seconds=60)
        for manifest in (issuer(), service(), workload("atlas")):
            crd_cluster.apply(manifest)
        wait_until(lambda: is_told(1), what="the workload is judged", timeout_seconds=30)
        threading.Event().wait(5)
        trace.take()
        threading.Event().wait(5)
        background = trace.take()
        grants = [{"scopes": ["app:write"], "accounts": ["acme"]}]
        before = stored("protectedservices/tuist-server")["status"]["bundle"]["generation"]
        edit = {"spec": {"grants": grants}}
        crd_cluster.request("PATCH", f"{PLACE}/trustedworkloads/atlas", edit, content_type=MERGE)
        wait_until(lambda: is_told(2), what="the edit is in the status", timeout_seconds=30)
        wait_until(
            lambda: stored("protectedservices/tuist-server")["status"]["bundle"]["generation"] > before,
            what="the bundle is in the service's status",
            timeout_seconds=30,
        )
        modules = sorted({module_of(each) for each in trace.take() - background})
    finally:
        leadership.stop()
        leadership.ended.result(30)
    assert len(modules) <= MOST, modules
