# SPDX-License-Identifier: Apache-2.0
"""The questions of the usage read model: a query string in, a query out. Pure.

A parameter that is misspelled, repeated or out of bounds is refused by name. Ignoring it would answer another
question than the one asked, with numbers that look right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from watchword.usage.events import ACCOUNT_REMEDY, account_flaw
from watchword.usage.meters import Meter
from watchword.usage.problems import QueryProblem, named, shown
from watchword.usage.times import TimestampError, day_at, month_start, next_month, parse_date

MAX_PERIOD_DAYS: Final = 400
PARAMETERS: Final = ("from", "to", "window", "group_by", "shape")

Window = Literal["day", "month"]
Amounts = Mapping[str, Decimal]
"""By name of the meter."""
GroupAmounts = Mapping[str, Amounts]
"""By name of the meter, then by group: a JSON array of the values asked for, or the overflow group."""

_MIDNIGHT_ENDINGS = ("T00:00:00Z", "T00:00:00+00:00")
_BY_METER: Final = "meter"


class UsageQuery(msgspec.Struct, frozen=True):
    """What is asked: one account, the UTC days from `start` up to and without `end`, and how to show them.

    `window` asks for a series as well as the total; `by_meter` turns the series from one entry a window into
    one list a meter; `flat` is the plain form for the current month. `group_by` names dimensions to split by
    those meters that have them all.
    """

    account: str
    start: date
    end: date
    window: Window | None = None
    by_meter: bool = False
    flat: bool = False
    group_by: tuple[str, ...] = ()

    def windows(self) -> tuple[tuple[date, date], ...]:
        """Give the windows of the series in order: UTC days or months, first and last cut to the period."""
        if self.window is None:
            return ()
        found: list[tuple[date, date]] = []
        start = self.start
        while start < self.end:
            following = start + timedelta(days=1) if self.window == "day" else next_month(start)
            found.append((start, min(following, self.end)))
            start = following
        return tuple(found)


class UsageAnswer(msgspec.Struct, frozen=True):
    """What a store found: amounts by meter, for the period and for each of `query.windows()` in their order.

    A meter without events is absent. `unique_count` is that of the whole period, not the sum of its days.
    `groups` are the amounts by group for the period, `window_groups` for each window. `first_days`: meters
    that do not reach back for ever, with the first day (days since 1970-01-01) that they are whole for.
    """

    totals: Amounts
    windows: tuple[Amounts, ...] = ()
    groups: GroupAmounts = {}
    window_groups: tuple[GroupAmounts, ...] = ()
    first_days: Mapping[str, int] = {}


def parse_query(
    account: str,
    params: Sequence[tuple[str, str]],
    now: float,
    meters: Sequence[Meter] = (),
    *,
    known: Sequence[str] = PARAMETERS,
) -> UsageQuery | QueryProblem:
    """Read the query string of the read model.

    `params` are its decoded pairs in order; `now` is in seconds since the epoch and decides the current
    month, which is the default period. `from` alone reaches to the end of the current month. `meters` are
    those that can be grouped by. `known` are the parameters of the endpoint, as a remedy names them.
    """
    flaw = account_flaw(account)
    if flaw is not None:
        return QueryProblem("account", "invalid_account", flaw, ACCOUNT_REMEDY)
    given: dict[str, str] = {}
    for name, value in params:
        if name not in PARAMETERS:
            return QueryProblem(
                named(name),
                "unknown_parameter",
                "there is no such parameter",
                f"use {', '.join(known)}",
            )
        if name in given:
            return QueryProblem(name, "repeated_parameter", "it is given twice", "give each parameter once")
        given[name] = value
    this_month = month_start(day_at(now))
    period = _period(given, (this_month, next_month(this_month)))
    if isinstance(period, QueryProblem):
        return period
    return _shape(account, given, period, this_month, meters)


def _period(given: Mapping[str, str], current_month: tuple[date, date]) -> tuple[date, date] | QueryProblem:
    if "from" not in given:
        if "to" in given:
            return QueryProblem(
                "to", "missing_parameter", "`to` is given without `from`", "give `from` as well"
            )
        return current_month
    start = _day("from", given["from"])
    if isinstance(start, QueryProblem):
        return start
    end = _day("to", given["to"]) if "to" in given else current_month[1]
    if isinstance(end, QueryProblem):
        return end
    if start >= end:
        return QueryProblem(
            "to" if "to" in given else "from",
            "empty_period",
            f"the period from {start} to {end} is empty; its end is not part of it",
            "give a `to` after `from`: the month of November is from=2026-11-01&to=2026-12-01",
        )
    if (end - start).days > MAX_PERIOD_DAYS:
        return QueryProblem(
            "from",
            "period_too_long",
            f"the period has {(end - start).days} days",
            f"ask for at most {MAX_PERIOD_DAYS} days at once",
        )
    return start, end


def _day(parameter: str, text: str) -> date | QueryProblem:
    # A day is written as a date, or as the midnight that starts it: the form in which answers give their
    # period.
    head, tail = text[:10], text[10:]
    problem = TimestampError("not_midnight", "usage is kept by whole UTC days")
    if tail == "" or tail.upper() in _MIDNIGHT_ENDINGS:
        try:
            return parse_date(head)
        except TimestampError as found:
            problem = found
    elif not tail.upper().startswith("T"):
        problem = TimestampError("invalid_date", "it is not a date")
    return QueryProblem(
        parameter,
        problem.code,
        f"{shown(text)}: {problem.detail}",
        "give YYYY-MM-DD, or RFC 3339 at midnight UTC (2026-11-01T00:00:00Z), from 1970 on",
    )


def _shape(
    account: str,
    given: Mapping[str, str],
    period: tuple[date, date],
    this_month: date,
    meters: Sequence[Meter],
) -> UsageQuery | QueryProblem:
    window = given.get("window")
    if window not in (None, "day", "month"):
        return QueryProblem(
            "window",
            "invalid_window",
            f"it is {shown(window)}",
            "use window=day or window=month, or leave it out",
        )
    by_meter = given.get("group_by") == _BY_METER
    group_by: tuple[str, ...] = ()
    if "group_by" in given and not by_meter:
        found = _dimensions(given["group_by"], meters)
        if isinstance(found, QueryProblem):
            return found
        group_by = found
    if by_meter and window is None:
        return QueryProblem(
            "group_by",
            "missing_parameter",
            "there is no series to group",
            "give window=day or window=month too",
        )
    shape = given.get("shape")
    if shape not in (None, "flat"):
        return QueryProblem(
            "shape", "invalid_shape", f"it is {shown(shape)}", "use shape=flat, or leave it out"
        )
    is_plain = window is None and not group_by and period == (this_month, next_month(this_month))
    if shape is not None and not is_plain:
        return QueryProblem(
            "shape",
            "shape_conflict",
            "the flat shape names the current month and has no series",
            "leave out from, to, window and group_by, or leave out shape",
        )
    # Literal narrowing of `window` through `not in` is beyond the type checker: name the two values.
    chosen: Window | None = "day" if window == "day" else "month" if window == "month" else None
    return UsageQuery(account, *period, chosen, by_meter, shape is not None, group_by)


def _dimensions(text: str, meters: Sequence[Meter]) -> tuple[str, ...] | QueryProblem:
    names = tuple(text.split(","))
    lists = [tuple(dimension.name for dimension in meter.group_by) for meter in meters]
    if len(set(names)) == len(names) and any(set(there).issuperset(names) for there in lists):
        return names
    offered = sorted({",".join(map(named, there)) for there in lists if there})
    choices = f" or dimensions that one meter has: {'; '.join(offered)}" if offered else ""
    return QueryProblem(
        "group_by",
        "invalid_group",
        f"no meter has {shown(text)} to be grouped by",
        f"use group_by={_BY_METER} with a window,{choices} or leave it out"
        if choices
        else f"use group_by={_BY_METER} with a window, or leave it out",
    )
