# SPDX-License-Identifier: Apache-2.0
"""The ClickHouse tables of the usage store, as its server gets them. Every write to them can be done again.

No materialized view feeds them: a view counts what is inserted, replays included, and is written after its
table, so that a server that dies in between has the one without the other.
"""

from __future__ import annotations

from itertools import product
from typing import Final

VERSION: Final = 4
BATCHES_A_PARTITION: Final = 256
DAYS_A_PARTITION: Final = 7

# An answer of ours means "on disk"; ClickHouse's default leaves that to the page cache.
_DURABLE: Final = "fsync_after_insert = 1, fsync_part_directory = 1"
# The number of the insert that brought a row, and the row's place in it: kept through merges.
_ORDERED: Final = "enable_block_number_column = 1, enable_block_offset_column = 1"

# The log: one insert a batch, into the partition of the days among which it came, so that a look for keys
# reads some days and not all. Not a partition a day: each part that a look opens costs as much as thousands
# of keys. `key` is a digest of account, source and id (of events that came up to version 1: of
# source and id), `short` its first bytes, which are looked up one by one: hence small granules and blocks.
# `batch` names the insert. `taken` is the number of the block of an event that came before version 4.
_LOG: Final = """ (
        came Int32, short UInt64 DEFAULT $SHORT_KEY
            SETTINGS (min_compress_block_size = 4096, max_compress_block_size = 16384),
        key FixedString(20), source String, id String, batch UUID, type LowCardinality(String),
        account String, time Int64, data Nullable(String), data_base64 Nullable(String),
        extensions Nullable(String), taken UInt64
    ) ENGINE = MergeTree PARTITION BY intDiv(came, $DAYS) PRIMARY KEY short ORDER BY (short, key)
    SETTINGS index_granularity = 256, $ORDERED, $DURABLE"""
CREATE_LOG: Final = f"CREATE TABLE IF NOT EXISTS DB.arrived_event{_LOG}"

# What each batch adds, by cell and number of the batch: written twice, it is the same row. A row without an
# account ends a batch: all that it adds is there. Next to them, as batch 0, the amounts of all batches up to
# one: any such row is right for its `upto`, and the highest one is used. One table, so that a read is one
# look. Partitions of batches are dropped whole once they are folded.
CREATE_AMOUNTS: Final = """CREATE TABLE IF NOT EXISTS DB.cell (
        account String, meter String, day Int32, grp String, batch UInt64, upto UInt64,
        amount Decimal(76, 30)
    ) ENGINE = ReplacingMergeTree(upto) ORDER BY (account, meter, day, grp, batch)
    PARTITION BY if(batch = 0, 0, intDiv(batch, $BATCHES) + 1)
    SETTINGS index_granularity = 1024, $DURABLE"""

_CREATE: Final = (
    "CREATE DATABASE IF NOT EXISTS $DATABASE",
    CREATE_LOG,
    CREATE_AMOUNTS,
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
    "arrived_event": (
        ("came", "Int32"),
        ("key", "FixedString(20)"),
        ("source", "String"),
        ("id", "String"),
        ("batch", "UUID"),
        ("type", "String"),
        ("account", "String"),
        ("time", "Int64"),
        ("data", "Nullable(String)"),
        ("data_base64", "Nullable(String)"),
        ("extensions", "Nullable(String)"),
    ),
    "cell": (
        ("account", "String"),
        ("meter", "String"),
        ("day", "Int32"),
        ("grp", "String"),
        ("batch", "UInt64"),
        ("upto", "UInt64"),
        ("amount", "Decimal(76, 30)"),
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

# The number of an event's block: the store's own count goes on where that of an earlier version ended.
_BLOCK: Final = "if(taken > 0, taken, _block_number + $BASE)"
_FIRST: Final = "($BLOCK, _block_offset)"
# A part is named PARTITION_FIRST_LAST_LEVEL. Of a name of another form nothing is left out.
_FIRST_OF_PART: Final = "toUInt64OrZero(splitByChar('_', _part)[2])"
_LAST_OF_PART: Final = "toUInt64OrDefault(splitByChar('_', _part)[3], toUInt64(9223372036854775807))"
_EVENT: Final = "key, source, id, type, account, time, data, data_base64, extensions"
_TODAY: Final = "toInt32(intDiv(toUnixTimestamp(now()), 86400))"
_CELL: Final = "account, meter, day, grp"

# Which table it is on which run of the server, for those who remember what they read.
_SERVER: Final = """toFixedString(UUIDStringToNum(toString((SELECT any(uuid) FROM system.tables
            WHERE database = '$DATABASE' AND name = 'arrived_event'))), 20)"""
# One bit of a word for six bits of a key.
_BIT: Final = "bitShiftLeft(toUInt64(1), bitAnd(bitShiftRight(short, $AT), 63))"
_STARTED: Final = "toInt32(toUnixTimestamp(now()) - uptime())"
_STATE: Final = """SELECT 'state' AS kind, $SERVER AS key, toInt64($TODAY) AS time,
            count() AS block, $STARTED AS came
        FROM DB.mark"""
_NO_KEY: Final = "toFixedString('', 20)"
_OWN: Final = """
        UNION ALL SELECT 'block', toFixedString('', 20), 0, max($BLOCK), 0 FROM DB.arrived_event
            WHERE came = {came:Int32} AND short = {one:UInt64} AND batch = {batch:UUID}"""
_ARM: Final = """
        UNION ALL SELECT 'event', key, time, min($BLOCK), argMin(came, $FIRST) FROM DB.arrived_event
            WHERE $RANGE GROUP BY key, time"""
_WINDOW: Final = "came >= {window:Int32} AND short IN {keys:Array(UInt64)}"
_LATE: Final = "came >= {late_from:Int32} AND came < {window:Int32} AND short IN {late:Array(UInt64)}"
_RECENT: Final = "came >= {since_day:Int32} AND short IN {keys:Array(UInt64)} AND $AFTER_BLOCK"
_EARLIER: Final = "came >= {earlier_since_day:Int32} AND short IN {earlier:Array(UInt64)}"
# Parts say in their names up to which number they go.
_AFTER_BLOCK: Final = "$LAST_OF_PART + $BASE > {upto:UInt64}"
_NEWER: Final = "AND batch != {batch:UUID} AND $LAST_OF_PART + $BASE > {since:UInt64}"

_TEXTS: Final = {
    "schema": "SELECT min(value), max(value) FROM DB.mark WHERE name = 'schema'",
    # The block number from which on this version counts: what was said first holds.
    "base": "SELECT count(), min(value) FROM DB.mark WHERE name = 'base'",
    "has_table": "EXISTS TABLE DB.TABLE",
    "identity": """SELECT concat(toString(serverUUID()), ' ', toString(uuid)) FROM system.tables
        WHERE database = {database:String} AND name = 'arrived_event'""",
    "engine": """SELECT engine FROM system.tables
        WHERE database = {database:String} AND name = 'arrived_event'""",
    # A writer of an earlier version that still runs does not find its log from here on, and its senders send
    # again.
    "rename_log": "RENAME TABLE DB.TABLE TO DB.former_log",
    "rename": "RENAME TABLE DB.TABLE TO DB.former_TABLE",
    # What an old writer had begun is there or not before the log is taken over.
    "old_inserts": r"""SELECT count() FROM system.processes
        WHERE query_kind = 'Insert' AND match(query, '\\b(event_log|usage_event|event|amount|rollup)\\b')""",
    "create_copy": f"CREATE TABLE IF NOT EXISTS DB.TABLE{_LOG}",
    "copy_log": """INSERT INTO DB.TABLE (came, key, source, id, batch, type, account, time, data,
            data_base64, extensions, taken)
        SELECT 0, key, source, id, batch, type, account, time, data, data_base64, extensions, _block_number
        FROM DB.former_log WHERE key >= toFixedString(unhex({first:String}), 20)
            AND key <= toFixedString(unhex({last:String}), 20)
        ORDER BY key, _block_number, _block_offset LIMIT 1 BY key""",
    # Whole or not at all, and the same when it is done again.
    "take_over": "ALTER TABLE DB.arrived_event REPLACE PARTITION 0 FROM DB.TABLE",
    "last_of_former": """SELECT greatest((SELECT max(_block_number) FROM DB.former_log),
        (SELECT max(seq) FROM DB.former_amount), (SELECT max(upto) FROM DB.former_rollup))""",
    # Twice, they are the same rows.
    "take_over_rollups": """INSERT INTO DB.cell ($CELL, batch, upto, amount)
        SELECT $CELL, 0, upto, amount FROM DB.former_rollup""",
    "take_over_amounts": """INSERT INTO DB.cell ($CELL, batch, upto, amount)
        SELECT $CELL, seq, seq, amount FROM DB.former_amount SETTINGS max_partitions_per_insert_block = 0""",
    "former_days": "SELECT $TODAY, toInt32(intDiv(max(time), 86400000000)) FROM DB.former_log",
    "copies": """SELECT name FROM system.tables
        WHERE database = {database:String} AND startsWith(name, 'copied_log_')""",
    "drop_table": "DROP TABLE IF EXISTS DB.TABLE SYNC",
    # Marks are only ever added, and the server knows how many there are without reading them.
    "version": "SELECT count() FROM DB.mark",
    "look": """SELECT toString(change), digest, meters, toInt64(ready), _block_number AS place
            FROM DB.meter_change
        UNION ALL SELECT '', name, '', max(value), 0 FROM DB.mark GROUP BY name""",
    "state": _STATE,
    "count_keys": "SELECT count() FROM DB.arrived_event WHERE came >= {window:Int32}",
    # See `usage.key_bits`: the words of its table, in order.
    "bits_of_keys": """SELECT mask FROM (
            SELECT toUInt32(bitShiftRight(short, {shift:UInt8})) AS word,
                groupBitOr(bitOr(bitOr($BIT_0, $BIT_6), bitOr($BIT_12, $BIT_18))) AS mask
            FROM DB.arrived_event WHERE came >= {window:Int32} GROUP BY word
        ) ORDER BY word WITH FILL FROM 0 TO {words:UInt32}""",
    "keys_of_parts": """SELECT short FROM DB.arrived_event
        WHERE came >= {window:Int32} AND $AFTER_BLOCK LIMIT {limit:UInt32}""",
    "accounts_of_keys": """SELECT key, argMin(account, $FIRST), argMin(time, $FIRST), min($BLOCK)
        FROM DB.arrived_event WHERE came = 0 AND short IN {keys:Array(UInt64)} GROUP BY key""",
    "events_of_keys": """SELECT key, $BLOCK AS block, type, account, time, data, data_base64, extensions
        FROM DB.arrived_event WHERE came IN {days:Array(Int32)} AND short IN {keys:Array(UInt64)}
            AND block IN {blocks:Array(UInt64)}
        ORDER BY key, _block_offset LIMIT 1 BY key, block""",
    "events_of_block": """SELECT came, batch, $EVENT FROM DB.arrived_event
        WHERE $OF_BLOCK AND $BLOCK = {seq:UInt64} ORDER BY key""",
    "blocks_there": """SELECT DISTINCT $BLOCK AS block FROM DB.arrived_event
        WHERE (came = 0 OR $LAST_OF_PART + $BASE >= {least:UInt64}) AND block IN {seqs:Array(UInt64)}""",
    # Of events that are gone the amounts still tell.
    "last_block": """SELECT max(seq) FROM (SELECT max($BLOCK) AS seq FROM DB.arrived_event
        UNION ALL SELECT max(upto) FROM DB.cell)""",
    "delete_beaten": """DELETE FROM DB.arrived_event IN PARTITION TABLE
        WHERE short IN {keys:Array(UInt64)} AND hex(key) IN {names:Array(String)}
            AND batch = {batch:UUID}""",
    # Account by account, so that counting them again holds one account in memory. What was beaten is gone
    # before its batch is whole.
    "all_events": """SELECT $EVENT FROM DB.arrived_event
        WHERE $BLOCK <= {upto:UInt64} AND time >= {first:Int64} ORDER BY account""",
    "events_after": """SELECT $BLOCK AS block, $EVENT FROM DB.arrived_event
        WHERE short >= {short:UInt64} AND (key, block) > (unhex({key:String}), {block:UInt64})
        ORDER BY short, key, block, _block_offset LIMIT 1 BY key, time LIMIT {limit:UInt32}""",
    "old_events": "SELECT count() FROM DB.arrived_event WHERE time < {before:Int64}",
    "delete_old_events": "DELETE FROM DB.arrived_event WHERE time < {before:Int64}",
    "ended": "SELECT DISTINCT batch FROM DB.cell WHERE account = '' AND batch IN {seqs:Array(UInt64)}",
    "ended_after": "SELECT DISTINCT batch FROM DB.cell WHERE account = '' AND batch > {seq:UInt64}",
    "fold": """INSERT INTO DB.cell ($CELL, batch, amount, upto)
        WITH fresh AS (
            SELECT $CELL, batch AS seq, any(amount) AS added FROM DB.cell
            WHERE batch > {after:UInt64} AND batch <= {upto:UInt64} AND account != '' GROUP BY $CELL, batch
        ), base AS (
            SELECT $CELL, argMax(amount, upto) AS total, max(upto) AS reached FROM DB.cell
            WHERE batch = 0 AND ($CELL) IN (SELECT $CELL FROM fresh) GROUP BY $CELL
        )
        SELECT fresh.account, fresh.meter, fresh.day, fresh.grp, 0,
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
    "partitions": """SELECT DISTINCT intDiv(batch, $BATCHES) FROM DB.cell
        WHERE batch > 0 AND batch <= {upto:UInt64}""",
    "drop_partition": "ALTER TABLE DB.cell DROP PARTITION {partition:UInt64}",
    "admitted": """SELECT account, meter, month, grp FROM DB.admission
        WHERE account IN {accounts:Array(String)} AND meter IN {meters:Array(String)}
        ORDER BY _block_number, _block_offset""",
    "admitted_to": """SELECT account, meter, month, grp FROM DB.admission
        WHERE meter IN {meters:Array(String)} ORDER BY _block_number, _block_offset""",
    "accounts_known": "SELECT DISTINCT name FROM DB.account WHERE name IN {accounts:Array(String)}",
    "accounts_after": """SELECT DISTINCT name FROM DB.account WHERE name > {after:String}
        ORDER BY name LIMIT {limit:UInt32}""",
    "cells": """
        SELECT 'base', $CELL, max(upto) AS seq, argMax(amount, upto) AS n FROM DB.cell
            WHERE account = {account:String} AND batch = 0 GROUP BY $CELL
        UNION ALL SELECT 'fresh', $CELL, batch, any(amount) AS n FROM DB.cell
            WHERE account = {account:String} AND batch > 0 AND batch <= {upto:UInt64}
            GROUP BY $CELL, batch""",
    "values": """SELECT DISTINCT meter, day, grp, value FROM DB.distinct_value
        WHERE account = {account:String}""",
    "accounts_of_amounts": """SELECT account FROM DB.cell WHERE account != ''
        UNION DISTINCT SELECT account FROM DB.distinct_value
        UNION DISTINCT SELECT name FROM DB.account""",
    "highest_upto": "SELECT max(upto) FROM DB.cell WHERE batch = 0",
    "expire": "DELETE FROM DB.TABLE WHERE meter = {meter:String} AND day < {day:Int32}",
    "count_expiring": """SELECT uniqExact($CELL) FROM (
        SELECT $CELL FROM DB.cell WHERE meter = {meter:String} AND day < {day:Int32}
        UNION ALL SELECT $CELL FROM DB.distinct_value
            WHERE meter = {meter:String} AND day < {day:Int32})""",
    "forget_meters": "DELETE FROM DB.TABLE WHERE meter IN {meters:Array(String)}",
    "forget_accounts": "DELETE FROM DB.account WHERE name IN {names:Array(String)}",
}

_READ: Final = {
    # Rows as they are: what stands there twice is told apart by who asks, which costs less than grouping.
    "amounts": """
        SELECT 'version' AS kind, '' AS account, toInt64(count()) AS first, toInt64(0) AS last, '' AS meter,
                '' AS grp, toUInt64(0) AS seq, toDecimal256(0, 30) AS n FROM DB.mark
        UNION ALL SELECT 'cell', account, day, toInt64(batch), meter, grp, upto, amount FROM DB.cell
            WHERE $PERIOD""",
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


def statements(database: str, base: int = 0) -> dict[str, str]:
    """Give the statements for a database, whose name was checked to be a plain identifier, and whose blocks
    are counted from `base` on.
    """
    found = dict(_TEXTS)
    # One question is one way there and back: everything that an answer may need, and no more.
    for values, days, groups in product((False, True), repeat=3):
        asked = {"values": values, "days": values and days, "groups": values and groups}
        found[read_name(values=values, days=days, groups=groups)] = _READ["amounts"] + "".join(
            text for name, text in _READ.items() if asked.get(name)
        )
    # What came before, for all keys in the window and for late ones before it; or, where it is remembered
    # which keys are not there, for all keys in what came since, and for few in what came earlier.
    for late in (False, True):
        arms = [_ARM.replace("$RANGE", _WINDOW), *([_ARM.replace("$RANGE", _LATE)] if late else [])]
        found[look_name(late=late)] = _STATE + "".join(arms)
        # After the events are there: their own block, and what else came since.
        newer = [arm.replace(" GROUP BY", f" {_NEWER} GROUP BY") for arm in arms]
        found[look_again_name(late=late)] = _STATE.replace("$SERVER", _NO_KEY) + _OWN + "".join(newer)
    recent = _STATE + _ARM.replace("$RANGE", _RECENT)
    found[look_on_name(earlier=False)] = recent
    found[look_on_name(earlier=True)] = recent + _ARM.replace("$RANGE", _EARLIER)
    return {name: _whole(text, database, base) for name, text in found.items()}


def create(database: str) -> list[str]:
    """Give the statements that make the tables where they are not there."""
    return [_whole(text, database) for text in _CREATE]


def create_of_this_version(database: str) -> list[str]:
    """Give the statements that make the tables that no earlier version has."""
    return [_whole(text, database) for text in (CREATE_LOG, CREATE_AMOUNTS)]


def _whole(text: str, database: str, base: int = 0) -> str:
    parts = {
        "$OF_BLOCK": "(came = 0 OR {seq:UInt64} BETWEEN $FIRST_OF_PART + $BASE AND $LAST_OF_PART + $BASE)",
        "$EVENT": _EVENT,
        "$CELL": _CELL,
        "$PERIOD": _PERIOD,
        "$ORDERED": _ORDERED,
        "$DURABLE": _DURABLE,
        "$SHORT_KEY": "reinterpretAsUInt64(reverse(substring(key, 1, 8)))",
        "$FIRST_OF_PART": _FIRST_OF_PART,
        "$AFTER_BLOCK": _AFTER_BLOCK,
        "$LAST_OF_PART": _LAST_OF_PART,
        "$FIRST": _FIRST,
        **{f"$BIT_{at}": _BIT.replace("$AT", str(at)) for at in (12, 18, 0, 6)},
        "$SERVER": _SERVER,
        "$STARTED": _STARTED,
        "$BLOCK": _BLOCK,
        "$BASE": str(base),
        "$TODAY": _TODAY,
        "$BATCHES": str(BATCHES_A_PARTITION),
        "$DAYS": str(DAYS_A_PARTITION),
        "$DATABASE": database,
        "DB.": f"{database}.",
    }
    for marker, part in parts.items():
        text = text.replace(marker, part)
    return text


def read_name(*, values: bool, days: bool, groups: bool) -> str:
    """Give the name of the question for amounts: with distinct values, those by day, those by group."""
    return f"read {values:d}{days:d}{groups:d}"


def look_name(*, late: bool) -> str:
    """Give the name of the question for keys in all of the window, with late ones before it."""
    return f"look {late:d}"


def look_on_name(*, earlier: bool) -> str:
    """Give the name of the question for keys in what came since a block, with some in what came earlier."""
    return f"look on {earlier:d}"


def look_again_name(*, late: bool) -> str:
    """Give the name of the question for keys of events that are there, with late ones."""
    return f"look again {late:d}"
