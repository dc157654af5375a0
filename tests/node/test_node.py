# SPDX-License-Identifier: Apache-2.0
"""That the node is a real one: what the other tests on it lean on, each shown once."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from testing.controlplane import ApiError, token_parts, wait_until
from testing.node.node import Node
from testing.node.pods import container, pod, pod_spec, token_volume
from testing.node.programs import Programs

ROOT = Path(__file__).parents[2]
CGROUPS = Path("/sys/fs/cgroup")


def test_the_node_is_ready_and_of_the_version_of_its_api_server(node: Node) -> None:
    [found] = node.cluster.request("GET", "/api/v1/nodes")["items"]
    version = node.cluster.request("GET", "/version")["gitVersion"]

    assert {each["type"]: each["status"] for each in found["status"]["conditions"]}["Ready"] == "True"
    assert found["status"]["nodeInfo"]["kubeletVersion"] == version
    assert found["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://2.")


def test_a_restricted_pod_runs_its_sidecar_before_its_app(node: Node, pod_namespace: str) -> None:
    sidecar = container("sidecar", restartPolicy="Always")
    node.apply(pod(pod_namespace, "one", container("app"), initContainers=[sidecar]))

    status = node.wait_for_pod(pod_namespace, "one")["status"]

    [started_first] = [each["state"]["running"]["startedAt"] for each in status["initContainerStatuses"]]
    [started_next] = [each["state"]["running"]["startedAt"] for each in status["containerStatuses"]]
    assert started_first <= started_next


def test_a_projected_token_is_the_kubelets_own_and_bound_to_the_pod(node: Node, pod_namespace: str) -> None:
    mounts = [{"name": "identity", "mountPath": "/identity"}]
    volumes = [token_volume("identity", "tuist-server")]
    node.apply(pod(pod_namespace, "one", container("app", volumeMounts=mounts), volumes=volumes))
    running = node.wait_for_pod(pod_namespace, "one")

    token = node.run("cat", str(node.volume(running, "projected", "identity") / "token"))

    _, claims = token_parts(token)
    assert claims["aud"] == ["tuist-server"]
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["kubernetes.io"]["pod"] == {"name": "one", "uid": running["metadata"]["uid"]}
    assert claims["kubernetes.io"]["node"]["name"] == "node-1"
    assert node.cluster.token_review(token, ["tuist-server"])["authenticated"]


def test_a_pod_that_asks_for_nothing_gets_the_bound_token_that_admission_gives(
    node: Node, pod_namespace: str
) -> None:
    manifest = pod(pod_namespace, "one", container("app"))
    del manifest["spec"]["automountServiceAccountToken"]
    node.apply(manifest)

    [volume] = node.pod(pod_namespace, "one")["spec"]["volumes"]

    [source] = [
        each["serviceAccountToken"]
        for each in volume["projected"]["sources"]
        if "serviceAccountToken" in each
    ]
    assert source == {"expirationSeconds": 3607, "path": "token"}


@pytest.mark.parametrize(
    "loosened",
    [
        pytest.param({"securityContext": {"privileged": True}}, id="privileged"),
        pytest.param({"securityContext": {}}, id="no security context"),
    ],
)
def test_admission_refuses_a_pod_that_is_not_restricted(
    node: Node, pod_namespace: str, loosened: dict[str, object]
) -> None:
    with pytest.raises(ApiError, match="violates PodSecurity"):
        node.apply(pod(pod_namespace, "one", container("app", **loosened)))


def test_what_an_object_owns_goes_with_it(node: Node, pod_namespace: str) -> None:
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": pod_namespace, "name": "owner"},
    }
    uid = node.cluster.apply(owner)["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    metadata = {"namespace": pod_namespace, "name": "owned", "ownerReferences": [reference]}
    node.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    path = f"/api/v1/namespaces/{pod_namespace}/configmaps"

    node.cluster.request("DELETE", f"{path}/owner")

    node.wait_until_gone(f"{path}/owned")


def test_a_deployment_behind_a_service_gets_endpoints(node: Node, pod_namespace: str) -> None:
    labels = {"app": "one"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(container("app"))}
    node.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": pod_namespace, "name": "one"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": pod_namespace, "name": "one"},
            "spec": {"selector": labels, "ports": [{"port": 80}]},
        },
    )

    node.wait_for_rollout(pod_namespace, "one")

    slices = f"/apis/discovery.k8s.io/v1/namespaces/{pod_namespace}/endpointslices"
    wait_until(
        lambda: (
            [len(each["endpoints"] or []) for each in node.cluster.request("GET", slices)["items"]] == [2]
        ),
        what="two endpoints",
    )


def test_the_kubernetes_service_leads_to_the_api_server_from_the_nodes_network(node: Node) -> None:
    with node.reached("10.0.0.1", 443) as port:
        trusted = ssl.create_default_context(cafile=str(node.cluster.authority))
        answer = httpx.get(f"https://127.0.0.1:{port}/version", verify=trusted, trust_env=False)

    assert answer.json()["major"] == "1"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_node_however_its_run_ends(
    node_programs: Programs, tmp_path: Path, ending: signal.Signals
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "testing.node", "run"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("export KUBECONFIG=")
        descended = descendants(run.pid)
        assert len(descended) >= 8, (
            "API server, etcd, controllers, scheduler, proxy, containerd, kubelet, pause"
        )
        run.send_signal(ending)

    wait_until(lambda: not any(is_alive(pid) for pid in descended), what="its processes gone")
    if ending == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    if ending == signal.SIGKILL:
        # It could not remove its cgroups: the next node does.
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        ) as run_again:
            assert run_again.stdout is not None
            run_again.stdout.readline()
            run_again.terminate()
    assert [str(found) for found in CGROUPS.glob(f"*/watchword-node-{run.pid}-*")] == []


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
