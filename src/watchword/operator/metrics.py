# SPDX-License-Identifier: Apache-2.0
"""What the operator counts: how long an edit takes to reach a bundle, what it asks of the API server, how old
its keys and watches are. Labels come from enums and names of our resources only.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX: Final = "watchword_operator_"
_BUCKETS: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 15.0, 60.0)


class OperatorMetrics:
    """The operator's metrics in a registry of their own; they outlive terms of leadership."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there
        self.registry = CollectorRegistry()
        self.leader = self._gauge("leader", "1 while this replica leads, else 0.")
        self.terms = self._counter(
            "terms",
            "How many terms of leadership this process has begun; many mean that leadership is unsteady.",
        )
        self.watch_ages = AskedGauge(
            "watch_age_seconds",
            "Seconds since a watch last said anything, a bookmark included; only while leading.",
            "resource",
        )
        self.key_ages = AskedGauge(
            "key_age_seconds", "Seconds since an issuer's keys were read; only while leading.", "issuer"
        )
        self.keys_pending = AskedGauge(
            "keys_pending", "Keys of an issuer that wait for approval; only while leading.", "issuer"
        )
        for collector in (self.watch_ages, self.key_ages, self.keys_pending):
            self.registry.register(collector)
        self.reconciles = self._counter("reconciles", "Services compiled, by what came of it.", "result")
        self.edit_to_bundle = Histogram(
            f"{_PREFIX}edit_to_bundle_seconds",
            "Seconds from the first event of an edit to its bundle in the API server.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.api_requests = self._counter(
            "api_requests",
            "Requests of reconciles to the API server; watches and the Lease not among them.",
            "verb",
            "resource",
            "code",
        )
        self.issuers = self._gauge("issuers", "ClusterTrustedIssuers known.")
        self.services = self._gauge("services", "ProtectedServices known.")
        self.workloads = self._gauge("workloads", "TrustedWorkloads known.")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self.registry)


class AskedGauge(Collector):
    """A gauge that is asked when somebody looks: an age that is set when something happens never grows."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self._name, self._text, self._label = _PREFIX + name, text, label
        self.source: Callable[[], Mapping[str, float]] = dict

    def collect(self) -> Iterator[Metric]:
        """The gauge with a sample for each label; none while there is no source."""
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for name, value in sorted(self.source().items()):
            family.add_metric([name], value)
        yield family
