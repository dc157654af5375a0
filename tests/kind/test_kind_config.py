# SPDX-License-Identifier: Apache-2.0
"""kind-config.yaml says what kubeadm takes, and every flag in it is one that this API server has."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.controlplane import Binaries, BuildFailedError, ControlPlaneUnavailableError, find_binaries
from testing.controlplane.binary import kubernetes_version
from testing.unavailable import skip_or_fail
from tests.kind.kubeadm import find_kubeadm

CONFIG: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "kind-config.yaml").read_text())
pytestmark = pytest.mark.cluster


def found(find: Any) -> Any:
    """The program; skips, or fails in CI, where it is not to be had."""
    try:
        return find()
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        skip_or_fail("kind tests", problem, required_by="WATCHWORD_REQUIRE_CLUSTER")


def patches() -> list[dict[str, Any]]:
    return [
        yaml.safe_load(patch) for node in CONFIG["nodes"] for patch in node.get("kubeadmConfigPatches", ())
    ]


def validated(document: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "kubeadm.yaml"
    file.write_text(yaml.safe_dump(document))
    command = [str(found(find_kubeadm)), "config", "validate", "--config", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("patch", patches(), ids=lambda each: each["kind"])
def test_kubeadm_takes_each_patch(patch: dict[str, Any], tmp_path: Path) -> None:
    whole = {"kubernetesVersion": kubernetes_version(), "networking": {"podSubnet": "10.244.0.0/16"}, **patch}
    result = validated(whole, tmp_path)
    assert result.returncode == 0, result.stderr
    # kubeadm says unknown fields as warnings only.
    assert "unknown field" not in result.stderr, result.stderr


@pytest.mark.parametrize("spoilt", [{"apiServer": {"extraArgs": {"a": "b"}}}, {"apiServers": {}}])
def test_kubeadm_finds_what_is_wrong_with_a_patch(spoilt: dict[str, Any], tmp_path: Path) -> None:
    whole = {"kubernetesVersion": kubernetes_version(), **patches()[0], **spoilt}
    result = validated(whole, tmp_path)
    assert result.returncode != 0 or "unknown field" in result.stderr


def test_each_flag_is_one_of_this_api_server() -> None:
    binaries: Binaries = found(find_binaries)
    told = subprocess.run(
        [str(binaries.kube_apiserver), "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    for patch in patches():
        for argument in patch["apiServer"]["extraArgs"]:
            assert f"--{argument['name']} " in told


def test_it_has_two_nodes_and_listens_on_this_machine_only() -> None:
    assert [node["role"] for node in CONFIG["nodes"]] == ["control-plane", "worker"]
    for node in CONFIG["nodes"]:
        for mapping in node.get("extraPortMappings", ()):
            assert mapping["listenAddress"] == "127.0.0.1"


def test_the_judge_is_of_the_version_that_the_other_tests_run() -> None:
    module = Path(__file__).parent / "kubeadm" / "go.mod"
    assert f"k8s.io/kubernetes {kubernetes_version()} " in module.read_text()
