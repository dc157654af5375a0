# SPDX-License-Identifier: Apache-2.0
"""The log of events in ClickHouse, and who was first of a key in it.

What needs to be looked for in it at all is said by `noted_keys`.

A batch is one insert, hence one block, whole or not at all, with a number that is greater than those of all
blocks before it and never changes. So the first event of a key is the one with the lowest number: a writer
that is told "stored" after looking can be beaten by none that comes later.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence

from watchword.usage.clickhouse.sessions import Row, Sessions
from watchword.usage.deduplication import Kept, Key, digest_of, event_of_row
from watchword.usage.events import Event

_KEYS_AT_ONCE = 5000


class EventLog:
    """The events of one store."""

    def __init__(self, sessions: Sessions) -> None:
        """Take the store's connections."""
        self._sessions = sessions

    def blocks_of(self, keys: Collection[bytes]) -> dict[bytes, int]:
        """Give the block of the first event of each of these keys that is there."""
        return {key: block for key, _, block, _ in self._first(keys, uuid.UUID(int=0))}

    def keys_of_version_1(self, events: Collection[Key]) -> dict[Key, bytes]:
        """Give the keys that these events would have when an account was no part of a key; nothing where no
        event can have such a key.
        """
        if not self._sessions.has_keys_of_version_1:
            return {}
        return {key: digest_of(*key[1:]) for key in events}

    def blocks_of_version_1(self, events: Collection[Key]) -> dict[Key, tuple[bytes, int]]:
        """Give key and block of those of these events that came when an account was no part of a key.

        Such a key stands for one account's event at most, and no more of them come: what is not found now
        never will be.
        """
        wanted: dict[bytes, dict[str, Key]] = {}
        for key in events:
            wanted.setdefault(digest_of(*key[1:]), {})[key[0]] = key
        found: dict[Key, tuple[bytes, int]] = {}
        for part in _parts(wanted):
            for digest, account, block in self._sessions.rows("accounts_of_keys", keys=part):
                if (key_found := wanted[bytes(digest)].get(account)) is not None:
                    found[key_found] = (bytes(digest), block)
        return found

    def append(self, events: Sequence[tuple[bytes, Event]]) -> uuid.UUID:
        """Insert a batch of distinct keys as one block, durably; the name of the batch."""
        token = uuid.uuid4()
        rows = [(key, event.source, event.id, token, *_rest(event)) for key, event in events]
        self._sessions.insert("event_log", rows)
        return token

    def block_of(self, token: uuid.UUID, keys: Collection[bytes]) -> int:
        """Give the block of a batch by any of its keys; 0 when all of its events were given up meanwhile."""
        return max((mine for *_, mine in self._first(keys, token)), default=0)

    def settle(self, token: uuid.UUID, disputed: Collection[bytes]) -> frozenset[bytes]:
        """Give those of a batch's keys that another block was first with, and take their events away.

        They count nowhere as they are, but would come first once those that beat them are given up as too
        old.
        """
        beaten = [key for key, batch, _, _ in self._first(disputed, token) if batch != token]
        for part in _parts(beaten):
            self._sessions.do("delete_beaten", keys=part, token=token)
        return frozenset(beaten)

    def kept(self, keys: Collection[bytes]) -> dict[bytes, Kept]:
        """Give what stands for these keys."""
        found: dict[bytes, Kept] = {}
        for part in _parts(keys):
            for key, *kept in self._sessions.rows("events_of_keys", keys=part):
                found[bytes(key)] = tuple(kept)
        return found

    def first_events_of_block(self, seq: int) -> list[Event]:
        """Give the events of a block that were the first of their keys."""
        rows = self._sessions.rows("events_of_block", seq=seq)
        blocks = self.blocks_of([bytes(row[0]) for row in rows])
        return [event_of_row(row[1:8]) for row in rows if blocks[bytes(row[0])] == seq]

    def those_there(self, seqs: Collection[int]) -> list[int]:
        """Tell which of these numbers are blocks of events."""
        if not seqs:
            return []
        return sorted(seq for (seq,) in self._sessions.rows("blocks_there", seqs=sorted(seqs)))

    def last_block(self) -> int:
        """Give the highest number of a block; 0 when there is none."""
        ((seq,),) = self._sessions.rows("last_block")
        return int(seq)

    def by_account(self, upto: int, first_time: int) -> Iterator[Event]:
        """Give the first events of their keys up to a block and from a time on, account by account."""
        for row in self._sessions.stream("all_events", upto=upto, first=first_time):
            yield event_of_row(row[1:8])

    def after(self, cursor: str, limit: int) -> list[Row]:
        """Give rows of first events by key: key, source, id, type, account, time and the rest."""
        return list(self._sessions.rows("events_after", after=cursor, limit=limit))

    def _first(self, keys: Collection[bytes], token: uuid.UUID) -> list[Row]:
        found: list[Row] = []
        for part in _parts(keys):
            rows = self._sessions.rows("first_of_keys", keys=part, token=token)
            found += [(bytes(key), batch, block, mine) for key, batch, block, mine in rows]
        return found


def _parts(keys: Collection[bytes]) -> Iterator[list[int]]:
    # ClickHouse's numbers have their lowest byte first.
    numbers = [int.from_bytes(key, "little") for key in keys]
    for start in range(0, len(numbers), _KEYS_AT_ONCE):
        yield numbers[start : start + _KEYS_AT_ONCE]


def _rest(event: Event) -> tuple[object, ...]:
    return (event.type, event.account, event.time, event.data_text, event.data_base64, event.extensions)
