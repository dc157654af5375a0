# SPDX-License-Identifier: Apache-2.0
"""Pods and worlds from a good default and one change."""

from __future__ import annotations

import copy
from typing import Any

from testing.manifests import issuer, parsed, service, workload
from watchword.injection import InjectionSettings, World

SETTINGS = InjectionSettings(image="registry.example/watchword@sha256:" + "0" * 64)
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def app_pod(**changes: Any) -> dict[str, Any]:
    """The pod of the app behind `tuist/tuist-server`, as its author wrote it."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "tuist-server-0",
            "labels": {"app": "tuist-server", "watchword.dev/gate": "enabled"},
        },
        "spec": {
            "serviceAccountName": "tuist-server",
            "initContainers": [
                {"name": "migrate", "image": "registry.example/app:1", "securityContext": RESTRICTED}
            ],
            "containers": [
                {
                    "name": "app",
                    "image": "registry.example/app:1",
                    "ports": [{"containerPort": 8080}],
                    "env": [{"name": "PORT", "value": "8080"}],
                    "securityContext": RESTRICTED,
                }
            ],
            "volumes": [{"name": "cache", "emptyDir": {}}],
        },
    }
    return _changed(pod, changes)


def caller_pod(**changes: Any) -> dict[str, Any]:
    """A pod of ServiceAccount `atlas` that wants to call `tuist/tuist-server`."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "atlas-0", "labels": {"watchword.dev/call": "tuist.tuist-server"}},
        "spec": {
            "serviceAccountName": "atlas",
            "containers": [
                {"name": "atlas", "image": "registry.example/atlas:1", "securityContext": RESTRICTED},
                {"name": "logs", "image": "registry.example/logs:1", "securityContext": RESTRICTED},
            ],
        },
    }
    return _changed(pod, changes)


CLUSTER_ID = "0d2f7a4e-1c1b-4f0e-9a55-5a1d3a7f9b10"


def own_audience(namespace: str = "tuist", name: str = "tuist-server") -> str:
    """The derived audience of a service of that world."""
    return f"watchword.dev/services/{CLUSTER_ID}/{namespace}/{name}"


def world(*objects: dict[str, Any], enabled: tuple[str, ...] = ("tuist",)) -> World:
    """A world with `tuist/tuist-server`, which trusts `atlas-production/atlas`, or with these objects."""
    found = parsed(*(objects or (issuer(), service(), workload())))
    assert not found.problems, found.problems
    return World.of(found.resources.services, found.resources.workloads, enabled, CLUSTER_ID)


def _changed(pod: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set members by path: `spec__hostNetwork=True`; a dict at `labels` or `annotations` is merged."""
    pod = copy.deepcopy(pod)
    for path, value in changes.items():
        *folders, last = path.split("__")
        place = pod
        for each in folders:
            place = place.setdefault(each, {})
        place[last] = {**place.get(last, {}), **value} if last in {"labels", "annotations"} else value
    return pod
