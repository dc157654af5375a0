# SPDX-License-Identifier: Apache-2.0
"""The fields of a service's usage: what is counted, how it is split, and what is kept for how long.

A name or a pointer of these never becomes part of a statement of a store: one that did was CVE-2026-8462
elsewhere.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from watchword.trust.api.v1alpha1.fields import DAY_SECONDS, Spec

_BY_NAME: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class DimensionSpec(Spec, frozen=True):
    """One way to split a meter."""

    name: Annotated[
        str,
        Meta(
            pattern="^[a-z][a-z0-9_]*$",
            max_length=63,
            description="Its name in questions and answers; not `meter`, `value` or `overflow`.",
        ),
    ]
    value: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=256,
            description="A JSON pointer (RFC 6901) into the event's data, such as `/region`. Where there is "
            "nothing, the group is null.",
        ),
    ]


class MeterSpec(Spec, frozen=True):
    """What is counted from usage events."""

    name: Annotated[
        str,
        Meta(
            pattern="^[a-z][a-z0-9_]*$",
            max_length=63,
            description="The meter's name, as the read model answers it. Another name is another meter, "
            "counted from the events that are still kept.",
        ),
    ]
    event_type: Annotated[
        str, Meta(min_length=1, max_length=253, description="The CloudEvents `type` that is counted.")
    ]
    aggregation: Annotated[
        Literal["count", "sum", "max", "unique_count"],
        Meta(
            description="count: events. sum, max: of the numbers at `value`. unique_count: of the different "
            "values at `value`."
        ),
    ]
    value: Annotated[
        Annotated[str, Meta(max_length=256)] | None,
        Meta(
            description="A JSON pointer (RFC 6901) into the event's data, such as `/bytes`. Required but for "
            "count, which takes none."
        ),
    ] = None
    group_by: Annotated[
        tuple[DimensionSpec, ...],
        Meta(
            max_length=3,
            extra_json_schema=_BY_NAME,
            description="Splits the meter by values of the event's data. None by default; at most one for "
            "unique_count.",
        ),
    ] = ()
    max_groups: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="How many groups an account may have in a month; what comes with later ones counts "
            "in one overflow group, which answers name. Default: 100.",
        ),
    ] = 100
    unit: Annotated[str, Meta(max_length=32, description="Only shown, such as `bytes`. Default: none.")] = ""
    retention_days: Annotated[
        Annotated[int, Meta(ge=1, le=36_500)] | None,
        Meta(description="For how many days the meter's amounts are kept. Absent: for ever."),
    ] = None


class UsageRules(Spec, frozen=True):
    """The usage read model of the service."""

    meters: Annotated[
        tuple[MeterSpec, ...],
        Meta(
            max_length=64,
            extra_json_schema=_BY_NAME,
            description="What is counted, each under its name. None by default: no usage is answered.",
        ),
    ] = ()
    base_path: Annotated[
        str,
        Meta(
            min_length=2,
            max_length=256,
            description="The path under which the gate answers usage. Default: `/api/internal`. Routes of "
            "the app must not live under its `accounts` and `usage`.",
        ),
    ] = "/api/internal"
    event_retention_days: Annotated[
        Annotated[int, Meta(ge=1, le=36_500)] | None,
        Meta(
            description="For how many days events are kept, and replays of them are known; older ones are "
            "refused. Amounts outlive them. Absent: for ever."
        ),
    ] = None
    late_days: Annotated[
        Annotated[int, Meta(ge=0, le=36_500)] | None,
        Meta(
            description="How many days ago an event may be; an older one is refused. Absent: for as long as "
            "events are kept."
        ),
    ] = None
    future_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=DAY_SECONDS,
            description="How far an event may be ahead of the gate's clock, in seconds; one that is further "
            "is refused. Default: 300.",
        ),
    ] = 300
