# SPDX-License-Identifier: Apache-2.0
"""The app behind the gate: the connections that are kept to it, by workload, and what is under way.

A connection serves the requests of one workload: whatever an app leaves on it is for no one else. One timer
looks after all requests, so that none has to set one.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from watchword.gate.proxy.target import UpstreamAddress
from watchword.gate.proxy.upstream_connection import UpstreamConnection
from watchword.gate.proxy.upstream_errors import explain
from watchword.gate.responses import NO_IDENTITY_LINES, Answer
from watchword.process.http_response_parser import ResponseHeads

if TYPE_CHECKING:
    from watchword.gate.proxy.upstream_exchange import UpstreamExchange

CONNECT_SECONDS: Final = 5.0
# How long a connection may have been idle when a request is sent on it. Half of the shortest time that a
# server in wide use has by default: gunicorn closes after 2 s (uvicorn and Node.js after 5). A request that
# meets that moment is lost, and only GET and HEAD are sent again; a loaded app may be a second late to read.
REUSE_SECONDS: Final = 1.0
# How long a caller may send nothing of a body that it began.
UPLOAD_SECONDS: Final = 60.0
# Kept between two requests, of all workloads together.
MAX_IDLE: Final = 256
# Of them for strangers on public routes: a crowd of them leaves the places to workloads.
MAX_IDLE_OF_STRANGERS: Final = 32
_LOOK_SECONDS: Final = 0.5


class Upstream:
    """The app behind the gate. Belongs to one event loop.

    Attributes:
        active: the requests that are passed on.
        answer_seconds: how long the app may take until its answer begins, or goes on.
        upload_seconds: how long a caller may send nothing of a body that it began.
        address: where the app is.
        authority: HOST:PORT of the app, as a request's Host has it.
        heads: those of its answers that were read last.
    """

    speaks_http2 = False

    def __init__(
        self, address: UpstreamAddress, answer_seconds: float, upload_seconds: float = UPLOAD_SECONDS
    ) -> None:
        """Send requests to an app; see the attributes."""
        self.address = address
        self.answer_seconds, self.upload_seconds = answer_seconds, upload_seconds
        self.authority = address.authority.encode()
        self.heads = ResponseHeads()
        self.active: dict[UpstreamExchange, None] = {}
        # By workload, the one that rested last at the end.
        self._idle: dict[bytes, list[UpstreamConnection]] = {}
        self._idle_number = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, pool: bytes, now: float) -> UpstreamConnection | None:
        """A connection of a pool that has rested for less than REUSE_SECONDS by now; None: there is none."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        idle = self._idle.get(pool)
        if idle is None:
            return None
        connection = idle.pop()
        self._idle_number -= 1
        if not idle:
            del self._idle[pool]
        if connection.is_open() and now - connection.idle_since < REUSE_SECONDS:
            return connection
        connection.close()
        return self.take(pool, now)

    def connect(self, exchange: "UpstreamExchange") -> None:
        """Make a connection for a request."""
        task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def release(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection whose request was answered by now, if nothing is left on it."""
        idle = self._idle.get(connection.pool)
        is_full = self._idle_number >= MAX_IDLE or (
            connection.pool.startswith(NO_IDENTITY_LINES)
            and self._idle_of_strangers() >= MAX_IDLE_OF_STRANGERS
        )
        if not connection.rest(now) or is_full:
            connection.close()
            return
        if idle is None:
            self._idle[connection.pool] = [connection]
        else:
            idle.append(connection)
        self._idle_number += 1

    def _idle_of_strangers(self) -> int:
        # Next to the pool of all, there may be one for each that has signed a connection in.
        return sum(len(idle) for pool, idle in self._idle.items() if pool.startswith(NO_IDENTITY_LINES))

    def forget(self, connection: UpstreamConnection) -> None:
        """Keep a connection no longer, which ended."""
        idle = self._idle.get(connection.pool)
        if idle is not None and connection in idle:
            idle.remove(connection)
            self._idle_number -= 1
            if not idle:
                del self._idle[connection.pool]

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._connecting:
            task.cancel()
        for connection in [each for idle in self._idle.values() for each in idle]:
            connection.close()

    def explain(self, what: str) -> Answer:
        """The answer to a request that got none from the app."""
        return explain(what, self.address.authority, self.answer_seconds, "HTTP/1.1")

    async def _connect(self, exchange: "UpstreamExchange") -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self, exchange.pool), self.address.host, self.address.port
                )
        except OSError as error:  # TimeoutError is one
            exchange.fail("unreachable", type(error).__name__)
            return
        exchange.attach(connection)

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for exchange in list(self.active):
            exchange.look(now)
        for pool, idle in list(self._idle.items()):
            old = [each for each in idle if now - each.idle_since >= REUSE_SECONDS]
            if old:
                self._idle_number -= len(old)
                self._idle[pool] = [each for each in idle if each not in old]
                if not self._idle[pool]:
                    del self._idle[pool]
                for connection in old:
                    connection.close()
        if self.active or self._idle:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)
