# SPDX-License-Identifier: Apache-2.0
"""What would the network do? Cyclonus answers, a program that nobody here wrote (`evaluator/main.go`).

Our own reading of the NetworkPolicy API made the policies, and would find them right. The program is built
once with Go into the user's cache folder.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from testing.controlplane.build import GoBuild
from testing.controlplane.cache import Recipe, find_or_build

SOURCE = Path(__file__).parent / "evaluator"
CYCLONUS_VERSION = "v0.5.6"
Protocol = Literal["TCP", "UDP", "SCTP"]


@dataclass(frozen=True, slots=True)
class Peer:
    """An address, and the pod that has it; without a namespace it is no pod of this cluster."""

    ip: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection."""

    sender: Peer
    receiver: Peer
    port: int
    protocol: Protocol = "TCP"


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The built program."""

    program: Path

    def arrives(self, policies: Sequence[Mapping[str, Any]], packets: Sequence[Packet]) -> list[bool]:
        """Whether each packet gets through, with these policies (networking.k8s.io/v1) in the cluster."""
        question = {
            "policies": list(policies),
            "packets": [
                {
                    "from": _as_json(each.sender),
                    "to": _as_json(each.receiver),
                    "port": each.port,
                    "protocol": each.protocol,
                }
                for each in packets
            ],
        }
        asked = subprocess.run(
            [self.program], input=json.dumps(question).encode(), capture_output=True, check=False
        )
        assert asked.returncode == 0, asked.stderr.decode(errors="replace")
        answers: list[bool] = json.loads(asked.stdout)
        return answers


def find_evaluator(environment: Mapping[str, str] = os.environ) -> Evaluator:
    """Find or build the program. Raises `ControlPlaneUnavailableError` without Go, and `BuildFailedError`."""
    recipe = Recipe(
        name="policy-evaluator",
        title=f"Cyclonus {CYCLONUS_VERSION}'s judgment of NetworkPolicies",
        version=CYCLONUS_VERSION,
        source=SOURCE,
        files=("go.mod", "go.sum", "main.go"),
        builds=((GoBuild((".",)), "evaluator"),),
    )
    return Evaluator(find_or_build(recipe, environment) / "evaluator")


def _as_json(peer: Peer) -> dict[str, Any]:
    plain = asdict(peer)
    return {
        "ip": plain["ip"],
        "namespace": plain["namespace"],
        "labels": dict(plain["labels"]),
        "namespaceLabels": dict(plain["namespace_labels"]),
    }
