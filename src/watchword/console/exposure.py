# SPDX-License-Identifier: Apache-2.0
"""What lets callers in besides the table of workloads: report only, public routes, pods without a gate.

A table that names three callers is a wrong answer while everyone is let in. So this is said above it, and
where services are listed. Each source of it counts on its own: a bundle that could not be read hides nothing
that a condition says.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from watchword.console.model import Condition, Item, State
from watchword.trust import Bundle
from watchword.trust.api.v1alpha1 import Route
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.bundle import MAX_REPORT_ONLY_SECONDS
from watchword.trust.timestamps import rfc3339

# As much more as gates take, for the clock of the operator.
_SKEW_SECONDS: Final = 600.0
_REPORTS: Final = "Only reports"


def exposures_of(item: Item, bundle: Bundle | None, now: float) -> list[State]:
    """What lets in more callers of a service than its workloads, the worst first.

    Args:
        item: the ProtectedService.
        bundle: what its gates run on; None: it is not known, and what is declared counts.
        now: seconds since the epoch.
    """
    found = [*_report_only(item, bundle, now), *_without_gate(item)]
    public = sum(each.public for each in routes_of(item, bundle))
    if public:
        word = f"{public} public {'route' if public == 1 else 'routes'}"
        found.append(State(word, "warn", "Every caller is let in there, without a token."))
    return sorted(found, key=lambda each: each.tone != "bad")


def routes_of(item: Item, bundle: Bundle | None) -> tuple[Route, ...]:
    """The routes that gates decide by; where the bundle is not known, the declared ones."""
    if bundle is not None:
        return bundle.routes
    return () if item.service is None else item.service.spec.routes


def reports_until(end: float | None, now: float) -> bool:
    """Whether gates that were told this end let pass, at this time, what they would refuse."""
    return end is not None and 0 < end - now <= MAX_REPORT_ONLY_SECONDS + _SKEW_SECONDS


def _report_only(item: Item, bundle: Bundle | None, now: float) -> Iterable[State]:
    end = None if bundle is None or bundle.report_only_until is msgspec.UNSET else bundle.report_only_until
    if isinstance(end, float) and reports_until(end, now):
        detail = (
            f"Until {rfc3339(end)}, gates with --upstream let every caller pass to the app whom they would "
            "refuse, without an identity; who was revoked, suspended or deleted is refused all the same. "
            "Who that is: watchword report."
        )
        yield State(_REPORTS, "bad", detail)
        return
    said = _condition(item, "ReportOnly")
    if said is not None and said.status == "True":
        also = "" if bundle is None else " The bundle that was read does not say so, or no longer."
        yield State(_REPORTS, "bad", f"{said.message}{also}")
        return
    text = None if item.service is None else item.service.spec.report_only_until
    wanted = None if text is None else parse_time(text)
    if wanted is not None and wanted > now and bundle is None and said is None:
        detail = (
            f"spec.reportOnlyUntil is {text}: until then every caller is let in, if an admin allowed that in "
            "the namespace."
        )
        yield State("May only report", "warn", detail)


def _without_gate(item: Item) -> Iterable[State]:
    gated = _condition(item, "Gated")
    if gated is not None and gated.status == "False":
        yield State("Pods without a gate", "bad", gated.message)


def _condition(item: Item, kind: str) -> Condition | None:
    return next((each for each in item.conditions if each.type == kind), None)
