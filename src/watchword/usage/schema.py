# SPDX-License-Identifier: Apache-2.0
"""The SQLite statements of the usage store: every one a constant, every value a parameter.

No text of an event, a meter or a query is ever part of a statement. The key of an event is two columns:
joined into one string, `a-b` + `c` and `a` + `b-c` would be one event.
"""

from __future__ import annotations

from typing import Final, NamedTuple

APPLICATION_ID: Final = 0x57574F55  # "WWOU": tells our files from other programs' databases
SCHEMA_VERSION: Final = 1

# Amounts are decimal text, without exponent or trailing zeros: SQLite's numbers are 64-bit integers and
# binary floats, neither of which holds an exact sum. Days are days since 1970-01-01, times microseconds, both
# UTC.
CREATE: Final = (
    """CREATE TABLE event (
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        type TEXT NOT NULL,
        account TEXT NOT NULL,
        time INTEGER NOT NULL,
        data TEXT,
        data_base64 TEXT,
        extensions TEXT,
        UNIQUE (source, id)
    ) STRICT""",
    "CREATE TABLE account (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID",
    "CREATE TABLE meter (name TEXT NOT NULL PRIMARY KEY, definition TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE state (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE rollup (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, amount TEXT NOT NULL,
        PRIMARY KEY (account, day, meter)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE distinct_value (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, value)
    ) STRICT, WITHOUT ROWID""",
)

CREATE_EXPECTED: Final = (
    """CREATE TEMP TABLE expected_rollup (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, amount TEXT NOT NULL,
        PRIMARY KEY (account, day, meter)
    ) WITHOUT ROWID""",
    """CREATE TEMP TABLE expected_value (
        account TEXT NOT NULL, day INTEGER NOT NULL, meter TEXT NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (account, day, meter, value)
    ) WITHOUT ROWID""",
)

INSERT_EVENT: Final = """INSERT INTO event (source, id, type, account, time, data, data_base64, extensions)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, id) DO NOTHING"""
EVENT_BY_KEY: Final = """SELECT type, account, time, data, data_base64, extensions
    FROM event WHERE source = ? AND id = ?"""
ALL_EVENTS: Final = "SELECT source, id, type, account, time, data, data_base64 FROM event"
INSERT_ACCOUNT: Final = "INSERT INTO account (name) VALUES (?) ON CONFLICT (name) DO NOTHING"
DELETE_ACCOUNTS: Final = "DELETE FROM account"
INSERT_ACCOUNTS_OF_EVENTS: Final = "INSERT INTO account (name) SELECT DISTINCT account FROM event"
ACCOUNT_KNOWN: Final = "SELECT 1 FROM account WHERE name = ?"

METERS_DIGEST: Final = "SELECT value FROM state WHERE name = 'meters'"
SET_METERS_DIGEST: Final = """INSERT INTO state (name, value) VALUES ('meters', ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
METERS: Final = "SELECT name, definition FROM meter"
DELETE_METER: Final = "DELETE FROM meter WHERE name = ?"
INSERT_METER: Final = "INSERT INTO meter (name, definition) VALUES (?, ?)"
DELETE_ROLLUPS: Final = "DELETE FROM rollup WHERE meter = ?"
DELETE_VALUES: Final = "DELETE FROM distinct_value WHERE meter = ?"

READ_ROLLUPS: Final = "SELECT day, meter, amount FROM rollup WHERE account = ? AND day >= ? AND day < ?"
COUNT_DISTINCT: Final = """SELECT meter, COUNT(DISTINCT value) FROM distinct_value
    WHERE account = ? AND day >= ? AND day < ? GROUP BY meter"""

COMPARE_ROLLUPS: Final = """
    SELECT e.account, e.day, e.meter, r.amount, e.amount
        FROM temp.expected_rollup e LEFT JOIN main.rollup r USING (account, day, meter)
        WHERE r.amount IS NOT e.amount
    UNION ALL
    SELECT r.account, r.day, r.meter, r.amount, NULL
        FROM main.rollup r LEFT JOIN temp.expected_rollup e USING (account, day, meter)
        WHERE e.amount IS NULL
    LIMIT ?"""
COMPARE_VALUES: Final = """
    SELECT e.account, e.day, e.meter, NULL, e.value
        FROM temp.expected_value e LEFT JOIN main.distinct_value d USING (account, day, meter, value)
        WHERE d.value IS NULL
    UNION ALL
    SELECT d.account, d.day, d.meter, d.value, NULL
        FROM main.distinct_value d LEFT JOIN temp.expected_value e USING (account, day, meter, value)
        WHERE e.value IS NULL
    LIMIT ?"""
COMPARE_ACCOUNTS: Final = """
    SELECT e.account, NULL, NULL, NULL, 'known'
        FROM (SELECT DISTINCT account FROM event) e LEFT JOIN account a ON a.name = e.account
        WHERE a.name IS NULL
    UNION ALL
    SELECT a.name, NULL, NULL, 'known', NULL
        FROM account a WHERE a.name NOT IN (SELECT account FROM event)
    LIMIT ?"""


class Target(NamedTuple):
    """The statements that add a tally to one pair of tables."""

    amount: str
    set_amount: str
    insert_value: str


STORED: Final = Target(
    "SELECT amount FROM main.rollup WHERE account = ? AND day = ? AND meter = ?",
    """INSERT INTO main.rollup (account, day, meter, amount) VALUES (?, ?, ?, ?)
        ON CONFLICT (account, day, meter) DO UPDATE SET amount = excluded.amount""",
    """INSERT INTO main.distinct_value (account, day, meter, value) VALUES (?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
)
EXPECTED: Final = Target(
    "SELECT amount FROM temp.expected_rollup WHERE account = ? AND day = ? AND meter = ?",
    """INSERT INTO temp.expected_rollup (account, day, meter, amount) VALUES (?, ?, ?, ?)
        ON CONFLICT (account, day, meter) DO UPDATE SET amount = excluded.amount""",
    """INSERT INTO temp.expected_value (account, day, meter, value) VALUES (?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
)
