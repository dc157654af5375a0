# SPDX-License-Identifier: Apache-2.0
"""What the gate counts, for Prometheus. Labels come from enums and bundles only, never from a request."""

import math
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from watchword.gate.counters import Count, Counters, Durations
from watchword.identity import Reason
from watchword.process.certificate_metrics import Validity, certificate_gauges

# Seconds. A verification is tens of microseconds; what takes milliseconds is worth seeing.
_BUCKETS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.025)


class GateMetrics:
    """The gate's metrics in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there
        self.registry = CollectorRegistry()
        self._decisions = Counters(
            "watchword_decisions",
            "Decisions by service and reason; `allowed` for a yes.",
            ["service", "reason"],
        )
        self._would_refuse = Counters(
            "watchword_would_refuse",
            "Requests that passed to the app although they would be refused: the service only reports.",
            ["service", "reason"],
        )
        self._name_service("")
        self.verification = Durations(
            "watchword_verification_seconds", "Time to verify a token that was in no cache.", _BUCKETS
        )
        lookups = Counters("watchword_cache_lookups", "Decision cache look-ups.", ["result"])
        self.cache_hit, self.cache_refusal_hit, self.cache_miss = (
            lookups.of(result) for result in ("hit", "refusal_hit", "miss")
        )
        for collector in (self._decisions, self._would_refuse, self.verification, lookups):
            self.registry.register(collector)
        self.cache_bytes = Gauge(
            "watchword_cache_bytes", "Bytes that the decision caches account for.", registry=self.registry
        )
        self.bundle_generation = Gauge(
            "watchword_bundle_generation", "Generation of the bundle in use; 0: none.", registry=self.registry
        )
        self.bundle_loaded = Gauge(
            "watchword_bundle_loaded_timestamp_seconds",
            "When the bundle in use was loaded, in seconds since the epoch.",
            registry=self.registry,
        )
        self.bundle_age = Gauge(
            "watchword_bundle_age_seconds",
            "Seconds since the bundle in use was loaded.",
            registry=self.registry,
        )
        self.bundle_failures = Counter(
            "watchword_bundle_failures", "Bundles that were refused.", registry=self.registry
        )
        self.bundle_in_use = Gauge(
            "watchword_bundle_in_use",
            "Generation of the bundle in use, with its service and digest; no sample: none is in use.",
            ["service", "digest"],
            registry=self.registry,
        )
        self.bundle_generations_ahead = Counter(
            "watchword_bundle_generations_ahead",
            "Bundles that were refused for a generation far ahead of the clock: forged, or a wrong clock.",
            registry=self.registry,
        )
        self.bundle_absent = Gauge(
            "watchword_bundle_absent_seconds",
            "Seconds for which the bundle has been known to be gone; 0: it is not. Its trust ends after 60.",
            registry=self.registry,
        )
        self.bundle_watch_connected = Gauge(
            "watchword_bundle_watch_connected",
            "1 while the bundle's ConfigMap is followed through the API, else 0.",
            registry=self.registry,
        )
        self.bundle_watch_age = Gauge(
            "watchword_bundle_watch_age_seconds",
            "Seconds since the last word of the API server; NaN: there was none, or nothing is followed.",
            registry=self.registry,
        )
        self.bundle_watch_age.set(math.nan)
        self.bundle_watch_failures = Counter(
            "watchword_bundle_watch_failures",
            "Times that the API server could not be followed, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.revocations_watch_age = Gauge(
            "watchword_revocations_watch_age_seconds",
            "Seconds since the last word on which desk tokens were revoked; NaN: no desk is followed.",
            registry=self.registry,
        )
        self.revocations_watch_age.set(math.nan)
        self.report_only_seconds_left = Gauge(
            "watchword_report_only_seconds_left",
            "Seconds for which requests that would be refused still pass to the app; 0: they are refused.",
            registry=self.registry,
        )
        self.workloads = Gauge(
            "watchword_workloads", "Workloads in the bundle in use.", registry=self.registry
        )
        self.audit_dropped = Counter(
            "watchword_audit_dropped", "Audit entries that found the queue full.", registry=self.registry
        )
        self.spans_exported = Counter(
            "watchword_spans_exported", "Spans that a collector took.", registry=self.registry
        )
        self.spans_lost = Counter(
            "watchword_spans_lost",
            "Spans that no collector got, by cause: the queue was full, or they were not taken.",
            ["cause"],
            registry=self.registry,
        )
        self.long_connections = Gauge(
            "watchword_long_connections",
            "Requests that are passed on to the app by now.",
            registry=self.registry,
        )
        self.long_connections_ended = Counter(
            "watchword_long_connections_ended",
            "Requests passed on that the gate ended, by reason: trust withdrawn, or a token that is over.",
            ["reason"],
            registry=self.registry,
        )
        self.usage_events = Counter(
            "watchword_usage_events", "Usage events by outcome.", ["outcome"], registry=self.registry
        )
        self.usage_store_failures = Counter(
            "watchword_usage_store_failures",
            "Times that the usage store did not do what it was asked, at once or by its last answer.",
            registry=self.registry,
        )

    def follow_certificate(self, validity: Validity) -> None:
        """Say from now on from when until when the certificate in use is valid."""
        certificate_gauges(self.registry, "watchword", "gate's TLS", validity)

    def follow_live(self, age: Callable[[], float | None], is_connected: Callable[[], bool]) -> None:
        """Say from now on how the watch of the bundle's ConfigMap is."""
        self.bundle_watch_connected.set_function(lambda: float(is_connected()))
        self.bundle_watch_age.set_function(lambda: math.nan if (found := age()) is None else found)

    def follow_revocations(self, age: Callable[[], float | None]) -> None:
        """Say from now on for how long nothing was heard of the list of revocations."""
        self.revocations_watch_age.set_function(lambda: math.nan if (found := age()) is None else found)

    def follow_absence(self, seconds: Callable[[], float]) -> None:
        """Say from now on for how long the bundle has been gone."""
        self.bundle_absent.set_function(seconds)

    def bundle_ended(self) -> None:
        """Note that no bundle is in use any more."""
        self.bundle_in_use.clear()
        self.bundle_generation.set(0)
        self.workloads.set(0)

    def bundle_adopted(self, service: str, generation: int, workloads: int, digest: str) -> None:
        """Note the bundle in use."""
        now = time.time()
        self.bundle_in_use.clear()
        self.bundle_in_use.labels(service, digest).set(generation)
        self._name_service(service)
        self.bundle_generation.set(generation)
        self.bundle_loaded.set(now)
        self.bundle_age.set_function(lambda: time.time() - now)
        self.workloads.set(workloads)

    def would_refuse(self, reason: Reason) -> Count:
        """The count of requests that passed although they would be refused for a reason."""
        return self._would_refuse.of(self._service, reason.code)

    def _name_service(self, service: str) -> None:
        self._service = service
        # Looked up once: on the hot path a label look-up costs as much as the rest of the count.
        # By its code: an enum's member is hashed in Python.
        self.refused = {reason.code: self._decisions.of(service, reason.code) for reason in Reason}
        self.allowed = self._decisions.of(service, "allowed")
