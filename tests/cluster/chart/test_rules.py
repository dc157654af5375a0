# SPDX-License-Identifier: Apache-2.0
"""What the chart and injection make, under the rules that clusters have, judged by a real API server.

The values are those of docs/how-to/clusters-with-rules.md, read from the page.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from testing.controlplane import Binaries, Cluster, Etcd, start_cluster
from testing.controlplane.api import ApiError
from tests.charts.conftest import Helm
from tests.injection.pods import SETTINGS, app_pod, world
from watchword.injection import Injected, InjectionSettings, inject

Json = dict[str, Any]
PAGE = (Path(__file__).parents[3] / "docs/how-to/clusters-with-rules.md").read_text()
SECTION = re.compile(r"^## (.*?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = {
    title: [yaml.safe_load(block) for block in BLOCK.findall(text)] for title, text in SECTION.findall(PAGE)
}
QUOTA = {"limits.cpu": "8", "limits.memory": "16Gi", "requests.cpu": "8", "requests.memory": "16Gi"}
FLOOR = {"limits": [{"type": "Container", "min": {"cpu": "50m", "memory": "32Mi"}}]}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def ruled(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server for namespaces with rules."""
    with start_cluster(tmp_path_factory.mktemp("rules"), etcd=etcd, binaries=control_plane) as running:
        yield running


def namespace_with(
    cluster: Cluster, *, quota: bool = False, floor: bool = False, level: str = "restricted"
) -> str:
    """A namespace with these rules, and the ServiceAccounts of the pods."""
    name = f"rules-{next(_numbers)}"
    labels = {"pod-security.kubernetes.io/enforce": level}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    accounts = ("watchword-operator", "watchword-webhook", "default", "tuist-server")
    for account in accounts:
        metadata = {"namespace": name, "name": account}
        cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    if floor:
        metadata = {"namespace": name, "name": "floor"}
        cluster.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": FLOOR})
    if quota:
        metadata = {"namespace": name, "name": "team"}
        made = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": QUOTA}}
        cluster.apply(made)
        # No controller runs here that would count.
        counted = {"status": {"hard": QUOTA, "used": dict.fromkeys(QUOTA, "0")}}
        path = f"/api/v1/namespaces/{name}/resourcequotas/team/status"
        cluster.request("PATCH", path, counted, content_type="application/merge-patch+json")
    return name


def try_pod(cluster: Cluster, namespace: str, pod: Json) -> Json:
    """Create a pod and do not: every rule but the scheduler's is asked."""
    pod = {**pod, "apiVersion": "v1", "kind": "Pod"}
    pod["metadata"] = {**pod["metadata"], "name": "tried", "namespace": namespace}
    path = f"/api/v1/namespaces/{namespace}/pods"
    return dict(cluster.request("POST", path, pod, parameters={"dryRun": "All", "fieldValidation": "Strict"}))


def pods_of(helm: Helm, values: Json) -> Iterator[Json]:
    """The pods that the chart's objects make."""
    for each in helm.template(values):
        if each["kind"] == "Deployment":
            yield each["spec"]["template"]
        elif each["kind"] == "Pod":
            yield {"metadata": {"labels": each["metadata"]["labels"]}, "spec": each["spec"]}


def gates_by(values: Json) -> InjectionSettings:
    """Settings of gates as the chart hands these values over."""
    given = values.get("gate", {})
    known = {"cpuRequest": "cpu_request", "cpuLimit": "cpu_limit", "memoryLimit": "memory_limit"}
    known |= {"memoryRequest": "memory_request"}
    changes = {field: given[name] for name, field in known.items() if name in given}
    return msgspec.structs.replace(SETTINGS, **changes)


def injected(pod: Json, settings: InjectionSettings = SETTINGS) -> Json:
    found = inject(pod, "tuist", world(), settings)
    assert isinstance(found, Injected), found
    return found.pod


LIMITED = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "144Mi"}}


def app_with(resources: Json, /, **spec: Any) -> Json:
    pod = app_pod(spec__initContainers=[], **{f"spec__{name}": value for name, value in spec.items()})
    pod["spec"]["containers"][0]["resources"] = resources
    return pod


def test_the_page_has_values_for_each_rule() -> None:
    assert len([block for blocks in BLOCKS.values() for block in blocks]) >= 8


@pytest.mark.parametrize(("title", "place"), [(t, n) for t, all_ in BLOCKS.items() for n in range(len(all_))])
def test_the_chart_takes_the_values_of_each_block(helm: Helm, ruled: Cluster, title: str, place: int) -> None:
    values = BLOCKS[title][place]
    is_on_hosts = values.get("webhook", {}).get("hostNetwork", False)
    namespace = namespace_with(ruled, level="privileged" if is_on_hosts else "restricted")
    tried = [try_pod(ruled, namespace, pod) for pod in pods_of(helm, values)]
    assert len(tried) == 3


def test_a_quota_and_a_floor_refuse_what_is_shipped_and_take_the_pages_values(
    helm: Helm, ruled: Cluster
) -> None:
    namespace = namespace_with(ruled, quota=True, floor=True)
    for pod in pods_of(helm, {}):
        with pytest.raises(ApiError, match=r"limits\.cpu|minimum cpu"):
            try_pod(ruled, namespace, pod)
    with pytest.raises(ApiError, match="minimum cpu usage per Container is 50m"):
        try_pod(ruled, namespace, injected(app_with(LIMITED)))

    [values] = BLOCKS["Quotas and LimitRanges"]
    assert len([try_pod(ruled, namespace, pod) for pod in pods_of(helm, values)]) == 3
    try_pod(ruled, namespace, injected(app_with(LIMITED), gates_by(values)))
    # Or one service by itself.
    pod = app_with(LIMITED)
    pod["metadata"]["annotations"] = {
        "watchword.dev/gate-cpu": "50m",
        "watchword.dev/gate-cpu-limit": "500m",
    }
    try_pod(ruled, namespace, injected(pod))


PINNED = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}


def test_a_guaranteed_pod_stays_so_by_the_api_servers_own_word(ruled: Cluster) -> None:
    namespace = namespace_with(ruled)
    assert try_pod(ruled, namespace, app_with(PINNED))["status"]["qosClass"] == "Guaranteed"
    assert try_pod(ruled, namespace, injected(app_with(PINNED)))["status"]["qosClass"] == "Guaranteed"
    assert try_pod(ruled, namespace, injected(app_with(LIMITED)))["status"]["qosClass"] == "Burstable"


@pytest.mark.parametrize(
    "whole",
    [
        {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        {"limits": {"memory": "1Gi"}},
        {"requests": {"cpu": "1"}},
    ],
)
def test_a_pod_with_resources_of_its_own_is_valid_with_its_gate(ruled: Cluster, whole: Json) -> None:
    namespace = namespace_with(ruled)
    kinds = whole.get("requests") or whole["limits"]
    pod = app_with({"requests": kinds}, resources=whole)
    before = try_pod(ruled, namespace, pod)["status"]["qosClass"]
    assert try_pod(ruled, namespace, injected(pod))["status"]["qosClass"] == before


def test_a_platform_that_chooses_ids_is_left_to_it(helm: Helm, ruled: Cluster) -> None:
    [values] = BLOCKS["Platforms that choose user ids (OpenShift)"]
    namespace = namespace_with(ruled)
    for pod in pods_of(helm, values):
        made = try_pod(ruled, namespace, pod)
        assert "runAsUser" not in str(made["spec"])
    made = try_pod(
        ruled, namespace, injected(app_with(LIMITED), msgspec.structs.replace(SETTINGS, run_as_user=None))
    )
    assert "runAsUser" not in str(made["spec"])


PROBES: list[Callable[[], Json]] = [
    lambda: {"livenessProbe": {"httpGet": {"path": "/live", "port": 8080}, "periodSeconds": 7}},
    lambda: {"readinessProbe": {"tcpSocket": {"port": 8443}}, "startupProbe": {"httpGet": {"port": 8080}}},
]


@pytest.mark.parametrize("probes", PROBES)
def test_rewritten_probes_are_ones_that_an_api_server_takes(
    ruled: Cluster, probes: Callable[[], Json]
) -> None:
    pod = app_with(LIMITED)
    pod["metadata"]["annotations"] = {"watchword.dev/gate-rewrite-probes": "enabled"}
    pod["spec"]["containers"][0] |= probes()
    made = try_pod(ruled, namespace_with(ruled), injected(pod))
    for kind in probes():
        assert made["spec"]["containers"][0][kind]["httpGet"]["path"].startswith("/app-probes/app-")
