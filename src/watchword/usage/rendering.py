# SPDX-License-Identifier: Apache-2.0
"""The answers of the usage read model as JSON. Pure.

Every meter is there, with 0 where nothing was used: a key that is missing on a quiet month breaks a bill's
page. Numbers are exact: whole ones as integers, others with all their digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from watchword.usage.groups import OVERFLOW, group_values
from watchword.usage.meters import Meter, plain
from watchword.usage.problems import QueryProblem
from watchword.usage.read_model import Amounts, GroupAmounts, UsageAnswer, UsageQuery
from watchword.usage.times import day_number, day_of_number, midnight

MAX_GROUP_ENTRIES: Final = 10_000

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def render(query: UsageQuery, answer: UsageAnswer, meters: Sequence[Meter]) -> dict[str, object]:
    """Give the answer as the JSON object that callers get; `encode` writes it.

    Each of `meters` is there, with 0 where the account has no events; numbers are `int` where whole, else
    exact `Decimal`. `incomplete_before` names the meters that do not reach back to the start of the period.
    """
    if query.flat:
        return {f"current_month_{name}": value for name, value in _amounts(answer.totals, meters).items()}
    document: dict[str, object] = {
        "account": query.account,
        "period": {"start": midnight(query.start), "end": midnight(query.end)},
        "meters": _amounts(answer.totals, meters),
    }
    if query.group_by:
        document["groups"] = _groups(query, answer.groups, meters)
    names = {meter.name for meter in meters}
    late = {
        name: midnight(day_of_number(day))
        for name, day in sorted(answer.first_days.items())
        if name in names and day > day_number(query.start)
    }
    if late:
        document["incomplete_before"] = late
    if query.window is not None:
        _add_series(document, query, answer, meters)
    return document


def too_large(answers: Iterable[UsageAnswer]) -> QueryProblem | None:
    """Say that answers have more groups together than one may have, or None."""
    entries = sum(
        len(groups)
        for answer in answers
        for split in (answer.groups, *answer.window_groups)
        for groups in split.values()
    )
    if entries <= MAX_GROUP_ENTRIES:
        return None
    return QueryProblem(
        "group_by",
        "too_many_groups",
        f"the answer has {entries} amounts of groups",
        f"ask for a shorter period or wider windows: at most {MAX_GROUP_ENTRIES} amounts of groups at once",
    )


def encode(document: Mapping[str, object]) -> bytes:
    """Write a rendered answer as JSON, with decimals as exact JSON numbers."""
    return _ENCODER.encode(document)


def _add_series(
    document: dict[str, object], query: UsageQuery, answer: UsageAnswer, meters: Sequence[Meter]
) -> None:
    spans = [
        ({"start": midnight(start), "end": midnight(end)}, _amounts(amounts, meters))
        for (start, end), amounts in zip(query.windows(), answer.windows, strict=True)
    ]
    if query.by_meter:
        document["series"] = {
            meter.name: [{**span, "value": amounts[meter.name]} for span, amounts in spans]
            for meter in meters
        }
    elif query.group_by:
        document["windows"] = [
            {**span, "meters": amounts, "groups": _groups(query, groups, meters)}
            for (span, amounts), groups in zip(spans, answer.window_groups, strict=True)
        ]
    else:
        document["windows"] = [{**span, "meters": amounts} for span, amounts in spans]


def _groups(query: UsageQuery, groups: GroupAmounts, meters: Sequence[Meter]) -> dict[str, object]:
    return {
        meter.name: [
            _entry(query, group, amount) for group, amount in sorted(groups.get(meter.name, {}).items())
        ]
        for meter in meters
        if {dimension.name for dimension in meter.group_by}.issuperset(query.group_by)
    }


def _entry(query: UsageQuery, group: str, amount: Decimal) -> dict[str, object]:
    if group == OVERFLOW:
        # Not a value of any dimension: what came after the meter's `maxGroups` were there.
        return {"overflow": True, "value": _number(amount)}
    values = (_number(v) if isinstance(v, Decimal) else v for v in group_values(group))
    return {**dict(zip(query.group_by, values, strict=True)), "value": _number(amount)}


def _amounts(amounts: Amounts, meters: Sequence[Meter]) -> dict[str, int | Decimal]:
    return {meter.name: _number(amounts.get(meter.name, Decimal(0))) for meter in meters}


def _number(amount: Decimal) -> int | Decimal:
    return int(amount) if amount == amount.to_integral_value() else Decimal(plain(amount))
