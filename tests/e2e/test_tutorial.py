# SPDX-License-Identifier: Apache-2.0
"""The tutorial's own commands, read from its page and run in order: who copies them sees what it says.

They run in one shell, as a reader's do; `reader.py` says what stands in for kind. The node has no DNS of a
cluster, so a Service's address stands for its name. Nothing else is changed.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from testing.node.node import Node
from tests.charts.conftest import Helm
from tests.e2e.reader import ROOT, blocks_of, clean_up, reader_environment
from tests.e2e.standins import write_stand_in
from tests.image.fixtures import Images

PAGE = ROOT / "docs/tutorial/kind.md"
IMAGE = re.compile(r"image: \"?([a-z/]+:[0-9a-z.-]+)")
NAME = "http://tuist-server.tuist:"
# In the page the name stands between single quotes.
ADDRESS = """http://'"$(kubectl -n tuist get service tuist-server -o jsonpath={.spec.clusterIP})"':"""
MARK = "---- the next commands of the page"


@pytest.fixture(scope="module")
def said(
    stocked_node: Node, images: Images, helm: Helm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """What each block of commands of the page wrote; nothing of it is left on the node afterwards."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in IMAGE.findall(PAGE.read_text()):
        stocked_node.load_image(write_stand_in(folder, images.archives["demo"], hub_name(name)))
    script = f"\necho '{MARK}'\n".join(["set -euo pipefail", *blocks_of(PAGE.read_text())])
    assert script.count(NAME) == 1
    began = time.time()
    done = subprocess.run(
        ["bash", "-c", script.replace(NAME, ADDRESS)],
        cwd=ROOT,
        env=reader_environment(folder, stocked_node, helm, images),
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
