# SPDX-License-Identifier: Apache-2.0
"""docs/reference/metrics.md: what gate and operator count, from their own registries."""

from prometheus_client import CollectorRegistry

from watchword.gate.metrics import GateMetrics
from watchword.operator.metrics import OperatorMetrics


def page() -> str:
    """The page's text."""
    lines = [
        "# Metrics",
        "",
        "Generated from the registries (`make generate`); served at `/metrics` on the ops port.",
        "",
        "## The gate",
        "",
        *_table(GateMetrics().registry),
        "",
        "## The operator",
        "",
        *_table(OperatorMetrics().registry),
    ]
    return "\n".join(lines) + "\n"


def _table(registry: CollectorRegistry) -> list[str]:
    lines = ["| name | type | meaning |", "|---|---|---|"]
    for family in sorted(registry.collect(), key=lambda each: each.name):
        suffix = "_total" if family.type == "counter" else ""
        lines.append(f"| `{family.name}{suffix}` | {family.type} | {family.documentation} |")
    return lines
