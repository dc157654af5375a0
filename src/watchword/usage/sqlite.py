# SPDX-License-Identifier: Apache-2.0
"""The embedded usage store: one SQLite file, write-ahead log, every commit synced to disk.

A batch is one transaction that holds its events and their rollups, so that no crash leaves one without the
other, and the write lock is taken before the first read: two processes that each read a sum and then wrote
theirs would lose one of the two.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final

from watchword.usage import schema
from watchword.usage.events import Event
from watchword.usage.meters import Meter, plain
from watchword.usage.problems import EventProblem
from watchword.usage.readmodel import UsageAnswer, UsageQuery
from watchword.usage.rollups import MeterSet, Tally, combine, meter_of_definition, meter_set
from watchword.usage.sqlitefile import open_file, unavailable
from watchword.usage.store import Difference, MetersChanged, Outcome, Rebuilt
from watchword.usage.strictjson import read_trusted
from watchword.usage.times import day_number, day_of_number

BUSY_TIMEOUT_SECONDS: Final = 5.0
MAX_DIFFERENCES: Final = 1000

_TALLY_CONTRIBUTIONS: Final = 20_000  # how much of a rebuild is kept in memory before it is written

_Row = tuple[Any, ...]


class SQLiteStore:
    """A `UsageStore` in one file. See the protocol for what each method promises."""

    def __init__(self, path: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        """Open the file at `path`, made (readable by its owner only) when there is none; `:memory:` for no
        file.

        `busy_timeout_seconds` is how long a call waits for another process's transaction. Raises StoreRefused
        when the file is no usage store of this version or cannot have a write-ahead log; StoreUnavailable
        when it is busy.
        """
        self._connection = open_file(path, busy_timeout_seconds)

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        """Store a batch in one durable transaction; an outcome for each event, in order."""
        counted = meter_set(tuple(meters))
        # Measured before the lock is taken: other writers should wait for the disk only.
        measured = [(event, counted.contributions(event)) for event in events]
        tally = Tally()
        with self._transaction("BEGIN IMMEDIATE"):
            self._require_in_force(counted)
            outcomes: list[Outcome] = []
            accounts: set[str] = set()
            for event, contributions in measured:
                if isinstance(contributions, EventProblem):
                    outcomes.append(self._refusal(event, contributions))
                elif self._insert(event):
                    tally.add(event, contributions)
                    accounts.add(event.account)
                    outcomes.append(Outcome(event.index, "stored"))
                else:
                    outcomes.append(self._duplicate(event))
            self._connection.executemany(schema.INSERT_ACCOUNT, [(account,) for account in sorted(accounts)])
            self._add(tally, schema.STORED)
        return outcomes

    def read(self, query: UsageQuery) -> UsageAnswer | None:
        """Answer a query from one snapshot; None for an unknown account."""
        with self._transaction("BEGIN"):
            if self._connection.execute(schema.ACCOUNT_KNOWN, (query.account,)).fetchone() is None:
                return None
            meters = {name: meter_of_definition(text) for name, text in self._rows(schema.METERS)}
            spans = [
                (day_number(start), day_number(end))
                for start, end in ((query.start, query.end), *query.windows())
            ]
            found: list[dict[str, Decimal]] = [{} for _ in spans]
            window_starts = [start for start, _ in spans[1:]]
            for day, name, text in self._rows(schema.READ_ROLLUPS, (query.account, *spans[0])):
                amount, aggregation = Decimal(text), meters[name].aggregation
                for place in {0, bisect_right(window_starts, day)}:
                    before = found[place].get(name)
                    found[place][name] = amount if before is None else combine(aggregation, before, amount)
            if any(meter.aggregation == "unique_count" for meter in meters.values()):
                # Two days may hold the same value, so that each longer span needs a count of its own.
                for (start, end), amounts in zip(spans, found, strict=True):
                    if end - start > 1:
                        rows = self._rows(schema.COUNT_DISTINCT, (query.account, start, end))
                        amounts.update({name: Decimal(count) for name, count in rows})
        return UsageAnswer(found[0], tuple(found[1:]))

    def use_meters(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; recompute what changed."""
        wanted = meter_set(tuple(meters))
        with self._transaction("BEGIN"):
            if self._digest() == wanted.digest:
                return Rebuilt()
        with self._transaction("BEGIN IMMEDIATE"):
            return self._put_in_force(wanted, everything=False)

    def rebuild(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; recompute all of them."""
        with self._transaction("BEGIN IMMEDIATE"):
            for statement in (schema.DELETE_ACCOUNTS, schema.INSERT_ACCOUNTS_OF_EVENTS):
                self._connection.execute(statement)
            return self._put_in_force(meter_set(tuple(meters)), everything=True)

    def check(self, meters: Sequence[Meter]) -> list[Difference]:
        """Compare what is stored with what the events say, in one snapshot, beside writers."""
        with self._transaction("BEGIN", end="ROLLBACK"):  # takes the temporary tables away again
            for statement in schema.CREATE_EXPECTED:
                self._connection.execute(statement)
            self._recompute(meter_set(tuple(meters)), schema.EXPECTED)
            found: list[Difference] = []
            for comparison in (schema.COMPARE_ROLLUPS, schema.COMPARE_VALUES, schema.COMPARE_ACCOUNTS):
                for account, day, meter, stored, expected in self._rows(
                    comparison, (MAX_DIFFERENCES - len(found),)
                ):
                    when = None if day is None else day_of_number(day)
                    found.append(Difference(account, when, meter, stored, expected))
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

    def _insert(self, event: Event) -> bool:
        cursor = self._connection.execute(
            schema.INSERT_EVENT,
            (
                event.source,
                event.id,
                event.type,
                event.account,
                event.time,
                event.data_text,
                event.data_base64,
                event.extensions,
            ),
        )
        return cursor.rowcount == 1

    def _refusal(self, event: Event, problem: EventProblem) -> Outcome:
        # An event that was stored under earlier meters and is sent again is not lost: say so, not "refused".
        if self._connection.execute(schema.EVENT_BY_KEY, (event.source, event.id)).fetchone() is None:
            return Outcome(event.index, "refused", problem=problem)
        return self._duplicate(event)

    def _duplicate(self, event: Event) -> Outcome:
        row = self._connection.execute(schema.EVENT_BY_KEY, (event.source, event.id)).fetchone()
        kind, account, when, data, data_base64, extensions = row
        same = {
            "type": kind == event.type,
            "subject": account == event.account,
            # A time that was taken from the receipt is another one at each replay.
            "time": when == event.time or not event.time_given,
            "data": data_base64 == event.data_base64 and _same_json(data, event.data_text),
            "extensions": _same_json(extensions, event.extensions),
        }
        return Outcome(
            event.index, "duplicate", differs=tuple(name for name, equal in same.items() if not equal)
        )

    def _digest(self) -> str | None:
        row = self._connection.execute(schema.METERS_DIGEST).fetchone()
        return None if row is None else str(row[0])

    def _require_in_force(self, counted: MeterSet) -> None:
        digest = self._digest()
        if digest is None:
            self._put_in_force(counted, everything=False)
        elif digest != counted.digest:
            raise MetersChanged(
                "the store keeps its rollups by other meters than these",
                "put the newer meters in force (use_meters), or try again once this gate has them",
            )

    def _put_in_force(self, wanted: MeterSet, *, everything: bool) -> Rebuilt:
        stored: dict[str, str] = dict(self._rows(schema.METERS))
        unchanged = {} if everything else stored.items() & wanted.definitions.items()
        kept = {name for name, _ in unchanged}
        for name in stored.keys() - kept:
            for statement in (schema.DELETE_ROLLUPS, schema.DELETE_VALUES, schema.DELETE_METER):
                self._connection.execute(statement, (name,))
        changed = MeterSet([meter for name, meter in wanted.by_name.items() if name not in kept])
        self._connection.executemany(schema.INSERT_METER, sorted(changed.definitions.items()))
        self._connection.execute(schema.SET_METERS_DIGEST, (wanted.digest,))
        events, unusable = self._recompute(changed, schema.STORED)
        dropped = tuple(sorted(stored.keys() - wanted.by_name.keys()))
        return Rebuilt(tuple(sorted(changed.by_name)), dropped, events, unusable)

    def _recompute(self, meters: MeterSet, target: schema.Target) -> tuple[int, dict[str, int]]:
        """Add what all stored events say to the target's tables; how many counted, and by meter which could
        not.
        """
        events = 0
        unusable: dict[str, int] = {}
        if not meters.by_name:
            return events, unusable
        tally = Tally()
        for source, identifier, kind, account, when, data, data_base64 in self._connection.execute(
            schema.ALL_EVENTS
        ):
            if not meters.counts_type(kind):
                continue
            events += 1
            value = None if data is None else read_trusted(data)
            event = Event(
                0,
                identifier,
                source,
                kind,
                account,
                when,
                data=value,
                data_text=data,
                data_base64=data_base64,
            )
            contributions, without_value = meters.past_contributions(event)
            for name in without_value:
                unusable[name] = unusable.get(name, 0) + 1
            tally.add(event, contributions)
            if tally.size >= _TALLY_CONTRIBUTIONS:
                self._add(tally, target)
                tally = Tally()
        self._add(tally, target)
        return events, unusable

    def _add(self, tally: Tally, target: schema.Target) -> None:
        connection = self._connection
        for key, (meter, amount) in tally.amounts.items():
            row = connection.execute(target.amount, key).fetchone()
            total = amount if row is None else combine(meter.aggregation, Decimal(row[0]), amount)
            connection.execute(target.set_amount, (*key, plain(total)))
        for key, values in tally.distinct.items():
            cursor = connection.executemany(target.insert_value, [(*key, value) for value in sorted(values)])
            if cursor.rowcount > 0:
                row = connection.execute(target.amount, key).fetchone()
                count = cursor.rowcount + (0 if row is None else int(row[0]))
                connection.execute(target.set_amount, (*key, str(count)))


def _same_json(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    return read_trusted(one) == read_trusted(other)
