# SPDX-License-Identifier: Apache-2.0
"""The usage store on PostgreSQL: a batch is one transaction of a handful of statements, whatever its size.

The events' unique keys decide who was first, and the amounts are added where they lie: no sum is read, grown
here and written back, which two gates at once would do to one sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from watchword.usage.aggregation import DistinctSpan, Row, fold, spans_of
from watchword.usage.deduplication import (
    EVENTS_FROM,
    MAX_DIFFERENCES,
    METERS,
    require_in_force,
)
from watchword.usage.events import Event
from watchword.usage.groups import month_of
from watchword.usage.meters import Meter, plain
from watchword.usage.postgresql.arrivals import Arrivals, make_partition, partitions
from watchword.usage.postgresql.arriving import ArrivingBatch
from watchword.usage.postgresql.cache import IngestCache
from watchword.usage.postgresql.meter_changes import put_in_force
from watchword.usage.postgresql.rollups import (
    columns,
    recompute,
)
from watchword.usage.postgresql.sessions import CONNECTIONS, Connection, Sessions
from watchword.usage.postgresql.statements import Statements, read_name
from watchword.usage.read_model import UsageAnswer, UsageQuery
from watchword.usage.rollups import MeterSet, meter_of_definition, meter_set
from watchword.usage.store import Difference, Expired, MeterState, Outcome, Rebuilt
from watchword.usage.times import MICROSECONDS_PER_DAY, day_number, day_of_number

_EXPIRE_AT_ONCE: Final = 10_000
_PUT_BACK: Final = 10_000  # events that are put back into a partition that is emptied
_GIVEN_UP_TO: Final = "given_up_to"
_SNAPSHOT: Final = "ISOLATION LEVEL REPEATABLE READ"


class PostgreSQLStore:
    """A `UsageStore` in one schema of a database. See the protocol for what each method promises."""

    threads = CONNECTIONS

    def __init__(self, dsn: str, *, may_make: bool = True) -> None:
        """Read the DSN; the server is asked when the store is first used, so that it may come up later.

        Raises StoreRefusedError when the DSN cannot be read.
        """
        self._sessions = Sessions(dsn, may_make=may_make)
        self._statements = Statements(self._sessions.schema)
        self._cache = IngestCache()
        # Whether a meter counted distinct values when last looked; a wrong guess costs one more question.
        self._has_distinct = False

    def identity(self) -> str:
        """Tell which store this is."""
        with self._sessions.statement() as connection:
            found = connection.execute(self._statements["identity"]).fetchone()
        database, *numbers = found or ("",)
        number = ".".join(map(str, numbers))
        return f"the schema {self._sessions.schema} of the PostgreSQL database {database} ({number})"

    def ingest(self, events: Sequence[Event], meters: Sequence[Meter]) -> list[Outcome]:
        """Store a batch in one durable transaction; an outcome for each event, in order."""
        counted = meter_set(tuple(meters))
        self._cache.read_window(self._sessions, self._statements)
        batch = None
        with self._sessions.transaction() as connection:
            # Held by every batch, and alone by who changes the meters: within a batch they stay as they are.
            connection.execute(self._statements["lock_shared"], [self._sessions.lock_number])
            state = self._state(connection)
            if METERS in state:
                require_in_force(state[METERS], counted)
                arrivals = Arrivals.of(state)
                if arrivals.next is None:
                    first = int(state.get(EVENTS_FROM, 0))
                    cache = self._cache.of(state)
                    batch = ArrivingBatch(events, counted, arrivals, cache, events_from=first)
                    batch.store(connection, self._statements)
        if batch is not None:
            return batch.committed()
        # The first meters of a new store, or the first batch of a day. Not in the transaction above: two that
        # both hold the lock shared and want it alone would wait for each other.
        self._change(counted, only_if_none=True)
        self._begin_day()
        return self.ingest(events, meters)

    def read(self, query: UsageQuery) -> UsageAnswer | None:
        """Answer a query from one snapshot; None for an unknown account."""
        return self.read_many(query, [query.account]).get(query.account)

    def read_many(self, query: UsageQuery, accounts: Sequence[str]) -> dict[str, UsageAnswer]:
        """Answer a query for several accounts by one statement."""
        spans = [span for place, span in enumerate(spans_of(query)) if not place or span[1] - span[0] > 1]
        parameters = {
            "accounts": columns([(account,) for account in accounts], 1)[0],
            "days": columns([(day,) for day in range(*spans[0])], 1)[0],
            "firsts": [first for first, _ in spans],
            "lasts": [last for _, last in spans],
        }
        meters: dict[str, Meter] = {}
        first_days: dict[str, int] = {}
        rows: dict[str, list[Row]] = {}
        counts: dict[tuple[str, str, int, int], list[Row]] = {}
        found = self._read_rows(query, parameters)
        for kind, account, first, last, meter, group, amount, definition in found:
            if kind == "meter":
                meters[meter], first_days[meter] = meter_of_definition(definition), first
            elif kind == "account":
                rows.setdefault(account, [])
            elif kind == "row":
                rows.setdefault(account, []).append((first, meter, group, amount))
            else:
                # Days come in one list for all of them.
                place = (kind, account, 0, 0) if kind == "day" else (kind, account, first, last)
                counts.setdefault(place, []).append((first if kind == "day" else 0, meter, group, amount))
        return {
            account: fold(query, meters, mine, _counter(account, counts), first_days)
            for account, mine in rows.items()
        }

    def _read_rows(self, query: UsageQuery, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        asked_values = self._has_distinct
        while True:
            name = read_name(values=asked_values, days=query.window == "day", groups=bool(query.group_by))
            with self._sessions.statement() as connection:
                found = connection.execute(self._statements[name], parameters).fetchall()
            self._has_distinct = any(
                meter_of_definition(row[7]).aggregation == "unique_count"
                for row in found
                if row[0] == "meter"
            )
            if asked_values or not self._has_distinct:
                return found
            asked_values = True

    def accounts_after(self, account: str, limit: int) -> list[str]:
        """Give known accounts in order."""
        with self._sessions.statement() as connection:
            return [
                name for (name,) in connection.execute(self._statements["accounts_after"], [account, limit])
            ]

    def meters(self) -> list[MeterState]:
        """Give the meters in force."""
        with self._sessions.statement() as connection:
            return sorted(self._meter_states(connection), key=lambda state: state.meter.name)

    def events_after(self, cursor: str, limit: int) -> tuple[list[Event], str]:
        """Give events by the day on which they came, the digest of their source and id, and their account."""
        received, _, rest = (cursor or "0 ").partition(" ")
        digest, _, account = rest.partition(" ")
        begun, after = int(received), bytes.fromhex(digest)
        rows: list[tuple[Any, ...]] = []
        last = begun
        with self._sessions.statement() as connection:
            for day in partitions(connection, self._statements):
                if day < begun or len(rows) == limit:
                    continue
                asked = [after, account] if day == begun else [b"", ""]
                statement = self._statements.of_days("events_after", day)
                rows += connection.execute(statement, [*asked, limit - len(rows)]).fetchall()
                last = day
        events = [
            Event(0, key, source, kind, account, when, True, None, data, binary, extensions)
            for _, source, key, kind, account, when, data, binary, extensions in rows
        ]
        return events, f"{last} {rows[-1][0].hex()} {events[-1].account}" if len(rows) == limit else ""

    def expire(self, events_before: date | None, amounts_before: Mapping[str, date]) -> Expired:
        """Give up what is past its time, in transactions that let other writers in between."""
        amounts = events = 0
        with self._sessions.transaction(unhurried=True) as connection:
            connection.execute(self._statements["lock"], [self._sessions.lock_number])
            state = self._state(connection)
            first = int(state.get(EVENTS_FROM, 0))
            first = max(first, 0 if events_before is None else day_number(events_before))
            connection.execute(self._statements["set_state"], [EVENTS_FROM, str(first)])
            for name, before in sorted(amounts_before.items()):
                day = day_number(before)
                connection.execute(self._statements["keep_from"], [day, name, day])
                amounts += connection.execute(self._statements["expire_rollups"], [name, day]).rowcount
                connection.execute(self._statements["expire_values"], [name, day])
                connection.execute(self._statements["expire_admitted"], [name, month_of(day)])
            done = int(state.get(_GIVEN_UP_TO, 0))
            arrivals = Arrivals.of(state)
        if done < first:
            events = self._give_up(first, arrivals)
        return Expired(events, amounts)

    def use_meters(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; recompute what changed."""
        wanted = meter_set(tuple(meters))
        with self._sessions.statement() as connection:
            if self._state(connection).get(METERS) == wanted.digest:
                return Rebuilt()
        return self._change(wanted)

    def rebuild(self, meters: Sequence[Meter]) -> Rebuilt:
        """Put meters in force; recompute all of them."""
        return self._change(meter_set(tuple(meters)), everything=True)

    def check(self, meters: Sequence[Meter]) -> list[Difference]:
        """Compare what is stored with what the events say, in one snapshot, while others write."""
        counted, statements = meter_set(tuple(meters)), self._statements
        found: list[Difference] = []
        with self._sessions.transaction(_SNAPSHOT, unhurried=True) as connection:
            # Before the snapshot is: a partition that is dropped or emptied is gone from older snapshots too.
            connection.execute(statements["lock_events"])
            first_day = int(self._state(connection).get(EVENTS_FROM, 0))
            first_days = dict.fromkeys(counted.by_name, first_day)
            first_days |= {s.meter.name: max(first_day, s.first_day) for s in self._meter_states(connection)}
            for name in ("create_expected_rollup", "create_expected_value", "create_first_day"):
                connection.execute(statements[name])
            connection.execute(statements["insert_first_days"], columns(sorted(first_days.items()), 2))
            recompute(connection, statements, counted, first_days, expected=True)
            for name in ("compare_rollups", "compare_values", "compare_accounts"):
                for account, day, meter, group, stored, expected in connection.execute(
                    statements[name], [MAX_DIFFERENCES - len(found)]
                ):
                    when = None if day is None else day_of_number(day)
                    found.append(
                        Difference(account, when, meter, _text(stored), _text(expected), group or None)
                    )
        return found

    def close(self) -> None:
        """Give up the connections."""
        self._sessions.close()

    def _begin_day(self) -> None:
        with self._sessions.transaction() as connection:
            connection.execute(self._statements["lock"], [self._sessions.lock_number])
            day = Arrivals.of(self._state(connection)).next
            if day is not None:
                make_partition(connection, self._statements, day)

    def _give_up(self, first: int, arrivals: Arrivals) -> int:
        """Give up the events of days before `first`; how many there were."""
        events = 0
        with self._sessions.statement() as connection:
            days = partitions(connection, self._statements)
        for day in days:
            last = (day or arrivals.first_partition - 1) + arrivals.ahead
            if day < arrivals.received and last < first:
                events += self._drop(day)
            elif 0 < day < min(first, arrivals.received):
                events += self._empty(day, first)
            else:
                events += self._delete(day, first)
        with self._sessions.statement() as connection:
            connection.execute(self._statements["raise_state"], [_GIVEN_UP_TO, str(first)])
        return events

    def _drop(self, day: int) -> int:
        """Drop a partition whose events are all past their time."""
        with self._sessions.transaction(unhurried=True) as connection:
            if not self._is_mine_to_give_up(connection, day):
                return 0
            found = connection.execute(self._statements.of_days("count_events", day), [0]).fetchone()
            connection.execute(self._statements.of_days("drop_partition", day))
        return int(found[0]) if found else 0

    def _empty(self, day: int, first: int) -> int:
        """Empty a partition of which nearly all events are past their time, and put the others back."""
        time = [first * MICROSECONDS_PER_DAY]
        with self._sessions.transaction(unhurried=True) as connection:
            if not self._is_mine_to_give_up(connection, day):
                return 0
            connection.execute(self._statements.of_days("lock_partition", day))
            found = connection.execute(self._statements.of_days("count_events", day), time).fetchone()
            count, kept = found or (0, 0)
            if kept <= _PUT_BACK:
                connection.execute(self._statements.of_days("take_kept", day), time)
                connection.execute(self._statements.of_days("truncate", day))
                connection.execute(self._statements.of_days("put_kept_back", day))
                return int(count - kept)
        return self._delete(day, first)

    def _is_mine_to_give_up(self, connection: Connection, day: int) -> bool:
        """Wait for another gate that gives up events too; whether the partition is still there after that.

        What follows waits for no one: batches would wait behind it.
        """
        connection.execute(self._statements["lock_giving_up"], [EVENTS_FROM])
        connection.execute(b"SET LOCAL lock_timeout = '1s'")
        return day in partitions(connection, self._statements)

    def _delete(self, day: int, first: int) -> int:
        """Delete the events of a partition that are past their time, a few at once."""
        events, gone = 0, _EXPIRE_AT_ONCE
        while gone == _EXPIRE_AT_ONCE:
            with self._sessions.statement() as connection:
                parameters = [first * MICROSECONDS_PER_DAY, _EXPIRE_AT_ONCE]
                statement = self._statements.of_days("delete_old_events", day)
                gone = connection.execute(statement, parameters).rowcount
            events += gone
        return events

    def _change(self, wanted: MeterSet, *, everything: bool = False, only_if_none: bool = False) -> Rebuilt:
        with self._sessions.transaction(unhurried=True) as connection:
            connection.execute(self._statements["lock"], [self._sessions.lock_number])
            state = self._state(connection)
            if only_if_none and METERS in state:
                return Rebuilt()
            first_day = int(state.get(EVENTS_FROM, 0))
            return put_in_force(connection, self._statements, wanted, first_day, everything=everything)

    def _state(self, connection: Connection) -> dict[str, str]:
        return dict(connection.execute(self._statements["states"]).fetchall())

    def _meter_states(self, connection: Connection) -> list[MeterState]:
        return [
            MeterState(meter_of_definition(text), since, max(counted_from, kept_from))
            for _, text, counted_from, kept_from, since in connection.execute(self._statements["meters"])
        ]


def _counter(
    account: str, counts: Mapping[tuple[str, str, int, int], list[Row]]
) -> Callable[[DistinctSpan], list[Row]]:
    def count(span: DistinctSpan) -> list[Row]:
        if span.by_day:
            return counts.get(("day", account, 0, 0), [])
        return counts.get(("group" if span.by_group else "span", account, span.start, span.end), [])

    return count


def _text(found: object) -> str | None:
    return None if found is None else plain(found) if isinstance(found, Decimal) else str(found)
