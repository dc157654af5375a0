# SPDX-License-Identifier: Apache-2.0
"""Keys of the log's last days, as a process remembers them up to a block: which ones surely are not there.

A batch's keys are nearly all new, and to find that out in the log costs more the more events a week brings.
Blocks are in the log in the order of their numbers, so that what was read after one of them was there has all
up to it, and stays true: rows go, but none comes into an earlier block. So a key that `KeyBits` has not is
looked for in the parts after that block only. Now and then those are read too.

What was read holds for one run of one server and one table: others may be a copy that was put back.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

from watchword.usage.clickhouse.arrivals import LookBack
from watchword.usage.clickhouse.sessions import Sessions
from watchword.usage.closed_keys import ASKED_BEFORE
from watchword.usage.key_bits import WORD_BITS, KeyBits, words_of

LATE_ASKED_BEFORE: Final = 300
"""How many keys are looked up before the window before some weeks before it are read too."""

LATE_DAYS: Final = 21

BLOCKS_BETWEEN_READS: Final = 16
"""After how many blocks those that came since are read."""

MOST_KEYS: Final = 40_000_000
"""With more keys in the window (five million events a day) none is remembered, and each is looked up."""

# 128 KiB to 32 MiB. Of keys with 12 bits each, one in ninety is said to be there by chance; with six, one
# in fifteen.
_LEAST_WIDTH, _MOST_WIDTH = 14, 22
_BITS_A_KEY: Final = 12
_LEAST_BITS_A_KEY: Final = 6
# The weeks before the window are worth no more than half of it.
_MOST_LATE_WIDTH: Final = 21
_MOST_READ_AT_ONCE: Final = 1_000_000
# The server tells when it was started by two clocks, in whole seconds.
_START_DIFFERS_SECONDS: Final = 2


class Server(NamedTuple):
    """Which table on which run of a server answered: its id, and when the server was started."""

    table: bytes
    started: int

    def is_same(self, other: Server) -> bool:
        """Tell whether both are one."""
        is_one_run = abs(self.started - other.started) <= _START_DIFFERS_SECONDS
        return is_one_run and self.table == other.table


class Window(NamedTuple):
    """The keys of all events that came on a day from `first` on, up to a block."""

    bits: KeyBits
    first: int
    upto: int
    room: int
    server: Server

    def earlier(self, back: LookBack) -> list[int]:
        """Give those keys that may be in it, or that may have come before its first day."""
        keys = {back.keys[place] for place in self.bits.places(back.keys)}
        return sorted(keys.union(key for key, day in back.late.items() if day < self.first))


class RecentKeys:
    """What a process remembers of one log, for all of its threads."""

    def __init__(self, sessions: Sessions) -> None:
        """Take the store's connections."""
        self._sessions = sessions
        self._window: Window | None = None
        self._seen: tuple[int, Server] | None = None
        self._asked = self._late_asked = 0
        self._late_days = 0
        self._has_room_for_late = True
        self._too_many_from = -1
        self._reading = threading.Lock()

    def of(self, first: int) -> Window | None:
        """Give what is remembered of the days from `first` on, if all of them were read."""
        window = self._window
        return window if window is not None and window.first <= first else None

    def note_asked(self, back: LookBack, remembered: Window | None) -> None:
        """Note for which keys all of what may have them was asked, next to what was remembered."""
        if remembered is None:
            self._asked += len(back.keys)
        elif back.late:
            self._late_asked += sum(day < remembered.first for day in back.late.values())

    def note_seen(self, block: int, server: Server) -> None:
        """Note a block that is in the log, and who had answered before it was: so no block of one server is
        ever taken for another's.
        """
        self._seen = (block, server)

    def forget(self) -> None:
        """Forget all of it."""
        self._window = self._seen = None
        self._asked = self._late_asked = 0

    def read(self, first: int) -> None:
        """Read the window from `first` on, or what came since it was read, where that is worth it by now and
        no other thread does.

        Raises as `Sessions.rows` does.
        """
        window, seen = self._window, self._seen
        if seen is None or not self._is_wanted(window, first, seen[0]):
            return
        if not self._reading.acquire(blocking=False):
            return
        try:
            read = None
            if window is not None and window.first == self._from(first):
                read = self._read_on(window, seen[0])
            if read is None:
                read = self._read_all(first, *seen)
        finally:
            self._reading.release()
        # Where it was forgotten meanwhile, what was read is of no more use.
        if self._window is window:
            self._window = read
            self._asked = self._late_asked = 0

    def _from(self, first: int) -> int:
        return max(0, first - self._late_days)

    def _is_wanted(self, window: Window | None, first: int, seen: int) -> bool:
        if window is None or window.first > first:
            return self._asked >= ASKED_BEFORE and first != self._too_many_from
        if self._late_asked >= LATE_ASKED_BEFORE and self._has_room_for_late:
            self._late_days = LATE_DAYS
        return window.first != self._from(first) or seen - window.upto >= BLOCKS_BETWEEN_READS

    def _read_on(self, window: Window, seen: int) -> Window | None:
        """Read the parts that have blocks after a window's last one; None where that is too much.

        They may have been merged with earlier ones, so some keys are added again.
        """
        limit = min(_MOST_READ_AT_ONCE, window.room)
        asked = {"window": window.first, "upto": window.upto, "limit": limit + 1}
        words = words_of(self._sessions.binary("keys_of_parts", **asked))
        if len(words) > limit:
            return None
        window.bits.add(words)
        return window._replace(upto=seen, room=window.room - len(words))

    def _read_all(self, first: int, seen: int, server: Server) -> Window | None:
        """Have the server make the table of all keys from a day on; None where there are too many."""
        start, count = self._from(first), self._count(self._from(first))
        if start < first and _BITS_A_KEY * count > _bits(_MOST_LATE_WIDTH):
            self._late_days, self._has_room_for_late = 0, False
            start, count = first, self._count(first)
        if count > MOST_KEYS:
            self._too_many_from = first
            return None
        width = width_for(count)
        table = self._sessions.binary(
            "bits_of_keys",
            window=start,
            shift=WORD_BITS - width,
            words=1 << width,
        )
        room = _bits(width) // _LEAST_BITS_A_KEY - count
        return Window(KeyBits(width, table), start, seen, room, server)

    def _count(self, start: int) -> int:
        ((count,),) = self._sessions.rows("count_keys", window=start)
        return int(count)


def width_for(count: int) -> int:
    """Give the width of the table for so many keys and some more."""
    for width in range(_LEAST_WIDTH, _MOST_WIDTH):
        if count * _BITS_A_KEY < _bits(width):
            return width
    return _MOST_WIDTH


def _bits(width: int) -> int:
    return WORD_BITS << width
