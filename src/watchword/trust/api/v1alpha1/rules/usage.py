# SPDX-License-Identifier: Apache-2.0
"""What the fields of a service's usage must agree on.

A meter that could never count is to be seen when it is written, not when the first bill is zero.
"""

from collections.abc import Iterator

from watchword.trust.api.v1alpha1 import MeterSpec, UsageRules
from watchword.trust.api.v1alpha1.grammar import ANSWERS_OWN, POINTER, is_whole
from watchword.trust.api.v1alpha1.rules.entries import findings_of_breaks, findings_of_repeats
from watchword.trust.api.v1alpha1.validation import Finding
from watchword.trust.route_templates import flaw_of_template


def findings_of_usage(usage: UsageRules) -> Iterator[Finding]:
    """What the fields of `spec.usage` disagree on."""
    yield from findings_of_repeats("spec.usage.meters", [meter.name for meter in usage.meters])
    yield from findings_of_breaks("spec.usage.meters", [meter.name for meter in usage.meters])
    for place, meter in enumerate(usage.meters):
        path = f"spec.usage.meters[{place}].value"
        if meter.aggregation != "count" and meter.value is None:
            yield (
                path,
                f"{meter.aggregation} needs a value",
                "give a JSON pointer into the data, such as /bytes",
            )
        if meter.aggregation == "count" and meter.value is not None:
            yield path, "count takes no value", "leave value out, or use sum"
        if meter.value is not None and not is_whole(POINTER, meter.value):
            yield path, "not a JSON pointer (RFC 6901)", "start it with a slash, such as /bytes"
        yield from _findings_of_groups(f"spec.usage.meters[{place}]", meter)
    base_flaw = flaw_of_template(usage.base_path)
    if base_flaw or usage.base_path.endswith("/") or "{" in usage.base_path:
        yield "spec.usage.basePath", base_flaw or "not a plain path", "use a path such as /api/internal"
    kept, late = usage.event_retention_days, usage.late_days
    if kept is not None and late is not None and late > kept:
        yield (
            "spec.usage.lateDays",
            "it is more than eventRetentionDays",
            "replays of older events could not be told; give at most as many days as events are kept",
        )


def _findings_of_groups(path: str, meter: MeterSpec) -> Iterator[Finding]:
    yield from findings_of_repeats(f"{path}.groupBy", [dimension.name for dimension in meter.group_by])
    yield from findings_of_breaks(f"{path}.groupBy", [dimension.name for dimension in meter.group_by])
    if meter.aggregation == "unique_count" and len(meter.group_by) > 1:
        yield (
            f"{path}.groupBy",
            "unique_count has more than one dimension",
            "give one: distinct values of several cannot be added up",
        )
    for place, dimension in enumerate(meter.group_by):
        if is_whole(ANSWERS_OWN, dimension.name):
            yield (
                f"{path}.groupBy[{place}].name",
                "answers use this name themselves",
                "choose another name than meter, value and overflow",
            )
        if not is_whole(POINTER, dimension.value):
            yield (
                f"{path}.groupBy[{place}].value",
                "not a JSON pointer (RFC 6901)",
                "start it with a slash, such as /region",
            )
    if not meter.unit.isprintable():
        yield f"{path}.unit", "white space or control characters", "use a word, such as bytes"
