# SPDX-License-Identifier: Apache-2.0
"""docs/reference/metrics.md: what gate, operator, webhook and desk count, from their own registries."""

from prometheus_client import CollectorRegistry

from watchword.desk.metrics import DeskMetrics
from watchword.gate.metrics import GateMetrics
from watchword.operator.metrics import OperatorMetrics
from watchword.webhook.app import WebhookMetrics


def page() -> str:
    """The page's text."""
    lines = [
        "# Metrics",
        "",
        "Generated from the registries (`make generate`); served at `/metrics` on the ops port.",
        "",
        "## The gate",
        "",
        *_table(_gate()),
        "",
        "## The operator",
        "",
        *_table(OperatorMetrics().registry),
        "",
        "## The webhook",
        "",
        *_table(_webhook()),
        "",
        "## The token desk",
        "",
        *_table(DeskMetrics().registry),
    ]
    return "\n".join(lines) + "\n"


def _gate() -> CollectorRegistry:
    metrics = GateMetrics()
    metrics.follow_certificate(lambda: None)
    return metrics.registry


def _webhook() -> CollectorRegistry:
    metrics = WebhookMetrics()
    metrics.follow_certificate(lambda: None)
    return metrics.registry


def _table(registry: CollectorRegistry) -> list[str]:
    lines = ["| name | type | meaning |", "|---|---|---|"]
    for family in sorted(registry.collect(), key=lambda each: each.name):
        suffix = "_total" if family.type == "counter" else ""
        lines.append(f"| `{family.name}{suffix}` | {family.type} | {family.documentation} |")
    return lines
