# SPDX-License-Identifier: Apache-2.0
"""The ClickHouse tables of the usage store, as its server gets them. Every write to them can be done again.

No materialized view feeds them: a view counts what is inserted, replays included, and is written after its
table, so that a server that dies in between has the one without the other.
"""

from __future__ import annotations

from itertools import product
from typing import Final

VERSION: Final = 3
BATCHES_A_PARTITION: Final = 256

# An answer of ours means "on disk"; ClickHouse's default leaves that to the page cache.
_DURABLE: Final = "fsync_after_insert = 1, fsync_part_directory = 1"
# The number of the insert that brought a row, and the row's place in it: kept through merges.
_ORDERED: Final = "enable_block_number_column = 1, enable_block_offset_column = 1"

# Every key that came, noted before its event is in the log. Small granules and blocks: keys are looked up one
# by one. `day` is the event's: its key is kept as long as it is.
CREATE_NOTED_KEYS: Final = """CREATE TABLE IF NOT EXISTS DB.noted_key (
        key UInt64, token UInt64, day Int32
    ) ENGINE = MergeTree ORDER BY key
    SETTINGS index_granularity = 256, min_compress_block_size = 4096, max_compress_block_size = 16384,
        $DURABLE"""

_CREATE: Final = (
    "CREATE DATABASE IF NOT EXISTS $DATABASE",
    # The log: one insert a batch. `key` is a digest of account, source and id (of events that came up to
    # version 1: of source and id), `batch` names the insert. Small
    # granules, because keys are looked up one by one.
    """CREATE TABLE IF NOT EXISTS DB.event_log (
        key FixedString(20), source String, id String, batch UUID, type LowCardinality(String),
        account String, time Int64, data Nullable(String), data_base64 Nullable(String),
        extensions Nullable(String)
    ) ENGINE = MergeTree ORDER BY key
    SETTINGS index_granularity = 512, $ORDERED, $DURABLE""",
    CREATE_NOTED_KEYS,
    # What each batch adds, by cell and number of the batch: written twice, it is the same row. A row without
    # an account ends a batch: all that it adds is there. Partitions are dropped whole once they are folded.
    """CREATE TABLE IF NOT EXISTS DB.amount (
        account String, meter String, day Int32, grp String, seq UInt64, amount Decimal(76, 30)
    ) ENGINE = ReplacingMergeTree ORDER BY (account, meter, day, grp, seq)
    PARTITION BY intDiv(seq, $BATCHES) SETTINGS index_granularity = 1024, $DURABLE""",
    # Amounts of all batches up to one. Any such row is right for its `upto`; the highest one is used.
    """CREATE TABLE IF NOT EXISTS DB.rollup (
        account String, meter String, day Int32, grp String, amount Decimal(76, 30), upto UInt64
    ) ENGINE = ReplacingMergeTree(upto) ORDER BY (account, meter, day, grp)
    SETTINGS index_granularity = 1024, $DURABLE""",
    """CREATE TABLE IF NOT EXISTS DB.distinct_value (
        account String, meter String, day Int32, grp String, value String
    ) ENGINE = ReplacingMergeTree ORDER BY (account, meter, day, grp, value)
    SETTINGS index_granularity = 1024, $DURABLE""",
    """CREATE TABLE IF NOT EXISTS DB.account (name String)
    ENGINE = ReplacingMergeTree ORDER BY name SETTINGS $DURABLE""",
    # Who asked for a group of its own, in order: the first ones of a scope have it.
    """CREATE TABLE IF NOT EXISTS DB.admission (account String, meter String, month Int32, grp String)
    ENGINE = MergeTree ORDER BY (account, meter, month) SETTINGS $ORDERED, $DURABLE""",
    """CREATE TABLE IF NOT EXISTS DB.meter_change (
        change UUID, digest String, meters String, ready UInt8
    ) ENGINE = MergeTree ORDER BY change SETTINGS $ORDERED, $DURABLE""",
    # Numbers that only grow; the highest one of a name holds.
    """CREATE TABLE IF NOT EXISTS DB.mark (name String, value Int64, at DateTime DEFAULT now())
    ENGINE = MergeTree ORDER BY name SETTINGS $DURABLE""",
)

# Columns with their types, so that the client need not ask for them at each insert.
COLUMNS: Final = {
    "event_log": (
        ("key", "FixedString(20)"),
        ("source", "String"),
        ("id", "String"),
        ("batch", "UUID"),
        ("type", "LowCardinality(String)"),
        ("account", "String"),
        ("time", "Int64"),
        ("data", "Nullable(String)"),
        ("data_base64", "Nullable(String)"),
        ("extensions", "Nullable(String)"),
    ),
    "noted_key": (("key", "UInt64"), ("token", "UInt64"), ("day", "Int32")),
    "amount": (
        ("account", "String"),
        ("meter", "String"),
        ("day", "Int32"),
        ("grp", "String"),
        ("seq", "UInt64"),
        ("amount", "Decimal(76, 30)"),
    ),
    "rollup": (
        ("account", "String"),
        ("meter", "String"),
        ("day", "Int32"),
        ("grp", "String"),
        ("amount", "Decimal(76, 30)"),
        ("upto", "UInt64"),
    ),
    "distinct_value": (
        ("account", "String"),
        ("meter", "String"),
        ("day", "Int32"),
        ("grp", "String"),
        ("value", "String"),
    ),
    "account": (("name", "String"),),
    "admission": (("account", "String"), ("meter", "String"), ("month", "Int32"), ("grp", "String")),
    "meter_change": (("change", "UUID"), ("digest", "String"), ("meters", "String"), ("ready", "UInt8")),
    "mark": (("name", "String"), ("value", "Int64")),
}

# Keys go as whole numbers: the client escapes texts character by character.
_KEYS: Final = """(SELECT toFixedString(
    substring(reinterpretAsFixedString(arrayJoin({keys:Array(UInt256)})), 1, 20), 20))"""
_FIRST: Final = "(_block_number, _block_offset)"
# A part is named PARTITION_FIRST_LAST_LEVEL. Of a name of another form nothing is left out.
_FIRST_OF_PART: Final = "toUInt64OrZero(splitByChar('_', _part)[2])"
_LAST_OF_PART: Final = "toUInt64OrDefault(splitByChar('_', _part)[3], toUInt64(18446744073709551615))"
_EVENT: Final = "key, source, id, type, account, time, data, data_base64, extensions"
_CELL: Final = "account, meter, day, grp"

_TEXTS: Final = {
    "schema": "SELECT min(value), max(value) FROM DB.mark WHERE name = 'schema'",
    "has_log_of_1": "EXISTS TABLE DB.event",
    # A writer of that version that still runs does not find its log from here on, and its senders send again.
    "rename_log_of_1": "RENAME TABLE DB.event TO DB.event_log",
    "has_log_of_2": "EXISTS TABLE DB.usage_event",
    "rename_log_of_2": "RENAME TABLE DB.usage_event TO DB.event_log",
    # What an old writer had begun is there or not before the keys of the log are noted.
    "old_inserts": r"""SELECT count() FROM system.processes
        WHERE query_kind = 'Insert' AND match(query, '\\b(usage_event|event)\\b')""",
    # By ranges of keys, so that it goes on where it was cut short; whatever is noted twice is noted. Token 0
    # is no writer's.
    "noted_of_2": "SELECT max(value) FROM DB.mark WHERE name = 'noted'",
    "note_log_of_2": """INSERT INTO DB.noted_key (key, token, day)
        SELECT $SHORT_KEY, 0, toInt32(intDiv(time, 86400000000)) FROM DB.event_log
        WHERE key >= toFixedString(unhex({first:String}), 20)
            AND key <= toFixedString(unhex({last:String}), 20)""",
    # Marks are only ever added, and the server knows how many there are without reading them.
    "version": "SELECT count() FROM DB.mark",
    "look": """SELECT toString(change), digest, meters, toInt64(ready), _block_number AS place
            FROM DB.meter_change
        UNION ALL SELECT '', name, '', max(value), 0 FROM DB.mark GROUP BY name""",
    # Which keys another writer noted too; and the first number in the part that has what this one noted.
    "others_of_keys": """SELECT DISTINCT key, 0 AS since FROM DB.noted_key
            WHERE key IN {keys:Array(UInt64)} AND token != {token:UInt64}
        UNION ALL SELECT 0, greatest($FIRST_OF_PART, 1) FROM DB.noted_key
            WHERE key = {one:UInt64} AND token = {token:UInt64}""",
    # After the events are there: which keys came with or after this writer's own (parts say in their names up
    # to which number they go), and its own block.
    "conflicts_of_keys": """SELECT DISTINCT 'key' AS kind, key AS n FROM DB.noted_key
            WHERE key IN {keys:Array(UInt64)} AND token != {token:UInt64} AND $LAST_OF_PART >= {since:UInt64}
        UNION ALL SELECT 'block', max(_block_number) FROM DB.event_log
            WHERE key = unhex({one:String}) AND batch = {batch:UUID}""",
    "delete_old_keys": "DELETE FROM DB.noted_key WHERE day < {before:Int32}",
    "first_of_keys": """SELECT key, argMin(batch, $FIRST), min(_block_number),
            maxIf(_block_number, batch = {token:UUID})
        FROM DB.event_log WHERE key IN $KEYS GROUP BY key""",
    "accounts_of_keys": """SELECT key, argMin(account, $FIRST), min(_block_number)
        FROM DB.event_log WHERE key IN $KEYS GROUP BY key""",
    "events_of_keys": """SELECT key, type, account, time, data, data_base64, extensions FROM DB.event_log
        WHERE key IN $KEYS ORDER BY key, _block_number, _block_offset LIMIT 1 BY key""",
    "events_of_block": "SELECT $EVENT FROM DB.event_log WHERE _block_number = {seq:UInt64}",
    "blocks_there": """SELECT DISTINCT _block_number FROM DB.event_log
        WHERE _block_number IN {seqs:Array(UInt64)}""",
    # Of events that are gone the amounts still tell.
    "last_block": """SELECT max(seq) FROM (SELECT max(_block_number) AS seq FROM DB.event_log
        UNION ALL SELECT max(seq) FROM DB.amount UNION ALL SELECT max(upto) FROM DB.rollup)""",
    "delete_beaten": """DELETE FROM DB.event_log WHERE key IN $KEYS AND batch = {token:UUID}""",
    # Account by account, so that counting them again holds one account in memory.
    "all_events": """SELECT $EVENT FROM (
            SELECT $EVENT FROM DB.event_log WHERE _block_number <= {upto:UInt64}
            ORDER BY key, _block_number, _block_offset LIMIT 1 BY key
        ) WHERE time >= {first:Int64} ORDER BY account""",
    "events_after": """SELECT $EVENT FROM DB.event_log WHERE key > unhex({after:String})
        ORDER BY key, _block_number, _block_offset LIMIT 1 BY key LIMIT {limit:UInt32}""",
    "old_events": "SELECT count() FROM DB.event_log WHERE time < {before:Int64}",
    "delete_old_events": "DELETE FROM DB.event_log WHERE time < {before:Int64}",
    "ended": "SELECT DISTINCT seq FROM DB.amount WHERE account = '' AND seq IN {seqs:Array(UInt64)}",
    "ended_after": "SELECT DISTINCT seq FROM DB.amount WHERE account = '' AND seq > {seq:UInt64}",
    "fold": """INSERT INTO DB.rollup ($CELL, amount, upto)
        WITH fresh AS (
            SELECT $CELL, seq, any(amount) AS added FROM DB.amount
            WHERE seq > {after:UInt64} AND seq <= {upto:UInt64} AND account != '' GROUP BY $CELL, seq
        ), base AS (
            SELECT $CELL, argMax(amount, upto) AS total, max(upto) AS reached FROM DB.rollup
            WHERE ($CELL) IN (SELECT $CELL FROM fresh) GROUP BY $CELL
        )
        SELECT fresh.account, fresh.meter, fresh.day, fresh.grp,
            if(startsWith(fresh.meter, 'max-'),
                if(base.reached = 0, maxIf(added, seq > base.reached),
                    greatest(any(base.total), maxIf(added, seq > base.reached))),
                any(base.total) + sumIf(added, seq > base.reached)),
            {upto:UInt64}
        FROM fresh LEFT JOIN base ON fresh.account = base.account AND fresh.meter = base.meter
            AND fresh.day = base.day AND fresh.grp = base.grp
        GROUP BY fresh.account, fresh.meter, fresh.day, fresh.grp, base.reached
        HAVING countIf(seq > base.reached) > 0""",
    "folded_before": """SELECT max(value) FROM DB.mark
        WHERE name = 'folded' AND at < now() - INTERVAL {seconds:UInt32} SECOND""",
    "partitions": """SELECT DISTINCT intDiv(seq, $BATCHES) FROM DB.amount WHERE seq <= {upto:UInt64}""",
    "drop_partition": "ALTER TABLE DB.amount DROP PARTITION {partition:UInt64}",
    "admitted": """SELECT account, meter, month, grp FROM DB.admission
        WHERE account IN {accounts:Array(String)} AND meter IN {meters:Array(String)}
        ORDER BY _block_number, _block_offset""",
    "accounts_known": "SELECT DISTINCT name FROM DB.account WHERE name IN {accounts:Array(String)}",
    "accounts_after": """SELECT DISTINCT name FROM DB.account WHERE name > {after:String}
        ORDER BY name LIMIT {limit:UInt32}""",
    "cells": """
        SELECT 'base', $CELL, max(upto) AS seq, argMax(amount, upto) AS n FROM DB.rollup
            WHERE account = {account:String} GROUP BY $CELL
        UNION ALL SELECT 'fresh', $CELL, seq, any(amount) AS n FROM DB.amount
            WHERE account = {account:String} AND seq <= {upto:UInt64} GROUP BY $CELL, seq""",
    "values": """SELECT DISTINCT meter, day, grp, value FROM DB.distinct_value
        WHERE account = {account:String}""",
    "accounts_of_amounts": """SELECT account FROM DB.rollup UNION DISTINCT SELECT account FROM DB.amount
        WHERE account != '' UNION DISTINCT SELECT account FROM DB.distinct_value
        UNION DISTINCT SELECT name FROM DB.account""",
    "highest_upto": "SELECT max(upto) FROM DB.rollup",
    "expire": "DELETE FROM DB.TABLE WHERE meter = {meter:String} AND day < {day:Int32}",
    "count_expiring": """SELECT uniqExact($CELL) FROM (
        SELECT $CELL FROM DB.rollup WHERE meter = {meter:String} AND day < {day:Int32}
        UNION ALL SELECT $CELL FROM DB.amount WHERE meter = {meter:String} AND day < {day:Int32}
        UNION ALL SELECT $CELL FROM DB.distinct_value
            WHERE meter = {meter:String} AND day < {day:Int32})""",
    "forget_meters": "DELETE FROM DB.TABLE WHERE meter IN {meters:Array(String)}",
    "forget_accounts": "DELETE FROM DB.account WHERE name IN {names:Array(String)}",
}

_READ: Final = {
    "amounts": """
        SELECT 'version' AS kind, '' AS account, toInt64((SELECT count() FROM DB.mark)) AS first,
                toInt64(0) AS last, '' AS meter, '' AS grp, toUInt64(0) AS seq, toDecimal256(0, 30) AS n
        UNION ALL SELECT 'base', account, day, 0, meter, grp, max(upto), argMax(amount, upto)
            FROM DB.rollup WHERE $PERIOD GROUP BY account, meter, day, grp
        UNION ALL SELECT 'fresh', account, day, 0, meter, grp, seq, any(amount)
            FROM DB.amount WHERE $PERIOD GROUP BY account, meter, day, grp, seq""",
    "values": """
        UNION ALL SELECT 'value', account, day, 0, meter, grp, 0, toDecimal256(uniqExact(value), 30)
            FROM DB.distinct_value WHERE $PERIOD GROUP BY account, meter, day, grp
        UNION ALL SELECT 'span', account, spans.1, spans.2, meter, '', 0,
                toDecimal256(uniqExact(value), 30)
            FROM DB.distinct_value ARRAY JOIN arrayZip({firsts:Array(Int32)}, {lasts:Array(Int32)}) AS spans
            WHERE $PERIOD AND day >= spans.1 AND day < spans.2 GROUP BY account, spans, meter""",
    "days": """
        UNION ALL SELECT 'day', account, day, 0, meter, '', 0, toDecimal256(uniqExact(value), 30)
            FROM DB.distinct_value WHERE $PERIOD GROUP BY account, meter, day""",
    "groups": """
        UNION ALL SELECT 'group', account, spans.1, spans.2, meter, grp, 0,
                toDecimal256(uniqExact(value), 30)
            FROM DB.distinct_value ARRAY JOIN arrayZip({firsts:Array(Int32)}, {lasts:Array(Int32)}) AS spans
            WHERE $PERIOD AND day >= spans.1 AND day < spans.2 GROUP BY account, spans, meter, grp""",
}
_PERIOD: Final = "account IN {accounts:Array(String)} AND day >= {start:Int32} AND day < {end:Int32}"


def statements(database: str) -> dict[str, str]:
    """Give the statements for a database, whose name was checked to be a plain identifier."""
    found = dict(_TEXTS)
    # One question is one way there and back: everything that an answer may need, and no more.
    for values, days, groups in product((False, True), repeat=3):
        asked = {"values": values, "days": values and days, "groups": values and groups}
        found[read_name(values=values, days=days, groups=groups)] = _READ["amounts"] + "".join(
            text for name, text in _READ.items() if asked.get(name)
        )
    return {name: _whole(text, database) for name, text in found.items()}


def create(database: str) -> list[str]:
    """Give the statements that make the tables where they are not there."""
    return [_whole(text, database) for text in _CREATE]


def create_noted_keys(database: str) -> str:
    """Give the statement that makes the table that a log of version 2 has not."""
    return _whole(CREATE_NOTED_KEYS, database)


def _whole(text: str, database: str) -> str:
    parts = {
        "$KEYS": _KEYS,
        "$EVENT": _EVENT,
        "$CELL": _CELL,
        "$PERIOD": _PERIOD,
        "$ORDERED": _ORDERED,
        "$DURABLE": _DURABLE,
        "$SHORT_KEY": "reinterpretAsUInt64(reverse(substring(key, 1, 8)))",
        "$FIRST_OF_PART": _FIRST_OF_PART,
        "$LAST_OF_PART": _LAST_OF_PART,
        "$FIRST": _FIRST,
        "$BATCHES": str(BATCHES_A_PARTITION),
        "$DATABASE": database,
        "DB.": f"{database}.",
    }
    for marker, part in parts.items():
        text = text.replace(marker, part)
    return text


def read_name(*, values: bool, days: bool, groups: bool) -> str:
    """Give the name of the question for amounts: with distinct values, those by day, those by group."""
    return f"read {values:d}{days:d}{groups:d}"
