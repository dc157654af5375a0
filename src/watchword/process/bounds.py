# SPDX-License-Identifier: Apache-2.0
"""How much one server holds for its callers: per message, per connection and in all.

A bound per connection alone is none: a thousand connections hold a thousand times as much. So what all of
a server's connections hold is counted too. Where it is too much, those make room first that hold more than
their present request needs: requests that are pipelined behind it, and answers that no one takes. Then those
that wait for a head, and the longest silent ones. A caller who takes the answer to its request never goes for
another one, and a new caller is refused last. TLS handshakes have places apart, and make room for each other
alone (`handshakes`).

Who had time for its head is said by `attended_time`: a server that was busy elsewhere has given none.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from watchword.process.attended_time import AttendedTime
from watchword.process.bounded import Bounded
from watchword.process.handshakes import Handshake, HandshakePool
from watchword.process.memory import give_back_memory

# What a connection costs before a byte of it was read: transport, protocol, parser, timers. Measured.
CONNECTION_BYTES: Final = 11 * 1024
# The same with TLS, where OpenSSL's state and a read buffer come on top.
TLS_CONNECTION_BYTES: Final = 48 * 1024
# How often stuck readers are looked for, in seconds.
_SWEEP_SECONDS: Final = 1.0
# How much is freed before memory is given back.
_FREED_BYTES: Final = 4 * 1024 * 1024
# How long after that, in seconds.
_GIVE_BACK_SECONDS: Final = 0.1
# How long a connection has for its first head before a new one may take its place.
PATIENCE_SECONDS: Final = 0.5
# The same while others wait to be accepted, without TLS: a request follows its connection at once. A flood
# that waits is done with the sooner: with 128 places, 1,280 connections a second.
PLAIN_PATIENCE_SECONDS: Final = 0.1
# How long a caller may take nothing of what is written to it before it makes room for others.
UNREAD_SECONDS: Final = 2.0
# How often room is looked for, in seconds.
_LOOK_SECONDS: Final = 0.02
# In how many turns of the loop at least a connection has its time: a handshake takes two, its request one.
_TURNS: Final = 5


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one server.

    Attributes:
        head_bytes: a request line with its headers.
        headers: how many of them.
        message_bytes: head, body with its chunks' own bytes, and trailers.
        trailer_bytes: the trailers of one message.
        trailers: how many of them.
        pipelined_bytes: what is read of further requests while one is answered; then the socket is not read.
        write_seconds: how long a caller may take nothing of what is written to it.
        head_seconds: for a whole head, and for the first byte of the first one.
        body_seconds: for a whole body.
        connections: at a time.
        connection_bytes: what a connection is counted with before a byte of it was read.
        buffered_bytes: what all connections hold together, `connection_bytes` for each of them included.
            Twice as much where all of it belongs to requests that are being answered, and to new connections.
        handshakes: TLS handshakes at a time, `connection_bytes` for each of them next to `buffered_bytes`.
    """

    head_bytes: int = 64 * 1024
    headers: int = 128
    message_bytes: float = 8 * 1024 * 1024
    trailer_bytes: int = 8 * 1024
    trailers: int = 32
    pipelined_bytes: int = 16 * 1024
    write_seconds: float = 30.0
    head_seconds: float = 30.0
    body_seconds: float = float("inf")
    connections: int = 1024
    connection_bytes: int = CONNECTION_BYTES
    buffered_bytes: int = 16 * 1024 * 1024
    handshakes: int = 128


def with_tls(bounds: Bounds) -> Bounds:
    """The same bounds for a port that speaks TLS: no more memory, some of it for handshakes alone."""
    for_handshakes = bounds.handshakes * TLS_CONNECTION_BYTES
    return replace(
        bounds,
        connection_bytes=TLS_CONNECTION_BYTES,
        # Twice as much may be held of it.
        buffered_bytes=bounds.buffered_bytes - for_handshakes // 2,
    )


# A port that only answers short questions: probes, scrapes.
OPS_BOUNDS: Final = Bounds(
    head_bytes=16 * 1024,
    headers=64,
    message_bytes=64 * 1024,
    trailer_bytes=1024,
    trailers=8,
    pipelined_bytes=4 * 1024,
    head_seconds=10.0,
    body_seconds=10.0,
    connections=128,
    buffered_bytes=4 * 1024 * 1024,
)


class Budget:
    """What the connections of one server hold, and which of them makes room.

    Belongs to one event loop.
    """

    def __init__(self, bounds: Bounds, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Hold to bounds; `room` gives a connection so long for its first head."""
        self.bounds, self._patience = bounds, patience_seconds
        self._clock = AttendedTime(patience_seconds / _TURNS, self._has_new)
        self._handshakes = HandshakePool(
            bounds.handshakes, bounds.connection_bytes, patience_seconds, self._clock
        )
        self.held_bytes = 0
        self._connections: set[Bounded] = set()
        # Those that waited when it was looked last, each with the time of its last request; the longest
        # silent ones are at the end. Made again when it is used up: one round for as many as there are.
        self._silent: list[tuple[float, Bounded]] = []
        # Transports of connections that are no longer HTTP; their protocol takes them out at their end.
        self.tunnels: set[Any] = set()
        # Those in the middle of their first head, or before it, and since when; and those of which a request
        # was answered already that are in the middle of another head.
        self._heads: dict[Bounded, float] = {}
        self._later_heads: dict[Bounded, float] = {}
        # What connections held and hold no longer, since it was given back.
        self._freed_bytes = 0
        self._giver: asyncio.TimerHandle | None = None
        # Those whose request was answered before its body was read: nothing is lost with them.
        self._spent: dict[Bounded, None] = {}
        # Those that hold more than one may hold of further requests: among them are all with a surplus.
        self._large: dict[Bounded, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections) + len(self._handshakes)

    def admit(self, connection: Bounded) -> bool:
        """Count a new connection; False when there is no room, and none could be made."""
        while self._is_full():
            if not self._evict():
                return False
        self._connections.add(connection)
        self._heads[connection] = self._clock.mark()
        connection.is_counted_as_head = True
        connection.counted_bytes = self.bounds.connection_bytes
        self.held_bytes += connection.counted_bytes
        if not self._make_room(connection):
            self.forget(connection)
            return False
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
        return True

    def admit_handshake(self, handshake: Handshake) -> bool:
        """Count a new TLS handshake, and make room for what it becomes; False when there is none.

        It makes room for other handshakes alone, and what holds bytes has to do without its place.
        """
        while self._is_full():
            if not (self._evict() or self._handshakes.close_oldest()):
                return False
        self._handshakes.add(handshake)
        while not self._has_bytes(0) and self._evict(is_for_bytes=True):
            pass
        return True

    def forget_handshake(self, handshake: Handshake) -> None:
        """Count a handshake no longer that is done, or has ended."""
        if self._handshakes.discard(handshake):
            self._note_freed(self.bounds.connection_bytes)

    async def room(self) -> None:
        """Return when a connection may be admitted without one going that had no time yet for its head."""
        while (seconds := self._seconds_until_room()) > 0:  # noqa: ASYNC110 - most of it is a matter of time
            await asyncio.sleep(min(seconds, _LOOK_SECONDS))

    def _is_full(self) -> bool:
        return len(self) + len(self.tunnels) >= self.bounds.connections

    def _has_bytes(self, number: int) -> bool:
        held = self.held_bytes + self._handshakes.held_bytes + number
        return held <= 2 * self.bounds.buffered_bytes

    def _has_new(self) -> bool:
        """Whether there is a connection that had no time yet for its handshake or its head."""
        newest = max(
            self._handshakes.newest(),
            *(next(reversed(heads.values()), -math.inf) for heads in (self._heads, self._later_heads)),
        )
        return newest > self._clock.seconds - PATIENCE_SECONDS

    def _seconds_until_room(self) -> float:
        seconds = self._handshakes.seconds_until_place()
        if seconds > 0 or (self._has_bytes(self.bounds.connection_bytes) and not self._is_full()):
            return seconds
        since = min(next(iter(heads.values()), math.inf) for heads in (self._heads, self._later_heads))
        # Where all are being answered, a new one is told so at once.
        if since == math.inf:
            return self._handshakes.seconds_left() if self._is_full() else 0
        if any(each.is_spent() for each in self._spent) or self._largest_surplus():
            return 0
        return since + self._patience - self._clock.seconds

    def forget(self, connection: Bounded) -> None:
        """Count a connection that ended no longer."""
        if connection in self._connections:
            self._connections.remove(connection)
            self.held_bytes -= connection.counted_bytes
            self._note_freed(connection.counted_bytes)
            connection.counted_bytes = 0
            self._spent.pop(connection, None)
            self._large.pop(connection, None)
        self.asked(connection)

    def update(self, connection: Bounded) -> None:
        """Count what a connection holds by now. Where that is too much in all, some close, maybe this one."""
        if connection not in self._connections:
            return
        grown = connection.held_bytes() + self.bounds.connection_bytes - connection.counted_bytes
        connection.counted_bytes += grown
        self.held_bytes += grown
        if connection.is_spent():
            self._spent[connection] = None
        elif self._spent:
            self._spent.pop(connection, None)
        if connection.counted_bytes > self.bounds.connection_bytes + self.bounds.pipelined_bytes:
            self._large[connection] = None
        elif self._large:
            self._large.pop(connection, None)
        if connection.is_in_head():
            if not connection.is_counted_as_head:
                self._later_heads[connection] = self._clock.mark()
            connection.is_counted_as_head = True
        else:
            self.asked(connection)
        if grown > 0:
            if not self._make_room(connection):
                self._close(connection)
        elif grown:
            self._note_freed(-grown)

    def asked(self, connection: Bounded) -> None:
        """Note that a head of a connection's is whole."""
        if connection.is_counted_as_head:
            connection.is_counted_as_head = False
            if self._heads.pop(connection, None) is None:
                del self._later_heads[connection]

    def _make_room(self, last: Bounded) -> bool:
        """Whether there is room for what a connection holds by now, which others may have had to make."""
        bound = self.bounds.buffered_bytes
        while self.held_bytes > bound and self._evict(last, is_for_bytes=True):
            pass
        # All others are being answered. Only where even twice the bound is none, they go too.
        while self.held_bytes > 2 * bound and (victim := self._most_surplus(self._connections)):
            self._close(victim)
        if self.held_bytes <= bound or last not in self._connections:
            return True
        if self.held_bytes > 2 * bound:
            return False
        if last.is_waiting():
            return last.counted_bytes <= self.bounds.connection_bytes
        # It has to wait until its application took what is there.
        last.slow_down()
        return True

    def _evict(self, last: Bounded | None = None, *, is_for_bytes: bool = False) -> bool:
        victim = (
            next((each for each in self._spent if each is not last and each.is_spent()), None)
            or self._largest_surplus()
            or self._oldest_head(last, PATIENCE_SECONDS if is_for_bytes else self._patience)
            # Where bytes lack, who had no time for its head goes only if it holds a part of it.
            or self._oldest_head(last, holds_bytes=is_for_bytes)
            or self._next_silent(last)
        )
        if victim is None and is_for_bytes and self.held_bytes > 2 * self.bounds.buffered_bytes:
            # Those that hold most beyond their request. Those that had no time to ask go only then, and not
            # for a part of another's head.
            victim = self._most_surplus(self._connections, self.bounds.pipelined_bytes)
            if victim is None and not (last is not None and self._holds_head(last)):
                victim = self._oldest_head(last)
        if victim is None:
            return False
        self._close(victim)
        return True

    def _largest_surplus(self) -> Bounded | None:
        """The connection that holds most beyond its request and beyond what it may; None: no one does."""
        return self._most_surplus(
            self._large, self.bounds.pipelined_bytes, asyncio.get_running_loop().time() - UNREAD_SECONDS
        )

    @staticmethod
    def _most_surplus(
        among: Iterable[Bounded], beyond: int = 0, untaken_since: float = math.inf
    ) -> Bounded | None:
        found = None
        for each in among:
            surplus = each.surplus_bytes(untaken_since)
            if surplus > beyond:
                found, beyond = each, surplus
        return found

    def _oldest_head(
        self, last: Bounded | None, patience: float = -math.inf, *, holds_bytes: bool = False
    ) -> Bounded | None:
        """The connection that has been longest in the middle of a head, or before its first one.

        One of which no request was answered yet comes before all others.

        Args:
            last: not this one.
            patience: only one that had so many attended seconds for it.
            holds_bytes: only one that holds a part of its head.
        """
        newest = self._clock.seconds - patience
        for heads in (self._heads, self._later_heads):
            for each, since in heads.items():
                if since > newest:
                    break
                if each is not last and (not holds_bytes or self._holds_head(each)):
                    return each
        return None

    def _holds_head(self, connection: Bounded) -> bool:
        """Whether it holds a part of a head."""
        return connection.is_counted_as_head and connection.counted_bytes > self.bounds.connection_bytes

    def _close(self, connection: Bounded) -> None:
        self.forget(connection)
        connection.make_room()
        if self._freed_bytes >= _FREED_BYTES:
            self._freed_bytes = 0
            give_back_memory()

    def _next_silent(self, last: Bounded | None) -> Bounded | None:
        """The connection that rests between two requests, and has asked for nothing for longest."""
        for is_new in (False, True):
            if is_new:
                resting = [(each.asked_at(), each) for each in self._connections if _rests(each)]
                self._silent = sorted(resting, key=_asked_at, reverse=True)
            while self._silent:
                then, connection = self._silent.pop()
                is_as_it_was = connection in self._connections and connection.asked_at() == then
                if is_as_it_was and connection is not last and _rests(connection):
                    return connection
        return None

    def _sweep(self) -> None:
        """Count what waits to be taken, and end what no one has taken anything of for too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections):
            if connection.is_stuck(now):
                self._close(connection)
            else:
                self.update(connection)
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep) if self._connections else None

    def _note_freed(self, number: int) -> None:
        self._freed_bytes += number
        if self._freed_bytes >= _FREED_BYTES and self._giver is None:
            # Later too: the most of a connection that was closed is free only when the loop has told it so.
            self._giver = asyncio.get_running_loop().call_later(_GIVE_BACK_SECONDS, self._give_back)

    def _give_back(self) -> None:
        """Return free memory to the system: what many held would stay with the process."""
        self._giver, self._freed_bytes = None, 0
        give_back_memory()


def _asked_at(entry: tuple[float, Bounded]) -> float:
    return entry[0]


def _rests(connection: Bounded) -> bool:
    return connection.is_waiting() and not connection.is_counted_as_head
