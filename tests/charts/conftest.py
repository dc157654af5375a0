# SPDX-License-Identifier: Apache-2.0
"""The chart through the real Helm: built with Go once, into the user's cache folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.charts.rendering import CHART, NAMESPACE
from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.environment import child_environment
from testing.node.programs import find_helm
from testing.unavailable import skip_or_fail

Objects = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Helm:
    """The program, with folders of its own for what it remembers."""

    program: Path
    home: Path

    def run(self, *arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        """One command; never raises for its exit code."""
        environment = child_environment(
            HOME=str(self.home),
            HELM_CACHE_HOME=str(self.home / "cache"),
            HELM_CONFIG_HOME=str(self.home / "config"),
            HELM_DATA_HOME=str(self.home / "data"),
            **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}),
        )
        command = [str(self.program), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def template(self, values: Mapping[str, Any] | None = None, *flags: str) -> Objects:
        """The chart's objects under these values; fails with Helm's own words."""
        file = self.home / "values.json"
        file.write_text(json.dumps(values or {}))
        found = self.run(
            "template",
            "watchword",
            str(CHART),
            "--namespace",
            NAMESPACE,
            "--values",
            str(file),
            "--kube-version",
            "1.36.0",
            *flags,
        )
        assert found.returncode == 0, found.stderr
        return [each for each in yaml.safe_load_all(found.stdout) if each]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm; skips, or fails in CI, where it is not to be had."""
    try:
        program = find_helm()
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        skip_or_fail("chart tests", problem, required_by="WATCHWORD_REQUIRE_CLUSTER")
    return Helm(program, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> Objects:
    """The chart with nothing set."""
    return helm.template()


Find = Callable[[Objects, str, str], dict[str, Any]]


def named(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    [found] = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found
