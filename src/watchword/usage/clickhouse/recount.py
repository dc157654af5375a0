# SPDX-License-Identifier: Apache-2.0
"""Counting again in ClickHouse: for meters that are new, and next to the stored amounts to check them.

Account by account, so that memory holds one account, not all cells of all accounts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Final

from watchword.usage.clickhouse.log import EventLog
from watchword.usage.clickhouse.rollups import Cell, Cells
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.events import Event
from watchword.usage.meters import Meter, plain
from watchword.usage.rollups import Contribution, MeterSet, Tally, combine
from watchword.usage.store import Difference
from watchword.usage.times import MICROSECONDS_PER_DAY, day_of_number

_EVENTS_AT_ONCE: Final = 20_000  # of one account: beyond them its tally is added up in parts
_ROWS_AT_ONCE: Final = 50_000


class Recount:
    """Counts all events up to a block for some meters."""

    def __init__(self, log: EventLog, cells: Cells, meters: Sequence[Meter], upto: int) -> None:
        """Take meters under the names of their places."""
        self._log, self._cells, self._meters, self._upto = log, cells, MeterSet(meters), upto
        self.events = 0
        self.unusable: dict[str, int] = {}

    def by_account(
        self, first_days: Mapping[str, int], *, letting_in: bool
    ) -> Iterator[tuple[str, dict[Cell, tuple[Meter, Decimal]], dict[Cell, set[str]]]]:
        """Give each account's amounts and distinct values; of each meter no days before its first."""
        first = min(first_days.values(), default=0) * MICROSECONDS_PER_DAY
        events = self._log.by_account(self._upto, first)
        for account, mine in groupby(events, key=lambda event: event.account):
            total = _Total()
            part: list[tuple[Event, list[Contribution]]] = []
            for event in mine:
                part.append((event, self._measure(event, first_days)))
                if len(part) == _EVENTS_AT_ONCE:
                    total.add(self._cells.tally(part, letting_in=letting_in))
                    part = []
            total.add(self._cells.tally(part, letting_in=letting_in))
            yield account, total.amounts, total.distinct

    def _measure(self, event: Event, first_days: Mapping[str, int]) -> list[Contribution]:
        if not self._meters.counts_type(event.type):
            return []
        self.events += 1
        contributions, without_value = self._meters.past_contributions(event)
        for place in without_value:
            self.unusable[place] = self.unusable.get(place, 0) + 1
        return [one for one in contributions if event.day >= first_days.get(one[0].name, 0)]


class _Total:
    """Totals added up, with the account first in their keys."""

    def __init__(self) -> None:
        self.amounts: dict[Cell, tuple[Meter, Decimal]] = {}
        self.distinct: dict[Cell, set[str]] = {}

    def add(self, tally: Tally) -> None:
        for (account, day, place, group), (meter, amount) in tally.amounts.items():
            cell = (account, place, day, group)
            before = self.amounts.get(cell)
            total = amount if before is None else combine(meter.aggregation, before[1], amount)
            self.amounts[cell] = (meter, total)
        for (account, day, place, group), values in tally.distinct.items():
            self.distinct.setdefault((account, place, day, group), set()).update(values)


def write(sessions: Sessions, recount: Recount, first_days: Mapping[str, int], upto: int) -> None:
    """Write what a recount gives as amounts up to a block."""
    rollups: list[tuple[object, ...]] = []
    values: list[tuple[object, ...]] = []

    def flush(most: int) -> None:
        if len(rollups) > most:
            sessions.insert_rows("cell", rollups)
            rollups.clear()
        if len(values) > most:
            sessions.insert_rows("distinct_value", values)
            values.clear()

    for _, amounts, distinct in recount.by_account(first_days, letting_in=True):
        rollups += [(*cell, 0, upto, amount) for cell, (_, amount) in amounts.items()]
        values += [(*cell, value) for cell, texts in distinct.items() for value in texts]
        flush(_ROWS_AT_ONCE)
    flush(0)


class Comparison:
    """Differences between the stored amounts of some places and what the events say."""

    def __init__(
        self, sessions: Sessions, cells: Cells, names: Mapping[str, str], first_days: Mapping[str, int]
    ) -> None:
        """Take the names of meters by their places, and the first day of each place that is compared."""
        self._sessions, self._cells, self._names, self._first_days = sessions, cells, names, first_days

    def of_account(
        self,
        account: str,
        upto: int,
        amounts: Mapping[Cell, tuple[Meter, Decimal]],
        distinct: Mapping[Cell, set[str]],
    ) -> Iterator[Difference]:
        """Compare one account."""
        stored = {
            cell: plain(n)
            for cell, n in self._cells.of_account(account, upto).items()
            if self._is_compared(cell)
        }
        expected = {cell: plain(n) for cell, (_, n) in amounts.items()}
        for cell in sorted(stored.keys() | expected.keys()):
            if stored.get(cell) != expected.get(cell):
                yield self._difference(cell, stored.get(cell), expected.get(cell))
        there = {
            ((account, place, day, group), value)
            for place, day, group, value in self._sessions.rows("values", account=account)
            if self._is_compared((account, place, day, group))
        }
        wanted = {(cell, value) for cell, texts in distinct.items() for value in texts}
        for cell, value in sorted(there ^ wanted):
            is_there = (cell, value) in there
            yield self._difference(cell, value if is_there else None, None if is_there else value)

    def _is_compared(self, cell: Cell) -> bool:
        _, place, day, _ = cell
        return place in self._names and day >= self._first_days.get(place, 0)

    def _difference(self, cell: Cell, stored: str | None, expected: str | None) -> Difference:
        account, place, day, group = cell
        return Difference(account, day_of_number(day), self._names[place], stored, expected, group or None)
