# SPDX-License-Identifier: Apache-2.0
"""`watchword uninstall` on installations without Helm and with it, through the real kubectl."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from testing.charts.rendering import CHART, NAMESPACE
from testing.controlplane import Binaries, Cluster, Etcd, start_cluster
from tests.charts.conftest import Helm
from tests.cluster.chart.test_helm import CRDS, KINDS_OF_OURS, ours
from watchword.cli.main import watchword

ROOT = Path(__file__).parents[3]
SCRIPTS = sysconfig.get_path("scripts")
MADE: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": NAMESPACE, "name": "watchword-webhook-tls"},
    },
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": NAMESPACE, "name": "watchword-operator"},
    },
]
NOT_OURS = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"namespace": NAMESPACE, "name": "registry"},
}
CLEANERS = {"clusterroles/watchword-bundle-cleaner", "clusterrolebindings/watchword-bundle-cleaner"}


@pytest.fixture
def cluster(control_plane: Binaries, etcd: Etcd, tmp_path: Path) -> Iterator[Cluster]:
    """An API server of this test's own."""
    with start_cluster(tmp_path / "cluster", etcd=etcd, binaries=control_plane) as running:
        yield running


def uninstall(cluster: Cluster, *flags: str, said: str = "") -> Result:
    path = f"{SCRIPTS}:{os.environ['PATH']}"
    arguments = ["uninstall", f"--kubeconfig={cluster.kubeconfig}", *flags]
    return CliRunner().invoke(watchword, arguments, env={"PATH": path}, input=said)


def secrets(cluster: Cluster) -> set[str]:
    found = cluster.request("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")["items"]
    return {each["metadata"]["name"] for each in found}


def leases(cluster: Cluster) -> int:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    return len(cluster.request("GET", path)["items"])


def test_an_installation_without_helm_goes_with_what_it_made_and_nothing_else(cluster: Cluster) -> None:
    command = [f"{SCRIPTS}/kubectl", f"--kubeconfig={cluster.kubeconfig}", "apply", "--server-side"]
    subprocess.run([*command, "-k", str(ROOT / "manifests/install")], check=True, capture_output=True)
    for each in (*MADE, NOT_OURS):
        cluster.apply(each)
    before = ours(cluster)
    assert "mutatingwebhookconfigurations/watchword-webhook" in before

    shown = uninstall(cluster, "--dry-run")
    assert shown.exit_code == 0, shown.output
    lines = [line.split("  ")[1] for line in shown.stdout.splitlines() if line.startswith("would remove")]
    # What refuses pods goes first.
    assert lines[0] == "mutatingwebhookconfigurations/watchword-webhook"
    assert {
        "secrets/watchword-webhook-tls in watchword-system",
        "leases/watchword-operator in watchword-system",
    } < set(lines)
    assert ours(cluster) == before
    assert uninstall(cluster, said="n\n").exit_code == 1
    assert ours(cluster) == before

    done = uninstall(cluster, "--yes")
    assert done.exit_code == 0, done.output
    assert ours(cluster) == CLEANERS
    assert secrets(cluster) == {"registry"}
    assert leases(cluster) == 0
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    assert [each["metadata"]["name"] for each in cluster.request("GET", policies)["items"]] == [
        "bundles.watchword.dev"
    ]
    assert len(cluster.request("GET", CRDS)["items"]) == KINDS_OF_OURS
    again = uninstall(cluster, "--yes")
    assert again.exit_code == 0
    assert "Nothing of an installation" in again.output


def test_what_helm_manages_is_left_to_helm_and_its_rest_is_removed(cluster: Cluster, helm: Helm) -> None:
    flags = ("--namespace", NAMESPACE, "--create-namespace")
    assert helm.run("install", "watchword", str(CHART), *flags, kubeconfig=cluster.kubeconfig).returncode == 0
    for each in MADE:
        cluster.apply(each)
    before = ours(cluster)
    refused = uninstall(cluster, "--yes")
    assert refused.exit_code == 1
    assert "helm uninstall watchword" in refused.output
    assert ours(cluster) == before

    assert helm.run("uninstall", "watchword", "-n", NAMESPACE, kubeconfig=cluster.kubeconfig).returncode == 0
    assert secrets(cluster) >= {"watchword-webhook-tls"}
    done = uninstall(cluster, "--yes")
    assert done.exit_code == 0, done.output
    assert secrets(cluster) == set()
    assert leases(cluster) == 0
    assert ours(cluster) == CLEANERS
