# SPDX-License-Identifier: Apache-2.0
"""The SQLite statements of the usage store: every one a constant, every value a parameter.

No text of an event, a meter or a query is ever part of a statement. The key of an event is three columns:
joined into one string, `a-b` + `c` and `a` + `b-c` would be one event.
"""

from __future__ import annotations

from typing import Final, NamedTuple

APPLICATION_ID: Final = 0x57574F55  # "WWOU": tells our files from other programs' databases
SCHEMA_VERSION: Final = 3

# Amounts are decimal text, without exponent or trailing zeros: SQLite's numbers are 64-bit integers and
# binary floats, neither of which holds an exact sum. Days are days since 1970-01-01, times microseconds, both
# UTC.
_CREATE_EVENT: Final = """CREATE TABLE usage_event (
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        account TEXT NOT NULL,
        time INTEGER NOT NULL,
        data TEXT,
        data_base64 TEXT,
        extensions TEXT
    ) STRICT"""
# An index of its own and no constraint: a constraint of SQLite's cannot be changed without copying the table.
_CREATE_EVENT_KEY: Final = "CREATE UNIQUE INDEX usage_event_key ON usage_event (source, id, account)"
CREATE_KEPT: Final = (
    _CREATE_EVENT,
    _CREATE_EVENT_KEY,
    "CREATE TABLE account (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID",
)
# What is made of the events, and can be made again.
CREATE_DERIVED: Final = (
    # counted_from: the first day whose events were all there to be counted. kept_from: the first day whose
    # amounts are kept. Both 0 where nothing was ever given up. since: when this definition came into force.
    """CREATE TABLE meter (
        name TEXT NOT NULL PRIMARY KEY, definition TEXT NOT NULL,
        counted_from INTEGER NOT NULL, kept_from INTEGER NOT NULL, since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE state (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE rollup (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        amount TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, grp)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE distinct_value (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, grp, value)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE admitted (
        account TEXT NOT NULL, meter TEXT NOT NULL, month INTEGER NOT NULL, grp TEXT NOT NULL,
        PRIMARY KEY (account, meter, month, grp)
    ) STRICT, WITHOUT ROWID""",
)
# Up to version 2 a source and an id were one event's, whatever its account. The old table is renamed at once,
# so that a process of the release before finds none to write to, and its events are moved a few at a time:
# that needs no room for a second table, no temporary file, and goes on where it was cut short.
LEAVE_VERSION_2: Final = ("ALTER TABLE event RENAME TO event_of_2", _CREATE_EVENT, _CREATE_EVENT_KEY)
IS_LEAVING_VERSION_2: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'event_of_2'"
LAST_TO_MOVE: Final = """SELECT max(rowid), count(*) FROM
    (SELECT rowid FROM event_of_2 ORDER BY rowid LIMIT ?)"""
# OR ROLLBACK: nothing conflicts, and what is not taken back alone needs no temporary journal of its own.
MOVE_EVENTS: Final = """INSERT OR ROLLBACK INTO usage_event
        (source, id, type, account, time, data, data_base64, extensions)
    SELECT source, id, type, account, time, data, data_base64, extensions FROM event_of_2 WHERE rowid <= ?"""
DELETE_MOVED: Final = "DELETE FROM event_of_2 WHERE rowid <= ?"
DROP_MOVED: Final = "DROP TABLE event_of_2"
DROP_DERIVED_OF_1: Final = tuple(
    f"DROP TABLE {table}" for table in ("meter", "state", "rollup", "distinct_value")
)

CREATE_EXPECTED: Final = (
    """CREATE TEMP TABLE expected_rollup (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        amount TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, grp)
    ) WITHOUT ROWID""",
    """CREATE TEMP TABLE expected_value (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, grp, value)
    ) WITHOUT ROWID""",
    "CREATE TEMP TABLE first_day (meter TEXT NOT NULL PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID",
)

INSERT_EVENT: Final = """INSERT INTO usage_event
        (source, id, type, account, time, data, data_base64, extensions)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, id, account) DO NOTHING"""
LAST_EVENT: Final = "SELECT coalesce(max(rowid), 0) FROM usage_event"
KEYS_AFTER_ROW: Final = "SELECT source, id, account FROM usage_event WHERE rowid > ?"
# The keys come as one JSON array of triples; CROSS JOIN makes SQLite look each of them up.
EVENTS_BY_KEY: Final = """SELECT e.source, e.id, e.type, e.account, e.time,
        e.data, e.data_base64, e.extensions
    FROM json_each(?) AS k CROSS JOIN usage_event AS e
        ON e.source = json_extract(k.value, '$[0]') AND e.id = json_extract(k.value, '$[1]')
            AND e.account = json_extract(k.value, '$[2]')"""
ALL_EVENTS: Final = "SELECT source, id, type, account, time, data, data_base64 FROM usage_event"
# By key, in pages: NULLs first does not arise, all are NOT NULL.
EVENTS_AFTER: Final = """SELECT source, id, type, account, time, data, data_base64, extensions
    FROM usage_event WHERE (source, id, account) > (?, ?, ?) ORDER BY source, id, account LIMIT ?"""
OLD_EVENTS: Final = "SELECT rowid FROM usage_event WHERE time < ? LIMIT ?"
DELETE_EVENT: Final = "DELETE FROM usage_event WHERE rowid = ?"

INSERT_ACCOUNT: Final = "INSERT INTO account (name) VALUES (?) ON CONFLICT (name) DO NOTHING"
INSERT_ACCOUNTS_OF_EVENTS: Final = (
    "INSERT INTO account (name) SELECT DISTINCT account FROM usage_event WHERE true ON CONFLICT DO NOTHING"
)
# An account whose events are no longer kept stays known by its amounts.
DELETE_UNFOUNDED_ACCOUNTS: Final = """DELETE FROM account
    WHERE name NOT IN (SELECT account FROM usage_event) AND name NOT IN (SELECT account FROM rollup)"""
ACCOUNT_KNOWN: Final = "SELECT 1 FROM account WHERE name = ?"
ACCOUNTS_AFTER: Final = "SELECT name FROM account WHERE name > ? ORDER BY name LIMIT ?"

STATE: Final = "SELECT value FROM state WHERE name = ?"
SET_STATE: Final = """INSERT INTO state (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
METERS: Final = "SELECT name, definition, counted_from, kept_from, since FROM meter"
DELETE_METER: Final = "DELETE FROM meter WHERE name = ?"
INSERT_METER: Final = (
    "INSERT INTO meter (name, definition, counted_from, kept_from, since) VALUES (?, ?, ?, ?, ?)"
)
KEEP_FROM: Final = "UPDATE meter SET kept_from = ? WHERE name = ? AND kept_from < ?"
DELETE_ROLLUPS: Final = "DELETE FROM rollup WHERE meter = ? AND day >= ?"
DELETE_VALUES: Final = "DELETE FROM distinct_value WHERE meter = ? AND day >= ?"
DELETE_ADMITTED: Final = "DELETE FROM admitted WHERE meter = ? AND month >= ?"
EXPIRE_ROLLUPS: Final = "DELETE FROM rollup WHERE meter = ? AND day < ?"
EXPIRE_VALUES: Final = "DELETE FROM distinct_value WHERE meter = ? AND day < ?"
EXPIRE_ADMITTED: Final = "DELETE FROM admitted WHERE meter = ? AND month < ?"
ADMITTED: Final = "SELECT grp FROM admitted WHERE account = ? AND meter = ? AND month = ?"
ADMIT: Final = "INSERT INTO admitted (account, meter, month, grp) VALUES (?, ?, ?, ?)"

READ_ROLLUPS: Final = "SELECT day, meter, grp, amount FROM rollup WHERE account = ? AND day >= ? AND day < ?"
COUNT_DISTINCT: Final = """SELECT 0, meter, '', COUNT(DISTINCT value) FROM distinct_value
    WHERE account = ? AND day >= ? AND day < ? GROUP BY meter"""
COUNT_DISTINCT_BY_GROUP: Final = """SELECT 0, meter, grp, COUNT(DISTINCT value) FROM distinct_value
    WHERE account = ? AND day >= ? AND day < ? GROUP BY meter, grp"""
COUNT_DISTINCT_BY_DAY: Final = """SELECT day, meter, '', COUNT(DISTINCT value) FROM distinct_value
    WHERE account = ? AND day >= ? AND day < ? GROUP BY day, meter"""

INSERT_FIRST_DAY: Final = "INSERT INTO temp.first_day (meter, day) VALUES (?, ?)"
COMPARE_ROLLUPS: Final = """
    SELECT e.account, e.day, e.meter, e.grp, r.amount, e.amount
        FROM temp.expected_rollup e LEFT JOIN main.rollup r USING (account, day, meter, grp)
        WHERE r.amount IS NOT e.amount
    UNION ALL
    SELECT r.account, r.day, r.meter, r.grp, r.amount, NULL
        FROM main.rollup r LEFT JOIN temp.expected_rollup e USING (account, day, meter, grp)
            LEFT JOIN temp.first_day f ON f.meter = r.meter
        WHERE e.amount IS NULL AND r.day >= coalesce(f.day, 0)
    LIMIT ?"""
COMPARE_VALUES: Final = """
    SELECT e.account, e.day, e.meter, e.grp, NULL, e.value
        FROM temp.expected_value e LEFT JOIN main.distinct_value d USING (account, day, meter, grp, value)
        WHERE d.value IS NULL
    UNION ALL
    SELECT d.account, d.day, d.meter, d.grp, d.value, NULL
        FROM main.distinct_value d LEFT JOIN temp.expected_value e USING (account, day, meter, grp, value)
            LEFT JOIN temp.first_day f ON f.meter = d.meter
        WHERE e.value IS NULL AND d.day >= coalesce(f.day, 0)
    LIMIT ?"""
COMPARE_ACCOUNTS: Final = """
    SELECT e.account, NULL, NULL, NULL, NULL, 'known'
        FROM (SELECT DISTINCT account FROM usage_event) e LEFT JOIN account a ON a.name = e.account
        WHERE a.name IS NULL
    UNION ALL
    SELECT a.name, NULL, NULL, NULL, 'known', NULL
        FROM account a
        WHERE a.name NOT IN (SELECT account FROM usage_event) AND a.name NOT IN (SELECT account FROM rollup)
    LIMIT ?"""


class Target(NamedTuple):
    """The statements that add a tally to one pair of tables."""

    add_amount: str
    raise_amount: str
    insert_value: str


# `exact_sum` and `exact_max` are functions of ours (usage/sqlite/file.py): SQLite's own use binary floats.
STORED: Final = Target(
    """INSERT INTO main.rollup AS r (account, day, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (account, day, meter, grp) DO UPDATE SET amount = exact_sum(r.amount, excluded.amount)""",
    """INSERT INTO main.rollup AS r (account, day, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (account, day, meter, grp) DO UPDATE SET amount = exact_max(r.amount, excluded.amount)""",
    """INSERT INTO main.distinct_value (account, day, meter, grp, value) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
)
EXPECTED: Final = Target(
    """INSERT INTO temp.expected_rollup AS r (account, day, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (account, day, meter, grp) DO UPDATE SET amount = exact_sum(r.amount, excluded.amount)""",
    """INSERT INTO temp.expected_rollup AS r (account, day, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (account, day, meter, grp) DO UPDATE SET amount = exact_max(r.amount, excluded.amount)""",
    """INSERT INTO temp.expected_value (account, day, meter, grp, value) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
)
