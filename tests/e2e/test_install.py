# SPDX-License-Identifier: Apache-2.0
"""The chart installed with its defaults, and used as a service's owner does: labels, three objects, no more.

Operator, webhook and gates are the pods of this checkout's images; the controllers are the cluster's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.conftest import Helm
from tests.charts.rendering import CHART, NAMESPACE
from tests.controlplane import wait_until
from tests.e2e.stage import SERVICE, Stage, projects
from tests.image.fixtures import Images
from tests.node.node import Node
from tests.node.pods import pod

Json = dict[str, Any]
ISSUER = "/apis/watchword.dev/v1alpha1/clustertrustedissuers/this-cluster"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/watchword-operator"


@pytest.fixture(scope="module")
def installed(stocked_node: Node, helm: Helm) -> Iterator[Node]:
    """The node with the release on it, every pod of it ready; uninstalled afterwards."""
    # A platform's own namespaces are held to `restricted` like any other.
    stocked_node.create_namespace(NAMESPACE)
    flags = ("--namespace", NAMESPACE, "--wait", "--timeout", "4m")
    kubeconfig = stocked_node.cluster.kubeconfig
    done = helm.run("install", "watchword", str(CHART), *flags, kubeconfig=kubeconfig)
    assert done.returncode == 0, (
        f"{done.stderr}\n{stocked_node.kubectl('get', 'pods,events', '-n', NAMESPACE)}"
    )
    yield stocked_node
    done = helm.run("uninstall", "watchword", "--namespace", NAMESPACE, "--wait", kubeconfig=kubeconfig)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def owned(installed: Node, images: Images, pod_namespace: str, tmp_path: Path) -> Iterator[Stage]:
    """A namespace that takes part, with a service that its owner protects and that trusts `atlas`."""
    node = installed
    node.kubectl("label", "namespace", pod_namespace, "watchword.dev/injection=enabled")
    stage = Stage(node, images, pod_namespace, tmp_path)
    issuer = stage.issuer()
    issuer["spec"]["keys"] = {"cluster": {}}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": pod_namespace, "name": "atlas"},
    }
    node.apply(account, issuer, stage.service(), stage.workload("atlas"))
    wait_until(
        lambda: condition(stage, "protectedservices", SERVICE, "Ready") == "True", what="the service Ready"
    )
    yield stage
    node.cluster.request("DELETE", ISSUER)


def test_a_labelled_pod_gets_its_gate_and_a_labelled_caller_its_token(owned: Stage) -> None:
    address = start_labelled_app(owned)
    caller = labelled_caller(owned, "atlas", projects(address))

    owned.node.apply(caller)

    owned.node.wait_for_pod(owned.namespace, "atlas", "Succeeded")
    [answer] = owned.said("atlas", "answer")
    assert answer["outcome"] == "ok"
    assert (
        answer["answer"]["identity"]["x-watchword-subject"]
        == f"system:serviceaccount:{owned.namespace}:atlas"
    )


def test_a_stranger_stays_out_until_one_object_lets_it_in_and_again_once_it_is_gone(owned: Stage) -> None:
    address = start_labelled_app(owned)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": owned.namespace, "name": "new"},
    }
    owned.node.apply(account)
    owned.node.apply(labelled_caller(owned, "new", projects(address), "--pause-seconds=0.1", calls=0))
    wait_until(
        lambda: "unknown_workload" in outcomes(owned, "new"), what="the stranger refused", timeout_seconds=90
    )

    owned.node.apply(owned.workload("new"))
    wait_until(lambda: outcomes(owned, "new").get("ok", 0) > 0, what="let in", timeout_seconds=30)
    path = owned.node.cluster.path_of(owned.workload("new"))
    owned.node.cluster.request("DELETE", path)

    refused = outcomes(owned, "new")["unknown_workload"]
    wait_until(
        lambda: outcomes(owned, "new")["unknown_workload"] > refused, what="out again", timeout_seconds=30
    )


def test_what_the_operator_made_for_a_service_goes_with_it(owned: Stage) -> None:
    made = [
        f"/api/v1/namespaces/{owned.namespace}/configmaps/watchword-bundle-{SERVICE}",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{owned.namespace}/roles/watchword-bundle-{SERVICE}",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{owned.namespace}/rolebindings/watchword-bundle-{SERVICE}",
        f"/apis/networking.k8s.io/v1/namespaces/{owned.namespace}/networkpolicies/watchword-{SERVICE}",
    ]
    for path in made:
        owned.node.wait_until_there(path)

    owned.node.cluster.request("DELETE", owned.node.cluster.path_of(owned.service()))

    for path in made:
        owned.node.wait_until_gone(path)


def test_trust_is_edited_on_after_the_leaders_pod_was_killed(owned: Stage) -> None:
    address = start_labelled_app(owned)
    owned.node.apply(labelled_caller(owned, "atlas", projects(address), "--pause-seconds=0.1", calls=0))
    wait_until(lambda: outcomes(owned, "atlas").get("ok", 0) > 0, what="a call", timeout_seconds=90)
    leader = owned.node.cluster.request("GET", LEASE)["spec"]["holderIdentity"]
    [leading] = [each for each in operator_pods(owned.node) if leader.startswith(each)]

    owned.node.kubectl("-n", NAMESPACE, "delete", "pod", leading, "--grace-period=0", "--force")
    suspended = owned.workload("atlas")
    suspended["spec"]["suspend"] = True
    owned.node.apply(suspended)

    wait_until(lambda: "suspended" in outcomes(owned, "atlas"), what="the edit in effect", timeout_seconds=60)
    assert set(outcomes(owned, "atlas")) == {"ok", "suspended"}


def start_labelled_app(stage: Stage) -> str:
    """A pod with nothing but its app and the label; its address once it is ready."""
    labels = {"app": SERVICE, "watchword.dev/gate": "enabled"}
    stage.node.apply(pod(stage.namespace, "server", stage.app(), labels=labels))
    address: str = stage.node.wait_for_pod(stage.namespace, "server")["status"]["podIP"]
    return address


def labelled_caller(stage: Stage, account: str, url: str, *arguments: str, calls: int = 1) -> Json:
    """A caller without a volume: its label alone says whom it calls."""
    manifest = stage.caller(account, url, f"--calls={calls}", *arguments, account=account)
    manifest["metadata"]["labels"]["watchword.dev/call"] = f"{stage.namespace}.{SERVICE}"
    del manifest["spec"]["volumes"]
    [container] = manifest["spec"]["containers"]
    del container["volumeMounts"], container["env"]
    return manifest


def outcomes(stage: Stage, caller: str) -> dict[str, int]:
    """How often a caller heard what, so far; nothing before it runs."""
    if stage.node.pod(stage.namespace, caller)["status"].get("phase") != "Running":
        return {}
    counted = stage.said(caller, "counts")
    return counted[-1]["counts"] if counted else {}


def operator_pods(node: Node) -> list[str]:
    found = node.pods(NAMESPACE, "app.kubernetes.io/component=operator")
    return [each["metadata"]["name"] for each in found]


def condition(stage: Stage, plural: str, name: str, kind: str) -> str:
    path = f"/apis/watchword.dev/v1alpha1/namespaces/{stage.namespace}/{plural}/{name}"
    conditions = stage.node.cluster.request("GET", path).get("status", {}).get("conditions", [])
    return next((each["status"] for each in conditions if each["type"] == kind), "Unknown")
