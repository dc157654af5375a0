# SPDX-License-Identifier: Apache-2.0
"""`watchword doctor` against a real API server: whose access shrinks with this release, before it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from testing.controlplane import Cluster
from testing.manifests import service, workload
from tests.cluster.admission import collection, create
from tests.cluster.keys.contexts import write_contexts
from watchword.cli.main import watchword

ROUTES = [
    {"path": "/{account}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
]


def test_doctor_names_a_workload_whose_grant_is_for_projects_and_no_other(
    crds: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    grant = {"scopes": ["cache:read", "account:usage:read"], "accounts": ["acme"]}
    objects = [
        service(routes=ROUTES),
        workload("narrowed", grants=[grant, grant | {"projects": ["ios"]}]),
        workload("as-before", "other", grants=[grant]),
    ]
    write_contexts(tmp_path / "kubeconfig", {"here": crds})

    for each in objects:
        create(crds, each, dry_run=False)
    try:
        done = CliRunner().invoke(watchword, ["doctor"], env={"KUBECONFIG": str(tmp_path / "kubeconfig")})
    finally:
        for each in objects:
            crds.request("DELETE", f"{collection(each)}/{each['metadata']['name']}")

    [line] = [each for each in done.output.splitlines() if "is for projects" in each]
    assert line.startswith("TrustedWorkload tuist/narrowed: spec.grants[1] is for projects")
    assert "no longer holds for /{account}/cache, reading the account's usage." in line


def test_doctor_before_the_install_says_that_and_how(
    other_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    write_contexts(tmp_path / "kubeconfig", {"here": other_cluster})
    done = CliRunner().invoke(watchword, ["doctor"], env={"KUBECONFIG": str(tmp_path / "kubeconfig")})
    first, last = done.stdout.splitlines()
    assert "not installed in this cluster" in first
    assert "helm install watchword charts/watchword" in first
    assert (done.exit_code, last) == (1, "Asked the cluster: 1 thing is not well.")
