# SPDX-License-Identifier: Apache-2.0
"""How events become one amount per (account, UTC day, meter, group), the same on the way in and when rebuilt.

There is one fold. A store that counted on arrival in one way and rebuilt in another would sooner or later
answer two different bills for one month; here only where the amounts are kept differs between stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

import msgspec

from watchword.usage.events import Event
from watchword.usage.groups import UNGROUPED, Admission, group_of
from watchword.usage.meters import EXACT, Aggregation, Meter, measure
from watchword.usage.problems import EventProblem

Key = tuple[str, int, str, str]
"""Account, day in days since 1970-01-01, name of the meter, group."""

Contribution = tuple[Meter, Decimal | str, str]
"""The meter, what it gets, and the group that the event belongs to."""


class MeterSet:
    """Meters with distinct names, found by event type. Raises ValueError on a name that comes twice."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self.by_name = {meter.name: meter for meter in meters}
        if len(self.by_name) != len(meters):
            raise ValueError("each meter needs a name of its own")
        self._by_type: dict[str, list[Meter]] = {}
        for meter in meters:
            self._by_type.setdefault(meter.event_type, []).append(meter)
        self.definitions = {name: definition(meter) for name, meter in self.by_name.items()}
        # What is one and the same for each event of the type.
        self._each: dict[str, Contribution] = {
            meter.name: (meter, Decimal(1), UNGROUPED)
            for meter in meters
            if meter.aggregation == "count" and not meter.group_by
        }
        self.has_groups = any(meter.group_by for meter in meters)
        ordered = sorted(self.definitions.items())
        self.digest = hashlib.sha256(msgspec.json.encode(ordered)).hexdigest()

    def counts_type(self, event_type: str) -> bool:
        """Tell whether any meter takes events of this type."""
        return event_type in self._by_type

    def contributions(self, event: Event) -> list[Contribution] | EventProblem:
        """Tell what an arriving event adds to each meter, or the first meter that cannot use it."""
        found: list[Contribution] = []
        for meter in self._by_type.get(event.type, ()):
            one = self._each.get(meter.name) or contribution(meter, event)
            if isinstance(one, EventProblem):
                return one
            if one is not None:
                found.append(one)
        return found

    def past_contributions(self, event: Event) -> tuple[list[Contribution], list[str]]:
        """Tell what a stored event adds, and the names of meters, newer than it, that cannot use it."""
        found: list[Contribution] = []
        unusable: list[str] = []
        for meter in self._by_type.get(event.type, ()):
            one = contribution(meter, event)
            if isinstance(one, EventProblem):
                unusable.append(meter.name)
            elif one is not None:
                found.append(one)
        return found, unusable


def contribution(meter: Meter, event: Event) -> Contribution | EventProblem | None:
    """Tell what an event gives to a meter and in which group; None when it is of another type."""
    amount = measure(meter, event)
    if amount is None or isinstance(amount, EventProblem):
        return amount
    if not meter.group_by:
        return (meter, amount, UNGROUPED)
    group = group_of(meter, event)
    return group if isinstance(group, EventProblem) else (meter, amount, group)


@lru_cache(maxsize=64)
def meter_set(meters: tuple[Meter, ...]) -> MeterSet:
    """Give the MeterSet of these meters; the same one for the same meters, as every batch asks for it."""
    return MeterSet(meters)


def definition(meter: Meter) -> str:
    """Write what a meter counts as one line of JSON, equal exactly when both count the same.

    A unit and a time to keep amounts change no amount: they are not in it.
    """
    counted: dict[str, object] = {
        "name": meter.name,
        "event_type": meter.event_type,
        "aggregation": meter.aggregation,
        "value": meter.value,
    }
    if meter.group_by:
        counted |= {"group_by": meter.group_by, "max_groups": meter.max_groups}
    return msgspec.json.encode(counted).decode()


@lru_cache(maxsize=512)
def meter_of_definition(text: str) -> Meter:
    """Read back what `definition` wrote."""
    return msgspec.json.decode(text, type=Meter)


def keeps_groups(before: str, after: Meter | None) -> bool:
    """Whether the groups that were let in first, by a definition, are the first ones of a meter as well.

    They are kept: stores have events in the order of their keys within a batch, so that who came first could
    not be found out again. With fewer places than before, it is not known which of them came first, and
    others may have them.
    """
    if after is None:
        return False
    known = meter_of_definition(before)
    return are_split_alike(known, after) and known.max_groups <= after.max_groups


def are_split_alike(one: Meter, other: Meter) -> bool:
    """Whether two meters split the same events into the same groups."""
    return (one.event_type, one.group_by) == (other.event_type, other.group_by)


def combine(aggregation: Aggregation, one: Decimal, other: Decimal) -> Decimal:
    """Combine two amounts of disjoint sets of events; exact, and the same in any order."""
    return max(one, other) if aggregation == "max" else EXACT.add(one, other)


class Tally:
    """The amounts of a number of events, not yet added to those that a store has.

    `amounts` for count, sum and max; `distinct` the values for unique_count.
    """

    def __init__(self, admission: Admission) -> None:
        self.amounts: dict[Key, tuple[Meter, Decimal]] = {}
        self.distinct: dict[Key, set[str]] = {}
        self.size = 0
        self._admission = admission

    def add(self, event: Event, contributions: Sequence[Contribution]) -> None:
        """Add what one event contributes."""
        account, day = event.account, event.day
        for meter, amount, own_group in contributions:
            group = self._admission.place(meter, account, day, own_group) if own_group else own_group
            key = (account, day, meter.name, group)
            if isinstance(amount, str):
                self.distinct.setdefault(key, set()).add(amount)
            else:
                before = self.amounts.get(key)
                total = amount if before is None else combine(meter.aggregation, before[1], amount)
                self.amounts[key] = (meter, total)
            self.size += 1
