# SPDX-License-Identifier: Apache-2.0
"""Until when a service only reports: by an admin's label, for at most 30 days, in the whole form alone."""

from __future__ import annotations

import msgspec
import pytest

from testing.manifests import issuer, parsed, reporting_namespace, service, workload
from testing.tokens import NOW
from watchword.trust import (
    Bundle,
    Compilation,
    ProtectedService,
    compile_resources,
    decode_bundle,
    load,
    seal,
)
from watchword.trust.bundle_forms import PREVIOUS_ENTRY, WHOLE_ENTRY, entries_of
from watchword.trust.partial_bundle import with_present_report_only
from watchword.trust.problems import ProblemReason
from watchword.trust.report_only import as_applied, ruling_of
from watchword.trust.timestamps import rfc3339
from watchword.trust.version_skew import narrowed

DAY = 86_400.0
ALLOWED = {"watchword.dev/report-only": "allowed"}


def made(
    until: float | None = NOW + DAY,
    *,
    label: str | None = "allowed",
    namespace: str = "tuist",
    now: float | None = NOW,
    mode: str = "Enforce",
) -> Compilation:
    spec = {} if until is None else {"reportOnlyUntil": rfc3339(until)}
    objects = [issuer(), service(networkPolicy={"mode": mode}, **spec), workload()]
    if label is not None:
        objects.append(reporting_namespace(namespace, label))
    return compile_resources(parsed(*objects).resources, now=now)


def until_of(compilation: Compilation) -> float | None:
    [bundle] = compilation.bundles
    return load(bundle).report_only_until


def test_a_time_of_the_next_30_days_in_a_labelled_namespace_counts() -> None:
    for days in (1 / 86_400, 1, 29, 30):
        assert until_of(made(NOW + days * DAY)) == NOW + days * DAY
        assert made(NOW + days * DAY).problems == ()
    assert until_of(made(None)) is None


@pytest.mark.parametrize("label", [None, "", "Allowed", "true", "yes", "allowed-not"])
def test_the_owner_alone_cannot_have_it(label: str | None) -> None:
    compilation = made(label=label)
    assert until_of(compilation) is None
    [problem] = compilation.problems
    assert problem.reason is ProblemReason.REPORT_ONLY_NOT_ALLOWED
    assert problem.field == "spec.reportOnlyUntil"
    assert "kubectl label namespace tuist watchword.dev/report-only=allowed" in problem.remedy
    assert compilation.network_policies


def test_the_label_of_another_namespace_is_none() -> None:
    assert until_of(made(namespace="tuist-2")) is None
    labelled_service = service(reportOnlyUntil=rfc3339(NOW + DAY))
    labelled_service["metadata"]["labels"] = ALLOWED
    found = parsed(issuer(), labelled_service, workload())
    assert until_of(compile_resources(found.resources, now=NOW)) is None


def test_more_than_30_days_ahead_is_no_time_until_it_is_nearer() -> None:
    compilation = made(NOW + 31 * DAY)
    assert until_of(compilation) is None
    [problem] = compilation.problems
    assert problem.reason is ProblemReason.REPORT_ONLY_TOO_LONG
    assert compilation.network_policies
    assert until_of(made(NOW + 31 * DAY, now=NOW + DAY)) == NOW + 31 * DAY
    [resource] = parsed(service(reportOnlyUntil=rfc3339(NOW + 31 * DAY))).resources.services
    ruling = ruling_of(resource, ALLOWED, NOW)
    assert ruling is not None
    assert ruling.changes_in_seconds == DAY


def test_where_no_one_says_what_time_it_is_it_does_not_count() -> None:
    assert until_of(made(now=None)) is None


def test_a_bundle_does_not_change_because_the_end_has_come() -> None:
    before, after = made(), made(now=NOW + 2 * DAY)
    assert before.bundles[0].digest == after.bundles[0].digest
    assert after.problems == ()


def test_the_policy_is_a_preview_until_then() -> None:
    during = made()
    assert (len(during.network_policies), len(during.previews)) == (0, 1)
    after = made(now=NOW + DAY)
    assert (len(after.network_policies), len(after.previews)) == (1, 0)
    assert during.previews == after.network_policies
    off = made(mode="Off")
    assert (off.network_policies, off.previews) == ((), ())


def test_the_form_of_the_previous_release_enforces() -> None:
    [bundle] = made().bundles
    entries = entries_of(bundle)
    assert b"reportOnly" in entries[WHOLE_ENTRY]
    assert b"reportOnly" not in entries[PREVIOUS_ENTRY]
    assert load(decode_bundle(entries[PREVIOUS_ENTRY])).report_only_until is None
    assert load(decode_bundle(entries[WHOLE_ENTRY])).report_only_until == NOW + DAY
    # A reader that does not know the member enforces, so nothing is required of it.
    assert bundle.requires == ()


def test_a_service_without_it_has_the_bytes_that_it_had() -> None:
    [bundle] = made(None).bundles
    assert b"reportOnly" not in entries_of(bundle)[WHOLE_ENTRY]


def _bundle(until: float | None) -> Bundle:
    [bundle] = made(until).bundles
    return bundle


@pytest.mark.parametrize(
    ("published", "compiled", "stands"),
    [
        (None, NOW + DAY, None),
        (NOW + DAY, None, None),
        (NOW + DAY, NOW + 2 * DAY, NOW + DAY),
        (NOW + 2 * DAY, NOW + DAY, NOW + DAY),
        (None, None, None),
    ],
)
def test_what_stands_of_a_service_that_is_not_understood_is_never_longer(
    published: float | None, compiled: float | None, stands: float | None
) -> None:
    for standing in (_bundle(published), _bundle(compiled)):
        found = with_present_report_only(standing, _bundle(compiled), _bundle(published))
        assert load(found).report_only_until == stands
        assert seal(found, found.generation).digest == found.digest


@pytest.mark.parametrize(
    ("before", "after", "stands"), [(1, 2, 1), (2, 1, 1), (None, 1, None), (1, None, None)]
)
def test_a_newer_text_only_takes_it_away(before: int | None, after: int | None, stands: int | None) -> None:
    def resource(days: int | None) -> ProtectedService:
        spec = {} if days is None else {"reportOnlyUntil": rfc3339(NOW + days * DAY)}
        [found] = parsed(service(**spec)).resources.services
        return found

    wanted = None if stands is None else rfc3339(NOW + stands * DAY)
    assert narrowed(resource(before), resource(after)).spec.report_only_until == wanted


def test_a_bundle_made_by_hand_with_no_number_is_none() -> None:
    [bundle] = made().bundles
    broken = msgspec.json.encode(bundle).replace(b'"reportOnlyUntil":', b'"reportOnlyUntil":"x","_":')
    with pytest.raises(ValueError, match="reportOnlyUntil"):
        decode_bundle(broken)


def test_as_it_is_applied_only_the_policys_mode_differs() -> None:
    [resource] = parsed(service(reportOnlyUntil=rfc3339(NOW + DAY))).resources.services
    ruling = ruling_of(resource, ALLOWED, NOW)
    assert as_applied(resource, ruling).spec.network_policy.mode == "Preview"
    assert as_applied(resource, ruling_of(resource, ALLOWED, NOW + DAY)) is resource
    assert as_applied(resource, ruling_of(resource, {}, NOW)) is resource
