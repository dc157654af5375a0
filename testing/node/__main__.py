# SPDX-License-Identifier: Apache-2.0
"""`python -m testing.node build` has all that a node runs ready; `... run` keeps a node up to look around.

`build` prints the folder of its programs, `run` a kubeconfig; progress goes to stderr. `run` ends with Ctrl-C
and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path

from testing.controlplane import BuildFailedError, ControlPlaneUnavailableError
from testing.node.node import find_kubectl, running_node
from testing.node.programs import find_programs


def main() -> int:
    """Exit status: 0 when all went well, 1 when a node cannot be had here, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m testing.node", description=__doc__)
    parser.add_argument("command", choices=["build", "run"])
    parser.add_argument("images", nargs="*", type=Path, help="OCI archives to have on the node")
    given = parser.parse_args()
    try:
        programs = find_programs()
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if given.command == "build":
        print(programs.runtime)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: in order
    with (
        tempfile.TemporaryDirectory(prefix="watchword-node-") as folder,
        running_node(Path(folder), programs=programs, images=given.images) as node,
    ):
        print(f"export KUBECONFIG={node.cluster.kubeconfig}")
        print(f"a node is up; try `{find_kubectl()} get pods -A`. Ctrl-C ends it.", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):
            # Not `signal.pause`: a signal that came just before it would not end it.
            while True:
                time.sleep(0.5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
