# SPDX-License-Identifier: Apache-2.0
"""docs/reference/metrics.md: what the gate counts, from its own registry."""

from watchword.gate.metrics import GateMetrics


def page() -> str:
    """The page's text."""
    lines = [
        "# Metrics",
        "",
        "Generated from the gate's registry (`make generate`); served at `/metrics` on the ops port.",
        "",
        "| name | type | meaning |",
        "|---|---|---|",
    ]
    for family in sorted(GateMetrics().registry.collect(), key=lambda each: each.name):
        suffix = "_total" if family.type == "counter" else ""
        lines.append(f"| `{family.name}{suffix}` | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"
