# SPDX-License-Identifier: Apache-2.0
"""A rolling upgrade under load: callers keep calling, and count what fails. The aim is none."""

from __future__ import annotations

import collections
from typing import Any

import pytest

from tests.controlplane import wait_until
from tests.e2e.stage import GATE_PORT, SERVICE, Stage, projects

CALLERS = {"kept-connections": [], "fresh-connections": ["--fresh-connections"]}


@pytest.mark.parametrize("callers", [pytest.param(CALLERS, id="both kinds of callers")])
def test_no_call_fails_while_every_pod_is_replaced(stage: Stage, callers: dict[str, list[str]]) -> None:
    deploy(stage)
    url = projects(service_address(stage))
    for name, arguments in callers.items():
        stage.node.apply(stage.caller(name, url, "--pause-seconds=0.01", *arguments, account="atlas"))
    wait_until(
        lambda: all(calls(stage, name) >= 50 for name in callers), what="callers at work", timeout_seconds=60
    )
    before = names_of_pods(stage)

    stage.node.kubectl("-n", stage.namespace, "rollout", "restart", f"deployment/{SERVICE}")
    stage.node.wait_for_rollout(stage.namespace, SERVICE)
    wait_until(lambda: names_of_pods(stage).isdisjoint(before), what="old pods gone", timeout_seconds=90)

    during = {name: calls(stage, name) for name in callers}
    wait_until(
        lambda: all(calls(stage, name) >= during[name] + 50 for name in callers), what="calls to the new pods"
    )
    counted = {name: stage.said(name, "counts")[-1]["counts"] for name in callers}
    print(counted)
    failed = [each for name in callers for each in stage.said(name, "answer") if each["outcome"] != "ok"]
    assert failed == []
    assert all(set(counts) == {"ok"} for counts in counted.values())


def deploy(stage: Stage) -> None:
    labels = {"app": SERVICE}
    # What every app behind a Service does, gate or not: it serves on until nobody is sent to it any more.
    app = stage.app(lifecycle={"preStop": {"sleep": {"seconds": 5}}})
    spec = stage.protected_spec(app=app, terminationGracePeriodSeconds=30)
    stage.node.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": stage.namespace, "name": SERVICE},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": stage.namespace, "name": SERVICE},
            "spec": {"selector": labels, "ports": [{"port": GATE_PORT}]},
        },
    )
    stage.node.wait_for_rollout(stage.namespace, SERVICE)


def service_address(stage: Stage) -> str:
    path = f"/api/v1/namespaces/{stage.namespace}/services/{SERVICE}"
    address: str = stage.node.cluster.request("GET", path)["spec"]["clusterIP"]
    return address


def names_of_pods(stage: Stage) -> set[str]:
    return {pod["metadata"]["name"] for pod in stage.node.pods(stage.namespace, f"app={SERVICE}")}


def calls(stage: Stage, name: str) -> int:
    pod: dict[str, Any] = stage.node.pod(stage.namespace, name)
    if pod["status"].get("phase") != "Running":
        return 0
    counted = stage.said(name, "counts")
    return collections.Counter(counted[-1]["counts"]).total() if counted else 0
