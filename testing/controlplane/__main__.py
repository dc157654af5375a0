# SPDX-License-Identifier: Apache-2.0
"""`python -m testing.controlplane build`: have the control plane ready before any test is timed.

Prints the folder of the two programs, which serves as `KUBEBUILDER_ASSETS`; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import sys

from testing.controlplane.binary import find_binaries
from testing.controlplane.build import BuildFailedError
from testing.controlplane.cache import ControlPlaneUnavailableError


def main() -> int:
    """Exit status: 0 when the programs are there, 1 when they cannot be had, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m testing.controlplane", description=__doc__)
    parser.add_argument("command", choices=["build"], help="find or build kube-apiserver and etcd")
    parser.parse_args()
    try:
        print(find_binaries().folder)
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
