# SPDX-License-Identifier: Apache-2.0
"""`watchword inject`: manifests in, the same manifests with gates and tokens out, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.injection.pods import app_pod, caller_pod
from tests.trust.manifests import issuer, service, workload
from watchword.cli.main import watchword


@pytest.fixture
def services(tmp_path: Path) -> Path:
    folder = tmp_path / "services"
    folder.mkdir()
    objects = (issuer(), service(serviceAccountName="tuist-server"), workload())
    (folder / "all.yaml").write_text("\n---\n".join(json.dumps(each) for each in objects))
    return folder


def run(services: Path, *documents: Any, flags: tuple[str, ...] = ("-n", "tuist")) -> Result:
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
    result = run(services, job, flags=("-o", "json"))
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
