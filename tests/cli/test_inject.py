# SPDX-License-Identifier: Apache-2.0
"""`watchword inject`: manifests in, the same manifests with gates and tokens out, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import issuer, service, token_desk, workload
from tests.injection.pods import CLUSTER_ID, app_pod, caller_pod, own_audience
from tests.injection.test_exchange import AUDIENCE, exchanging_pod, sources_of
from watchword.cli.main import watchword
from watchword.cli.pod_templates import pod_templates, unanswered


@pytest.fixture
def services(tmp_path: Path) -> Path:
    folder = tmp_path / "services"
    folder.mkdir()
    objects = (issuer(), service(serviceAccountName="tuist-server"), workload())
    (folder / "all.yaml").write_text("\n---\n".join(json.dumps(each) for each in objects))
    return folder


def run(
    services: Path, *documents: Any, flags: tuple[str, ...] = ("-n", "tuist", "--cluster-id", CLUSTER_ID)
) -> Result:
    text = "\n---\n".join(json.dumps(each) for each in documents)
    return CliRunner().invoke(watchword, ["inject", "-", "--services", str(services), *flags], input=text)


def deployment(pod: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app", "namespace": "tuist"},
        "spec": {"replicas": 2, "template": template},
    }


def test_a_deployment_gets_the_gate_in_its_template(services: Path) -> None:
    result = run(
        services, deployment(app_pod()), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}
    )
    assert result.exit_code == 0, result.output
    first, second = yaml.safe_load_all(result.stdout)
    assert first["spec"]["template"]["spec"]["initContainers"][0]["name"] == "watchword-gate"
    assert first["spec"]["replicas"] == 2
    assert second["kind"] == "Service"


def test_the_output_fed_in_again_comes_out_the_same(services: Path) -> None:
    once = run(services, deployment(app_pod()))
    again = run(services, *yaml.safe_load_all(once.stdout))
    assert again.stdout == once.stdout


def test_a_cron_job_that_calls_gets_a_token(services: Path) -> None:
    template = {"metadata": {"labels": caller_pod()["metadata"]["labels"]}, "spec": caller_pod()["spec"]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "atlas-production"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}},
    }
    result = run(services, job, flags=("-o", "json", "--cluster-id", CLUSTER_ID))
    [item] = json.loads(result.stdout)["items"]
    spec = item["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert spec["volumes"][-1]["name"] == "watchword-token"
    assert result.stderr == ""


def test_one_pod_that_cannot_be_injected_leaves_nothing_printed(services: Path) -> None:
    result = run(services, deployment(app_pod()), app_pod(spec__hostNetwork=True))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Pod tuist-server-0: Watchword cannot inject this pod (HostNetwork)" in result.stderr


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x\n", "- 1\n", "{"])
def test_what_is_no_manifest_is_said(services: Path, text: str) -> None:
    result = CliRunner().invoke(watchword, ["inject", "-", "--services", str(services)], input=text)
    assert result.exit_code == 2
    assert "Remedy" in result.stderr


# As people had it: three that must be injected, and one that must be refused.
FIELD_KINDS = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: ledger, namespace: shop}
spec:
  template:
    metadata: {labels: {app: ledger, watchword.dev/gate: enabled}}
    spec: {serviceAccountName: ledger, containers: [{name: app, image: "registry.invalid/l:1"}]}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: ledger-rc, namespace: shop}
spec:
  template:
    metadata: {labels: {app: ledger, watchword.dev/gate: enabled}}
    spec: {serviceAccountName: ledger, containers: [{name: app, image: "registry.invalid/l:1"}]}
---
apiVersion: apps/v1
kind: DeploymentList
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: ledger, namespace: shop}
  spec:
    selector: {matchLabels: {app: ledger}}
    template:
      metadata: {labels: {app: ledger, watchword.dev/gate: enabled}}
      spec: {serviceAccountName: ledger, containers: [{name: app, image: "registry.invalid/l:1"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: on-top, namespace: shop, labels: {watchword.dev/gate: enabled}}
spec:
  selector: {matchLabels: {app: ledger}}
  template:
    metadata: {labels: {app: ledger}}
    spec: {serviceAccountName: ledger, containers: [{name: app, image: "registry.invalid/l:1"}]}
"""
FIELD = {
    "Rollout": ("argoproj.io/v1alpha1", ("spec", "template")),
    "ReplicationController": ("v1", ("spec", "template")),
    "Deployment": ("apps/v1", ("spec", "template")),
    "PodTemplate": ("v1", ("template",)),
    "CronJob": ("batch/v1", ("spec", "jobTemplate", "spec", "template")),
    "TrainingJob": ("example.org/v1", ("spec", "replicaSpecs", "Worker", "template")),
}


def holding(kind: str, version: str, path: tuple[str, ...], template: Any) -> dict[str, Any]:
    """An object of a kind with a pod template at a path."""
    inner: Any = template
    for member in reversed(path):
        inner = {member: inner}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "app", "namespace": "tuist"}} | inner


def test_a_pod_that_exchanges_gets_a_token_for_the_desk_of_the_manifests(services: Path) -> None:
    without = run(services, exchanging_pod())
    assert (without.exit_code, without.stdout) == (1, "")
    assert "DeskNotFound" in without.stderr

    desk = token_desk("desk", "watchword-desk", issuer="https://desk.example.com")
    (services / "desk.yaml").write_text(json.dumps(desk))
    given = run(services, exchanging_pod())
    assert given.exit_code == 0, given.output
    [pod] = yaml.safe_load_all(given.stdout)
    assert [each["audience"] for each in sources_of(pod)] == [AUDIENCE]
    assert run(services, pod).stdout == given.stdout

    unknown = run(services, exchanging_pod(), flags=("-n", "tuist"))
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "--cluster-id" in unknown.stderr


def test_the_label_that_exchanges_where_no_pod_has_it_is_refused(services: Path) -> None:
    document = deployment(app_pod())
    document["metadata"]["labels"] = {"watchword.dev/exchange": "watchword-desk.desk"}
    result = run(services, document)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "metadata.labels[watchword.dev/exchange]: no pod that this object makes" in result.stderr


def template_of(pod: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]}


@pytest.mark.parametrize("kind", FIELD)
@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in its list"])
def test_a_template_of_any_kind_gets_what_it_asks_for(services: Path, kind: str, wrapped: bool) -> None:
    version, path = FIELD[kind]
    document = holding(kind, version, path, template_of(app_pod()))
    given = {"apiVersion": version, "kind": f"{kind}List", "items": [document]} if wrapped else document
    result = run(services, given)
    assert result.exit_code == 0, result.output
    [found] = yaml.safe_load_all(result.stdout)
    for member in path:
        found = found[member]
    assert found["spec"]["initContainers"][0]["name"] == "watchword-gate"


@pytest.mark.parametrize("kind", FIELD)
@pytest.mark.parametrize("place", ["labels", "annotations"])
def test_a_label_that_no_pod_would_have_is_refused_by_its_field(
    services: Path, kind: str, place: str
) -> None:
    version, path = FIELD[kind]
    quiet = {"metadata": {"labels": {"app": "tuist-server"}}, "spec": app_pod()["spec"]}
    document = holding(kind, version, path, quiet)
    document["metadata"][place] = {"watchword.dev/gate": "enabled"}
    result = run(services, document)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"metadata.{place}[watchword.dev/gate]: no pod that this object makes" in result.stderr


@pytest.mark.parametrize(
    ("version", "kind", "code"),
    [("v1", "Service", 0), ("example.org/v1", "Widget", 1), ("apps/v1", "Deployment", 1)],
)
def test_a_label_on_an_object_without_pods_is_told_or_refused(
    services: Path, version: str, kind: str, code: int
) -> None:
    metadata = {"name": "a", "labels": {"watchword.dev/gate": "enabled"}}
    result = run(services, {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {}})
    assert result.exit_code == code
    assert "metadata.labels[watchword.dev/gate]" in result.stderr


def test_the_inputs_from_the_field_are_injected_or_refused(services: Path) -> None:
    text = FIELD_KINDS.replace("app: ledger,", "app: tuist-server,").replace("shop", "tuist")
    documents = text.split("---\n")
    flags = ["inject", "-", "--services", str(services), "-n", "tuist"]
    good = CliRunner().invoke(watchword, flags, input="---\n".join(documents[:-1]))
    assert good.exit_code == 0, good.output
    assert good.stdout.count("restartPolicy: Always") == 3
    bad = CliRunner().invoke(watchword, flags, input=documents[-1])
    assert (bad.exit_code, bad.stdout) == (1, "")
    assert "Deployment on-top: metadata.labels[watchword.dev/gate]" in bad.stderr


asking = st.sampled_from(["watchword.dev/gate", "watchword.dev/call"])
nested = st.recursive(
    st.dictionaries(st.sampled_from(["labels", "metadata", "spec", "app"]), st.just("x"), max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["metadata", "spec", "template", "podTemplate", "labels", "items"]),
        inner | st.lists(inner, max_size=2),
        max_size=3,
    ),
    max_leaves=12,
)


@given(nested, asking, st.booleans())
def test_wherever_an_object_asks_it_is_answered_or_named(tree: Any, label: str, in_template: bool) -> None:
    """The kind of the mistake: a place that the search does not know. Whatever is around it, one comes."""
    template = {"metadata": {"labels": {label: "enabled"}}, "spec": {"containers": []}}
    place = template if in_template else {"labels": {label: "enabled"}}
    document = {"apiVersion": "example.org/v1", "kind": "Any", "spec": tree | {"deep": [{"here": place}]}}
    injected = [each for each in pod_templates(document) if each.pod is template]
    named = [each for each in unanswered(document) if each.path == "spec.deep[0].here.labels"]
    assert (len(injected), len(named)) == ((1, 0) if in_template else (0, 1))


def test_a_token_without_the_cluster_is_refused_and_says_the_flag(services: Path) -> None:
    result = run(services, caller_pod(), flags=("-n", "atlas-production"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "ClusterUnknown" in result.stderr
    assert "--cluster-id" in result.stderr


def test_a_token_has_the_derived_audience_and_no_declared_one(services: Path) -> None:
    result = run(services, caller_pod(), flags=("-n", "atlas-production", "--cluster-id", CLUSTER_ID))
    assert f"audience: {own_audience()}\n" in result.stdout
    assert "audience: tuist-server\n" not in result.stdout


METER = {"name": "requests", "eventType": "api.request", "aggregation": "count"}


@pytest.mark.parametrize(("replicas", "code"), [(1, 0), (2, 1), (None, 0)])
@pytest.mark.parametrize("accepted", [False, True])
def test_several_replicas_that_count_usage_alone_are_refused_unless_accepted(
    tmp_path: Path, replicas: int | None, code: int, accepted: bool
) -> None:
    (tmp_path / "all.yaml").write_text(json.dumps(service(usage={"meters": [METER]})))
    pod = app_pod(metadata__annotations={"watchword.dev/usage-per-replica": "accepted"} if accepted else {})
    document = deployment(pod)
    document["spec"]["template"]["metadata"] = {
        key: pod["metadata"][key] for key in ("labels", "annotations")
    }
    document["spec"] |= {"replicas": replicas} if replicas else {}
    if replicas is None:
        del document["spec"]["replicas"]
    result = run(tmp_path, document)
    assert result.exit_code == (0 if accepted else code), result.output
    assert ("SeveralReplicas" in result.stderr) == (code == 1 and not accepted)


def test_replicas_do_not_matter_without_meters_or_with_one_store(services: Path, tmp_path: Path) -> None:
    assert run(services, deployment(app_pod())).exit_code == 0
    metered = tmp_path / "metered"
    metered.mkdir()
    (metered / "all.yaml").write_text(json.dumps(service(usage={"meters": [METER]})))
    document = deployment(app_pod())
    document["spec"]["template"]["metadata"]["annotations"] = {"watchword.dev/gate-usage-secret": "usage"}
    assert run(metered, document).exit_code == 0
