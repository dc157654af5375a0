# SPDX-License-Identifier: Apache-2.0
"""A pod that asks and was given nothing is refused by the API server itself, in every namespace.

The webhook is not asked about its own namespace and `kube-system`, sees no label that is on a Deployment
alone, and may be away as a whole: none of that may leave a pod unprotected without a word.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from testing.controlplane import Cluster
from testing.controlplane.api import ApiError
from testing.controlplane.process import wait_until
from tests.cluster.webhook.conftest import SYSTEM
from tests.injection.pods import SETTINGS, app_pod, caller_pod, world
from tests.injection.test_exchange import desks, exchanging_pod
from tests.shipped import injection_policies
from watchword.injection import Injected, inject

_numbers = itertools.count(1)
GATE, CALL, EXCHANGE = "watchword.dev/gate", "watchword.dev/call", "watchword.dev/exchange"
WORKLOADS = {
    "Deployment": ("apps/v1", "deployments"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "ReplicationController": ("v1", "replicationcontrollers"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
}


@pytest.fixture(scope="module")
def guarded(installed: Cluster) -> Iterator[Cluster]:
    """The cluster with the policies in force, and no webhook at all."""
    made = injection_policies()
    assert len(made) == 4
    try:
        for each in made:
            installed.apply(each)
        wait_until(
            lambda: refused(installed, "default", app_pod()) is not None, what="the policies are in force"
        )
        wait_until(
            lambda: (
                refused(installed, "default", workload("Deployment", metadata={GATE: "enabled"})) is not None
            ),
            what="the policy about workloads is in force",
        )
        yield installed
    finally:
        for each in reversed(made):
            installed.request("DELETE", installed.path_of(each))


def path_of(where: str, document: dict[str, Any]) -> str:
    version, plural = WORKLOADS.get(document["kind"], ("v1", "pods"))
    return f"/{'api' if version == 'v1' else 'apis'}/{version}/namespaces/{where}/{plural}"


def create(cluster: Cluster, where: str, document: dict[str, Any]) -> dict[str, Any]:
    document["metadata"]["name"] = f"asks-{next(_numbers)}"
    return cluster.request("POST", path_of(where, document), document)


def refused(cluster: Cluster, where: str, document: dict[str, Any]) -> str | None:
    """Why the API server does not store an object; None: it does."""
    try:
        create(cluster, where, document)
    except ApiError as error:
        return str(error)
    return None


def workload(
    kind: str, *, metadata: dict[str, str] | None = None, template: dict[str, str] | None = None
) -> dict[str, Any]:
    """An object that makes pods, with these labels on itself and on its template."""
    spec: dict[str, Any] = {"containers": [{"name": "app", "image": "registry.invalid/app:1"}]}
    labels = {"app": "tuist-server", **(template or {})}
    pod = {"metadata": {"labels": labels}, "spec": spec}
    version, _ = WORKLOADS[kind]
    selector: Any = {"matchLabels": {"app": "tuist-server"}}
    inner: dict[str, Any] = {"template": pod}
    if kind in {"Job", "CronJob"}:
        spec["restartPolicy"] = "Never"
    elif kind == "ReplicationController":
        inner["selector"] = {"app": "tuist-server"}
    else:
        inner["selector"] = selector
    if kind == "StatefulSet":
        inner["serviceName"] = "app"
    if kind == "CronJob":
        inner = {"schedule": "0 3 * * *", "jobTemplate": {"spec": inner}}
    return {"apiVersion": version, "kind": kind, "metadata": {"labels": metadata or {}}, "spec": inner}


@pytest.mark.parametrize("where", ["default", "kube-system", SYSTEM])
@pytest.mark.parametrize(
    "pod", [app_pod(), caller_pod(), exchanging_pod()], ids=["gate", "token", "exchange"]
)
def test_a_pod_that_was_given_nothing_is_refused_everywhere(
    guarded: Cluster, where: str, pod: dict[str, Any]
) -> None:
    said = refused(guarded, where, pod)
    assert said is not None
    assert "was given none" in said
    assert f"in the namespace {where}" in said


def test_an_injected_pod_and_one_that_does_not_ask_are_stored(guarded: Cluster) -> None:
    for pod, place in (
        (app_pod(), "tuist"),
        (caller_pod(), "atlas-production"),
        (exchanging_pod(), "atlas-production"),
    ):
        found = inject(pod, place, desks(), SETTINGS)
        assert isinstance(found, Injected)
        assert refused(guarded, "default", found.pod) is None
    plain = app_pod()
    del plain["metadata"]["labels"][GATE]
    assert refused(guarded, "kube-system", plain) is None


@pytest.mark.parametrize("name", [GATE, CALL, EXCHANGE])
def test_a_label_written_as_an_annotation_is_refused(guarded: Cluster, name: str) -> None:
    pod = app_pod(metadata__annotations={name: "enabled"})
    del pod["metadata"]["labels"][GATE]
    said = refused(guarded, "default", pod)
    assert said is not None
    assert "are labels" in said


def test_the_annotation_of_calls_without_its_label_is_refused_and_with_it_is_not(guarded: Cluster) -> None:
    calls = {"watchword.dev/calls": "tuist/tuist-server"}
    pod = caller_pod(metadata__annotations=calls)
    pod["metadata"]["labels"] = {}
    said = refused(guarded, "default", pod)
    assert said is not None
    assert "watchword.dev/call: enabled" in said
    pod["metadata"]["labels"] = {CALL: "enabled"}
    found = inject(pod, "atlas-production", world(), SETTINGS)
    assert isinstance(found, Injected)
    assert refused(guarded, "default", found.pod) is None


def test_a_running_pod_cannot_be_labelled_into_a_promise_but_can_be_changed_otherwise(
    guarded: Cluster,
) -> None:
    plain = app_pod()
    del plain["metadata"]["labels"][GATE]
    stored = create(guarded, "default", plain)
    path = f"/api/v1/namespaces/default/pods/{stored['metadata']['name']}"
    merge = "application/merge-patch+json"
    with pytest.raises(ApiError, match="was given none"):
        guarded.request("PATCH", path, {"metadata": {"labels": {GATE: "enabled"}}}, content_type=merge)
    guarded.request("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, content_type=merge)


@pytest.mark.parametrize("kind", WORKLOADS)
@pytest.mark.parametrize("name", [GATE, CALL, EXCHANGE])
def test_a_label_on_what_makes_pods_and_not_on_its_pods_is_refused(
    guarded: Cluster, kind: str, name: str
) -> None:
    said = refused(guarded, "default", workload(kind, metadata={name: "enabled"}))
    assert said is not None
    assert "not on the pods that it makes" in said
    both = workload(kind, metadata={name: "enabled"}, template={name: "enabled"})
    assert refused(guarded, "default", both) is None
    assert refused(guarded, "default", workload(kind, template={name: "enabled"})) is None
    assert refused(guarded, "default", workload(kind)) is None


def test_a_job_template_with_the_label_and_pods_without_is_refused(guarded: Cluster) -> None:
    cron = workload("CronJob")
    cron["spec"]["jobTemplate"]["metadata"] = {"labels": {GATE: "enabled"}}
    assert refused(guarded, "default", cron) is not None


def test_what_was_mislabelled_before_the_policies_can_still_be_changed(guarded: Cluster) -> None:
    """A Deployment's controller writes to it: stopping that would stop the rollout that mends it."""
    bindings = [each for each in injection_policies() if each["kind"].endswith("Binding")]
    [binding] = [each for each in bindings if "workloads" in each["metadata"]["name"]]
    guarded.request("DELETE", guarded.path_of(binding))
    before = workload("Deployment", metadata={GATE: "enabled"})
    try:
        wait_until(lambda: refused(guarded, "default", before) is None, what="the policy is away")
    finally:
        guarded.apply(binding)
    wait_until(
        lambda: refused(guarded, "default", workload("Deployment", metadata={GATE: "enabled"})) is not None,
        what="the policy is back",
    )
    path = f"{path_of('default', before)}/{before['metadata']['name']}"
    merge = "application/merge-patch+json"
    guarded.request("PATCH", path, {"metadata": {"annotations": {"a": "b"}}}, content_type=merge)
    right = {"spec": {"template": {"metadata": {"labels": {GATE: "enabled"}}}}}
    guarded.request("PATCH", path, right, content_type=merge)
    wrong = {"spec": {"template": {"metadata": {"labels": {GATE: None}}}}}
    with pytest.raises(ApiError, match="not on the pods that it makes"):
        guarded.request("PATCH", path, wrong, content_type=merge)
