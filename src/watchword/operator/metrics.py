# SPDX-License-Identifier: Apache-2.0
"""What the operator counts, for Prometheus. Labels come from enums and names of our resources only."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class OperatorMetrics:
    """The operator's metrics in a registry of their own; they outlive terms of leadership."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there
        self.registry = CollectorRegistry()
        self.leader = Gauge(
            "watchword_operator_leader", "1 while this replica leads, else 0.", registry=self.registry
        )
        self.terms = Gauge(
            "watchword_operator_terms",
            "How many terms of leadership this process has begun; many mean that leadership is unsteady.",
            registry=self.registry,
        )
        self.watch_ages = WatchAges()
        self.registry.register(self.watch_ages)


class WatchAges(Collector):
    """Ages of the watches, asked for when somebody looks."""

    def __init__(self) -> None:
        self.source: Callable[[], Mapping[str, float]] = dict

    def collect(self) -> Iterator[Metric]:
        """The gauge with a sample for each watch; none while standing by."""
        family = GaugeMetricFamily(
            "watchword_operator_watch_age_seconds",
            "Seconds since a watch last said anything, a bookmark included; only while leading.",
            labels=["resource"],
        )
        for resource, age in sorted(self.source().items()):
            family.add_metric([resource], age)
        yield family
