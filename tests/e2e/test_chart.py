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

from testing.charts.rendering import CHART
from testing.controlplane import wait_until
from testing.controlplane.api import ApiError
from testing.node.node import Node
from tests.charts.conftest import Helm, helm
from tests.e2e.labelled import Labelled
from tests.e2e.stage import APP_PORT, SERVICE, Stage, projects
from tests.image.fixtures import Images

__all__ = ["helm"]
SYSTEM = "watchword-system"
RELEASE = "watchword"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{RELEASE}-operator"
GATE = "watchword-gate"
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


@pytest.fixture
def prepared(installed: Node, images: Images, pod_namespace: str, tmp_path: Path) -> Labelled:
    """A service without a pod, and no caller trusted."""
    stage = Labelled(installed, images, pod_namespace, tmp_path)
    stage.prepare()
    return stage


@pytest.fixture
def labelled(prepared: Labelled) -> Labelled:
    """The same with one replica behind an injected gate."""
    prepared.node.apply(prepared.server(), prepared.address())
    prepared.node.wait_for_rollout(prepared.namespace, "server")
    return prepared


def test_helm_test_says_that_operator_and_webhook_are_ready(helm: Helm, installed: Node) -> None:
    assert "Succeeded" in run(helm, installed, "test", RELEASE, "--timeout", "120s")


def test_one_object_lets_a_workload_in_and_its_deletion_puts_it_out(labelled: Labelled) -> None:
    node, target = labelled.node, labelled.url()
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
    node, callers = labelled.node, {"kept": [], "fresh": ["--fresh-connections"]}
    node.apply(labelled.server(replicas=2))
    node.wait_for_rollout(labelled.namespace, "server")
    labelled.trust_now("atlas")
    for name, arguments in callers.items():
        labelled.start_calling("--pause-seconds=0.01", *arguments, account="atlas", name=name)
    before = names_of_pods(labelled)

    node.apply(labelled.server(replicas=2, release="next"))
    node.wait_for_rollout(labelled.namespace, "server")
    wait_until(lambda: names_of_pods(labelled).isdisjoint(before), what="old pods gone", timeout_seconds=90)

    during = {name: labelled.counts(name).get("ok", 0) for name in callers}
    wait_until(
        lambda: all(labelled.counts(name)["ok"] >= during[name] + 50 for name in callers),
        what="calls to the new pods",
        timeout_seconds=60.0,
    )
    counted = {name: labelled.counts(name) for name in callers}
    print(counted)
    assert [
        each for name in callers for each in labelled.said(name, "answer") if each["outcome"] != "ok"
    ] == []
    assert all(set(counts) == {"ok"} for counts in counted.values())


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
    counts = labelled.counts()
    assert set(counts) == {"ok"}, counts


def test_trust_is_edited_on_after_the_leaders_pod_was_killed(labelled: Labelled) -> None:
    node = labelled.node
    labelled.trust_now("atlas")
    labelled.start_calling("--pause-seconds=0.1", account="atlas")
    leader = node.cluster.request("GET", LEASE)["spec"]["holderIdentity"]
    pods = node.pods(SYSTEM, "app.kubernetes.io/component=operator")
    [leading] = [name for each in pods if leader.startswith(name := each["metadata"]["name"])]

    node.kubectl("-n", SYSTEM, "delete", "pod", leading, "--grace-period=0", "--force")
    suspended = labelled.workload("atlas")
    suspended["spec"]["suspend"] = True
    node.apply(suspended)

    wait_until(
        lambda: "suspended" in labelled.counts(),
        what="the edit in effect",
        timeout_seconds=60.0,
    )
    assert set(labelled.counts()) == {"ok", "suspended"}
    # Whoever comes next finds two operators again.
    node.wait_for_rollout(SYSTEM, f"{RELEASE}-operator")


def test_what_belongs_to_a_service_goes_with_it(labelled: Labelled) -> None:
    owned = {
        f"/api/v1/namespaces/{labelled.namespace}/configmaps/watchword-bundle-{SERVICE}",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{labelled.namespace}/roles/watchword-bundle-{SERVICE}",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{labelled.namespace}/rolebindings/watchword-bundle-{SERVICE}",
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


@pytest.mark.parametrize(("code", "end"), [(0, "Complete"), (1, "Failed")])
def test_a_job_behind_a_gate_ends_as_its_app_does(prepared: Labelled, code: int, end: str) -> None:
    prepared.node.apply(prepared.job("batch", prepared.gated_once(code)))

    ended, pod = prepared.end_of_job("batch")

    assert ended == end
    app, gate = terminated(pod, "containerStatuses", "app"), terminated(pod, "initContainerStatuses", GATE)
    assert app["exitCode"] == code
    # Told to end, and not killed: 137 would be the end of its grace period.
    assert gate["exitCode"] == 0, prepared.node.describe(prepared.namespace, pod["metadata"]["name"])
    assert gate["startedAt"] <= app["startedAt"] <= app["finishedAt"] <= gate["finishedAt"]


def test_a_job_that_calls_completes_when_its_calls_are_done(labelled: Labelled) -> None:
    labelled.trust_now("atlas")
    calling = labelled.caller("atlas", labelled.url(), "--calls=3", account="atlas")
    labelled.node.apply(labelled.job("batch", calling))

    ended, pod = labelled.end_of_job("batch")

    assert ended == "Complete"
    assert [each["outcome"] for each in labelled.said(pod["metadata"]["name"], "answer")] == ["ok"]
    assert labelled.said(pod["metadata"]["name"], "ended")[0]["counts"] == {"ok": 3}
    assert terminated(pod, "containerStatuses", "caller")["exitCode"] == 0


def terminated(pod: Json, statuses: str, container: str) -> Json:
    """How a container ended that ran once: exit code, and times in RFC 3339, which sort as text."""
    [status] = [each for each in pod["status"][statuses] if each["name"] == container]
    assert status["restartCount"] == 0, status
    found: Json = status["state"]["terminated"]
    return found


def names_of_pods(stage: Stage) -> set[str]:
    return {pod["metadata"]["name"] for pod in stage.node.pods(stage.namespace, f"app={SERVICE}")}
