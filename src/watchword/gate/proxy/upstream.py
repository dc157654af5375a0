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
# How long a connection may have been idle when a request is sent on it that cannot be sent again. Half of the
# shortest time that a server in wide use has by default: gunicorn closes after 2 s (uvicorn and Node.js after
# 5). A request that meets that moment is lost; a loaded app may be a second late to read.
REUSE_SECONDS: Final = 1.0
# How long it is kept for one that is sent again in that case. Making a connection costs more than a request.
KEEP_SECONDS: Final = 30.0
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
        # By workload, the one that rested last at the end; and all of them, in the order in which they came.
        self._idle: dict[bytes, list[UpstreamConnection]] = {}
        self._resting: dict[UpstreamConnection, None] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, pool: bytes, now: float, *, may_repeat: bool = False) -> UpstreamConnection | None:
        """A connection of a pool that has rested by now; None: there is none, or none that is fresh enough.

        Args:
            pool: names the workload's connections.
            now: of the loop's clock, in seconds.
            may_repeat: the request is sent again if the app closes the connection before it answers.
        """
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        idle = self._idle.get(pool)
        if idle is None:
            return None
        connection = idle[-1]
        if now - connection.idle_since >= (KEEP_SECONDS if may_repeat else REUSE_SECONDS):
            # It stays for a request that may be sent again.
            return None
        idle.pop()
        del self._resting[connection]
        if not idle:
            del self._idle[pool]
        if connection.is_open():
            return connection
        connection.close()
        return self.take(pool, now, may_repeat=may_repeat)

    def connect(self, exchange: "UpstreamExchange") -> None:
        """Make a connection for a request."""
        task = asyncio.get_running_loop().create_task(self._connect(exchange))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def release(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection whose request was answered by now, if nothing is left on it."""
        pool = connection.pool
        if not connection.rest(now) or (
            pool.startswith(NO_IDENTITY_LINES) and self._idle_of_strangers() >= MAX_IDLE_OF_STRANGERS
        ):
            connection.close()
            return
        if len(self._resting) >= MAX_IDLE:
            oldest = next(iter(self._resting))
            self.forget(oldest)
            oldest.close()
        idle = self._idle.get(pool)
        if idle is None:
            self._idle[pool] = [connection]
        else:
            idle.append(connection)
        self._resting[connection] = None

    def _idle_of_strangers(self) -> int:
        # Next to the pool of all, there may be one for each that has signed a connection in.
        return sum(len(idle) for pool, idle in self._idle.items() if pool.startswith(NO_IDENTITY_LINES))

    def forget(self, connection: UpstreamConnection) -> None:
        """Keep a connection no longer, which ended."""
        if connection not in self._resting:
            return
        del self._resting[connection]
        idle = self._idle[connection.pool]
        idle.remove(connection)
        if not idle:
            del self._idle[connection.pool]

    def close_idle(self, pool: bytes) -> None:
        """Close the connections of a pool that serve no request."""
        for connection in self._idle.get(pool, ())[:]:
            self.forget(connection)
            connection.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._connecting:
            task.cancel()
        for connection in list(self._resting):
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
        for connection in list(self._resting):
            if now - connection.idle_since < KEEP_SECONDS:
                break
            self.forget(connection)
            connection.close()
        if self.active or self._resting:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)
