# SPDX-License-Identifier: Apache-2.0
"""A store that cannot be wrong because it does nothing clever: a dict of events, counted afresh each time.

Shares no arithmetic with the real ones: fractions instead of decimals, dates instead of day numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from watchword.usage import Event, Meter, UsageQuery

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Oracle:
    def __init__(self) -> None:
        self.events: dict[tuple[str, str, str], Event] = {}

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[str]:
        statuses = []
        for event in events:
            key = (event.account, event.source, event.id)
            if key in self.events:
                statuses.append("duplicate")
            elif any(m.event_type == event.type and m.value and _at(event, m) is None for m in meters):
                statuses.append("refused")
            else:
                self.events[key] = event
                statuses.append("stored")
        return statuses

    def totals(
        self, account: str, start: date, end: date, meters: Sequence[Meter]
    ) -> Mapping[str, Fraction] | None:
        mine = [event for event in self.events.values() if event.account == account]
        if not mine:
            return None
        inside = [e for e in mine if start <= (EPOCH + timedelta(microseconds=e.time)).date() < end]
        found = {}
        for meter in meters:
            typed = [event for event in inside if event.type == meter.event_type]
            values = [_at(event, meter) for event in typed] if meter.value else [1] * len(typed)
            values = [value for value in values if value is not None]
            if not values:
                found[meter.name] = Fraction(0)
            elif meter.aggregation == "unique_count":
                found[meter.name] = Fraction(len({(isinstance(value, str), value) for value in values}))
            else:
                numbers = [Fraction(value) for value in values if isinstance(value, (int, Decimal))]
                found[meter.name] = max(numbers) if meter.aggregation == "max" else sum(numbers, Fraction(0))
        return found

    def split(
        self, account: str, start: date, end: date, meter: Meter, dimension: str
    ) -> Mapping[str, Fraction]:
        """The amounts by the value of one member of the data, as JSON text."""
        found: dict[str, Oracle] = {}
        for key, event in self.events.items():
            if event.account != account or event.type != meter.event_type:
                continue
            if not start <= (EPOCH + timedelta(microseconds=event.time)).date() < end:
                continue
            if meter.value and _at(event, meter) is None:
                continue
            value = event.data.get(dimension) if isinstance(event.data, dict) else None
            name = json.dumps([int(value) if isinstance(value, Decimal) else value])
            found.setdefault(name, Oracle()).events[key] = event
        amounts = {name: part.totals(account, start, end, [meter]) for name, part in found.items()}
        return {name: total[meter.name] for name, total in amounts.items() if total is not None}

    def answer(self, query: UsageQuery, meters: Sequence[Meter]) -> list[Mapping[str, Fraction] | None]:
        spans = [(query.start, query.end), *query.windows()]
        return [self.totals(query.account, start, end, meters) for start, end in spans]


def _at(event: Event, meter: Meter) -> object:
    """The value at a pointer of one step, which is all that the machine uses."""
    assert meter.value is not None
    value = event.data.get(meter.value[1:]) if isinstance(event.data, dict) else None
    is_usable = not isinstance(value, str) or meter.aggregation == "unique_count"
    return value if is_usable else None
