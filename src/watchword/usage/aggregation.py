# SPDX-License-Identifier: Apache-2.0
"""From the rows of a store to the amounts of an answer: totals, windows, groups. The same for every store.

Sums fold; counts of distinct values do not: a value on two days is one in the month, so each longer span is
counted by the store itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import msgspec

from watchword.usage.groups import OVERFLOW, group_values
from watchword.usage.meters import Meter
from watchword.usage.read_model import UsageAnswer, UsageQuery
from watchword.usage.rollups import combine
from watchword.usage.strict_json import json_of_trusted
from watchword.usage.times import day_number

Row = tuple[int, str, str, Decimal]
"""Day (days since 1970-01-01), name of the meter, group, amount."""


class DistinctSpan(msgspec.Struct, frozen=True):
    """A question for distinct values: days from `start` up to and without `end`, by day or by group."""

    start: int
    end: int
    by_day: bool = False
    by_group: bool = False


CountDistinct = Callable[[DistinctSpan], Iterable[Row]]
"""Rows as above; the day is 0 unless asked by day, the group is empty unless asked by group."""


def fold(
    query: UsageQuery,
    meters: Mapping[str, Meter],
    rows: Iterable[Row],
    count_distinct: CountDistinct,
    first_days: Mapping[str, int],
) -> UsageAnswer:
    """Make the answer to a query out of one account's rows of its period."""
    folded = _Folded(query, meters, spans_of(query))
    if query.window is None and not query.group_by:
        # A bill's question, which is asked most: one total a meter.
        totals = folded.totals[0]
        for _, name, _, amount in rows:
            if name in meters:
                _combine(totals, name, meters[name], amount)
    else:
        for row in rows:
            folded.add(row)
    if any(meter.aggregation == "unique_count" for meter in meters.values()):
        folded.add_distinct(count_distinct)
    return UsageAnswer(
        folded.totals[0],
        tuple(folded.totals[1:]),
        folded.groups[0],
        tuple(folded.groups[1:]),
        {name: day for name, day in first_days.items() if day > 0},
    )


def spans_of(query: UsageQuery) -> list[tuple[int, int]]:
    """Give the period and then the windows of a query, in days since 1970-01-01."""
    return [
        (day_number(start), day_number(end)) for start, end in ((query.start, query.end), *query.windows())
    ]


class _Folded:
    def __init__(self, query: UsageQuery, meters: Mapping[str, Meter], spans: list[tuple[int, int]]) -> None:
        self.totals: list[dict[str, Decimal]] = [{} for _ in spans]
        self.groups: list[dict[str, dict[str, Decimal]]] = [{} for _ in spans]
        self._meters, self._spans = meters, spans
        self._window_starts = [start for start, _ in spans[1:]]
        self._by_day = query.window == "day"
        self._places = {
            name: tuple(
                [dimension.name for dimension in meter.group_by].index(asked) for asked in query.group_by
            )
            for name, meter in meters.items()
            if query.group_by and {dimension.name for dimension in meter.group_by}.issuperset(query.group_by)
        }
        self._shown: dict[tuple[str, str], str] = {}

    def add(self, row: Row) -> None:
        day, name, group, amount = row
        meter = self._meters.get(name)
        if meter is None:
            return
        places = (0, bisect_right(self._window_starts, day)) if self._window_starts else (0,)
        for place in places:
            _combine(self.totals[place], name, meter, amount)
            if name in self._places:
                _combine(self.groups[place].setdefault(name, {}), self._group(name, group), meter, amount)

    def add_distinct(self, count_distinct: CountDistinct) -> None:
        """Put the counts of distinct values in the place of the sums that `add` made of their days."""
        by_group = bool(self._places)
        days = [place for place, (start, end) in enumerate(self._spans) if place and end - start == 1]
        for place, (start, end) in enumerate(self._spans):
            if place and end - start == 1:
                continue  # a day's own amounts are counts of distinct values already
            for _, name, _, count in count_distinct(DistinctSpan(start, end)):
                self.totals[place][name] = count
            for _, name, group, count in (
                count_distinct(DistinctSpan(start, end, by_group=True)) if by_group else ()
            ):
                if name in self._places:
                    self.groups[place].setdefault(name, {})[self._group(name, group)] = count
        split = any(m.aggregation == "unique_count" and m.group_by for m in self._meters.values())
        if days and split:
            # One value in two groups is one value of the day.
            place_of_day = {self._spans[place][0]: place for place in days}
            for day, name, _, count in count_distinct(DistinctSpan(*self._spans[0], by_day=True)):
                if day in place_of_day:
                    self.totals[place_of_day[day]][name] = count

    def _group(self, name: str, group: str) -> str:
        """The part of a group that was asked for; the overflow group is one whatever is asked."""
        if group == OVERFLOW or not group:
            return group or OVERFLOW
        shown = self._shown.get((name, group))
        if shown is None:
            values = group_values(group)
            shown = self._shown[name, group] = json_of_trusted([values[at] for at in self._places[name]])
        return shown


def _combine(amounts: dict[str, Decimal], key: str, meter: Meter, amount: Decimal) -> None:
    before = amounts.get(key)
    amounts[key] = amount if before is None else combine(meter.aggregation, before, amount)
