# SPDX-License-Identifier: Apache-2.0
"""`kubectl apply --dry-run=server` of every object that docs and manifests show, on a real API server.

What the chart renders is in tests/cluster/chart, what commands print in test_printed_yaml.py.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from testing.controlplane import Cluster

ROOT = Path(__file__).parents[2]
KUBECTL = Path(sysconfig.get_path("scripts"), "kubectl")
# In a step of a list, it is as far to the right as the step's text.
BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<'?YAML'?\n(.*?)^YAML$", re.MULTILINE | re.DOTALL)
FOLDERS = ("quickstart", "first-call", "two-clusters", "snippets", "crds")
# Istio's kinds are in no API server here: tests/proxies/istio.py reads its page. Two are files that a
# kube-apiserver is started with, and no objects.
OTHERS = ("istio.io/", "kind: Config\n", "kind: AdmissionConfiguration\n")
# Namespaces that the objects name and none of them makes.
NAMESPACES = {
    *("tuist", "reports", "velero", "atlas-production"),
    *("watchword-system", "watchword-desk", "default"),
    "shop",
}


def documents() -> Iterator[tuple[str, str]]:
    """Each object's manifest, with where it is shown."""
    for path in (
        ROOT / "README.md",
        *sorted(ROOT.glob("docs/**/*.md")),
        *sorted(ROOT.glob("charts/*/README.md")),
    ):
        text = path.read_text()
        for number, block in enumerate((*BLOCK.findall(text), *HEREDOC.findall(text))):
            if "apiVersion:" in block and not any(each in block for each in OTHERS):
                # What a reader fills in.
                yield f"{path.relative_to(ROOT)}-{number}", dedent(block).replace("NAMESPACE", "tuist")
    for folder in FOLDERS:
        for path in sorted((ROOT / "manifests" / folder).glob("*.yaml")):
            if path.name != "kustomization.yaml":
                yield str(path.relative_to(ROOT)), path.read_text()


SHOWN = list(documents())


@pytest.fixture(scope="module")
def ready(crds: Cluster) -> Cluster:
    """The cluster with our kinds, and the namespaces and accounts that the objects speak of."""
    there = {each["metadata"]["name"] for each in crds.request("GET", "/api/v1/namespaces")["items"]}
    for name in NAMESPACES - there:
        crds.create_namespace(name)
    for namespace, name in {("tuist", "tuist-server"), ("reports", "reports"), ("atlas-production", "atlas")}:
        metadata = {"namespace": namespace, "name": name}
        crds.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    return crds


def applied(ready: Cluster, text: str) -> subprocess.CompletedProcess[str]:
    """What kubectl and the API server say of applying these objects, which changes nothing."""
    command = [str(KUBECTL), f"--kubeconfig={ready.kubeconfig}", "apply", "--dry-run=server"]
    flags = ["--server-side", "--validate=strict", "--force-conflicts", "--filename=-"]
    return subprocess.run(
        [*command, *flags], input=text, capture_output=True, text=True, check=False, timeout=60
    )


def test_documents_are_found() -> None:
    assert len(SHOWN) > 20


@pytest.mark.parametrize(("where", "text"), SHOWN, ids=[each[0] for each in SHOWN])
def test_the_api_server_takes_what_is_shown(ready: Cluster, where: str, text: str) -> None:
    done = applied(ready, text)
    assert done.returncode == 0, f"{where}\n{done.stderr}"
    objects: list[Any] = [each for each in yaml.safe_load_all(text) if each]
    assert len(done.stdout.splitlines()) == len(objects)


@pytest.mark.parametrize("folder", ["first-call", "install"])
def test_a_folder_to_apply_as_a_whole_is_built_by_kubectl_and_taken(ready: Cluster, folder: str) -> None:
    built = subprocess.run(
        [str(KUBECTL), "kustomize", str(ROOT / "manifests" / folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert built.returncode == 0, built.stderr
    taken = applied(ready, built.stdout)
    assert taken.returncode == 0, taken.stderr
    objects = len(list(yaml.safe_load_all(built.stdout)))
    assert objects > 4
    assert len(taken.stdout.splitlines()) == objects
