# SPDX-License-Identifier: Apache-2.0
"""The table of docs/explanation/network-policies.md, row by row, as the evaluator sees the policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testing.manifests import compiled
from tests.policies.evaluator import Evaluator, Packet
from tests.policies.world import MANIFESTS, PORTS, RECEIVERS, SENDERS

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "network-policies.md"
# Who of the world each row of the table speaks of.
ROWS = {
    "pods of `atlas`": "atlas",
    "another app in the namespace of `atlas`": "another app beside atlas",
    "pods with the labels of `atlas` in another namespace": "atlas of staging",
    "10.20.1.1": "far",
    "10.20.5.9": "far, excepted",
    "the ingress controller": "ingress",
    "Prometheus": "the scraper",
    "a pod of the service's own namespace": "a neighbor",
    "a suspended workload": "paused",
    "the internet": "the internet",
}


def rows() -> dict[str, list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    return {name: answers for name, *answers in cells}


def test_the_table_and_this_test_speak_of_the_same_senders() -> None:
    assert set(rows()) == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_the_table_is_what_the_network_would_do(evaluator: Evaluator, row: str) -> None:
    policies = json.loads(json.dumps(compiled(*MANIFESTS).network_policies))
    ports = PORTS["tuist-server"]
    asked = {"gate": [ports["gate"]], "app": [ports["app"]]}
    asked["any other port"] = [port for name, port in ports.items() if name not in asked]
    said = []
    for group in asked.values():
        packets = [Packet(SENDERS[ROWS[row]], RECEIVERS["tuist-server"], *port) for port in group]
        (answer,) = set(evaluator.arrives(policies, packets))
        said.append("yes" if answer else "no")
    assert said == rows()[row]
