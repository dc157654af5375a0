# SPDX-License-Identifier: Apache-2.0
"""The chart as plain manifests, for those who install without Helm: what `helm template` says, no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

from testing.environment import child_environment

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "watchword"
INSTALL = ROOT / "manifests" / "install" / "watchword.yaml"
NAMESPACE = "watchword-system"
_HEAD = "# SPDX-License-Identifier: Apache-2.0\n# Rendered from charts/watchword (`make manifests`).\n"


def install_manifests(helm: Path, home: Path) -> str:
    """The text of manifests/install/watchword.yaml. Raises CalledProcessError with Helm's words."""
    kept = ("--set", "crds.keep=false,admissionPolicies.keep=false")
    flags = ("--namespace", NAMESPACE, "--kube-version", "1.36.0", "--skip-tests", *kept)
    command = [str(helm), "template", "watchword", str(CHART), *flags]
    found = subprocess.run(
        command, env=child_environment(HOME=str(home)), capture_output=True, text=True, check=True
    )
    # Helm's labels would say that Helm manages these objects, which is what this file is there to avoid.
    lines = [
        line.replace("managed-by: Helm", "managed-by: watchword-manifests")
        for line in found.stdout.splitlines()
        if not line.startswith("# Source:") and "helm.sh/" not in line
    ]
    return _HEAD + "\n".join(lines) + "\n"
