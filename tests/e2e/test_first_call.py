# SPDX-License-Identifier: Apache-2.0
"""From nothing to a trusted call: the commands of the README and of Helm's notes, typed as they are printed.

The node has no cluster DNS, so the service is given an address, which stands for its name in the caller's
manifest. Nothing else is changed; see `reader.py` for what stands in for kind.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.node.node import Node
from tests.charts.conftest import Helm
from tests.e2e.reader import ROOT, blocks_of, clean_up, reader_environment
from tests.image.fixtures import Images

README = (ROOT / "README.md").read_text()
SECTION = README.partition("## From nothing to a trusted call\n")[2].partition("\n## ")[0]
# Of the node's range of Services (testing/controlplane/cluster.py), in the band that the API server gives to
# no Service by itself: of a /24 that is 10.0.0.1 to .16, and .1 is its own. From the rest it takes addresses
# at random, so that a fixed one there is another Service's once in a while. No other test asks for one.
ADDRESS = "10.0.0.12"
MARK = "---- the next commands"


def commands_in(notes: str) -> str:
    """The commands of Helm's notes: what is indented by five blanks, as a reader copies it."""
    return "\n".join(line for line in notes.splitlines() if line.startswith("     "))


def checkout(folder: Path, service_address: str) -> Path:
    """This checkout, with the service's address in place of its name."""
    folder.mkdir()
    for each in ROOT.iterdir():
        if each.name != "manifests":
            (folder / each.name).symlink_to(each)
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    service, caller = (folder / f"manifests/first-call/{name}.yaml" for name in ("service", "caller"))
    for path, old, new in (
        (
            service,
            "  selector: {app: tuist-server}\n",
            f"  clusterIP: {service_address}\n  selector: {{app: tuist-server}}\n",
        ),
        (caller, "http://tuist-server.tuist:", f"http://{service_address}:"),
    ):
        assert path.read_text().count(old) == 1, path
        path.write_text(path.read_text().replace(old, new))
    return folder


@pytest.fixture(scope="module")
def said(
    stocked_node: Node, images: Images, helm: Helm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """What each block wrote: `make kind`, the notes, the README's others; then what kind was told."""
    folder = tmp_path_factory.mktemp("first-call")
    environment = reader_environment(folder, stocked_node, helm, images)
    place = checkout(folder / "watchword", ADDRESS)
    first, *others = blocks_of(SECTION)

    def run(*blocks: str) -> list[str]:
        script = f"\necho '{MARK}'\n".join(["set -euo pipefail", *blocks])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        state = stocked_node.kubectl("get", "pods,events", "-A") if done.returncode else ""
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}\n{state}"
        return done.stdout.split(f"{MARK}\n")[1:]

    began = time.time()
    try:
        installed = run(first)
        notes = installed[0].partition("NOTES:\n")[2]
        found = [*installed, *run(commands_in(notes), *others)]
        print(
            f"from `make kind` to the first trusted call: {time.time() - began:.0f} s (images built before)"
        )
        yield [*found, (folder / "kind-was-told").read_text()]
    finally:
        clean_up(stocked_node, helm)


def test_make_kind_makes_a_cluster_loads_three_images_and_installs(said: list[str]) -> None:
    assert "STATUS: deployed" in said[0]
    lines = said[-1].splitlines()
    assert "create cluster --config kind-config.yaml" in lines
    assert len([line for line in lines if line.startswith("load image-archive --name watchword")]) == 3


def test_the_notes_end_with_an_issuer_that_is_ready(said: list[str]) -> None:
    assert "clustertrustedissuer.watchword.dev/this-cluster condition met" in said[1]


def test_the_stranger_is_refused_and_one_object_lets_it_in(said: list[str]) -> None:
    assert "unknown_workload" in said[2]
    assert '"ok"' not in said[2]
    assert re.search(r'"ok": [1-9]', said[3])


def test_the_readme_has_no_commands_but_those(said: list[str]) -> None:
    assert len(said) == 5
    # What a reader must fill in is no block of commands.
    assert all("REGISTRY" not in block for block in blocks_of(README))
