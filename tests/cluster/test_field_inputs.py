# SPDX-License-Identifier: Apache-2.0
"""Inputs from the field that only an API server judges: what `watchword inject` prints of them, applied."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.controlplane import Cluster, wait_until
from testing.controlplane.api import ApiError
from tests.field.reading import INPUTS, gate_of, injected

KUBECTL = Path(sysconfig.get_path("scripts"), "kubectl")
SIDES = pytest.mark.parametrize("side", [(), ("--server-side",)], ids=["client-side", "server-side"])
SETTING = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "settings.example.test"},
    "spec": {
        "group": "example.test",
        "scope": "Namespaced",
        "names": {"kind": "Setting", "plural": "settings"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def shop(crds: Cluster) -> Cluster:
    """The cluster, with the namespace and the custom resource that the inputs name."""
    # Others of this cluster use it too.
    crds.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    crds.apply(SETTING)
    path = "/apis/example.test/v1"

    def is_served() -> bool:
        try:
            return "Setting" in json.dumps(crds.request("GET", path))
        except ApiError:
            return False

    wait_until(is_served, what="the custom resource is served", timeout_seconds=60)
    return crds


def applied(cluster: Cluster, name: str, folder: Path, *side: str) -> list[Json]:
    """What is stored after `watchword inject FILE | kubectl apply -f -`."""
    done = injected(name, folder)
    assert done.exit_code == 0, done.output
    flags = (f"--kubeconfig={cluster.kubeconfig}", "--output=json", "--filename=-")
    stored = kubectl("apply", *side, *flags, given=done.stdout)
    kubectl(
        f"--kubeconfig={cluster.kubeconfig}",
        "delete",
        "--now",
        "--wait=false",
        "--filename=-",
        given=done.stdout,
    )
    found = json.loads(stored)
    return list(found.get("items", [found]))


def kubectl(*arguments: str, given: str) -> str:
    command = [str(KUBECTL), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@SIDES
def test_text_that_looks_like_something_else_is_stored_as_text(
    shop: Cluster, tmp_path: Path, side: tuple[str, ...]
) -> None:
    switches, ledger = applied(shop, "strings-that-look-like-others.yaml", tmp_path, *side)
    assert switches["data"] == {"DEBUG": "n", "REVISION": "7e8", "ZONE": "08"}
    spec = ledger["spec"]["template"]["spec"]
    assert spec["containers"][0]["env"] == [
        {"name": "VERBOSE", "value": "y"},
        {"name": "GIT_SHA", "value": "1234e56"},
    ]
    assert gate_of(spec)


@SIDES
def test_a_custom_resource_keeps_its_text(shop: Cluster, tmp_path: Path, side: tuple[str, ...]) -> None:
    [setting] = applied(shop, "custom-resource-strings.yaml", tmp_path, *side)
    assert setting["spec"] == {"country": "n", "release": "7e8", "mode": "0o17"}


@SIDES
def test_an_octal_mode_is_the_mode_that_was_written(
    shop: Cluster, tmp_path: Path, side: tuple[str, ...]
) -> None:
    [pod] = applied(shop, "pod-octal-mode.yaml", tmp_path, *side)
    [secret] = [each["secret"] for each in pod["spec"]["volumes"] if each["name"] == "s"]
    assert secret["defaultMode"] == 0o440
    assert gate_of(pod["spec"])


def test_a_namespace_with_a_quota_takes_a_gate_that_was_told_of_it(
    crds: Cluster, tmp_path: Path, new_namespace: Callable[..., str]
) -> None:
    place = new_namespace(crds)
    quota, floor = yaml.safe_load_all((INPUTS / "namespace-with-quota.yaml").read_text())
    for each in (quota, floor):
        crds.apply({**each, "metadata": {**each["metadata"], "namespace": place}})
    # No controller runs here that would count.
    hard = quota["spec"]["hard"]
    counted = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
    path = f"/api/v1/namespaces/{place}/resourcequotas/team/status"
    crds.request("PATCH", path, counted, content_type="application/merge-patch+json")
    done = injected("pod-octal-mode.yaml", tmp_path)
    pod = yaml.safe_load(done.stdout)
    pod["metadata"]["namespace"] = place
    limited = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "144Mi"}}
    pod["spec"]["containers"][0]["resources"] = limited
    asked = {"parameters": {"dryRun": "All"}}
    pods = f"/api/v1/namespaces/{place}/pods"
    with pytest.raises(ApiError, match=r"limits\.cpu|minimum cpu"):
        crds.request("POST", pods, pod, **asked)
    # As its author says it, by the annotations that the page has.
    notes = {"watchword.dev/gate-cpu": "50m", "watchword.dev/gate-cpu-limit": "500m"}
    given = yaml.safe_load((INPUTS / "pod-octal-mode.yaml").read_text())
    given["metadata"]["annotations"] = notes
    (tmp_path / "told.yaml").write_text(json.dumps(given))
    told = injected(str(tmp_path / "told.yaml"), tmp_path)
    assert told.exit_code == 0, told.output
    pod = yaml.safe_load(told.stdout)
    pod["metadata"]["namespace"] = place
    pod["spec"]["containers"][0]["resources"] = limited
    assert crds.request("POST", pods, pod, **asked)["metadata"]["name"] == "ledger-1"
