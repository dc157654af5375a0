# SPDX-License-Identifier: Apache-2.0
"""Which group of a meter an event counts in, and how many groups there may be.

A dimension that turns out to be a request id would make a row of every event. So each account has at most
`max_groups` groups a meter and month, the first ones to come; all others count in one overflow group that
answers name. The groups that were let in are kept: counted again, an event lands where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from watchword.usage.events import Event
from watchword.usage.meters import Dimension, Meter, exact, plain
from watchword.usage.pointers import MISSING, parse_pointer, resolve
from watchword.usage.problems import EventProblem, shown
from watchword.usage.strict_json import read_trusted
from watchword.usage.times import day_of_number

UNGROUPED: Final = ""
OVERFLOW: Final = "*"
MAX_GROUP_BYTES: Final = 512

Scope = tuple[str, str, int]
"""Account, name of the meter, month (12 times the year, and 0 to 11)."""


def group_of(meter: Meter, event: Event) -> str | EventProblem:
    """Tell which group of `meter` an event belongs to: a JSON array of the dimensions' values. Pure.

    A value that is not there is null, a group of its own; an object, an array or a long text is a problem.
    """
    if not meter.group_by:
        return UNGROUPED
    values: list[str] = []
    for dimension in meter.group_by:
        found = MISSING if event.data_text is None else resolve(parse_pointer(dimension.value), event.data)
        text = _text(found)
        if text is None:
            return _problem(
                meter,
                event,
                dimension,
                ("group_not_single", "it is no single value"),
                "send a string, a number of at most 48 digits, a boolean, or nothing there",
            )
        values.append(text)
    group = "[" + ",".join(values) + "]"
    if len(group.encode()) > MAX_GROUP_BYTES:
        return _problem(
            meter,
            event,
            meter.group_by[0],
            ("group_too_long", f"the values of its group have {len(group.encode())} bytes as JSON"),
            f"send at most {MAX_GROUP_BYTES} bytes in all",
        )
    return group


def group_values(group: str) -> list[object]:
    """Read back the values of a group's dimensions, numbers exactly."""
    values = read_trusted(group)
    return values if isinstance(values, list) else []


def month_of(day: int) -> int:
    """Give the month of a day (days since 1970-01-01) as one number that grows by one a month."""
    date = day_of_number(day)
    return date.year * 12 + date.month - 1


class Admission:
    """Who has a group of its own, and who is new; `load` gives the groups that a scope has already."""

    def __init__(self, load: Callable[[Scope], set[str]]) -> None:
        self._load = load
        self._known: dict[Scope, set[str]] = {}
        self.new: list[tuple[Scope, str]] = []

    def place(self, meter: Meter, account: str, day: int, group: str) -> str:
        """Give the group that an event counts in: its own, while there is room, or the overflow group."""
        if group == UNGROUPED:
            return group
        scope = (account, meter.name, month_of(day))
        known = self._known.get(scope)
        if known is None:
            known = self._known[scope] = self._load(scope)
        if group not in known:
            if len(known) >= meter.max_groups:
                return OVERFLOW
            known.add(group)
            self.new.append((scope, group))
        return group


def _text(found: object) -> str | None:
    if found is MISSING or found is None:
        return "null"
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, str):
        return msgspec.json.encode(found).decode()
    number = exact(found) if isinstance(found, Decimal) else None
    return None if number is None else plain(number)


def _problem(
    meter: Meter, event: Event, dimension: Dimension, found: tuple[str, str], remedy: str
) -> EventProblem:
    code, detail = found
    said = f"meter {shown(meter.name)} cannot be grouped by {shown(dimension.name)}: {detail}"
    return EventProblem(event.index, code, f"data{dimension.value}", said, remedy)
