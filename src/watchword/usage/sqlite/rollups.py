# SPDX-License-Identifier: Apache-2.0
"""Amounts in SQLite: a tally added to what is there, and everything counted again from the events.

Both go through the one fold of `rollups`; here is only where its result is kept.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from typing import Final

from watchword.usage.deduplication import EVENTS_FROM, METERS, event_of_row
from watchword.usage.groups import Admission, Scope, month_of
from watchword.usage.meters import plain
from watchword.usage.rollups import MeterSet, Tally, keeps_groups
from watchword.usage.sqlite import schema
from watchword.usage.store import Rebuilt
from watchword.usage.times import MICROSECONDS_PER_SECOND

_TALLY_CONTRIBUTIONS: Final = 20_000  # how much of a rebuild is kept in memory before it is written
_Row = tuple[int, str, str, str, str]
"""As a row of `day_amount`, in the order of its key."""


def add(connection: sqlite3.Connection, tally: Tally, target: schema.Target) -> None:
    """Add a tally to the target's tables, by key: each page is read and written once."""
    added: list[_Row] = []
    raised: list[_Row] = []
    for (account, day, name, group), (meter, amount) in tally.amounts.items():
        rows = raised if meter.aggregation == "max" else added
        rows.append((day, account, name, group, plain(amount)))
    for key, values in sorted(tally.distinct.items()):
        cursor = connection.executemany(target.insert_value, [(*key, value) for value in sorted(values)])
        if cursor.rowcount > 0:
            account, day, name, group = key
            added.append((day, account, name, group, str(cursor.rowcount)))
    connection.executemany(target.add_amount, sorted(added))
    connection.executemany(target.raise_amount, sorted(raised))


def recompute(
    connection: sqlite3.Connection,
    meters: MeterSet,
    target: schema.Target,
    admission: Admission,
    first_days: Mapping[str, int],
) -> tuple[int, dict[str, int]]:
    """Add what all stored events say to the target's tables; how many counted, and by meter which could not.

    Of each meter the days before its first one (days since 1970-01-01) are left out.
    """
    events = 0
    unusable: dict[str, int] = {}
    if not meters.by_name:
        return events, unusable
    tally = Tally(admission)
    for row in connection.execute(schema.ALL_EVENTS):
        if not meters.counts_type(row[2]):
            continue
        event = event_of_row(row)
        events += 1
        contributions, without_value = meters.past_contributions(event)
        for name in without_value:
            unusable[name] = unusable.get(name, 0) + 1
        tally.add(event, [one for one in contributions if event.day >= first_days.get(one[0].name, 0)])
        if tally.size >= _TALLY_CONTRIBUTIONS:
            add(connection, tally, target)
            tally = Tally(admission)
    add(connection, tally, target)
    return events, unusable


def put_in_force(connection: sqlite3.Connection, wanted: MeterSet, *, everything: bool) -> Rebuilt:
    """Make these the meters, in the caller's transaction; recompute what changed, or everything."""
    stored = {name: text for name, text, *_ in connection.execute(schema.METERS)}
    kept = {name for name, text in stored.items() if wanted.definitions.get(name) == text}
    first_day = events_from(connection)
    for name in stored.keys() - (set() if everything else kept):
        # Of a meter that stays, the days whose events are gone cannot be made again.
        first = first_day if name in kept else 0
        connection.execute(schema.DELETE_ROLLUPS, (name, first))
        connection.execute(schema.DELETE_VALUES, (name, first))
        if not keeps_groups(stored[name], wanted.by_name.get(name)):
            connection.execute(schema.DELETE_ADMITTED, (name, month_of(first) + (first > 0)))
    for name in stored.keys() - kept:
        connection.execute(schema.DELETE_METER, (name,))
    now = int(time.time() * MICROSECONDS_PER_SECOND)
    for name, text in sorted(wanted.definitions.items()):
        if name not in kept:
            connection.execute(schema.INSERT_METER, (name, text, first_day, 0, now))
    connection.execute(schema.SET_STATE, (METERS, wanted.digest))
    changed = MeterSet([m for name, m in wanted.by_name.items() if everything or name not in kept])
    admission = admission_of(connection)
    first_days = dict.fromkeys(changed.by_name, first_day)
    events, unusable = recompute(connection, changed, schema.STORED, admission, first_days)
    admit(connection, admission)
    dropped = tuple(sorted(stored.keys() - wanted.by_name.keys()))
    return Rebuilt(tuple(sorted(changed.by_name)), dropped, events, unusable)


def state_of(connection: sqlite3.Connection, name: str) -> str | None:
    """Give what the store remembers of itself under a name."""
    row = connection.execute(schema.STATE, (name,)).fetchone()
    return None if row is None else str(row[0])


def states(connection: sqlite3.Connection) -> dict[str, str]:
    """Give all that the store remembers of itself."""
    return dict(connection.execute(schema.STATES).fetchall())


def events_from(connection: sqlite3.Connection) -> int:
    """Give the first day (days since 1970-01-01) whose events are kept."""
    return int(state_of(connection, EVENTS_FROM) or 0)


def admission_of(connection: sqlite3.Connection) -> Admission:
    """Give the groups that were let in, read as they are asked for."""

    def load(scope: Scope) -> set[str]:
        return {group for (group,) in connection.execute(schema.ADMITTED, scope)}

    return Admission(load)


def admit(connection: sqlite3.Connection, admission: Admission) -> None:
    """Keep the groups that are new."""
    connection.executemany(schema.ADMIT, [(*scope, group) for scope, group in admission.new])
