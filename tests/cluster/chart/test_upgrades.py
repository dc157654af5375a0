# SPDX-License-Identifier: Apache-2.0
"""Upgrades from every chart that there ever was, with both ways of keeping values, on a real API server.

`--reuse-values` gives the new templates the old chart's values: what that one did not know is not there, and
no template may assume it. `--reset-then-reuse-values` is what the documentation names.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.charts.rendering import CHART, NAMESPACE
from testing.controlplane import Binaries, Cluster, Etcd, start_cluster
from tests.charts.conftest import Helm

ROOT = Path(__file__).parents[3]
OWN = ("--set", "operator.logLevel=debug", "--set", "gate.runAsUser=1000680000")


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def older_charts() -> list[str]:
    """One commit for each form that values.yaml has had, without the present one; none without a clone."""
    try:
        listed = git("log", "--format=%h", "--", "charts/watchword").decode().split()
        # From the oldest on: of each form the last chart stays.
        forms = {git("show", f"{each}:charts/watchword/values.yaml"): each for each in reversed(listed)}
    except (OSError, subprocess.CalledProcessError):
        return []
    present = (CHART / "values.yaml").read_bytes()
    return [commit for text, commit in forms.items() if text != present]


@pytest.fixture(scope="module")
def fresh(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server that nothing of Watchword was ever on."""
    with start_cluster(tmp_path_factory.mktemp("upgrades"), etcd=etcd, binaries=control_plane) as running:
        running.create_namespace(NAMESPACE)
        yield running


def run(helm: Helm, cluster: Cluster, *arguments: str) -> str:
    found = helm.run(*arguments, "--namespace", NAMESPACE, kubeconfig=cluster.kubeconfig)
    assert found.returncode == 0, found.stderr
    return found.stdout


def objects(text: str) -> dict[tuple[str, str], Any]:
    found = [each for each in yaml.safe_load_all(text) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def test_there_are_older_charts_to_upgrade_from() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: no history to take charts from")
    assert len(older_charts()) >= 2


@pytest.mark.parametrize("commit", older_charts())
def test_an_older_chart_is_upgraded_with_both_flags(
    helm: Helm, fresh: Cluster, commit: str, tmp_path: Path
) -> None:
    archive = git("archive", commit, "charts/watchword")
    subprocess.run(["tar", "--extract", f"--directory={tmp_path}"], input=archive, check=True)
    older = tmp_path / "charts" / "watchword"
    for definition in older.glob("files/crds/*.yaml"):
        # Some named keys `n` and `y` without quotes, and were never installed by anyone.
        definition.write_text(re.sub(r"^( +)([ny]):", r'\1"\2":', definition.read_text(), flags=re.MULTILINE))
    values = tmp_path / "own.yaml"
    values.write_text("{operator: {logLevel: debug}, gate: {runAsUser: 1000680000}}")
    try:
        run(helm, fresh, "install", "watchword", str(older), "--values", str(values))
        wanted = objects(
            helm.run(
                "template", "watchword", str(CHART), "-n", NAMESPACE, "-f", str(values), "--skip-tests"
            ).stdout
        )

        run(helm, fresh, "upgrade", "watchword", str(CHART), "--reuse-values")
        reused = run(helm, fresh, "get", "manifest", "watchword")
        assert "<no value>" not in reused
        assert "e+09" not in reused
        # Defaults of the old chart stay, so the objects are the same and their fields may differ.
        assert objects(reused).keys() == wanted.keys()
        [webhook] = objects(reused)["Deployment", "watchword-webhook"]["spec"]["template"]["spec"][
            "containers"
        ]
        assert "--gate-run-as-user=1000680000" in webhook["args"]
        assert not [each for each in webhook["args"] if each.endswith("=") or "<" in each]

        run(helm, fresh, "rollback", "watchword", "1")
        run(helm, fresh, "upgrade", "watchword", str(CHART), "--reset-then-reuse-values")
        assert objects(run(helm, fresh, "get", "manifest", "watchword")) == wanted
    finally:
        run(helm, fresh, "uninstall", "watchword", "--ignore-not-found")


OWN_KIND = {
    "apiVersion": "watchword.dev/v1alpha1",
    "kind": "ClusterTrustedIssuer",
    "metadata": {"name": "this-cluster", "annotations": {"team": "platform"}},
    "spec": {"issuer": "https://kubernetes.default.svc.cluster.local", "keys": {"cluster": {}}},
}
ISSUER = "/apis/watchword.dev/v1alpha1/clustertrustedissuers/this-cluster"


def test_own_kinds_come_with_the_first_install_and_stay_through_upgrades(
    helm: Helm, control_plane: Binaries, etcd: Etcd, tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"extraObjects": [OWN_KIND]}))
    flags = ("--values", str(values))
    with start_cluster(tmp_path / "cluster", etcd=etcd, binaries=control_plane) as cluster:
        cluster.create_namespace(NAMESPACE)
        run(helm, cluster, "install", "watchword", str(CHART), *flags)
        first = cluster.request("GET", ISSUER)
        assert first["metadata"]["annotations"]["team"] == "platform"

        run(helm, cluster, "upgrade", "watchword", str(CHART), *flags)
        again = cluster.request("GET", ISSUER)
        # Never made again: for a moment without it, its workloads would be refused.
        assert again["metadata"]["uid"] == first["metadata"]["uid"]
        assert "ClusterTrustedIssuer" in run(helm, cluster, "get", "manifest", "watchword")

        # Definitions and the policy about bundles are kept, and say whose they were.
        run(helm, cluster, "uninstall", "watchword")
        arguments = ("install", "another", str(CHART), "--namespace", NAMESPACE)
        refused = helm.run(*arguments, kubeconfig=cluster.kubeconfig)
        assert refused.returncode != 0
        assert "invalid ownership metadata" in refused.stderr
        run(helm, cluster, "install", "another", str(CHART), "--take-ownership")
        run(helm, cluster, "upgrade", "another", str(CHART))


def test_the_chart_in_an_umbrella_is_switched_by_its_condition(helm: Helm, tmp_path: Path) -> None:
    folder = tmp_path / "platform"
    folder.mkdir()
    dependency = {"name": "watchword", "version": "0.1.0", "repository": f"file://{CHART}"}
    chart = {
        "apiVersion": "v2",
        "name": "platform",
        "version": "1.0.0",
        "dependencies": [{**dependency, "condition": "watchword.enabled"}],
    }
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
    built = helm.run("dependency", "build", str(folder))
    assert built.returncode == 0, built.stderr

    def kinds(*flags: str) -> list[str]:
        found = helm.run("template", "platform", str(folder), "--kube-version", "1.36.0", *flags)
        assert found.returncode == 0, found.stderr
        return [each["kind"] for each in yaml.safe_load_all(found.stdout) if each]

    assert kinds("--set", "watchword.enabled=true").count("Deployment") == 2
    assert kinds("--set", "watchword.enabled=false") == []
    assert kinds("--set", "global.imageRegistry=registry.example").count("Deployment") == 2
    # By itself the chart cannot be switched off, and says so.
    alone = helm.run("template", "watchword", str(CHART), "--set", "enabled=false")
    assert alone.returncode != 0
    assert "enabled" in alone.stderr
