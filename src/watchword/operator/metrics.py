# SPDX-License-Identifier: Apache-2.0
"""What the operator counts: how long an edit takes to reach a bundle, what it asks of the API server, how old
its keys and watches are. Labels come from enums and names of our resources only.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from watchword.operator.cache import Cache
from watchword.operator.keys.sync import KeySync, Progress
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.api.v1alpha1.status import ServiceStatus
from watchword.trust.conditions import ISSUER, SERVICE, ConditionType, Verdict

_PREFIX: Final = "watchword_operator_"
_BUCKETS: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0, 15.0, 60.0)


class OperatorMetrics:
    """The operator's metrics in a registry of their own; they outlive each time of leading."""

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
        self.bundle_generations = AskedGauge(
            "bundle_generation",
            "Generation of the bundle that is published for a service; only while leading.",
            "service",
        )
        for collector in (self.watch_ages, self.key_ages, self.keys_pending, self.bundle_generations):
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
        self.workloads_over_budget = self._gauge(
            "workloads_over_budget",
            "TrustedWorkloads that are left out because their namespace has more than is read of one.",
        )
        self.bundles_unpublished = self._gauge(
            "bundles_unpublished", "Services whose bundle could not be published as the resources say."
        )
        self.desk_keys_unwritten = self._gauge(
            "desk_keys_unwritten",
            "TokenDesks whose signing keys could not be written: none is made, retired or revoked.",
        )
        self.withdrawals_unpublished = self._gauge(
            "withdrawals_unpublished",
            "Workloads that the resources do not trust and that a published bundle still lets in.",
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self.registry)


class AskedGauge(Collector):
    """A gauge that is asked when it is scraped: an age that is set when something happens never grows."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self._name, self._text, self._label = _PREFIX + name, text, label
        self.source: Callable[[], Mapping[str, float]] = dict

    def collect(self) -> Iterator[Metric]:
        """The gauge with a sample for each label; none while there is no source."""
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for name, value in sorted(self.source().items()):
            family.add_metric([name], value)
        yield family


class KeyFigures:
    """How old each issuer's keys are, how many wait for approval, what is published; from any thread.

    A new process has fetched nothing yet. If it counted from its own start, an issuer that is away for a week
    would look fresh after each restart; so what the issuer's status says is counted from, where it says so.
    """

    def __init__(self, cache: Cache, keys: KeySync) -> None:
        """Of the issuers whose keys are kept, with what a cache holds of their statuses."""
        self._cache, self._keys = cache, keys

    def ages(self) -> Mapping[str, float]:
        """Seconds since each issuer's keys were read; those with keys in the object itself left out."""
        progress = self._keys.progress()
        return {name: self._age(name, each) for name, each in progress.items() if each.has_source}

    def pending(self) -> Mapping[str, float]:
        """How many keys of each issuer wait for approval."""
        return {
            name: float(sum(key.state == "Pending" for key in each.keys.held))
            for name, each in self._keys.progress().items()
        }

    def generations(self) -> Mapping[str, float]:
        """The generation of each service's bundle, as its status says it was published."""
        return {
            "/".join(entry.key[1:]): float(entry.status.bundle.generation)
            for entry in self._cache.entries(SERVICE)
            if isinstance(entry.status, ServiceStatus) and entry.status.bundle is not None
        }

    def _age(self, name: str, each: Progress) -> float:
        if each.is_watched and each.keys.fresh.verdict is Verdict.FETCHED:
            # A ConfigMap that is not changed is as good as it was.
            return 0.0
        read_at = each.keys.fetched_at
        if read_at is None:
            read_at = self._stale_since(name)
        return max(each.now - (each.begun_at if read_at is None else read_at), 0.0)

    def _stale_since(self, name: str) -> float | None:
        """Since when the issuer's status says that its keys are not fresh; None: it does not."""
        entry = self._cache.entry(ISSUER, "", name)
        for condition in entry.status.conditions if entry is not None else ():
            if condition.type == ConditionType.KEYS_FRESH and condition.status != "True":
                return parse_time(condition.last_transition_time)
        return None
