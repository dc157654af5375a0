# SPDX-License-Identifier: Apache-2.0
"""One batch on its way in: what was there before is found, the rest inserted, counted and answered for.

The statements are sent as a pipeline: while the server inserts the events, this process adds them up, as if
all were new, which they nearly always are. When the server inserted fewer, they are added up again.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Container, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

import psycopg

from watchword.usage.deduplication import AHEAD, Batch, Kept, digests_of, most_ahead, past_keeping
from watchword.usage.events import Event
from watchword.usage.groups import Admission
from watchword.usage.postgresql.arrivals import Arrivals
from watchword.usage.postgresql.cache import ServerCache
from watchword.usage.postgresql.rollups import DayTally, add, admission_of, admit, array
from watchword.usage.postgresql.sessions import Connection
from watchword.usage.postgresql.statements import Statements
from watchword.usage.problems import EventProblem
from watchword.usage.rollups import Contribution, MeterSet
from watchword.usage.store import Outcome, StoreUnavailableError

Cursor = psycopg.Cursor[tuple[Any, ...]]
Key = tuple[bytes, str]
"""The digest of source and id, and the account."""

# The server inserts the first ones while the next are written for it.
_EVENTS_AT_ONCE: Final = 2_000
NO_GROUPS: Final = Admission(lambda _: set())
# As in `insert_events`, after the key.
_COLUMNS: Final[tuple[Callable[[Event], Any], ...]] = tuple(
    map(attrgetter, ("source", "id", "type", "account", "time", "data_text", "data_base64", "extensions"))
)


class ArrivingBatch:
    """A batch, and what was found out about it."""

    def __init__(
        self,
        events: Sequence[Event],
        meters: MeterSet,
        arrivals: Arrivals,
        cache: ServerCache,
        *,
        events_from: int,
    ) -> None:
        """Take a batch, the meters in force, and the first day whose events are kept."""
        self._events, self._meters, self._arrivals, self._cache = events, meters, arrivals, cache
        self._events_from = events_from
        self._digests = digests_of(events)
        self._keys: list[Key] = list(zip(self._digests, [event.account for event in events], strict=True))
        self._contributions: list[list[Contribution]] = [[]] * len(events)
        self._problems: list[EventProblem | None] = [None] * len(events)
        self._is_measured = len(set(self._keys)) < len(events)
        if self._is_measured:
            # Who is first of a key depends on it.
            for place in range(len(events)):
                self._measure(place)
        self._batch = Batch(events, self._problems, self._keys)
        self._accounts: set[str] = set()
        self._outcomes: list[Outcome] = []

    def _measure(self, place: int) -> bool:
        """Find out what an event contributes; whether it can be stored."""
        found = self._meters.contributions(self._events[place])
        problem = past_keeping(self._events[place], self._events_from) if self._events_from else None
        if problem is not None or isinstance(found, EventProblem):
            self._problems[place] = problem or found  # type: ignore[assignment]  # one of them is a problem
            return False
        self._contributions[place] = found
        return True

    def store(self, connection: Connection, statements: Statements) -> None:
        """Store what is new of it. The caller holds the lock, commits, and calls `committed`."""
        with connection.pipeline() as pipeline:
            self._note_ahead(connection, statements)
            earlier = self._find_earlier(connection, statements)
            places, cursors = self._insert(connection, statements, earlier)
            tally = None
            if not self._meters.has_groups:
                tally = self._tally(places, NO_GROUPS)
                tally.prepare()
            pipeline.sync()
            inserted = sum(cursor.rowcount for cursor in cursors)
            if inserted < len(places):
                places, tally = self._without_those_of_others(connection, statements, places), None
            if inserted != len(places):
                # Someone deletes events by hand. What is not there must not be counted.
                raise StoreUnavailableError("events went while others were stored", "send them again")
            stored = set(places)
            existing = self._find_existing(connection, statements, stored, earlier)
            admission = NO_GROUPS
            if tally is None:
                counted = [(self._events[place], self._contributions[place]) for place in places]
                admission = admission_of(connection, statements, counted)
                tally = self._tally(places, admission)
            self._accounts = {self._keys[place][1] for place in places}
            if new := self._cache.new_accounts(self._accounts):
                connection.execute(statements["insert_accounts"], [array(new)])
            admit(connection, statements, admission)
            add(connection, statements.__getitem__, tally)
            _send(connection)
            self._outcomes = self._batch.outcomes(stored, existing)

    def committed(self) -> list[Outcome]:
        """Answer for each event, in order, once all of it is on disk; only then is it remembered."""
        self._cache.add_accounts(self._accounts)
        return self._outcomes

    def _note_ahead(self, connection: Connection, statements: Statements) -> None:
        first = [self._events[place] for place in self._batch.first.values()]
        latest = [max(first, key=attrgetter("time"))] if first else []
        ahead = most_ahead(latest, self._arrivals.received, self._arrivals.ahead)
        if ahead > self._arrivals.ahead:
            connection.execute(statements["raise_state"], [AHEAD, str(ahead)])

    def _find_earlier(self, connection: Connection, statements: Statements) -> dict[Key, int]:
        """Give the keys that earlier partitions have, and from which day on each was looked for.

        No event comes into those any more: what is not there now never will be.
        """
        day, window = self._arrivals.received, self._arrivals.window
        closed = self._cache.closed_keys(day)
        asked = []

        def ask(first: int, end: int, places: Sequence[int]) -> None:
            if places and first < end:
                statement = statements.of_days("earlier_keys", end, first)
                asked.append((first, connection.execute(statement, self._columns_of_keys(places))))

        recent: list[int] = []
        for first, places in self._arrivals.look_back(self._events).items():
            if closed is None:
                self._cache.ask(day, len(places))
                ask(first, day, places)
            else:
                recent += closed.may_have(self._digests, places)
                ask(first, window, places)
        ask(window, day, recent)
        # One that was sent twice, with two times, is looked for from the earlier day on.
        asked.sort(key=itemgetter(0), reverse=True)
        return {key: first for first, cursor in asked for key in cursor}

    def _insert(
        self, connection: Connection, statements: Statements, earlier: Container[Key]
    ) -> tuple[list[int], list[Cursor]]:
        """Send the events that were not there earlier, a part at a time; their places, and the answers.

        In the order of their keys: two batches that share some wait in turn.
        """
        places = [place for key, place in self._batch.first.items() if key not in earlier]
        ordered = sorted(places, key=self._keys.__getitem__)
        statement = statements.of_days("insert_events", self._arrivals.received)
        sent: list[int] = []
        cursors = []
        for begin in range(0, len(ordered), _EVENTS_AT_ONCE):
            part = ordered[begin : begin + _EVENTS_AT_ONCE]
            if not self._is_measured:
                part = [place for place in part if self._measure(place)]
            sent += part
            events = [self._events[place] for place in part]
            columns = [array([self._digests[place] for place in part])]
            columns += [array(list(map(column, events))) for column in _COLUMNS]
            cursors.append(connection.execute(statement, columns))
            _send(connection)
        sent.sort()
        return sent, cursors

    def _without_those_of_others(
        self, connection: Connection, statements: Statements, places: list[int]
    ) -> list[int]:
        """Leave out what another batch inserted before, or between; it was waited for."""
        statement = statements.of_days("not_mine", self._arrivals.received)
        others = set(connection.execute(statement, self._columns_of_keys(places)))
        return [place for place in places if self._keys[place] not in others]

    def _find_existing(
        self, connection: Connection, statements: Statements, stored: set[int], earlier: dict[Key, int]
    ) -> dict[Key, Kept]:
        """Give what stands for the keys that were there before."""
        if len(stored) == len(self._events):
            return {}
        day = self._arrivals.received
        others = self._batch.keys - {self._keys[place] for place in stored}
        times = {key: self._events[place].time for key, place in self._batch.first.items()}
        existing: dict[Key, Kept] = {}
        for first in set(earlier.values()) | ({day} if others - earlier.keys() else set()):
            keys = [key for key in others if earlier.get(key, day) == first]
            asked = [array([digest for digest, _ in keys]), array([account for _, account in keys])]
            for digest, *kept in connection.execute(statements.of_days("events_by_key", day, first), asked):
                key = (digest, kept[1])
                # An id that came again after the window stands twice; a replay is one of the two.
                if key not in existing or kept[2] == times.get(key):
                    existing[key] = (kept[0], kept[1], kept[2], kept[3], kept[4], kept[5])
        return existing

    def _tally(self, places: Sequence[int], admission: Admission) -> DayTally:
        tally = DayTally(admission)
        for place in places:
            tally.add(self._events[place], self._contributions[place])
        return tally

    def _columns_of_keys(self, places: Sequence[int]) -> list[str]:
        return [
            array([self._digests[place] for place in places]),
            array([self._keys[place][1] for place in places]),
        ]


def _send(connection: Connection) -> None:
    """Have the server begin with what was sent: the rest of it waits in this process otherwise."""
    while connection.pgconn.flush():
        select.select([], [connection.fileno()], [])
