# SPDX-License-Identifier: Apache-2.0
"""The chart as the README installs it, on a node that runs pods: one label a pod, one object a caller.

Operator and webhook are the chart's own Deployments, the gates are what the webhook injects, the tokens are
the kubelet's. What is asserted is what a person would see.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.charts.conftest import Helm, helm
from tests.charts.rendering import CHART
from tests.controlplane import wait_until
from tests.controlplane.api import ApiError
from tests.e2e.stage import APP_PORT, GATE_PORT, SERVICE, Stage, projects
from tests.image.fixtures import Images
from tests.node.node import Node

__all__ = ["helm"]
SYSTEM = "watchword-system"
RELEASE = "watchword"
Json = dict[str, Any]


def image(name: str) -> Json:
    repository, _, tag = name.rpartition(":")
    return {"repository": repository, "tag": tag, "pullPolicy": "Never"}


@pytest.fixture(scope="module")
def installed(
    stocked_node: Node, images: Images, helm: Helm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    """The chart on the node, its Deployments ready; gone at the end."""
    values = tmp_path_factory.mktemp("values") / "values.json"
    values.write_text(
        json.dumps(
            {
                "image": image(images.operator),
                "gate": {"image": image(images.gate)},
                "operator": {"watchWindowSeconds": 20},
            }
        )
    )
    run(helm, stocked_node, "install", RELEASE, str(CHART), "--create-namespace", "--values", str(values))
    stocked_node.kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted")
    for part in ("operator", "webhook"):
        stocked_node.wait_for_rollout(SYSTEM, f"{RELEASE}-{part}")
    yield stocked_node
    run(helm, stocked_node, "uninstall", RELEASE, "--wait", "--timeout", "120s")
    # The node is shared: whoever installs next finds it as this one did.
    stocked_node.kubectl("delete", "namespace", SYSTEM, "--wait=false")
    stocked_node.wait_until_gone(f"/api/v1/namespaces/{SYSTEM}")


def run(helm: Helm, node: Node, *arguments: str) -> str:
    found = helm.run(*arguments, "--namespace", SYSTEM, kubeconfig=node.cluster.kubeconfig)
    assert found.returncode == 0, found.stderr
    return found.stdout


class Labelled(Stage):
    """A stage whose pods are what their authors wrote, with one label; the operator does the rest."""

    def prepare(self) -> None:
        """The issuer that is this cluster, and the service."""
        self.node.kubectl("label", "namespace", self.namespace, "watchword.dev/injection=enabled")
        self.node.apply(
            {
                "apiVersion": "watchword.dev/v1alpha1",
                "kind": "ClusterTrustedIssuer",
                "metadata": {"name": "this-cluster"},
                "spec": {"issuer": self.node.cluster.issuer, "keys": {"cluster": {}}},
            },
            self.account("server"),
            self.service(),
        )

    def account(self, name: str) -> Json:
        """A ServiceAccount of the namespace."""
        metadata = {"namespace": self.namespace, "name": name}
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}

    def service(self) -> Json:
        """The service, whose bundle the pods' own ServiceAccount may read."""
        found = super().service()
        found["spec"] |= {"serviceAccountName": "server", "networkPolicy": {"mode": "Enforce"}}
        return found

    def server(self, replicas: int = 1, **annotations: str) -> Json:
        """A Deployment of the app with one label more."""
        labels = {"app": SERVICE, "watchword.dev/gate": "enabled"}
        spec = self.protected_spec()
        del spec["initContainers"], spec["volumes"]
        spec["serviceAccountName"] = "server"
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": self.namespace, "name": "server"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": SERVICE}},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
            },
        }

    def address(self) -> Json:
        """A Service in front of the gates."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": self.namespace, "name": "server"},
            "spec": {"selector": {"app": SERVICE}, "ports": [{"port": GATE_PORT, "targetPort": GATE_PORT}]},
        }

    def caller(self, name: str, url: str, *arguments: str, account: str = "default", **fields: Any) -> Json:
        """A calling pod as its author wrote it, with one label more and no token volume of its own."""
        pod = super().caller(name, url, *arguments, account=account, **fields)
        pod["metadata"]["labels"]["watchword.dev/call"] = f"{self.namespace}.{SERVICE}"
        del (
            pod["spec"]["volumes"],
            pod["spec"]["containers"][0]["volumeMounts"],
            pod["spec"]["containers"][0]["env"],
        )
        return pod

    def ready(self, kind: str, name: str) -> Json:
        """The condition Ready of an object of ours."""
        place = f"namespaces/{self.namespace}/" if kind != "clustertrustedissuers" else ""
        found = self.node.cluster.request("GET", f"/apis/watchword.dev/v1alpha1/{place}{kind}/{name}")
        conditions = found.get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "Ready"), {})

    def trust_now(self, *accounts: str) -> None:
        """Trust these ServiceAccounts besides those that are, until each gate follows."""
        for account in accounts:
            self.node.apply(self.account(account), self.workload(account))
            wait_until(
                lambda account=account: self.ready("trustedworkloads", account).get("reason") == "Trusted",
                what=f"{account} is Trusted",
                timeout_seconds=90.0,
            )
        self.trusted.extend(accounts)
        self.wait_for_gates()

    def wait_for_gates(self) -> None:
        """Until every gate runs on as many workloads as are trusted."""

        def follow() -> bool:
            pods = self.node.pods(self.namespace, f"app={SERVICE}")
            counts = [
                json.loads(self.node.run("curl", "-s", f"http://{each['status']['podIP']}:9090/readyz"))
                for each in pods
                if each["status"].get("podIP") and not each["metadata"].get("deletionTimestamp")
            ]
            return bool(counts) and all(each.get("workloads") == len(self.trusted) for each in counts)

        wait_until(follow, what="the gates follow", timeout_seconds=90.0)

    def wait_for_owned(self, *paths: str) -> None:
        """Until the operator has made what belongs to the service."""

        def is_there() -> bool:
            try:
                return all(self.node.cluster.request("GET", path) for path in paths)
            except ApiError:
                return False

        wait_until(is_there, what=f"{paths}", timeout_seconds=90.0)

    def start_calling(self, *arguments: str, account: str) -> None:
        """A pod that calls again and again, until it has got through once."""
        self.node.apply(self.caller("steady", url(self), *arguments, account=account))
        self.node.wait_for_pod(self.namespace, "steady")
        wait_until(lambda: self.said("steady", "counts") != [], what="steady calls", timeout_seconds=90.0)


@pytest.fixture
def labelled(installed: Node, images: Images, pod_namespace: str, tmp_path: Path) -> Labelled:
    """A service of one replica behind an injected gate, and nobody trusted."""
    stage = Labelled(installed, images, pod_namespace, tmp_path)
    stage.prepare()
    installed.apply(stage.server(), stage.address())
    installed.wait_for_rollout(pod_namespace, "server")
    return stage


def url(stage: Stage) -> str:
    found = stage.node.cluster.request("GET", f"/api/v1/namespaces/{stage.namespace}/services/server")
    return projects(found["spec"]["clusterIP"])


def test_helm_test_says_that_operator_and_webhook_are_ready(helm: Helm, installed: Node) -> None:
    assert "Succeeded" in run(helm, installed, "test", RELEASE, "--timeout", "120s")


def test_one_object_lets_a_workload_in_and_its_deletion_puts_it_out(labelled: Labelled) -> None:
    node, target = labelled.node, url(labelled)
    node.apply(labelled.account("atlas"), labelled.account("stranger"))
    assert labelled.call_once("before", target, account="atlas")["outcome"] == "unknown_workload"

    labelled.trust_now("atlas")
    inside = labelled.call_once("inside", target, account="atlas")
    assert inside["outcome"] == "ok"
    identity = inside["answer"]["identity"]
    assert identity["x-watchword-subject"] == f"system:serviceaccount:{labelled.namespace}:atlas"
    assert inside["answer"]["sees_credential"] is False
    assert labelled.call_once("outside", target, account="stranger")["outcome"] == "unknown_workload"
    assert (
        labelled.call_once("nobody", target, "--anonymous", account="atlas")["outcome"]
        == "missing_credential"
    )

    node.kubectl("-n", labelled.namespace, "delete", "trustedworkload", "atlas")
    labelled.trusted.clear()
    labelled.wait_for_gates()
    assert labelled.call_once("after", target, account="atlas")["outcome"] == "unknown_workload"


def test_a_serviceaccount_that_is_made_anew_is_not_the_one_that_was_trusted(labelled: Labelled) -> None:
    node = labelled.node
    labelled.trust_now("atlas")
    # It goes on calling with the token of the ServiceAccount that is about to go.
    labelled.start_calling(account="atlas")
    assert labelled.said("steady", "counts")[0]["counts"]["ok"] > 0
    node.kubectl("-n", labelled.namespace, "delete", "serviceaccount", "atlas")
    node.apply(labelled.account("atlas"))
    wait_until(
        lambda: any(each["outcome"] == "stale_identity" for each in labelled.said("steady", "answer")),
        what="the old token is refused",
        timeout_seconds=60.0,
    )


def test_the_apps_port_is_closed_in_the_pod_and_by_the_policy(labelled: Labelled) -> None:
    [pod] = labelled.node.pods(labelled.namespace, f"app={SERVICE}")
    labelled.node.apply(labelled.account("atlas"))
    target = projects(pod["status"]["podIP"], APP_PORT)
    assert labelled.call_once("past", target, account="atlas")["outcome"] == "ConnectError"
    path = f"/apis/networking.k8s.io/v1/namespaces/{labelled.namespace}/networkpolicies/watchword-{SERVICE}"
    labelled.wait_for_owned(path)
    ingress = labelled.node.cluster.request("GET", path)["spec"]["ingress"]
    ranges = [port for rule in ingress for port in rule.get("ports", []) if port.get("protocol") == "TCP"]
    assert not [each for each in ranges if each["port"] <= APP_PORT <= each.get("endPort", each["port"])]


def test_a_rolling_upgrade_of_the_service_loses_no_call(labelled: Labelled) -> None:
    node = labelled.node
    node.apply(labelled.server(replicas=2))
    node.wait_for_rollout(labelled.namespace, "server")
    labelled.trust_now("atlas")
    labelled.start_calling("--fresh-connections", account="atlas")
    node.apply(labelled.server(replicas=2, release="next"))
    node.wait_for_rollout(labelled.namespace, "server")
    before = len(labelled.said("steady", "counts"))
    wait_until(
        lambda: len(labelled.said("steady", "counts")) > before + 2, what="more calls", timeout_seconds=60.0
    )
    counts = labelled.said("steady", "counts")[-1]["counts"]
    assert set(counts) == {"ok"}, counts
    assert counts["ok"] > 50


def test_an_upgrade_of_watchword_itself_loses_no_call(helm: Helm, labelled: Labelled) -> None:
    node = labelled.node
    labelled.trust_now("atlas")
    labelled.start_calling(account="atlas")
    flags = ("--reuse-values", "--set", "operator.logLevel=debug", "--set", "webhook.logLevel=debug")
    run(helm, node, "upgrade", RELEASE, str(CHART), *flags)
    for part in ("operator", "webhook"):
        node.wait_for_rollout(SYSTEM, f"{RELEASE}-{part}")
    # The new operator works: one more workload, one less.
    labelled.trust_now("second")
    counts = labelled.said("steady", "counts")[-1]["counts"]
    assert set(counts) == {"ok"}, counts


def test_what_belongs_to_a_service_goes_with_it(labelled: Labelled) -> None:
    owned = {
        f"/api/v1/namespaces/{labelled.namespace}/configmaps/watchword-bundle-{SERVICE}",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{labelled.namespace}/roles/watchword-bundle-{SERVICE}",
        f"/apis/networking.k8s.io/v1/namespaces/{labelled.namespace}/networkpolicies/watchword-{SERVICE}",
    }
    labelled.wait_for_owned(*owned)
    labelled.node.kubectl("-n", labelled.namespace, "delete", "protectedservice", SERVICE)
    for path in owned:
        labelled.node.wait_until_gone(path)


def test_a_pod_that_cannot_be_injected_is_refused_with_the_sentence_that_says_why(labelled: Labelled) -> None:
    pod = labelled.caller("lost", "http://nowhere", account="default")
    pod["metadata"]["labels"]["watchword.dev/call"] = "nowhere.none"
    with pytest.raises(ApiError, match=r"there is no ProtectedService none in the namespace nowhere"):
        labelled.node.cluster.request("POST", f"/api/v1/namespaces/{labelled.namespace}/pods", pod)
