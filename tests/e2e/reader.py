# SPDX-License-Identifier: Apache-2.0
"""A reader's shell: the commands of a page run in order, on the node in place of a kind cluster.

`make kind` is the real one. What stands in for `kind` says that it made a cluster and loads archives into the
node; the images are those of the tests, built before (`IMAGES`); `sleep` is longer, for a busy machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import textwrap
from pathlib import Path

import yaml

from testing.environment import child_environment
from testing.node.node import Node, find_kubectl
from tests.charts.conftest import Helm
from tests.image.fixtures import Images

ROOT = Path(__file__).parents[2]
NAMESPACES = ("reports", "tuist", "watchword-system")
# In a step of a list a block is indented.
_BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SLOWER = 4
_KIND = """\
echo "$*" >> {folder}/kind-was-told
case "$1 $2" in
  "get clusters") cat {folder}/kind-clusters 2> /dev/null || true ;;
  "create cluster") echo watchword > {folder}/kind-clusters ;;
  "load image-archive") [ "$3 $4" = "--name watchword" ] && {load} "$5" ;;
  "delete cluster") rm -f {folder}/kind-clusters ;;
  *) echo "kind $*: not stood in for" >&2; exit 1 ;;
esac"""


def blocks_of(text: str) -> list[str]:
    """The blocks of commands of a page, in order."""
    return [textwrap.dedent(block) for _, block in _BLOCK.findall(text)]


def reader_environment(folder: Path, node: Node, helm: Helm, images: Images) -> dict[str, str]:
    """The environment of the shell, with what stands in for a reader's programs first on its path."""
    programs = folder / "bin"
    programs.mkdir()
    load = node.import_command()
    _write_program(programs / "kind", _KIND.format(folder=folder, load=shlex.join(load)))
    # What `make setup` made is there; its stamp may be older than a checkout's files.
    make = shutil.which("make")
    _write_program(programs / "make", f'exec {make} --old-file=.venv/.requirements.stamp "$@"')
    _write_program(programs / "sleep", f"exec {shutil.which('sleep')} $(( $1 * {_SLOWER} ))")
    (programs / "kubectl").symlink_to(find_kubectl())
    (programs / "helm").symlink_to(helm.program)
    return child_environment(
        PATH=f"{programs}:{os.environ['PATH']}",
        HOME=str(folder),
        KUBECONFIG=str(_kubeconfig(folder, node)),
        IMAGES=str(images.archives["gate"].parent),
    )


def _kubeconfig(folder: Path, node: Node) -> Path:
    """The node's, whose context is called as kind calls its own."""
    found = yaml.safe_load(Path(node.cluster.kubeconfig).read_text())
    [context] = found["contexts"]
    found |= {"contexts": [{**context, "name": "kind-watchword"}], "current-context": "kind-watchword"}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(found))
    return path


def clean_up(node: Node, helm: Helm) -> None:
    """Leave the node as it was, also after half of a page."""
    helm.run("uninstall", "watchword", "-n", "watchword-system", "--wait", kubeconfig=node.cluster.kubeconfig)
    node.kubectl("delete", "clustertrustedissuer", "this-cluster", "--ignore-not-found", check=False)
    for name in ("reports", "tuist"):
        node.kubectl("-n", name, "delete", "deployment", "--all", "--wait=false", check=False)
        # Neither `sleep` nor the tutorial's app listens to SIGTERM: nobody waits for them here.
        node.kubectl("-n", name, "delete", "pod", "--all", "--grace-period=1", "--wait=false", check=False)
    node.kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--wait=false")
    for name in NAMESPACES:
        node.wait_until_gone(f"/api/v1/namespaces/{name}")


def _write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
