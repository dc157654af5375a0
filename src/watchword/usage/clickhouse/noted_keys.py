# SPDX-License-Identifier: Apache-2.0
"""Which keys came before: a narrow table, so that a batch need not look for its keys among all events.

A writer notes its keys here, durably, before it inserts its events. So a key that no one else noted is in the
log for no one else's event, and only the others are looked for there. Who was first is said by the log alone:
a key that was noted and whose event never came costs a look, and nothing else.

A look reads a few hundred bytes for each key, whatever the table has: 8 bytes a key, sorted, in small
granules and small compressed blocks. And the second look, after the events are there, reads only parts that
are new since.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from watchword.usage.clickhouse.sessions import Row, Sessions

_KEYS_AT_ONCE: Final = 10_000


class Note(NamedTuple):
    """What a writer noted: its token, and the number from which on later writers' notes are."""

    token: int
    since: int


class Conflicts(NamedTuple):
    """After an insert: the keys that others noted with or after this writer, and the number of its block (0
    when the event that it was asked by is gone again).
    """

    keys: frozenset[bytes]
    block: int


class NotedKeys:
    """The keys that came to one store."""

    def __init__(self, sessions: Sessions) -> None:
        """Take the store's connections."""
        self._sessions = sessions

    def note(self, keys: Mapping[bytes, int], also: Collection[bytes] = ()) -> tuple[Note, frozenset[bytes]]:
        """Note keys with their events' days, durably.

        Gives those of them, and of `also`, that someone else noted before or meanwhile. A key is kept as long
        as the events of its day.
        """
        token = secrets.randbits(63) + 1
        self._sessions.insert("noted_key", [(_short(key), token, day) for key, day in keys.items()])
        found: list[Row] = []
        one = _short(next(iter(keys)))
        for part in _parts([*keys, *also]):
            found += self._sessions.rows("others_of_keys", keys=part, one=one, token=token)
        since = min((since for _, since in found if since), default=0)
        return Note(token, since), _of_short([*keys, *also], (key for key, since in found if not since))

    def conflicts(self, note: Note, keys: Collection[bytes], batch: uuid.UUID) -> Conflicts:
        """Give what came since a note, for keys whose events were inserted as a batch."""
        found: list[Row] = []
        one = next(iter(keys)).hex()
        for part in _parts(keys):
            found += self._sessions.rows(
                "conflicts_of_keys", keys=part, token=note.token, since=note.since, one=one, batch=batch
            )
        return Conflicts(
            _of_short(keys, (n for kind, n in found if kind == "key")),
            max(n for kind, n in found if kind == "block"),
        )


def _short(key: bytes) -> int:
    # Eight bytes tell what to look for; the log has the whole key.
    return int.from_bytes(key[:8], "big")


def _of_short(keys: Collection[bytes], found: Iterable[int]) -> frozenset[bytes]:
    numbers = set(found)
    return frozenset(key for key in keys if _short(key) in numbers) if numbers else frozenset()


def _parts(keys: Collection[bytes]) -> Iterator[list[int]]:
    numbers = [_short(key) for key in keys]
    for start in range(0, len(numbers), _KEYS_AT_ONCE):
        yield numbers[start : start + _KEYS_AT_ONCE]
