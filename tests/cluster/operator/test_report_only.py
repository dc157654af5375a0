# SPDX-License-Identifier: Apache-2.0
"""Report only on a real API server: the admin's label, the condition, the bundle, the NetworkPolicy."""

from __future__ import annotations

import time

import pytest

from testing.operated import Operated
from watchword.trust.timestamps import rfc3339

DAY = 86_400.0
LABEL = "watchword.dev/report-only"


def in_(seconds: float) -> str:
    return rfc3339(time.time() + seconds)


@pytest.mark.brings_about(
    "ProtectedService/ReportOnly/ReportOnlyNotAllowed",
    "ProtectedService/Event/ReportOnlyNotAllowed",
    "ProtectedService/ReportOnly/Reporting",
)
def test_it_counts_while_the_namespace_has_the_label(operated: Operated, place: str) -> None:
    service = operated.service(place, reportOnlyUntil=in_(DAY))
    operated.apply(service, operated.workload(place))
    operated.wait_for(service, "ReportOnly/ReportOnlyNotAllowed", "PolicyApplied/Enforced")
    operated.wait_for_event(service, "ReportOnlyNotAllowed", "Warning", "reportOnlyUntil")
    entries = operated.config_map(place)
    assert entries is not None
    assert "reportOnly" not in str(entries)
    assert operated.policy(place) is not None
    operated.merge(f"/api/v1/namespaces/{place}", {"metadata": {"labels": {LABEL: "allowed"}}})
    operated.wait_for(service, "ReportOnly/Reporting", "PolicyApplied/Previewed", "Ready/BundleCurrent")
    bundle = operated.bundle(place)
    assert bundle is not None
    assert isinstance(bundle.report_only_until, float)
    assert operated.policy(place) is None
    # Taken away, it enforces again, and the policy is back.
    operated.merge(f"/api/v1/namespaces/{place}", {"metadata": {"labels": {LABEL: None}}})
    operated.wait_for(service, "ReportOnly/ReportOnlyNotAllowed", "PolicyApplied/Enforced")
    bundle = operated.bundle(place)
    assert bundle is not None
    assert not isinstance(bundle.report_only_until, float)
    assert operated.policy(place) is not None


@pytest.mark.brings_about(
    "ProtectedService/ReportOnly/ReportOnlyTooLong",
    "ProtectedService/Event/ReportOnlyTooLong",
    "ProtectedService/ReportOnly/Ended",
)
def test_it_ends_and_is_never_longer_than_30_days(operated: Operated, place: str) -> None:
    operated.merge(f"/api/v1/namespaces/{place}", {"metadata": {"labels": {LABEL: "allowed"}}})
    service = operated.service(place, reportOnlyUntil=in_(31 * DAY))
    operated.apply(service)
    operated.wait_for(service, "ReportOnly/ReportOnlyTooLong", "PolicyApplied/Enforced")
    operated.wait_for_event(service, "ReportOnlyTooLong", "Warning", "30 days")
    operated.edit(service, reportOnlyUntil=in_(10))
    # No edit in between: the operator looks again by itself.
    operated.wait_for(service, "ReportOnly/Ended", "PolicyApplied/Enforced", "Ready/BundleCurrent")
    assert operated.policy(place) is not None
    operated.edit(service, reportOnlyUntil=None)
    operated.wait_for(service, "Ready/BundleCurrent")
