# SPDX-License-Identifier: Apache-2.0
"""Events by the day on which they came: which partition takes a batch, and which ones may have its keys.

All batches of a moment write into one partition, the newest, whose unique key decides who is first. The next
day's partition is made under the lock that every batch shares: none is under way then, so that the partitions
before it take no new events any more, and a look at them misses none.

An event that is sent again with its time came first on its day or later (or earlier, by the most that events
were ever ahead of the clock): `first_arrival`. So the partitions from that day on are looked at, and those of
the last WINDOW_DAYS for a sender of an id with another time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from watchword.usage.deduplication import AHEAD, ARRIVALS_FROM, WINDOW_DAYS, by_first_day
from watchword.usage.events import Event
from watchword.usage.postgresql.sessions import Connection
from watchword.usage.postgresql.statements import Statements

RECEIVED: Final = "received"
TODAY: Final = "today"
SERVER: Final = "server"
"""In the store's state: the day of the newest partition. Asked with it: the day by the server's clock, and
which tables on which run of which server these are.
"""

# Late events look back to a day that many batches share, so that the server plans few different statements.
_LOOK_BACK_STEP: Final = 7


class Arrivals(NamedTuple):
    """The partitions as one look at the state gives them, in days since 1970-01-01."""

    received: int
    today: int
    first_partition: int
    ahead: int

    @classmethod
    def of(cls, state: Mapping[str, str]) -> Arrivals:
        """Read a state."""
        return cls(
            int(state.get(RECEIVED, -1)),
            int(state[TODAY]),
            int(state.get(ARRIVALS_FROM, 0)),
            int(state.get(AHEAD, 0)),
        )

    @property
    def next(self) -> int | None:
        """The day of the partition that must be made first; None while the newest one is today's."""
        newest = max(self.today, self.first_partition)
        # A clock that was put back changes nothing: the newest partition stays the newest.
        return newest if newest > self.received else None

    @property
    def window(self) -> int:
        """The first day of the window in which an id is known whatever time it is sent with."""
        return self.received - WINDOW_DAYS

    def look_back(self, events: Sequence[Event]) -> dict[int, list[int]]:
        """Give the places of events by the first partition that may have them."""
        return by_first_day(events, self.ahead, self._looked_at_from)

    def _looked_at_from(self, first: int) -> int:
        if first < self.window:
            first = first // _LOOK_BACK_STEP * _LOOK_BACK_STEP
        day = min(self.window, first)
        # What came before there were partitions is in the one of day 0.
        return day if day >= self.first_partition else 0


def make_partition(connection: Connection, statements: Statements, day: int) -> None:
    """Make the partition of a day and say that it is the newest. The caller holds the lock alone."""
    for statement in statements.make_partition(day):
        connection.execute(statement)
    connection.execute(statements["set_state"], [RECEIVED, str(day)])


def partitions(connection: Connection, statements: Statements) -> list[int]:
    """Give the days that have partitions, in order; 0 is all that came before there were any."""
    return sorted(int(name.rpartition("_")[2]) for (name,) in connection.execute(statements["partitions"]))
