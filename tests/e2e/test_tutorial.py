# SPDX-License-Identifier: Apache-2.0
"""The tutorial's own commands, read from its page and run in order: who copies them sees what it says.

They run in one shell, as a reader's do, on the node in place of a kind cluster. `kind` and `make image` are
stood in for, since the node and its images are there already; the node has no cluster DNS, so a Service's
address stands for its name; `sleep` is longer, for a busy machine. Nothing else is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.charts.conftest import Helm
from tests.e2e.standins import write_stand_in
from tests.image.fixtures import Images
from tests.node.node import Node, find_kubectl

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tutorial/kind.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
IMAGE = re.compile(r"image: \"?([a-z/]+:[0-9a-z.-]+)")
NAME = "http://tuist-server.tuist:"
# In the page the name stands between single quotes.
ADDRESS = """http://'"$(kubectl -n tuist get service tuist-server -o jsonpath={.spec.clusterIP})"':"""
SLOWER = 4
MARK = "---- the next commands of the page"
NAMESPACES = ("reports", "tuist", "watchword-system")


@pytest.fixture(scope="module")
def said(
    stocked_node: Node, images: Images, helm: Helm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """What each block of commands of the page wrote; nothing of it is left on the node afterwards."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in IMAGE.findall(PAGE.read_text()):
        stocked_node.load_image(write_stand_in(folder, images.archives["demo"], hub_name(name)))
    script = f"\necho '{MARK}'\n".join(["set -euo pipefail", *BLOCK.findall(PAGE.read_text())])
    assert script.count(NAME) == 1
    began = time.time()
    done = subprocess.run(
        ["bash", "-c", script.replace(NAME, ADDRESS)],
        cwd=ROOT,
        env=environment(folder, stocked_node, helm),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    print(f"the tutorial's commands took {time.time() - began:.0f} s\n{done.stdout}")
    try:
        state = stocked_node.kubectl("get", "pods,events", "-A") if done.returncode else ""
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}\n{state}"
        yield done.stdout.split(f"{MARK}\n")[1:]
    finally:
        clean_up(stocked_node, helm)


def environment(folder: Path, node: Node, helm: Helm) -> dict[str, str]:
    """A reader's shell, with what stands in for kind first on its path."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("kind", "make"):
        write_program(programs / name, f'echo "{name} $*" >> {folder}/stood-in')
    write_program(programs / "sleep", f"exec {shutil.which('sleep')} $(( $1 * {SLOWER} ))")
    (programs / "kubectl").symlink_to(find_kubectl())
    (programs / "helm").symlink_to(helm.program)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        "KUBECONFIG": str(node.cluster.kubeconfig),
    }


def test_the_operator_reads_the_clusters_own_keys(said: list[str]) -> None:
    [line] = [line for line in said[0].splitlines() if line.startswith("this-cluster ")]

    assert "True" in line.split()


def test_the_protected_pod_has_its_gate(said: list[str]) -> None:
    assert "pod/tuist-server condition met" in said[1]


def test_the_stranger_is_told_why(said: list[str]) -> None:
    assert "pod/reports created" in said[2]
    assert status(said[3]) == 403
    assert "x-watchword-reason: unknown_workload" in said[3].lower()


def test_one_object_lets_it_in_and_the_app_knows_who_calls(said: list[str]) -> None:
    assert status(said[4]) == 200
    assert "hello system:serviceaccount:reports:reports" in said[4]


def test_its_deletion_puts_it_out_again(said: list[str]) -> None:
    assert status(said[5]) == 403


def test_the_page_has_no_commands_but_those(said: list[str]) -> None:
    assert len(said) == 6


def status(output: str) -> int:
    """The status of the one call in what was written."""
    [found] = re.findall(r"^HTTP/1\.1 (\d{3})", output, re.MULTILINE)
    return int(found)


def hub_name(image: str) -> str:
    """The whole name that a node gives to the name of a public image."""
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"


def clean_up(node: Node, helm: Helm) -> None:
    """Leave the node as it was, also after half of a tutorial."""
    helm.run("uninstall", "watchword", "-n", "watchword-system", "--wait", kubeconfig=node.cluster.kubeconfig)
    node.kubectl("delete", "clustertrustedissuer", "this-cluster", "--ignore-not-found", check=False)
    for name in ("reports", "tuist"):
        # Neither `sleep` nor the page's app listens to SIGTERM: nobody waits for them here.
        node.kubectl("-n", name, "delete", "pod", "--all", "--grace-period=1", "--wait=false", check=False)
    node.kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--wait=false")
    for name in NAMESPACES:
        node.wait_until_gone(f"/api/v1/namespaces/{name}")


def write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
