# SPDX-License-Identifier: Apache-2.0
"""The SQLite statements of the usage store: every one a constant, every value a parameter.

No text of an event, a meter or a query is ever part of a statement. The key of an event is a digest of
account, source and id, each with its length before it, and belongs to a part of the day on which it came: see
`arrivals`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

APPLICATION_ID: Final = 0x57574F55  # "WWOU": tells our files from other programs' databases
SCHEMA_VERSION: Final = 4

# Amounts are decimal text, without exponent or trailing zeros: SQLite's numbers are 64-bit integers and
# binary floats, neither of which holds an exact sum. Days are days since 1970-01-01, times microseconds, both
# UTC.
_CREATE_EVENTS: Final = (
    """CREATE TABLE arrived_event (
        place INTEGER PRIMARY KEY,
        part INTEGER NOT NULL,
        key BLOB NOT NULL,
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        account TEXT NOT NULL,
        time INTEGER NOT NULL,
        data TEXT,
        data_base64 TEXT,
        extensions TEXT
    ) STRICT""",
    # By part first: a batch writes among the keys of the newest one only, however many there are of others.
    # An index of its own and no constraint: a constraint of SQLite's cannot be changed without copying the
    # table.
    "CREATE UNIQUE INDEX arrived_event_key ON arrived_event (part, key)",
)
# What came before version 4, and nothing since.
_CREATE_PAST: Final = (
    """CREATE TABLE past_event (
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        account TEXT NOT NULL,
        time INTEGER NOT NULL,
        data TEXT,
        data_base64 TEXT,
        extensions TEXT
    ) STRICT""",
    "CREATE UNIQUE INDEX past_event_key ON past_event (source, id, account)",
)
# By day first: the amounts of a day, which a batch changes, lie together.
_CREATE_AMOUNT: Final = """CREATE TABLE day_amount (
        day INTEGER NOT NULL, account TEXT NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        amount TEXT NOT NULL,
        PRIMARY KEY (day, account, meter, grp)
    ) STRICT, WITHOUT ROWID"""
CREATE_KEPT: Final = (
    *_CREATE_EVENTS,
    *_CREATE_PAST,
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
    _CREATE_AMOUNT,
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
# An old table is renamed at once, so that a process of the release before finds none to use, and what has to
# be moved is moved a part at a time: that needs no room for a second table, no temporary file, and goes on
# where it was cut short. Up to version 2 a source and an id were one event's, whatever its account, by a
# constraint of the table; up to version 3 amounts were kept by account first.
_LEAVE_AMOUNTS: Final = ("ALTER TABLE rollup RENAME TO rollup_of_3", _CREATE_AMOUNT)
_LEAVE_EVENTS_OF_2: Final = ("ALTER TABLE event RENAME TO event_of_2", *_CREATE_PAST, *_CREATE_EVENTS)
LEAVE_VERSION_2: Final = (*_LEAVE_EVENTS_OF_2, *_LEAVE_AMOUNTS)
LEAVE_VERSION_3: Final = (
    "ALTER TABLE usage_event RENAME TO past_event",
    *_CREATE_EVENTS,
    *_LEAVE_AMOUNTS,
)
IS_LEFT: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
EVENT_OF_2: Final = "event_of_2"
ROLLUP_OF_3: Final = "rollup_of_3"
LAST_TO_MOVE: Final = """SELECT max(rowid), count(*) FROM
    (SELECT rowid FROM event_of_2 ORDER BY rowid LIMIT ?)"""
# OR ROLLBACK: nothing conflicts, and what is not taken back alone needs no temporary journal of its own.
MOVE_EVENTS: Final = """INSERT OR ROLLBACK INTO past_event
        (source, id, type, account, time, data, data_base64, extensions)
    SELECT source, id, type, account, time, data, data_base64, extensions FROM event_of_2 WHERE rowid <= ?"""
DELETE_MOVED: Final = "DELETE FROM event_of_2 WHERE rowid <= ?"
DROP_MOVED: Final = "DROP TABLE event_of_2"
LAST_AMOUNT_TO_MOVE: Final = """SELECT account, day, meter, grp FROM
    (SELECT account, day, meter, grp FROM rollup_of_3 ORDER BY 1, 2, 3, 4 LIMIT ?)
    ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1"""
MOVE_AMOUNTS: Final = """INSERT OR ROLLBACK INTO day_amount (day, account, meter, grp, amount)
    SELECT day, account, meter, grp, amount FROM rollup_of_3
    WHERE (account, day, meter, grp) <= (?, ?, ?, ?)"""
DELETE_MOVED_AMOUNTS: Final = "DELETE FROM rollup_of_3 WHERE (account, day, meter, grp) <= (?, ?, ?, ?)"
DROP_MOVED_AMOUNTS: Final = "DROP TABLE rollup_of_3"
LATEST_OF_PAST: Final = "SELECT max(time) FROM past_event"
LATEST_OF_2: Final = "SELECT max(time) FROM event_of_2"
DROP_DERIVED_OF_1: Final = tuple(
    f"DROP TABLE {table}" for table in ("meter", "state", "rollup", "distinct_value")
)
LEAVE_VERSION_1: Final = (*DROP_DERIVED_OF_1, *CREATE_DERIVED, *_LEAVE_EVENTS_OF_2)

CREATE_EXPECTED: Final = (
    """CREATE TEMP TABLE expected_amount (
        day INTEGER NOT NULL, account TEXT NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        amount TEXT NOT NULL,
        PRIMARY KEY (day, account, meter, grp)
    ) WITHOUT ROWID""",
    """CREATE TEMP TABLE expected_value (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, grp TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, grp, value)
    ) WITHOUT ROWID""",
    "CREATE TEMP TABLE first_day (meter TEXT NOT NULL PRIMARY KEY, day INTEGER NOT NULL) WITHOUT ROWID",
)

INSERT_EVENT: Final = """INSERT INTO arrived_event
        (part, key, source, id, type, account, time, data, data_base64, extensions)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (part, key) DO NOTHING"""
LAST_EVENT: Final = "SELECT coalesce(max(place), 0) FROM arrived_event"
KEYS_AFTER_ROW: Final = "SELECT key FROM arrived_event WHERE place > ?"
KEYS_OF_PARTS: Final = "SELECT substr(key, 1, 8) FROM arrived_event WHERE part >= ? AND part < ? LIMIT ?"
# Keys of 20 bytes, one after the other, and the parts that may have them, from one up to and without another.
# Each part that has events is found by one step in the index; CROSS JOIN keeps to this order.
EVENTS_BY_KEY: Final = """WITH RECURSIVE
    parts(part) AS (
        SELECT min(part) FROM arrived_event WHERE part >= ?2
        UNION ALL
        SELECT (SELECT min(e.part) FROM arrived_event AS e WHERE e.part > parts.part)
            FROM parts WHERE parts.part < ?3
    ),
    starts(start) AS MATERIALIZED (
        SELECT 1 UNION ALL SELECT start + 20 FROM starts WHERE start + 20 < length(?1)
    )
    SELECT e.key, e.type, e.account, e.time, e.data, e.data_base64, e.extensions
    FROM parts CROSS JOIN starts CROSS JOIN arrived_event AS e
        ON e.part = parts.part AND e.key = substr(?1, starts.start, 20)
    WHERE parts.part < ?3"""
# The keys come as one JSON array of triples; CROSS JOIN makes SQLite look each of them up.
PAST_EVENTS_BY_KEY: Final = """SELECT e.source, e.id, e.type, e.account, e.time,
        e.data, e.data_base64, e.extensions
    FROM json_each(?) AS k CROSS JOIN past_event AS e
        ON e.source = json_extract(k.value, '$[0]') AND e.id = json_extract(k.value, '$[1]')
            AND e.account = json_extract(k.value, '$[2]')"""
ALL_EVENTS: Final = """SELECT source, id, type, account, time, data, data_base64 FROM past_event
    UNION ALL SELECT source, id, type, account, time, data, data_base64 FROM arrived_event"""
# By key, and in the order in which they came: neither changes when the file is packed (VACUUM).
PAST_EVENTS_AFTER: Final = """SELECT source, id, type, account, time, data, data_base64, extensions
    FROM past_event WHERE (source, id, account) > (?, ?, ?) ORDER BY source, id, account LIMIT ?"""
ARRIVED_EVENTS_AFTER: Final = """SELECT source, id, type, account, time, data, data_base64, extensions, place
    FROM arrived_event WHERE place > ? ORDER BY place LIMIT ?"""
EXPIRE_EVENTS: Final = (
    ("SELECT rowid FROM past_event WHERE time < ? LIMIT ?", "DELETE FROM past_event WHERE rowid = ?"),
    ("SELECT place FROM arrived_event WHERE time < ? LIMIT ?", "DELETE FROM arrived_event WHERE place = ?"),
)
_ACCOUNTS_OF_EVENTS: Final = "SELECT account FROM past_event UNION SELECT account FROM arrived_event"

INSERT_ACCOUNT: Final = "INSERT INTO account (name) VALUES (?) ON CONFLICT (name) DO NOTHING"
INSERT_ACCOUNTS_OF_EVENTS: Final = f"""INSERT INTO account (name)
    SELECT account FROM ({_ACCOUNTS_OF_EVENTS}) WHERE true ON CONFLICT DO NOTHING"""  # noqa: S608 - constants
# An account whose events are no longer kept stays known by its amounts.
DELETE_UNFOUNDED_ACCOUNTS: Final = f"""DELETE FROM account
    WHERE name NOT IN ({_ACCOUNTS_OF_EVENTS}) AND name NOT IN (SELECT account FROM day_amount)"""  # noqa: S608 - constants
ACCOUNT_KNOWN: Final = "SELECT 1 FROM account WHERE name = ?"
ACCOUNTS_AFTER: Final = "SELECT name FROM account WHERE name > ? ORDER BY name LIMIT ?"

STATES: Final = "SELECT name, value FROM state"
STATE: Final = "SELECT value FROM state WHERE name = ?"
SET_STATE: Final = """INSERT INTO state (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
METERS: Final = "SELECT name, definition, counted_from, kept_from, since FROM meter"
DELETE_METER: Final = "DELETE FROM meter WHERE name = ?"
INSERT_METER: Final = (
    "INSERT INTO meter (name, definition, counted_from, kept_from, since) VALUES (?, ?, ?, ?, ?)"
)
KEEP_FROM: Final = "UPDATE meter SET kept_from = ? WHERE name = ? AND kept_from < ?"
DELETE_ROLLUPS: Final = "DELETE FROM day_amount WHERE meter = ? AND day >= ?"
DELETE_VALUES: Final = "DELETE FROM distinct_value WHERE meter = ? AND day >= ?"
DELETE_ADMITTED: Final = "DELETE FROM admitted WHERE meter = ? AND month >= ?"
EXPIRE_ROLLUPS: Final = "DELETE FROM day_amount WHERE meter = ? AND day < ?"
EXPIRE_VALUES: Final = "DELETE FROM distinct_value WHERE meter = ? AND day < ?"
EXPIRE_ADMITTED: Final = "DELETE FROM admitted WHERE meter = ? AND month < ?"
ADMITTED: Final = "SELECT grp FROM admitted WHERE account = ? AND meter = ? AND month = ?"
ADMIT: Final = "INSERT INTO admitted (account, meter, month, grp) VALUES (?, ?, ?, ?)"

READ_ROLLUPS: Final = """WITH RECURSIVE days(day) AS (
        SELECT ?2 UNION ALL SELECT day + 1 FROM days WHERE day + 1 < ?3
    )
    SELECT a.day, a.meter, a.grp, a.amount FROM days CROSS JOIN day_amount AS a
        ON a.day = days.day AND a.account = ?1"""
COUNT_DISTINCT: Final = """SELECT 0, meter, '', COUNT(DISTINCT value) FROM distinct_value
    WHERE account = ? AND day >= ? AND day < ? GROUP BY meter"""
COUNT_DISTINCT_BY_GROUP: Final = """SELECT 0, meter, grp, COUNT(DISTINCT value) FROM distinct_value
    WHERE account = ? AND day >= ? AND day < ? GROUP BY meter, grp"""
COUNT_DISTINCT_BY_DAY: Final = """SELECT day, meter, '', COUNT(DISTINCT value) FROM distinct_value
    WHERE account = ? AND day >= ? AND day < ? GROUP BY day, meter"""

INSERT_FIRST_DAY: Final = "INSERT INTO temp.first_day (meter, day) VALUES (?, ?)"
COMPARE_ROLLUPS: Final = """
    SELECT e.account, e.day, e.meter, e.grp, r.amount, e.amount
        FROM temp.expected_amount e LEFT JOIN main.day_amount r USING (day, account, meter, grp)
        WHERE r.amount IS NOT e.amount
    UNION ALL
    SELECT r.account, r.day, r.meter, r.grp, r.amount, NULL
        FROM main.day_amount r LEFT JOIN temp.expected_amount e USING (day, account, meter, grp)
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
COMPARE_ACCOUNTS: Final = f"""
    SELECT e.account, NULL, NULL, NULL, NULL, 'known'
        FROM ({_ACCOUNTS_OF_EVENTS}) e LEFT JOIN account a ON a.name = e.account
        WHERE a.name IS NULL
    UNION ALL
    SELECT a.name, NULL, NULL, NULL, 'known', NULL
        FROM account a
        WHERE a.name NOT IN ({_ACCOUNTS_OF_EVENTS}) AND a.name NOT IN (SELECT account FROM day_amount)
    LIMIT ?"""  # noqa: S608 - constants


class Target(NamedTuple):
    """The statements that add a tally to one pair of tables."""

    add_amount: str
    raise_amount: str
    insert_value: str


# `exact_sum` and `exact_max` are functions of ours (usage/sqlite/file.py): SQLite's own use binary floats.
STORED: Final = Target(
    """INSERT INTO main.day_amount AS r (day, account, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (day, account, meter, grp) DO UPDATE SET amount = exact_sum(r.amount, excluded.amount)""",
    """INSERT INTO main.day_amount AS r (day, account, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (day, account, meter, grp) DO UPDATE SET amount = exact_max(r.amount, excluded.amount)""",
    """INSERT INTO main.distinct_value (account, day, meter, grp, value) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
)
EXPECTED: Final = Target(
    """INSERT INTO temp.expected_amount AS r (day, account, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (day, account, meter, grp) DO UPDATE SET amount = exact_sum(r.amount, excluded.amount)""",
    """INSERT INTO temp.expected_amount AS r (day, account, meter, grp, amount) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (day, account, meter, grp) DO UPDATE SET amount = exact_max(r.amount, excluded.amount)""",
    """INSERT INTO temp.expected_value (account, day, meter, grp, value) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
)
