# SPDX-License-Identifier: Apache-2.0
"""Until when a service's gates only report what they would refuse, and in which namespaces that counts.

To let everyone in is more than a service's owner may decide alone: an admin allows it by a label of the
Namespace, and the end is at most 30 days ahead. Whatever is doubtful enforces.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from watchword.trust.api.v1alpha1 import ProtectedService
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.bundle import MAX_REPORT_ONLY_DAYS, MAX_REPORT_ONLY_SECONDS
from watchword.trust.conflicts import problem_of
from watchword.trust.problems import Problem, ProblemReason

REPORT_ONLY_LABEL: Final = "watchword.dev/report-only"
ALLOWED: Final = "allowed"

State = Literal["on", "ended", "not allowed", "too long"]


class ReportOnlyRuling(msgspec.Struct, frozen=True):
    """What `spec.reportOnlyUntil` comes to.

    Attributes:
        until: what gates are told, in seconds since the epoch; None: they enforce.
        state: whether it is on, over, or does not count.
        problem: why it does not count; None where it does, or did.
        changes_in_seconds: until time alone changes this; None: it does not.
    """

    until: float | None
    state: State
    problem: Problem | None = None
    changes_in_seconds: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether gates let pass what they would refuse."""
        return self.state == "on"


def ruling_of(
    service: ProtectedService, labels: Mapping[str, str], now: float | None
) -> ReportOnlyRuling | None:
    """Judge a service's `reportOnlyUntil`; None where there is none.

    Args:
        service: the service.
        labels: of its Namespace, as far as they are known.
        now: seconds since the epoch; None: no one can say that the end is near enough, so it does not count.
    """
    text = service.spec.report_only_until
    until = None if text is None else parse_time(text)
    if text is None or until is None:
        return None
    field = "spec.reportOnlyUntil"
    if now is not None and until <= now:
        # Told all the same, where it was told before: a bundle must not change because time went by.
        is_allowed = labels.get(REPORT_ONLY_LABEL) == ALLOWED
        return ReportOnlyRuling(until if is_allowed else None, "ended")
    if labels.get(REPORT_ONLY_LABEL) != ALLOWED:
        namespace, found = service.metadata.namespace, labels.get(REPORT_ONLY_LABEL)
        said = f"is {found!a}" if found is not None else "is not there"
        detail = (
            f"the label {REPORT_ONLY_LABEL} of the Namespace {namespace} {said}, and has to be {ALLOWED}; "
            "until then gates enforce"
        )
        remedy = f"an admin runs `kubectl label namespace {namespace} {REPORT_ONLY_LABEL}={ALLOWED}`"
        problem = problem_of(service, field, ProblemReason.REPORT_ONLY_NOT_ALLOWED, detail, remedy)
        return ReportOnlyRuling(None, "not allowed", problem, None if now is None else until - now)
    if now is None or until - now > MAX_REPORT_ONLY_SECONDS:
        detail = f"{text} is more than {MAX_REPORT_ONLY_DAYS} days ahead; until it is nearer, gates enforce"
        remedy = f"write a time of the next {MAX_REPORT_ONLY_DAYS} days"
        problem = problem_of(service, field, ProblemReason.REPORT_ONLY_TOO_LONG, detail, remedy)
        wait = None if now is None else until - now - MAX_REPORT_ONLY_SECONDS
        return ReportOnlyRuling(None, "too long", problem, wait)
    return ReportOnlyRuling(until, "on", None, until - now)


def as_applied(service: ProtectedService, ruling: ReportOnlyRuling | None) -> ProtectedService:
    """The service as its NetworkPolicy is kept: `Preview` in place of `Enforce` while gates only report.

    The policy would drop the very calls that are to be reported.
    """
    rules = service.spec.network_policy
    if ruling is None or not ruling.is_on or rules.mode != "Enforce":
        return service
    previewed = msgspec.structs.replace(rules, mode="Preview")
    spec = msgspec.structs.replace(service.spec, network_policy=previewed)
    return msgspec.structs.replace(service, spec=spec)
