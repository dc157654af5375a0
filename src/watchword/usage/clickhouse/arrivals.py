# SPDX-License-Identifier: Apache-2.0
"""Events by the day on which they came: which days of the log may have a batch's keys.

An event that is sent again with its time came first on its day or later (or earlier, by the most that events
were ever ahead of the clock): `first_arrival`. So the days from that one on are looked at, and those of
the last WINDOW_DAYS for a sender of an id with another time. There is no last day for a look: writers
whose clocks differ, or of two sides of midnight, write into different days and find each other all the same.
Partitions have some days each, and say of which days their parts are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from watchword.usage.clickhouse.native import short_key
from watchword.usage.deduplication import AHEAD, ARRIVALS_FROM, CLOCKS_DIFFER_DAYS, WINDOW_DAYS

NO_TIME: Final = 0
"""The day of an event that was sent without a time: it may have come before on any day."""


class Bounds(NamedTuple):
    """What bounds a look, as one look at the store's state gives it, in days since 1970-01-01."""

    today: int
    arrivals_from: int
    ahead: int

    @classmethod
    def of(cls, marks: Mapping[str, int], today: int) -> Bounds:
        """Take the store's marks and the day by the server's clock."""
        return cls(today, marks.get(ARRIVALS_FROM, 0), marks.get(AHEAD, 0))

    @property
    def window(self) -> int:
        """The first day that is looked at for whatever key."""
        return self._day(self.today - WINDOW_DAYS)

    def may_be_former(self, day: int) -> bool:
        """Tell whether an event of this day may have come before days were told."""
        return not self.window or day - max(self.ahead, CLOCKS_DIFFER_DAYS) < self.arrivals_from

    def look_back(self, days: Mapping[bytes, int]) -> LookBack:
        """Say for keys, given with the days of their events, since which day their events may have come."""
        window = self.window
        before = max(self.ahead, CLOCKS_DIFFER_DAYS)
        late = {short_key(key): self._day(day - before) for key, day in days.items() if day - before < window}
        return LookBack(window, list(map(short_key, days)), late)

    def _day(self, day: int) -> int:
        return max(day, 0) if day >= self.arrivals_from else 0


class LookBack(NamedTuple):
    """Keys by their first bytes: all are looked for from the day `window` on, and those of `late` from a day
    before it on.
    """

    window: int
    keys: list[int]
    late: dict[int, int]

    def since_day(self, keys: Iterable[int]) -> int:
        """Give the first day that any of these keys is looked for in."""
        return min([self.window, *(self.late[key] for key in keys if key in self.late)])

    def holds(self, found: Found) -> bool:
        """Tell whether what was found by its first bytes in all days that any key is looked for in is where
        its own may be.
        """
        return found.came >= self.window or short_key(found.key) in self.late


class Found(NamedTuple):
    """Where a key was found: the time of its event, the first block that has both, and the day it came."""

    key: bytes
    time: int
    block: int
    came: int


def best(found: Collection[Found], times: Mapping[bytes, int]) -> dict[bytes, Found]:
    """Give for each key what stands for it: its event of the time that it is sent with, or the first."""
    chosen: dict[bytes, Found] = {}
    for one in found:
        before = chosen.get(one.key)
        if before is None or _rank(one, times) < _rank(before, times):
            chosen[one.key] = one
    return chosen


def beats(other: Found, time: int, block: int, came: int) -> bool:
    """Tell whether an event in the log takes the place of another one of the same key, by its time, block and
    day: it came first, and in the window before it or with the same time.

    So it is told by the log alone, whatever was known to those who wrote.
    """
    return other.block < block and (other.came >= came - WINDOW_DAYS or other.time == time)


def _rank(found: Found, times: Mapping[bytes, int]) -> tuple[bool, int]:
    return (found.time != times.get(found.key), found.block)
