# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/how-to/install.md, run in order on a real API server; only the registry is made up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.controlplane import Binaries, Cluster, Etcd, start_cluster
from testing.environment import child_environment
from tests.charts.conftest import Helm
from tests.cluster.chart.test_helm import CRDS, KINDS_OF_OURS, ours
from tests.e2e.reader import ROOT, blocks_of

PAGE = blocks_of((ROOT / "docs/how-to/install.md").read_text())
FILLED = (("REGISTRY", "registry.invalid/watchword"), ("sha256:...", "sha256:" + "0" * 64))
# It waits for pods, which run on the node alone (tests/e2e/test_chart.py); here, until the kinds are served.
SERVED = "until kubectl api-resources --categories=watchword -o name | grep -q protected; do sleep 1; done"
NEEDS_PODS = re.compile(r"^helm test .*$", re.MULTILINE)
# No controller runs here that would end a namespace.
NEEDS_CONTROLLERS = re.compile(r"^kubectl delete namespace .*$", re.MULTILINE)


@pytest.fixture
def cluster(control_plane: Binaries, etcd: Etcd, tmp_path: Path) -> Iterator[Cluster]:
    """An API server of this test's own."""
    with start_cluster(tmp_path / "cluster", etcd=etcd, binaries=control_plane) as running:
        yield running


def test_each_block_does_what_the_page_says(cluster: Cluster, helm: Helm, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/helm").symlink_to(helm.program)
    script = tmp_path / "bin/watchword"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m watchword.cli.main "$@"\n')
    script.chmod(0o755)
    path = f"{tmp_path}/bin:{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    environment = child_environment(
        PATH=path, HOME=str(tmp_path), KUBECONFIG=str(cluster.kubeconfig), PYTHONPATH=f"{ROOT}/src"
    )

    def run(block: str) -> str:
        for old, new in FILLED:
            block = block.replace(old, new)
        block = NEEDS_CONTROLLERS.sub("true", NEEDS_PODS.sub(SERVED, block))
        command = ["bash", "-euc", block]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout

    install, plain, upgrade, uninstall, rest, refusing, definitions, guards = PAGE
    run(install)
    installed = ours(cluster)
    run(upgrade)
    assert ours(cluster) == installed
    run(uninstall)
    cleaners = ours(cluster)
    assert len(cleaners) == 2

    def remove_all() -> None:
        assert len(cluster.request("GET", CRDS)["items"]) == KINDS_OF_OURS
        run(definitions)
        assert cluster.request("GET", CRDS)["items"] == []
        run(guards)
        assert ours(cluster) == set()

    remove_all()
    run(plain)
    assert ours(cluster) == installed
    run(refusing)
    assert not [each for each in ours(cluster) if "mutatingwebhook" in each]
    run(plain)
    assert "would remove  mutatingwebhookconfigurations/watchword-webhook" in run(rest)
    assert ours(cluster) == cleaners
    remove_all()
