# SPDX-License-Identifier: Apache-2.0
"""What the desk counts, for Prometheus. Labels come from enums and resources only, never from a request."""

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from watchword.desk.audit_chain import Head


class DeskMetrics:
    """The desk's metrics in a registry of their own."""

    def __init__(self) -> None:
        # The library checks the labels' values each time; these are few and always the same.
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there
        self.registry = CollectorRegistry()
        self.answers = Counter(
            "watchword_desk_answers",
            "Answers by endpoint and reason; `ok` for a yes.",
            ["endpoint", "reason"],
            registry=self.registry,
        )
        self.issued = Counter(
            "watchword_desk_tokens_issued",
            "Tokens issued, by service; `admin`: for the desk's admin API.",
            ["service"],
            registry=self.registry,
        )
        self.introspections = Counter(
            "watchword_desk_introspections",
            "Introspections by what was answered: active or inactive.",
            ["result"],
            registry=self.registry,
        )
        self.revoked = Counter(
            "watchword_desk_tokens_revoked",
            "Tokens revoked, by service; `admin`: for the desk's admin API.",
            ["service"],
            registry=self.registry,
        )
        self.audit_sequence = Gauge(
            "watchword_desk_audit_sequence", "Number of the newest audit entry.", registry=self.registry
        )
        self.audit_head = Gauge(
            "watchword_desk_audit_head",
            "Number of an audit entry, with its hash: compare with `watchword audit verify --head`.",
            ["hash"],
            registry=self.registry,
        )
        self.agent_mails = Counter(
            "watchword_desk_agent_mails",
            "Mails to people who may claim an agent: sent, failed or dropped.",
            ["outcome"],
            registry=self.registry,
        )
        self.store_failures = Counter(
            "watchword_desk_store_failures", "Calls that the store failed.", registry=self.registry
        )
        self.targets = Gauge(
            "watchword_desk_targets", "Services that name this desk and may.", registry=self.registry
        )
        self.problems = Gauge(
            "watchword_desk_problems",
            "Parts of the configuration that were left out; /readyz names them.",
            registry=self.registry,
        )
        self.revocations_published = Gauge(
            "watchword_desk_revocations_published_timestamp_seconds",
            "When the list of revocations was last handed on, in seconds since the epoch; 0: never.",
            registry=self.registry,
        )

    def answered(self, endpoint: str, reason: str) -> None:
        """Count an answer; both are words of the desk's own, of which there are few."""
        self.count(self.answers, endpoint, reason)

    def count(self, counter: Counter, *labels: str) -> None:
        """Count one more with these labels; of their values there are few."""
        child = self._children.get((counter, labels))
        if child is None:
            child = self._children[counter, labels] = counter.labels(*labels)
        child.inc()

    def head(self, head: Head) -> None:
        """Note the newest entry of the audit log."""
        self.audit_sequence.set(head.sequence)
        self.audit_head.clear()
        self.audit_head.labels(head.hash).set(head.sequence)
