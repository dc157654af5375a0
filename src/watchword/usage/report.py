# SPDX-License-Identifier: Apache-2.0
"""What accounts used as rows of a table, for those who bill from it. Pure.

One row for each account and meter; split by dimensions, one for each group as well. Every row has its own
bounds and says whether it can still change: a row that was cut out of its file is still a whole statement.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from watchword.usage.groups import OVERFLOW, group_values
from watchword.usage.meters import EXACT, Meter, plain
from watchword.usage.read_model import Amounts, GroupAmounts, UsageAnswer, UsageQuery
from watchword.usage.times import day_at, day_number, day_of_number, midnight

State = Literal["open", "late", "closed"]
"""Whether amounts of a period can still change. `open`: it is not over. `late`: it is over, and events of it
are still taken. `closed`: no event of it is taken any more."""

Cell = str | Decimal
Row = tuple[Cell, ...]
"""Texts, and amounts as exact decimals, in the order of `columns`."""

_BEFORE_DIMENSIONS: Final = ("account", "meter", "unit")
_AFTER_DIMENSIONS: Final = ("amount", "start", "end", "state", "complete_from")
# What spreadsheets take for the beginning of a formula, in ASCII and full width, and what hides one from the
# eye (OWASP, "CSV Injection"). The apostrophe is what marks a text: a name's own one gets a second, so that
# taking one away always gives the name.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")


def period_state(end: date, now: float, late_days: int | None) -> State:
    """Tell whether a period that ends before `end` can still change.

    `now` is in seconds since the epoch; `late_days` is how many days ago an event may be
    (`spec.usage.lateDays`), None when there is no such bound or it is not known.
    """
    today = day_at(now)
    if today < end:
        return "open"
    # The last day's events are taken while it is at most `late_days` ago.
    if late_days is None or today <= end - timedelta(days=1) + timedelta(days=late_days):
        return "late"
    return "closed"


def columns(query: UsageQuery) -> tuple[str, ...]:
    """Give the names of the columns: with `group_by` those of its dimensions and `part`."""
    split = (*query.group_by, "part") if query.group_by else ()
    return (*_BEFORE_DIMENSIONS, *split, *_AFTER_DIMENSIONS)


def rows(
    query: UsageQuery, account: str, answer: UsageAnswer, meters: Sequence[Meter], state: State
) -> Iterator[Row]:
    """Give an account's rows: by window where the query has some, by the meter's name, by group.

    A meter that the account did not use has a row with 0. With `group_by`, `part` is `total` in the row of
    a meter's whole amount, `group` in that of one group, and `overflow` in that of the groups beyond
    `maxGroups`. `complete_from` is empty, or the first day that the meter has whole amounts for where that
    day comes after the row's start.
    """
    spans: list[tuple[tuple[date, date], Amounts, GroupAmounts]]
    if query.window is None:
        spans = [((query.start, query.end), answer.totals, answer.groups)]
    else:
        split = answer.window_groups or tuple({} for _ in answer.windows)
        spans = list(zip(query.windows(), answer.windows, split, strict=True))
    nothing = tuple("" for _ in query.group_by)
    for (start, end), amounts, groups in spans:
        for meter in sorted(meters, key=lambda meter: meter.name):
            before = (account, meter.name, meter.unit)
            first = answer.first_days.get(meter.name, 0)
            late = midnight(day_of_number(first)) if first > day_number(start) else ""
            after = (midnight(start), midnight(end), state, late)
            total = amounts.get(meter.name, Decimal(0))
            if not query.group_by:
                yield (*before, total, *after)
                continue
            yield (*before, *nothing, "total", total, *after)
            for group, amount in sorted(groups.get(meter.name, {}).items()):
                if group == OVERFLOW:
                    yield (*before, *nothing, "overflow", amount, *after)
                else:
                    yield (*before, *map(_value, group_values(group)), "group", amount, *after)


def _value(value: object) -> str:
    """Write a dimension's value so that no two are one text: a text as it is, unless it reads as JSON."""
    if isinstance(value, Decimal):
        return plain(value)
    text = msgspec.json.encode(value).decode()
    if not isinstance(value, str) or not value or _reads_as_json(value):
        return text
    return value


def _reads_as_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


def csv_of(rows: Iterable[Sequence[Cell]], *, exact_names: bool = False) -> bytes:
    """Write rows as CSV (RFC 4180) in UTF-8, with line feeds as ends.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, and so does one that
    begins with an apostrophe; `exact_names` leaves texts as they are. Amounts are numbers in either case.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            [
                plain(cell) if isinstance(cell, Decimal) else cell if exact_names else disarmed(cell)
                for cell in row
            ]
        )
    return text.getvalue().encode()


def disarmed(text: str) -> str:
    """Give a text that no spreadsheet takes for a formula; without its first apostrophe it is the text."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) or text.startswith(_FORMULA) else text


class ControlTotals:
    """The sums over all accounts, to be compared with what someone else counted; exact."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        """Begin with nothing. Largest values and distinct ones of several accounts have no sum."""
        self._sums = {m.name: Decimal(0) for m in meters if m.aggregation in ("count", "sum")}
        self.accounts = 0

    def add(self, answer: UsageAnswer) -> None:
        """Add what one account used."""
        self.accounts += 1
        for name in self._sums:
            self._sums[name] = EXACT.add(self._sums[name], answer.totals.get(name, Decimal(0)))

    @property
    def sums(self) -> Mapping[str, Decimal]:
        """By meter."""
        return self._sums
