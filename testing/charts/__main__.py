# SPDX-License-Identifier: Apache-2.0
"""`python -m testing.charts write`: render manifests/install from the chart (`make manifests`)."""

import sys
import tempfile
from pathlib import Path

from testing.charts.rendering import INSTALL, install_manifests
from testing.node.programs import find_helm


def main() -> int:
    """Write; returns the exit code."""
    if sys.argv[1:] != ["write"]:
        print("use: python -m testing.charts write", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        INSTALL.write_text(install_manifests(find_helm(progress=sys.stderr), Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
