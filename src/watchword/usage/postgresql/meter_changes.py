# SPDX-License-Identifier: Apache-2.0
"""Putting meters in force in PostgreSQL: what they count no more goes, what is new is counted from events.

One transaction under a lock that every batch shares: an answer shows the old numbers or the new ones, and no
event falls between them.
"""

from __future__ import annotations

import time

from watchword.usage.deduplication import METERS
from watchword.usage.groups import month_of
from watchword.usage.postgresql.cache import ACCOUNTS_SINCE
from watchword.usage.postgresql.rollups import recompute
from watchword.usage.postgresql.sessions import Connection
from watchword.usage.postgresql.statements import Statements
from watchword.usage.rollups import MeterSet, keeps_groups
from watchword.usage.store import Rebuilt
from watchword.usage.times import MICROSECONDS_PER_SECOND


def put_in_force(
    connection: Connection, statements: Statements, wanted: MeterSet, first_day: int, *, everything: bool
) -> Rebuilt:
    """Make these the meters; recompute what changed, or everything, from `first_day` on.

    The caller holds the transaction and the lock.
    """
    stored = {name: text for name, text, *_ in connection.execute(statements["meters"])}
    kept = {name for name, text in stored.items() if wanted.definitions.get(name) == text}
    for name in stored.keys() - (set() if everything else kept):
        # Of a meter that stays, the days whose events are gone cannot be made again.
        first = first_day if name in kept else 0
        connection.execute(statements["delete_rollups"], [name, first])
        connection.execute(statements["delete_values"], [name, first])
        if not keeps_groups(stored[name], wanted.by_name.get(name)):
            connection.execute(statements["delete_admitted"], [name, month_of(first) + (first > 0)])
    connection.execute(statements["delete_meters"], [sorted(stored.keys() - kept)])
    now = int(time.time() * MICROSECONDS_PER_SECOND)
    for name, text in sorted(wanted.definitions.items()):
        if name not in kept:
            connection.execute(statements["insert_meter"], [name, text, first_day, 0, now])
    connection.execute(statements["set_state"], [METERS, wanted.digest])
    changed = MeterSet([m for name, m in wanted.by_name.items() if everything or name not in kept])
    first_days = dict.fromkeys(changed.by_name, first_day)
    events, unusable = recompute(connection, statements, changed, first_days, expected=False)
    if everything:
        # Before they go: no process is to remember one that does.
        connection.execute(statements["set_state"], [ACCOUNTS_SINCE, str(now)])
        connection.execute(statements["delete_unfounded_accounts"])
        connection.execute(statements["insert_accounts_of_events"])
    dropped = tuple(sorted(stored.keys() - wanted.by_name.keys()))
    return Rebuilt(tuple(sorted(changed.by_name)), dropped, events, unusable)
