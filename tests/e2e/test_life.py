# SPDX-License-Identifier: Apache-2.0
"""The gate's place in the life of a pod: there before the app, there until the app has ended."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from testing.controlplane import wait_until
from tests.e2e.stage import Stage, projects


def test_the_app_does_not_start_before_its_gate_listens(stage: Stage, tmp_path: Path) -> None:
    stage.start_protected_pod()

    logs = follow_to_the_end(stage, tmp_path)

    assert moment(logs["gate"], "message", "listening") <= moment(logs["app"], "event", "started")


def test_the_app_does_not_start_at_all_while_its_gate_cannot(stage: Stage) -> None:
    broken = stage.gate()
    broken["args"].append("--tls-cert=/nowhere.crt")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": stage.namespace, "name": "server"}}
    stage.node.apply({**pod, "spec": stage.protected_spec(gate=broken)})

    def gate_has_failed() -> bool:
        gates = stage.node.pod(stage.namespace, "server")["status"].get("initContainerStatuses", [])
        return any(gate["restartCount"] >= 1 for gate in gates)

    wait_until(gate_has_failed, what="the broken gate restarted", timeout_seconds=90.0)
    [app] = stage.node.pod(stage.namespace, "server")["status"]["containerStatuses"]
    assert app["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_the_gate_serves_on_until_the_app_has_ended_what_it_had_begun(stage: Stage, tmp_path: Path) -> None:
    address = stage.start_protected_pod(terminationGracePeriodSeconds=60)
    # Begun before the pod is told to end, and answered after it.
    stage.node.apply(stage.caller("atlas", f"{projects(address)}?seconds=4", "--calls=1", account="atlas"))
    wait_until(lambda: stage.said("server", "begun", "app") != [], what="a call begun", timeout_seconds=60.0)

    logs = follow_to_the_end(stage, tmp_path)

    stage.node.wait_for_pod(stage.namespace, "atlas", "Succeeded")
    [answer] = stage.said("atlas", "answer")
    assert answer["outcome"] == "ok"
    assert moment(logs["app"], "event", "stopped") <= moment(logs["gate"], "message", "stopping")


def follow_to_the_end(stage: Stage, folder: Path) -> dict[str, str]:
    """End the pod, and return what its containers said from first to last."""
    paths = {name: folder / f"{name}.log" for name in ("app", "gate")}
    with ExitStack() as following:
        for name, path in paths.items():
            following.enter_context(stage.node.following_logs(stage.namespace, "server", name, path))
        for path in paths.values():
            wait_until(lambda path=path: path.stat().st_size > 0, what=f"{path.name} followed")
        stage.node.kubectl("-n", stage.namespace, "delete", "pod", "server", "--wait=false")
    return {name: path.read_text() for name, path in paths.items()}


def moment(log: str, field: str, value: str) -> str:
    """When the node received the one line that says so; RFC 3339 in UTC, which sorts as text."""
    said = [line.split(" ", 1) for line in log.splitlines()]
    [found] = [when for when, text in said if text.startswith("{") and json.loads(text).get(field) == value]
    return found
