# SPDX-License-Identifier: Apache-2.0
"""The PostgreSQL statements of the usage store: every one a constant, every value a parameter.

The one thing that is put into their text is the name of the store's schema, which comes from the DSN and is
checked to be a plain identifier. No text of an event, a meter or a query is ever part of a statement.
"""

from __future__ import annotations

from itertools import product
from typing import Final

EXPECTED: Final = "pg_temp.expected_"
"""The prefix of the tables that a check fills; the stored ones have the schema's name."""

_TEXTS: Final = {
    "lock_shared": "SELECT pg_advisory_xact_lock_shared(%s)",
    "lock": "SELECT pg_advisory_xact_lock(%s)",
    "states": """SELECT name, value FROM {s}state
        UNION ALL SELECT 'today', (extract(epoch FROM clock_timestamp())::bigint / 86400)::text
        UNION ALL SELECT 'server',
            pg_postmaster_start_time()::text || ' ' || pg_relation_filenode('{s}account'::regclass)""",
    # The number of the cluster, which its copies have too, and those of the database and of the table in it.
    "identity": """SELECT current_database(), c.system_identifier, d.oid, '{s}event'::regclass::oid
        FROM pg_control_system() AS c, pg_catalog.pg_database AS d WHERE d.datname = current_database()""",
    "set_state": """INSERT INTO {s}state (name, value) VALUES (%s, %s)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value""",
    "lock_giving_up": "SELECT FROM {s}state WHERE name = %s FOR UPDATE",
    "raise_state": """INSERT INTO {s}state AS s (name, value) VALUES (%s, %s) ON CONFLICT (name)
        DO UPDATE SET value = greatest(s.value::integer, excluded.value::integer)::text""",
    "partitions": """SELECT c.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c
        ON c.oid = i.inhrelid WHERE i.inhparent = '{s}event'::regclass""",
    "lock_events": "LOCK TABLE {s}event IN ACCESS SHARE MODE",
    "all_events": "SELECT source, id, type, account, time, data, data_base64 FROM {s}event WHERE time >= %s",
    "insert_accounts": """INSERT INTO {s}account (name) SELECT unnest(%s::text[])
        ON CONFLICT (name) DO NOTHING""",
    "insert_accounts_of_events": """INSERT INTO {s}account (name) SELECT DISTINCT account FROM {s}event
        ON CONFLICT (name) DO NOTHING""",
    "delete_unfounded_accounts": """DELETE FROM {s}account a
        WHERE NOT EXISTS (SELECT FROM {s}event e WHERE e.account = a.name)
        AND NOT EXISTS (SELECT FROM {s}rollup r WHERE r.account = a.name)""",
    "accounts_after": "SELECT name FROM {s}account WHERE name > %s ORDER BY name LIMIT %s",
    "meters": "SELECT name, definition, counted_from, kept_from, since FROM {s}meter",
    "delete_meters": "DELETE FROM {s}meter WHERE name = ANY(%s)",
    "insert_meter": """INSERT INTO {s}meter (name, definition, counted_from, kept_from, since)
        VALUES (%s, %s, %s, %s, %s)""",
    "keep_from": "UPDATE {s}meter SET kept_from = %s WHERE name = %s AND kept_from < %s",
    "delete_rollups": "DELETE FROM {s}rollup WHERE meter = %s AND day >= %s",
    "delete_values": "DELETE FROM {s}distinct_value WHERE meter = %s AND day >= %s",
    "delete_admitted": "DELETE FROM {s}admitted WHERE meter = %s AND month >= %s",
    "expire_rollups": "DELETE FROM {s}rollup WHERE meter = %s AND day < %s",
    "expire_values": "DELETE FROM {s}distinct_value WHERE meter = %s AND day < %s",
    "expire_admitted": "DELETE FROM {s}admitted WHERE meter = %s AND month < %s",
    "insert_scopes": """INSERT INTO {s}group_scope (account, meter, month)
        SELECT * FROM unnest(%s::text[], %s::text[], %s::integer[]) ON CONFLICT DO NOTHING""",
    "lock_scopes": """SELECT FROM {s}group_scope
        WHERE (account, meter, month) IN (SELECT * FROM unnest(%s::text[], %s::text[], %s::integer[]))
        ORDER BY account, meter, month FOR UPDATE""",
    "admitted": """SELECT account, meter, month, grp FROM {s}admitted
        JOIN unnest(%s::text[], %s::text[], %s::integer[]) AS asked (account, meter, month)
            USING (account, meter, month)""",
    "admit": """INSERT INTO {s}admitted (account, meter, month, grp)
        SELECT * FROM unnest(%s::text[], %s::text[], %s::integer[], %s::text[])""",
    "insert_values": """INSERT INTO {t}distinct_value (account, day, meter, grp, digest, value)
        SELECT * FROM unnest(%s::text[], %s::integer[], %s::text[], %s::text[], %s::bytea[], %s::text[])
        ON CONFLICT DO NOTHING RETURNING account, day, meter, grp""",
    "add_amounts": """INSERT INTO {t}rollup AS r (account, day, meter, grp, amount)
        SELECT * FROM unnest(%s::text[], %s::integer[], %s::text[], %s::text[], %s::numeric[])
        ON CONFLICT (account, day, meter, grp) DO UPDATE SET amount = r.amount + excluded.amount""",
    "raise_amounts": """INSERT INTO {t}rollup AS r (account, day, meter, grp, amount)
        SELECT * FROM unnest(%s::text[], %s::integer[], %s::text[], %s::text[], %s::numeric[])
        ON CONFLICT (account, day, meter, grp) DO UPDATE SET amount = greatest(r.amount, excluded.amount)""",
    "create_expected_rollup": """CREATE TEMP TABLE expected_rollup (
        account text COLLATE "C", day integer, meter text COLLATE "C", grp text COLLATE "C",
        amount numeric NOT NULL, PRIMARY KEY (account, day, meter, grp)) ON COMMIT DROP""",
    "create_expected_value": """CREATE TEMP TABLE expected_distinct_value (
        account text COLLATE "C", day integer, meter text COLLATE "C", grp text COLLATE "C", digest bytea,
        value text NOT NULL, PRIMARY KEY (account, day, meter, grp, digest)) ON COMMIT DROP""",
    "create_first_day": """CREATE TEMP TABLE first_day (
        meter text COLLATE "C" PRIMARY KEY, first integer NOT NULL) ON COMMIT DROP""",
    "insert_first_days": "INSERT INTO pg_temp.first_day SELECT * FROM unnest(%s::text[], %s::integer[])",
    "compare_rollups": """
        SELECT account, day, meter, grp, r.amount, e.amount
            FROM pg_temp.expected_rollup e FULL JOIN {s}rollup r USING (account, day, meter, grp)
                LEFT JOIN pg_temp.first_day f USING (meter)
            WHERE r.amount IS DISTINCT FROM e.amount
                AND (e.amount IS NOT NULL OR day >= coalesce(f.first, 0))
            LIMIT %s""",
    "compare_values": """
        SELECT account, day, meter, grp, d.value, e.value
            FROM pg_temp.expected_distinct_value e FULL JOIN {s}distinct_value d
                USING (account, day, meter, grp, digest) LEFT JOIN pg_temp.first_day f USING (meter)
            WHERE d.value IS DISTINCT FROM e.value
                AND (e.value IS NOT NULL OR day >= coalesce(f.first, 0))
            LIMIT %s""",
    "compare_accounts": """
        SELECT coalesce(e.account, a.name), NULL::integer, NULL, NULL,
                CASE WHEN a.name IS NOT NULL THEN 'known' END,
                CASE WHEN e.account IS NOT NULL THEN 'known' END
            FROM (SELECT DISTINCT account FROM {s}event) e FULL JOIN {s}account a ON a.name = e.account
            WHERE a.name IS NULL OR (e.account IS NULL
                AND NOT EXISTS (SELECT FROM {s}rollup r WHERE r.account = a.name))
            LIMIT %s""",
}

# Of one partition, or of some: days are numbers of our own, and in the text, so that the server plans for
# those partitions and locks no others.
_OF_DAYS: Final = {
    # In the order of their keys, so that two batches that share some wait for each other and never both.
    "insert_events": """INSERT INTO {s}event_{day}
            (received, key, source, id, type, account, time, data, data_base64, extensions)
        SELECT {day}, * FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[],
            %s::text[], %s::text[], %s::text[])
        ON CONFLICT (key, account) DO NOTHING""",
    "not_mine": """SELECT key, account FROM unnest(%s::bytea[], %s::text[]) AS asked (key, account)
        JOIN {s}event_{day} AS e USING (key, account) WHERE e.xmin <> pg_current_xact_id()::xid""",
    "closed_keys": """SELECT string_agg(substr(key, 1, 8), '') FROM (SELECT key FROM {s}event
        WHERE received >= {first} AND received < {day} LIMIT %s) AS _""",
    "earlier_keys": """SELECT key, account FROM unnest(%s::bytea[], %s::text[]) AS asked (key, account)
        JOIN {s}event USING (key, account) WHERE received >= {first} AND received < {day}""",
    "events_by_key": """SELECT key, type, account, time, data, data_base64, extensions
        FROM unnest(%s::bytea[], %s::text[]) AS asked (key, account)
        JOIN {s}event USING (key, account) WHERE received >= {first} AND received <= {day}""",
    "events_after": """SELECT key, source, id, type, account, time, data, data_base64, extensions
        FROM {s}event_{day} WHERE (key, account) > (%s, %s) ORDER BY key, account LIMIT %s""",
    "delete_old_events": """DELETE FROM {s}event_{day} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {s}event_{day} WHERE time < %s LIMIT %s))""",
    "lock_partition": "LOCK TABLE {s}event_{day} IN ACCESS EXCLUSIVE MODE",
    "count_events": "SELECT count(*), count(*) FILTER (WHERE time >= %s) FROM {s}event_{day}",
    "take_kept": """CREATE TEMP TABLE kept_event ON COMMIT DROP AS
        SELECT * FROM {s}event_{day} WHERE time >= %s""",
    "truncate": "TRUNCATE {s}event_{day}",
    "put_kept_back": "INSERT INTO {s}event_{day} SELECT * FROM pg_temp.kept_event",
    "drop_partition": "DROP TABLE {s}event_{day}",
}
_MAKE_PARTITION: Final = (
    "CREATE TABLE {s}event_{day} (LIKE {s}event, PRIMARY KEY (key, account))",
    # For giving up old events. Events come in nearly in the order of their times, which is all that BRIN
    # needs.
    "CREATE INDEX ON {s}event_{day} USING brin (time)",
    "ALTER TABLE {s}event ATTACH PARTITION {s}event_{day} FOR VALUES FROM ({day}) TO ({day} + 1)",
)

# One statement is one snapshot and one way there and back: the meters, which of the accounts are known, their
# amounts; and, where meters count distinct values, those of each span. Amounts are sorted by day, so each day
# is a look at the index of its own.
_READ: Final = {
    "amounts": """
        SELECT 'meter' AS kind, ''::text AS account, greatest(counted_from, kept_from) AS first, 0 AS last,
                name AS meter, ''::text AS grp, NULL::numeric AS amount, definition
            FROM {s}meter
        UNION ALL SELECT 'account', name, 0, 0, '', '', NULL, NULL
            FROM {s}account WHERE name = ANY(%(accounts)s::text[])
        UNION ALL SELECT 'row', account, day, 0, meter, grp, amount, NULL
            FROM unnest(%(days)s::integer[]) AS asked (day) JOIN {s}rollup USING (day)
            WHERE account = ANY(%(accounts)s::text[])""",
    "values": """
        UNION ALL SELECT 'span', d.account, s.first, s.last, d.meter, '', count(DISTINCT d.digest), NULL
            FROM unnest(%(firsts)s::integer[], %(lasts)s::integer[]) AS s (first, last)
            JOIN unnest(%(days)s::integer[]) AS asked (day) ON asked.day >= s.first AND asked.day < s.last
            JOIN {s}distinct_value d ON d.day = asked.day AND d.account = ANY(%(accounts)s::text[])
            GROUP BY d.account, s.first, s.last, d.meter""",
    "days": """
        UNION ALL SELECT 'day', d.account, d.day, 0, d.meter, '', count(DISTINCT d.digest), NULL
            FROM unnest(%(days)s::integer[]) AS asked (day) JOIN {s}distinct_value d USING (day)
            WHERE d.account = ANY(%(accounts)s::text[])
            GROUP BY d.account, d.day, d.meter""",
    "groups": """
        UNION ALL SELECT 'group', d.account, s.first, s.last, d.meter, d.grp, count(DISTINCT d.digest), NULL
            FROM unnest(%(firsts)s::integer[], %(lasts)s::integer[]) AS s (first, last)
            JOIN unnest(%(days)s::integer[]) AS asked (day) ON asked.day >= s.first AND asked.day < s.last
            JOIN {s}distinct_value d ON d.day = asked.day AND d.account = ANY(%(accounts)s::text[])
            GROUP BY d.account, s.first, s.last, d.meter, d.grp""",
}


class Statements:
    """The statements for one schema: `statements["read"]`."""

    def __init__(self, schema: str) -> None:
        """Take a schema's name that was checked to be a plain identifier."""
        stored = f'"{schema}".'
        self._prefix = stored
        self._stored = {name: text.format(s=stored, t=stored).encode() for name, text in _TEXTS.items()}
        for values, days, groups in product((False, True), repeat=3):
            parts = {"values": values, "days": values and days, "groups": values and groups}
            text = _READ["amounts"] + "".join(each for name, each in _READ.items() if parts.get(name))
            self._stored[read_name(values=values, days=days, groups=groups)] = text.format(s=stored).encode()
        self._expected = {name: text.format(s=stored, t=EXPECTED).encode() for name, text in _TEXTS.items()}

    def __getitem__(self, name: str) -> bytes:
        return self._stored[name]

    def of_days(self, name: str, day: int, first: int = 0) -> bytes:
        """Give a statement on the partition of a day, or on those from `first` on until then."""
        return _OF_DAYS[name].format(s=self._prefix, day=int(day), first=int(first)).encode()

    def make_partition(self, day: int) -> list[bytes]:
        """Give the statements that make the partition of a day."""
        return [text.format(s=self._prefix, day=int(day)).encode() for text in _MAKE_PARTITION]

    def expected(self, name: str) -> bytes:
        """Give the statement on the tables that a check fills."""
        return self._expected[name]


def read_name(*, values: bool, days: bool, groups: bool) -> str:
    """Give the name of the question for amounts: with distinct values, those by day, those by group."""
    return f"read {values:d}{days:d}{groups:d}"
