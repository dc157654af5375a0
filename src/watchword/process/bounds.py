# SPDX-License-Identifier: Apache-2.0
"""How much one server holds for its callers: per message, per connection and in all.

A bound per connection alone is none: a thousand connections hold a thousand times as much. So what all of
a server's connections hold is counted too. Where it is too much, those make room first that hold more than
their present request needs: requests that are pipelined behind it, and answers that no one takes. Then those
that wait for a head, and the longest silent ones. A caller who takes the answer to its request never goes for
another one, and a new caller is refused last.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from watchword.process.memory import give_back_memory

# What a connection costs before a byte of it was read: transport, protocol, parser, timers. Measured.
CONNECTION_BYTES: Final = 11 * 1024
# The same with TLS, where OpenSSL's state and a read buffer come on top.
TLS_CONNECTION_BYTES: Final = 64 * 1024
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


class Bounded(Protocol):
    """One connection, as its budget sees it.

    Attributes:
        counted_bytes: what the budget counts for it. The budget's own, as is the next one.
        is_counted_as_head: it is among those that make room first.
    """

    counted_bytes: int
    is_counted_as_head: bool

    def held_bytes(self) -> int:
        """How many bytes it holds by now, read or to be written, next to its own cost."""

    def is_stuck(self, now: float) -> bool:
        """Whether its caller has taken nothing for too long of what waits to be taken."""

    def surplus_bytes(self, untaken_since: float) -> int:
        """How many bytes it holds beyond its present request.

        They are what is pipelined behind it, and what is written, if nothing of that was taken since this
        moment on the loop's clock.
        """

    def is_in_head(self) -> bool:
        """Whether it is in the middle of a head, or before its first one."""

    def asked_at(self) -> float:
        """When it asked for something last, on the loop's clock."""

    def is_spent(self) -> bool:
        """Whether its request was answered, and only the rest of its body is still thrown away."""

    def is_waiting(self) -> bool:
        """Whether no request is under way, and no answer is being taken, so that it may be closed."""

    def slow_down(self) -> None:
        """Read no more until what was read of the present request is taken."""

    def make_room(self) -> None:
        """Close at once, and hold nothing from now on."""


class Budget:
    """What the connections of one server hold, and which of them makes room.

    Belongs to one event loop.
    """

    def __init__(self, bounds: Bounds, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Hold to bounds; `room` gives a connection so long for its first head."""
        self.bounds, self._patience = bounds, patience_seconds
        self.held_bytes = 0
        self._connections: set[Bounded] = set()
        # Those that waited when it was looked last, each with the time of its last request; the longest
        # silent ones are at the end. Made again when it is used up: one round for as many as there are.
        self._silent: list[tuple[float, Bounded]] = []
        # Transports of connections that are no longer HTTP; their protocol takes them out at their end.
        self.tunnels: set[Any] = set()
        # Those in the middle of a head, or before their first one, and since when.
        self._heads: dict[Bounded, float] = {}
        # What connections held and hold no longer, since it was given back.
        self._freed_bytes = 0
        self._giver: asyncio.TimerHandle | None = None
        # Those whose request was answered before its body was read: nothing is lost with them.
        self._spent: dict[Bounded, None] = {}
        # Those that hold more than one may hold of further requests: among them are all with a surplus.
        self._large: dict[Bounded, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def admit(self, connection: Bounded) -> bool:
        """Count a new connection; False when there is no room, and none could be made."""
        while len(self._connections) + len(self.tunnels) >= self.bounds.connections:
            if not self._evict():
                return False
        self._connections.add(connection)
        self._heads[connection] = asyncio.get_running_loop().time()
        connection.is_counted_as_head = True
        connection.counted_bytes = self.bounds.connection_bytes
        self.held_bytes += connection.counted_bytes
        if not self._make_room(connection):
            self.forget(connection)
            return False
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
        return True

    async def room(self) -> None:
        """Return when a connection may be admitted without one going that had no time yet for its head."""
        while (seconds := self._seconds_until_room()) > 0:  # noqa: ASYNC110 - most of it is a matter of time
            await asyncio.sleep(min(seconds, _LOOK_SECONDS))

    def _seconds_until_room(self) -> float:
        bounds = self.bounds
        has_bytes = self.held_bytes + bounds.connection_bytes <= 2 * bounds.buffered_bytes
        if has_bytes and len(self._connections) + len(self.tunnels) < bounds.connections:
            return 0
        since = next(iter(self._heads.values()), None)
        # Where all are being answered, a new one is told so at once.
        if since is None or any(each.is_spent() for each in self._spent) or self._largest_surplus():
            return 0
        return since + self._patience - asyncio.get_running_loop().time()

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
            if connection not in self._heads:
                self._heads[connection] = asyncio.get_running_loop().time()
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
            del self._heads[connection]

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
            or self._oldest_head(last, spares_new=is_for_bytes)
        )
        if victim is None and is_for_bytes and self.held_bytes > 2 * self.bounds.buffered_bytes:
            # Those that hold most beyond their request, and only then those that had no time to ask.
            victim = self._most_surplus(self._connections, self.bounds.pipelined_bytes) or self._oldest_head(
                last, spares_new=False
            )
        victim = victim or self._next_silent(last)
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

    def _oldest_head(self, last: Bounded | None, *, spares_new: bool) -> Bounded | None:
        """The connection that has been longest in the middle of a head, or before its first one.

        Args:
            last: not this one.
            spares_new: nor one that holds nothing yet and had no time to.
        """
        newest = math.inf
        if spares_new:
            newest = asyncio.get_running_loop().time() - PATIENCE_SECONDS
        for each, since in self._heads.items():
            is_new = since > newest and each.counted_bytes <= self.bounds.connection_bytes
            if each is not last and not is_new:
                return each
        return None

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
        self._giver = None
        give_back_memory()


def _asked_at(entry: tuple[float, Bounded]) -> float:
    return entry[0]


def _rests(connection: Bounded) -> bool:
    return connection.is_waiting() and not connection.is_counted_as_head
