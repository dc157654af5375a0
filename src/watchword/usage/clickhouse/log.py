# SPDX-License-Identifier: Apache-2.0
"""The log of events in ClickHouse, and who was first of a key in it.

A batch is one insert, hence one block, whole or not at all, with a number that is greater than those of all
blocks before it and never changes. So the first event of a key is the one with the lowest number: a writer
that is told "stored" after looking can be beaten by none that comes later. Where a look goes: `arrivals`.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from watchword.usage.clickhouse.arrivals import Bounds, Found, LookBack, beats
from watchword.usage.clickhouse.meter_log import MeterLog, MeterView
from watchword.usage.clickhouse.native import Numbers, short_key, short_keys
from watchword.usage.clickhouse.recent_keys import RecentKeys, Server, Window
from watchword.usage.clickhouse.schema import (
    DAYS_A_PARTITION,
    look_again_name,
    look_name,
    look_on_name,
)
from watchword.usage.clickhouse.sessions import Row, Sessions
from watchword.usage.deduplication import (
    AHEAD,
    CLOCKS_DIFFER_DAYS,
    DIGEST_BYTES,
    Kept,
    Key,
    digest_of,
    event_of_row,
)
from watchword.usage.events import Event

_ROWS_OF_EVENT = slice(1, 8)
# A command's parameters are part of its URL.
_DELETED_AT_ONCE = 500


class Look(NamedTuple):
    """What a look gave: where keys were found, the meters and bounds of the moment, who answered, and from
    which block on a later look must look again.
    """

    found: list[Found]
    view: MeterView
    bounds: Bounds
    server: Server
    since: int


class _Answer(NamedTuple):
    """What the server says to a question for keys; `block` is that of the asker's own batch."""

    found: list[Found]
    block: int
    view: MeterView
    bounds: Bounds
    server: Server


class Insert(NamedTuple):
    """A batch in the log: the name of its insert, the day on which it came, and one of its keys."""

    batch: uuid.UUID
    came: int
    key: bytes


class EventLog:
    """The events of one store."""

    def __init__(self, sessions: Sessions, meters: MeterLog) -> None:
        """Take the store's connections, and its log of meters."""
        # How often the server turned out to be another one: nothing that was read before holds of it.
        self.times_forgotten = 0
        self._sessions, self._meters = sessions, meters
        self._bounds: Bounds | None = None
        # A block of this process: every look that begins after it has seen all up to it.
        self._seen = 0
        self._server: Server | None = None
        self._recent = RecentKeys(sessions)

    def look(self, days: Mapping[bytes, int]) -> Look:
        """Look for keys, given with the days of their events (`NO_TIME` for events without)."""
        since = self._seen
        bounds = self._bounds or self._ask("state", {}).bounds
        self._recent.read(bounds.window)
        while True:
            back = bounds.look_back(days)
            remembered = self._recent.of(back.window)
            answer = self._ask(*(_in_window(back) if remembered is None else _since(remembered, back)))
            known_of = (self._server, remembered and remembered.server)
            if not all(server is None or server.is_same(answer.server) for server in known_of):
                # Perhaps a copy that was put back.
                self._forget()
                since = 0
            elif answer.bounds == bounds:
                self._server = answer.server
                self._recent.note_asked(back, remembered)
                return Look(_of(days, back, answer.found), answer.view, bounds, answer.server, since)
            bounds = answer.bounds

    def look_again(self, insert: Insert, days: Mapping[bytes, int], before: Look) -> tuple[Look, int]:
        """Look for what came with or after `before` by others, for keys whose events were inserted; with it
        the number of the insert's block (0 when all of its events were given up meanwhile).
        """
        since, bounds = before.since, before.bounds
        while True:
            back = bounds.look_back(days)
            answer = self._ask(
                look_again_name(late=bool(back.late)),
                {
                    **_in_window(back)[1],
                    "since": since,
                    "came": insert.came,
                    "one": short_key(insert.key),
                    "batch": insert.batch,
                },
            )
            block, now = answer.block, answer.bounds
            # A new day changes nothing for a batch that is in the log; a number that goes back, as that of a
            # server that lost its data, tells that nothing is known of what came before.
            if now._replace(today=0) == bounds._replace(today=0) and (block > since or not since):
                if block:
                    self._seen = block
                    self._recent.note_seen(block, before.server)
                found = _of(days, back, answer.found)
                return Look(found, answer.view, now, before.server, since), block
            if block and block <= since:
                self._forget()
            bounds, since = now, 0

    def _forget(self) -> None:
        self._seen, self._server = 0, None
        self._recent.forget()
        self._meters.forget()
        self.times_forgotten += 1

    def _ask(self, statement: str, parameters: Mapping[str, object]) -> _Answer:
        found: list[Found] = []
        block = version = today = started = 0
        table = b""
        for kind, key, time, number, came in self._sessions.rows(statement, **parameters):
            if kind == "event":
                found.append(Found(bytes(key), time, number, came))
            elif kind == "block":
                block = number
            else:
                table, version, today, started = bytes(key), number, time, came
        view = self._meters.at(version)
        bounds = self._bounds = Bounds.of(view.marks, today)
        return _Answer(found, block, view, bounds, Server(table, started))

    def remember_ahead(self, events: Collection[Event], bounds: Bounds) -> None:
        """Remember, before they are in the log, by how many days events are ahead of the day on which they
        come.
        """
        ahead = max((event.day for event in events), default=0) - bounds.today
        if ahead > max(bounds.ahead, CLOCKS_DIFFER_DAYS):
            self._meters.mark(AHEAD, ahead)

    def keys_of_version_1(
        self, digests: Mapping[Key, bytes], days: Mapping[bytes, int], bounds: Bounds
    ) -> dict[Key, bytes]:
        """Give the keys that these events would have when an account was no part of a key; nothing of those
        that cannot have come so long ago.
        """
        if not self._sessions.has_keys_of_version_1:
            return {}
        return {
            key: digest_of(*key[1:]) for key, digest in digests.items() if bounds.may_be_former(days[digest])
        }

    def found_of_version_1(self, keys: Mapping[Key, bytes]) -> dict[Key, Found]:
        """Give where those of these events are that came when an account was no part of a key.

        Such a key stands for one account's event at most, and no more of them come: what is not found now
        never will be.
        """
        if not keys:
            return {}
        wanted: dict[bytes, dict[str, Key]] = {}
        for key, digest in keys.items():
            wanted.setdefault(digest, {})[key[0]] = key
        found: dict[Key, Found] = {}
        for digest, account, time, block in self._sessions.rows("accounts_of_keys", keys=short_keys(wanted)):
            if (key_found := wanted.get(bytes(digest), {}).get(account)) is not None:
                found[key_found] = Found(bytes(digest), time, block, 0)
        return found

    def append(self, events: Sequence[tuple[bytes, Event]], came: int) -> Insert:
        """Insert a batch of distinct keys as one block, durably."""
        batch = uuid.uuid4()
        count, these = len(events), [event for _, event in events]
        self._sessions.insert(
            "arrived_event",
            count,
            [
                [came] * count,
                [key for key, _ in events],
                [event.source for event in these],
                [event.id for event in these],
                [batch] * count,
                [event.type for event in these],
                [event.account for event in these],
                [event.time for event in these],
                [event.data_text for event in these],
                [event.data_base64 for event in these],
                [event.extensions for event in these],
            ],
        )
        return Insert(batch, came, events[0][0])

    def delete(self, insert: Insert, keys: Collection[bytes]) -> None:
        """Take away those of an insert's events that others were first with.

        They count nowhere as they are, but would come first once those that beat them are given up as too
        old.
        """
        beaten = sorted(keys)
        for start in range(0, len(beaten), _DELETED_AT_ONCE):
            part = beaten[start : start + _DELETED_AT_ONCE]
            self._sessions.do(
                "delete_beaten",
                str(insert.came // DAYS_A_PARTITION),
                keys=short_keys(part),
                names=[key.hex().upper() for key in part],
                batch=insert.batch,
            )

    def kept(self, found: Collection[Found]) -> dict[bytes, Kept]:
        """Give what stands for these keys."""
        if not found:
            return {}
        blocks = {one.key: one.block for one in found}
        rows = self._sessions.rows(
            "events_of_keys",
            keys=short_keys(blocks),
            days=Numbers({one.came for one in found}),
            blocks=Numbers(set(blocks.values())),
        )
        return {bytes(key): tuple(kept) for key, block, *kept in rows if blocks.get(bytes(key)) == block}

    def first_events_of_block(self, seq: int) -> list[Event]:
        """Give the events of a block that were the first of their keys, and take away those that were not."""
        rows = {bytes(row[2]): row for row in self._sessions.rows("events_of_block", seq=seq)}
        if not rows:
            return []
        events = {key: event_of_row(row[2:][_ROWS_OF_EVENT]) for key, row in rows.items()}
        look = self.look({key: event.day for key, event in events.items()})
        beaten = {one.key for one in look.found if beats(one, events[one.key].time, seq, rows[one.key][0])}
        if beaten:
            came, batch, key, *_ = next(iter(rows.values()))
            self.delete(Insert(batch, came, bytes(key)), beaten)
        return [event for key, event in events.items() if key not in beaten]

    def those_there(self, seqs: Collection[int]) -> list[int]:
        """Tell which of these numbers are blocks of events."""
        if not seqs:
            return []
        return sorted(
            seq for (seq,) in self._sessions.rows("blocks_there", seqs=Numbers(seqs), least=min(seqs))
        )

    def last_block(self) -> int:
        """Give the highest number of a block; 0 when there is none."""
        ((seq,),) = self._sessions.rows("last_block")
        return int(seq)

    def by_account(self, upto: int, first_time: int) -> Iterator[Event]:
        """Give the events up to a block and from a time on, account by account."""
        for row in self._sessions.stream("all_events", upto=upto, first=first_time):
            yield event_of_row(row[_ROWS_OF_EVENT])

    def after(self, cursor: str, limit: int) -> tuple[list[Row], str]:
        """Give rows of events by key and block: key, source, id, type, account, time and the rest; with the
        cursor of what comes after them. Raises ValueError when a cursor is none of ours.
        """
        given = bytes.fromhex(cursor)
        key, block = given[:DIGEST_BYTES], int.from_bytes(given[DIGEST_BYTES:], "big")
        rows = self._sessions.rows(
            "events_after", short=short_key(key), key=key.hex(), block=block, limit=limit
        )
        more = ""
        if len(rows) == limit:
            block, key = rows[-1][0], bytes(rows[-1][1])
            more = (key + block.to_bytes(8, "big")).hex()
        return [row[1:] for row in rows], more


def _in_window(back: LookBack) -> tuple[str, dict[str, object]]:
    """Ask for all keys in the window, and for late ones before it."""
    return look_name(late=bool(back.late)), {
        "window": back.window,
        "late_from": back.since_day(back.late),
        "keys": Numbers(back.keys),
        "late": Numbers(back.late),
    }


def _since(remembered: Window, back: LookBack) -> tuple[str, dict[str, object]]:
    """Ask for all keys in what came since a window was read, and for those in all that may have come earlier
    that may be in it or have come before it.
    """
    earlier = remembered.earlier(back)
    return look_on_name(earlier=bool(earlier)), {
        "since_day": back.since_day(back.late),
        "upto": remembered.upto,
        "keys": Numbers(back.keys),
        "earlier_since_day": back.since_day(earlier),
        "earlier": Numbers(earlier),
    }


def _of(days: Mapping[bytes, int], back: LookBack, found: list[Found]) -> list[Found]:
    # The server is asked by the first bytes of a key, which another one may have too.
    return [one for one in found if one.key in days and back.holds(one)]
