# SPDX-License-Identifier: Apache-2.0
"""The embedded usage store: one SQLite file, write-ahead log, every commit synced to disk.

A batch is one transaction that holds its events and their rollups, so that no crash leaves one without the
other, and the write lock is taken before the first read: two processes that each read a sum and then wrote
theirs would lose one of the two.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Any, Final

from watchword.usage.aggregation import DistinctSpan, Row, fold
from watchword.usage.deduplication import (
    EVENTS_FROM,
    MAX_DIFFERENCES,
    METERS,
    Batch,
    digests_of_keys,
    past_keeping,
    require_in_force,
    row_of,
)
from watchword.usage.events import Event
from watchword.usage.groups import month_of
from watchword.usage.meters import Meter
from watchword.usage.problems import EventProblem
from watchword.usage.read_model import UsageAnswer, UsageQuery
from watchword.usage.rollups import MeterSet, Tally, meter_of_definition, meter_set
from watchword.usage.sqlite import schema
from watchword.usage.sqlite.arrivals import Arrivals, Lookup
from watchword.usage.sqlite.file import open_file, unavailable
from watchword.usage.sqlite.identity import identity_of, make_identity
from watchword.usage.sqlite.remembered import RememberedKeys
from watchword.usage.sqlite.rollups import (
    add,
    admission_of,
    admit,
    events_from,
    put_in_force,
    recompute,
    state_of,
    states,
)
from watchword.usage.store import Difference, Expired, MeterState, Outcome, Rebuilt
from watchword.usage.times import MICROSECONDS_PER_DAY, day_at, day_number, day_of_number

BUSY_TIMEOUT_SECONDS: Final = 5.0

_EXPIRE_AT_ONCE: Final = 5000  # events that one transaction gives up: others' writes wait no longer than that

_Row = tuple[Any, ...]


class SQLiteStore:
    """A `UsageStore` in one file. See the protocol for what each method promises."""

    threads = 1

    def __init__(
        self,
        path: str,
        *,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file at `path`, made (readable by its owner only) when there is none; `:memory:` for no
        file.

        `busy_timeout_seconds` is how long a call waits for another process's transaction; `clock` says on
        which day events come. Raises StoreRefusedError when the file is no usage store of this version or
        cannot have a write-ahead log; StoreUnavailableError when it is busy.
        """
        self._connection = open_file(path, busy_timeout_seconds)
        self._clock = clock
        self._remembered = RememberedKeys()

    def identity(self) -> str:
        """Tell which store this is."""
        with self._transaction("BEGIN"):
            found = identity_of(self._connection)
        if found is None:
            with self._transaction("BEGIN IMMEDIATE"):
                found = make_identity(self._connection)
        return found

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        """Store a batch in one durable transaction; an outcome for each event, in order."""
        counted = meter_set(tuple(meters))
        # Measured before the lock is taken: other writers should wait for the disk only.
        measured = [(event, counted.contributions(event)) for event in events]
        keys = digests_of_keys(events)
        if self._remembered.is_wanted:
            # Before the lock is taken: other writers do not wait for it.
            with self._transaction("BEGIN"):
                self._remembered.read(self._connection, states(self._connection))
        with self._transaction("BEGIN IMMEDIATE"):
            self._require_in_force(counted)
            state = states(self._connection)
            first_day = int(state.get(EVENTS_FROM) or 0)
            problems = [
                past_keeping(event, first_day) or (found if isinstance(found, EventProblem) else None)
                for event, found in measured
            ]
            batch = Batch(events, problems, keys)
            ((last,),) = self._rows(schema.LAST_EVENT)
            # The clock is read under the lock: a process that waited for it may have waited past midnight.
            arrivals = Arrivals.of(state, day_number(day_at(self._clock())), last)
            lookup = Lookup(self._connection, events, keys)
            closed = self._remembered.before(self._connection, arrivals)
            self._remembered.ask(lookup.find_earlier(arrivals, closed))
            new = {key: place for key, place in batch.first.items() if key not in lookup.found}
            stored = self._insert(events, new, arrivals)
            if len(stored) < len(events):
                # What this batch stored itself is no answer to an event before it.
                own = {keys[place] for place in stored}
                unsure = [place for place in lookup.unsure() if keys[place] not in own]
                lookup.find(unsure, arrivals.part, arrivals.part + 1)
            # Also when nothing was stored: what is read of the parts before must be all that there ever is.
            arrivals.note(self._connection, [events[place] for place in stored])
            admission = admission_of(self._connection)
            tally = Tally(admission)
            for event, contributions in (measured[place] for place in sorted(stored)):
                assert not isinstance(contributions, EventProblem)  # noqa: S101 - those are not stored
                tally.add(event, contributions)
            accounts = sorted({events[place].account for place in stored})
            self._connection.executemany(schema.INSERT_ACCOUNT, [(account,) for account in accounts])
            admit(self._connection, admission)
            add(self._connection, tally, schema.STORED)
        return batch.outcomes(stored, lookup.found)

    def read(self, query: UsageQuery) -> UsageAnswer | None:
        """Answer a query from one snapshot; None for an unknown account."""
        return self.read_many(query, [query.account]).get(query.account)

    def read_many(self, query: UsageQuery, accounts: Sequence[str]) -> dict[str, UsageAnswer]:
        """Answer a query for several accounts from one snapshot."""
        period = (day_number(query.start), day_number(query.end))
        with self._transaction("BEGIN"):
            states = {state.meter.name: state for state in self._meter_states()}
            meters = {name: state.meter for name, state in states.items()}
            first_days = {name: state.first_day for name, state in states.items()}
            answers: dict[str, UsageAnswer] = {}
            for account in accounts:
                if self._rows(schema.ACCOUNT_KNOWN, (account,)):
                    rows = _typed(self._rows(schema.READ_ROLLUPS, (account, *period)))
                    answers[account] = fold(query, meters, rows, self._counter(account), first_days)
        return answers

    def accounts_after(self, account: str, limit: int) -> list[str]:
        """Give known accounts in order."""
        with self._transaction("BEGIN"):
            return [name for (name,) in self._rows(schema.ACCOUNTS_AFTER, (account, limit))]

    def meters(self) -> list[MeterState]:
        """Give the meters in force."""
        with self._transaction("BEGIN"):
            return self._meter_states()

    def events_after(self, cursor: str, limit: int) -> tuple[list[Event], str]:
        """Give the events that came before there were days of arrival, by key; then the others as they came.

        A cursor is a key, or the place of one of the others.
        """
        last = json.loads(cursor) if cursor else ["", "", ""]
        with self._transaction("BEGIN"):
            rows: list[_Row] = []
            if not isinstance(last, int):
                source, identifier, account = last
                rows = self._rows(schema.PAST_EVENTS_AFTER, (source, identifier, account, limit))
                last = 0
            is_past = len(rows) == limit
            if not is_past:
                rows += self._rows(schema.ARRIVED_EVENTS_AFTER, (last, limit - len(rows)))
        events = [
            Event(0, key, place, kind, account, when, True, None, data, binary, extensions)
            for place, key, kind, account, when, data, binary, extensions, *_ in rows
        ]
        if len(events) < limit:
            return events, ""
        source, identifier, _, account, *_ = rows[-1]
        return events, json.dumps([source, identifier, account] if is_past else rows[-1][-1])

    def expire(self, events_before: date | None, amounts_before: Mapping[str, date]) -> Expired:
        """Give up what is past its time, in transactions that let other writers in between."""
        amounts = 0
        with self._transaction("BEGIN IMMEDIATE"):
            first = max(
                events_from(self._connection), 0 if events_before is None else day_number(events_before)
            )
            # Said before the first event is gone: from here on none of those days comes in again.
            self._connection.execute(schema.SET_STATE, (EVENTS_FROM, str(first)))
            for name, before in sorted(amounts_before.items()):
                day = day_number(before)
                self._connection.execute(schema.KEEP_FROM, (day, name, day))
                amounts += self._connection.execute(schema.EXPIRE_ROLLUPS, (name, day)).rowcount
                self._connection.execute(schema.EXPIRE_VALUES, (name, day))
                self._connection.execute(schema.EXPIRE_ADMITTED, (name, month_of(day)))
        events = 0
        for find, delete in schema.EXPIRE_EVENTS if first else ():
            while True:
                with self._transaction("BEGIN"):
                    old = self._rows(find, (first * MICROSECONDS_PER_DAY, _EXPIRE_AT_ONCE))
                if not old:
                    break
                with self._transaction("BEGIN IMMEDIATE"):
                    events += self._connection.executemany(delete, old).rowcount
        return Expired(events, amounts)

    def use_meters(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; recompute what changed."""
        wanted = meter_set(tuple(meters))
        with self._transaction("BEGIN"):
            if state_of(self._connection, METERS) == wanted.digest:
                return Rebuilt()
        with self._transaction("BEGIN IMMEDIATE"):
            return put_in_force(self._connection, wanted, everything=False)

    def rebuild(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; recompute all of them."""
        wanted = meter_set(tuple(meters))
        with self._transaction("BEGIN IMMEDIATE"):
            rebuilt = put_in_force(self._connection, wanted, everything=True)
            self._connection.execute(schema.DELETE_UNFOUNDED_ACCOUNTS)
            self._connection.execute(schema.INSERT_ACCOUNTS_OF_EVENTS)
        return rebuilt

    def check(self, meters: Sequence[Meter]) -> list[Difference]:
        """Compare what is stored with what the events say, in one snapshot, while others write."""
        counted = meter_set(tuple(meters))
        with self._transaction("BEGIN", end="ROLLBACK"):  # takes the temporary tables away again
            for statement in schema.CREATE_EXPECTED:
                self._connection.execute(statement)
            first_day = events_from(self._connection)
            first_days = dict.fromkeys(counted.by_name, first_day)
            first_days |= {s.meter.name: max(first_day, s.first_day) for s in self._meter_states()}
            self._connection.executemany(schema.INSERT_FIRST_DAY, sorted(first_days.items()))
            recompute(self._connection, counted, schema.EXPECTED, admission_of(self._connection), first_days)
            found: list[Difference] = []
            for comparison in (schema.COMPARE_ROLLUPS, schema.COMPARE_VALUES, schema.COMPARE_ACCOUNTS):
                for account, day, meter, group, stored, expected in self._rows(
                    comparison, (MAX_DIFFERENCES - len(found),)
                ):
                    when = None if day is None else day_of_number(day)
                    found.append(Difference(account, when, meter, stored, expected, group or None))
        return found

    def close(self) -> None:
        """Close the file; the last one to do so folds the write-ahead log back into it."""
        self._connection.close()

    @contextmanager
    def _transaction(self, begin: str, end: str = "COMMIT") -> Iterator[None]:
        try:
            self._connection.execute(begin)
            yield
            self._connection.execute(end)
        except BaseException as error:
            if isinstance(error, sqlite3.Error):
                self._roll_back()
                raise unavailable(error) from error
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # SQLite ends the transaction itself on some errors (a full disk), and a closed file has none.
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection.close()

    def _rows(self, statement: str, parameters: tuple[object, ...] = ()) -> list[_Row]:
        return self._connection.execute(statement, parameters).fetchall()

    def _insert(self, events: Sequence[Event], new: Mapping[bytes, int], arrivals: Arrivals) -> set[int]:
        """Insert events into the newest part, by key their places; the places of those that were not there.

        In the order of their keys: what lies on one page of the index is written together.
        """
        rows = [(arrivals.part, key, *row_of(events[new[key]])) for key in sorted(new)]
        if self._connection.executemany(schema.INSERT_EVENT, rows).rowcount == len(rows):
            return set(new.values())
        # No one else writes until the end of this transaction: what comes after the last one is ours.
        return {new[key] for (key,) in self._rows(schema.KEYS_AFTER_ROW, (arrivals.last,))}

    def _counter(self, account: str) -> Any:
        def count(span: DistinctSpan) -> Iterable[Row]:
            statement = (
                schema.COUNT_DISTINCT_BY_DAY
                if span.by_day
                else schema.COUNT_DISTINCT_BY_GROUP
                if span.by_group
                else schema.COUNT_DISTINCT
            )
            return _typed(self._rows(statement, (account, span.start, span.end)))

        return count

    def _meter_states(self) -> list[MeterState]:
        return [
            MeterState(meter_of_definition(text), since, max(counted_from, kept_from))
            for _, text, counted_from, kept_from, since in self._rows(schema.METERS)
        ]

    def _require_in_force(self, counted: MeterSet) -> None:
        digest = state_of(self._connection, METERS)
        if digest is None:
            put_in_force(self._connection, counted, everything=False)
        else:
            require_in_force(digest, counted)


def _typed(rows: Iterable[_Row]) -> list[Row]:
    return [(day, meter, group, Decimal(amount)) for day, meter, group, amount in rows]
