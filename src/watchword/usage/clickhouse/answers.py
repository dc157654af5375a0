# SPDX-License-Identifier: Apache-2.0
"""From the rows of the one question that ClickHouse is asked to the answers for each account.

With the rows comes the version of the meters, so that an answer never joins one moment's meters to
another one's amounts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from watchword.usage.aggregation import DistinctSpan, fold
from watchword.usage.aggregation import Row as AmountRow
from watchword.usage.clickhouse.meter_log import MeterView
from watchword.usage.clickhouse.rollups import joined
from watchword.usage.read_model import UsageAnswer, UsageQuery


class Answers:
    """The rows of the question `read`, by account and kind."""

    def __init__(self, found: Sequence[Sequence[Any]]) -> None:
        self.version = 0
        self._base: dict[str, dict[Any, tuple[int, Decimal]]] = {}
        self._fresh: dict[str, dict[tuple[Any, int], Decimal]] = {}
        self._counts: dict[tuple[Any, ...], list[tuple[int, str, str, Decimal]]] = {}
        for kind, account, first, last, meter, group, seq, amount in found:
            cell = (account, meter, first, group)
            if kind == "version":
                self.version = first
            elif kind == "cell" and not last:
                # Rows that a later fold took the place of may still be there, and rows that are there twice.
                base = self._base.setdefault(account, {})
                if cell not in base or base[cell][0] < seq:
                    base[cell] = (seq, amount)
            elif kind == "cell":
                self._fresh.setdefault(account, {})[cell, seq] = amount
            else:
                place = (kind, account) if kind in ("day", "value") else (kind, account, first, last)
                self._counts.setdefault(place, []).append((first, meter, group, amount))

    @property
    def accounts(self) -> set[str]:
        """The accounts that have amounts in the period."""
        return self._base.keys() | self._fresh.keys() | {place[1] for place in self._counts}

    def answers(self, query: UsageQuery, accounts: Sequence[str], view: MeterView) -> dict[str, UsageAnswer]:
        """Give the accounts' answers by the meters of their version."""
        entries = view.ready.by_name() if view.ready is not None else {}
        names = {entry.place: name for name, (_, entry) in entries.items()}
        meters = {name: meter for name, (meter, _) in entries.items()}
        first_days = {name: view.first_day(entry) for name, (_, entry) in entries.items()}
        return {
            account: fold(
                query, meters, self._rows(account, names), self._counter(account, names), first_days
            )
            for account in accounts
        }

    def _rows(self, account: str, names: Mapping[str, str]) -> list[AmountRow]:
        fresh = [(cell, seq, amount) for (cell, seq), amount in self._fresh.get(account, {}).items()]
        totals = joined(self._base.get(account, {}), fresh)
        rows = [(day, names[p], group, n) for (_, p, day, group), n in totals.items() if p in names]
        values = self._counts.get(("value", account), [])
        return rows + [(day, names[place], group, n) for day, place, group, n in values if place in names]

    def _counter(self, account: str, names: Mapping[str, str]) -> Callable[[DistinctSpan], list[AmountRow]]:
        def count(span: DistinctSpan) -> list[AmountRow]:
            kind = "group" if span.by_group else "span"
            place = ("day", account) if span.by_day else (kind, account, span.start, span.end)
            return [
                (day if span.by_day else 0, names[meter], group, amount)
                for day, meter, group, amount in self._counts.get(place, [])
                if meter in names
            ]

        return count
