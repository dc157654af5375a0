# SPDX-License-Identifier: Apache-2.0
"""Events by the day on which they came: where a key may be, and which of a batch's are there.

The keys of a day lie in a few parts of their index, one after the other, and a batch writes into the newest
one: to few pages, however many keys there are. Another part begins under the lock that every writer takes,
when a day begins or when the newest one has enough keys. So the parts before it take no new keys any more.

An event that is sent again with its time came first on its day or later (or earlier, by the most that events
were ever ahead of the clock): `first_arrival`. So the days from that one on are looked at, and the last
WINDOW_DAYS for a sender of an id with another time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from watchword.usage.closed_keys import ClosedKeys
from watchword.usage.deduplication import (
    AHEAD,
    ARRIVALS_FROM,
    WINDOW_DAYS,
    Kept,
    by_first_day,
    most_ahead,
)
from watchword.usage.events import Event
from watchword.usage.sqlite import schema

PART: Final = "part"
PART_FROM: Final = "part_from"
"""In the store's state: the newest part, and the place of the last event before it."""

PARTS_A_DAY: Final = 32
EVENTS_A_PART: Final = 50_000
"""So many keys are 450 pages. The last part of a day takes all the rest of it: looks in many cost, too."""


class Arrivals(NamedTuple):
    """The parts as the state and a clock give them; days in days since 1970-01-01."""

    part: int
    before: int
    """The newest part, and which one that was before this batch."""
    last: int
    first_day: int
    ahead: int

    @classmethod
    def of(cls, state: Mapping[str, str], today: int, last: int) -> Arrivals:
        """Read a state; `last` is the place of the last event.

        A clock that was put back changes nothing: the newest part stays the newest.
        """
        first_day, before = int(state.get(ARRIVALS_FROM, 0)), int(state.get(PART, 0))
        part = max(before, PARTS_A_DAY * max(today, first_day))
        is_full = last - int(state.get(PART_FROM, 0)) >= EVENTS_A_PART
        if part == before and is_full and (part + 1) % PARTS_A_DAY:
            part += 1
        return cls(part, before, last, first_day, int(state.get(AHEAD, 0)))

    @property
    def day(self) -> int:
        """The day of the newest part."""
        return self.part // PARTS_A_DAY

    @property
    def window(self) -> int:
        """The first day of the window in which an id is known whatever time it is sent with."""
        return self.day - WINDOW_DAYS

    def look_back(self, events: Sequence[Event]) -> dict[int, list[int]]:
        """Give the places of events by the first day that may have them."""
        return by_first_day(events, self.ahead, lambda first: min(self.window, first))

    def note(self, connection: sqlite3.Connection, stored: Sequence[Event]) -> None:
        """Write down which part is the newest, and how far ahead of their day the events in it are."""
        if self.part != self.before:
            connection.execute(schema.SET_STATE, (PART, str(self.part)))
            connection.execute(schema.SET_STATE, (PART_FROM, str(self.last)))
        ahead = most_ahead(stored, self.day, self.ahead)
        if ahead != self.ahead:
            connection.execute(schema.SET_STATE, (AHEAD, str(ahead)))


class Lookup:
    """What stands for the keys of a batch: `found`, by key."""

    def __init__(
        self, connection: sqlite3.Connection, events: Sequence[Event], keys: Sequence[bytes]
    ) -> None:
        self.found: dict[bytes, Kept] = {}
        self._connection, self._events, self._keys = connection, events, keys

    def find_earlier(self, arrivals: Arrivals, closed: ClosedKeys | None) -> int:
        """Look at the parts before the newest one; how many keys were asked for in all of the window.

        `closed` has the keys of the window up to the part that was the newest before this batch.
        """
        recent: list[int] = []
        asked = 0
        first_day, window = arrivals.first_day, max(arrivals.window, arrivals.first_day)
        for first, places in arrivals.look_back(self._events).items():
            if first < first_day:
                self._find_past(places)
            if closed is None:
                self.find(places, max(first, first_day) * PARTS_A_DAY, arrivals.part)
                asked += len(places)
            else:
                recent += closed.may_have(self._keys, places)
                self.find(places, max(first, first_day) * PARTS_A_DAY, window * PARTS_A_DAY)
        if closed is not None:
            self.find(recent, window * PARTS_A_DAY, arrivals.before)
            self.find(range(len(self._keys)), max(window * PARTS_A_DAY, arrivals.before), arrivals.part)
        return asked

    def find(self, places: Sequence[int], first: int, end: int) -> None:
        """Look at the parts from one up to and without another for the keys of some places."""
        if first >= end or not places:
            return
        keys = b"".join(sorted({self._keys[place] for place in places}))
        times = {self._keys[place]: self._events[place].time for place in places}
        for key, *kept in self._connection.execute(schema.EVENTS_BY_KEY, (keys, first, end)):
            # An id that came again after the window stands twice; a replay is one of the two.
            if key not in self.found or kept[2] == times.get(key):
                self.found[key] = (kept[0], kept[1], kept[2], kept[3], kept[4], kept[5])

    def unsure(self) -> list[int]:
        """Give the places whose keys were not found, or with another time only: an id can stand twice."""
        return [
            place
            for place, (key, event) in enumerate(zip(self._keys, self._events, strict=True))
            if (kept := self.found.get(key)) is None or kept[2] != event.time
        ]

    def _find_past(self, places: Sequence[int]) -> None:
        """Look at what came before there were days of arrival."""
        keys = {
            (event.source, event.id, event.account): self._keys[place]
            for place, event in ((place, self._events[place]) for place in places)
        }
        asked = (json.dumps(sorted(keys)),)
        for source, name, *kept in self._connection.execute(schema.PAST_EVENTS_BY_KEY, asked):
            key = keys[source, name, kept[1]]
            self.found[key] = (kept[0], kept[1], kept[2], kept[3], kept[4], kept[5])
