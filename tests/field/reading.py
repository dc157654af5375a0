# SPDX-License-Identifier: Apache-2.0
"""The inputs from the field, and the objects around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from watchword.cli.main import watchword

INPUTS = Path(__file__).parent / "inputs"
LEDGER = {
    "apiVersion": "watchword.dev/v1alpha1",
    "kind": "ProtectedService",
    "metadata": {"namespace": "shop", "name": "ledger"},
    "spec": {
        "selector": {"matchLabels": {"app": "ledger"}},
        "port": 8443,
        "upstreamPort": 8080,
        "serviceAccountName": "ledger",
    },
}


def run(*arguments: str) -> Result:
    """One command."""
    return CliRunner().invoke(watchword, arguments)


def injected(name: str, folder: Path) -> Result:
    """`watchword inject` of an input, with the service that its pods are of."""
    services = folder / "services"
    services.mkdir(exist_ok=True)
    (services / "ledger.json").write_text(json.dumps(LEDGER))
    flags = ("--services", str(services), "-n", "shop", "--gate-image", "registry.invalid/gate:1")
    return run("inject", str(INPUTS / name), *flags)


def gate_of(spec: dict[str, Any]) -> dict[str, Any]:
    """The gate of a pod's spec."""
    [found] = [each for each in spec["initContainers"] if each["name"] == "watchword-gate"]
    return dict(found)
