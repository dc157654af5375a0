# SPDX-License-Identifier: Apache-2.0
"""Events by the day on which they came: on which days a key may be, and which of a batch's are there.

The keys of a day lie together in their index, and a batch writes into those of one day, the newest. Another
day begins under the lock that every writer takes, so that the days before it take no new events any more.

An event that is sent again with its time came first on its day or later (or earlier, by the most that events
were ever ahead of the clock): `first_arrival`. So the days from that one on are looked at, and the last
WINDOW_DAYS for a sender of an id with another time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from watchword.usage.closed_keys import ClosedKeys
from watchword.usage.deduplication import (
    AHEAD,
    DIGEST_BYTES,
    WINDOW_DAYS,
    Kept,
    first_arrival,
    framed,
    most_ahead,
)
from watchword.usage.events import Event
from watchword.usage.sqlite import schema
from watchword.usage.times import MICROSECONDS_PER_DAY

RECEIVED: Final = "received"
ARRIVALS_FROM: Final = "arrivals_from"
"""In the store's state: the newest day on which events came, and the first day that has keys by arrival (0
where all have)."""

SECONDS_PER_DAY: Final = 86_400
_READ_AT_ONCE: Final = 5_000  # keys


class Arrivals(NamedTuple):
    """The days of arrival as the state and a clock give them, in days since 1970-01-01."""

    received: int
    first_day: int
    ahead: int

    @classmethod
    def of(cls, state: Mapping[str, str], today: int) -> Arrivals:
        """Read a state. A clock that was put back changes nothing: the newest day stays the newest."""
        first_day = int(state.get(ARRIVALS_FROM, 0))
        return cls(max(today, first_day, int(state.get(RECEIVED, 0))), first_day, int(state.get(AHEAD, 0)))

    @property
    def window(self) -> int:
        """The first day of the window in which an id is known whatever time it is sent with."""
        return self.received - WINDOW_DAYS

    def look_back(self, events: Sequence[Event]) -> dict[int, list[int]]:
        """Give the places of events by the first day that may have them."""
        window = self.window
        days: dict[int, list[int]] = {}
        # Events of a batch have few days, which few look back from.
        known: dict[int | None, list[int]] = {}
        for place, event in enumerate(events):
            own = event.time // MICROSECONDS_PER_DAY if event.time_given else None
            places = known.get(own)
            if places is None:
                places = known[own] = days.setdefault(min(window, first_arrival(event, self.ahead)), [])
            places.append(place)
        return days

    def note(self, connection: sqlite3.Connection, state: Mapping[str, str], events: Sequence[Event]) -> None:
        """Write down that these events come on the newest day, and how far ahead of it they are."""
        if state.get(RECEIVED) != str(self.received):
            connection.execute(schema.SET_STATE, (RECEIVED, str(self.received)))
        ahead = most_ahead(events, self.received, self.ahead)
        if ahead != self.ahead:
            connection.execute(schema.SET_STATE, (AHEAD, str(ahead)))


def keys_of(events: Sequence[Event]) -> list[bytes]:
    """Give `digest_of` the account, the source and the id of each event; a batch has few accounts."""
    known: dict[tuple[str, str], bytes] = {}
    keys = []
    for event in events:
        owner = (event.account, event.source)
        before = known.get(owner)
        if before is None:
            before = known[owner] = framed(event.account) + framed(event.source)
        keys.append(hashlib.blake2b(before + framed(event.id), digest_size=DIGEST_BYTES).digest())
    return keys


class Lookup:
    """What stands for the keys of a batch: `found`, by key."""

    def __init__(
        self, connection: sqlite3.Connection, events: Sequence[Event], keys: Sequence[bytes]
    ) -> None:
        self.found: dict[bytes, Kept] = {}
        self._connection, self._events, self._keys = connection, events, keys

    def find_earlier(self, arrivals: Arrivals, closed: ClosedKeys | None) -> int:
        """Look at the days before the newest one; how many keys were asked for on each day of the window."""
        recent: list[int] = []
        asked = 0
        window = arrivals.window
        for first, places in arrivals.look_back(self._events).items():
            if first < arrivals.first_day:
                self._find_past(places)
            if closed is None:
                self.find(places, max(first, arrivals.first_day), arrivals.received)
                asked += len(places)
            else:
                recent += closed.may_have(self._keys, places)
                self.find(places, max(first, arrivals.first_day), window)
        self.find(recent, max(window, arrivals.first_day), arrivals.received)
        return asked

    def find(self, places: Sequence[int], first: int, end: int) -> None:
        """Look at the days from one up to and without another for the keys of some places."""
        if first >= end:
            return
        keys = b"".join(sorted({self._keys[place] for place in places}))
        if not keys:
            return
        times = {self._keys[place]: self._events[place].time for place in places}
        for key, *kept in self._connection.execute(schema.EVENTS_BY_KEY, (keys, first, end)):
            # An id that came again after the window stands twice; a replay is one of the two.
            if key not in self.found or kept[2] == times.get(key):
                self.found[key] = (kept[0], kept[1], kept[2], kept[3], kept[4], kept[5])

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


def read_closed_keys(connection: sqlite3.Connection, day: int) -> ClosedKeys:
    """Read the keys of the window before a day that has begun, in the caller's transaction."""
    closed = ClosedKeys(day)
    for one in range(day - WINDOW_DAYS, day):
        # No more than are remembered, and not all of a day at once.
        rows = connection.execute(schema.KEYS_OF_DAY, (one, closed.room + 1))
        while closed.room >= 0 and (part := rows.fetchmany(_READ_AT_ONCE)):
            closed.add(b"".join([key for (key,) in part]))
    return closed
