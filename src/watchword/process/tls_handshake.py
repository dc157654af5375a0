# SPDX-License-Identifier: Apache-2.0
"""A connection until its TLS handshake is done, counted and closed like any other.

An event loop makes a TLS connection's buffers when it is accepted, and tells its protocol when the handshake
is done. What is in between is counted by no protocol, for a minute: a few hundred silent connections take all
memory. So each handshake is a task, which the server's budget knows from the moment of the accept.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial

from uvicorn.server import ServerState

from watchword.process.bounds import Budget
from watchword.process.tls_reads import TlsReads, tls_protocol_of

# More than a slow link needs; a caller who is silent for longer asks for nothing.
HANDSHAKE_SECONDS = 10.0


class TlsHandshake:
    """One accepted connection whose handshake is under way; afterwards an HTTP protocol takes it over."""

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        budget: Budget,
        state: ServerState,
    ) -> None:
        """Shake hands by a context, and let `make` make what speaks HTTP then."""
        self._make, self._context = make, context
        self._budget, self._state = budget, state
        self._task: asyncio.Task[None] | None = None
        self._has_begun = False

    def begin(self, link: socket.socket) -> None:
        """Begin on an accepted connection, if there is room for it; else close it."""
        if not self._budget.admit_handshake(self):
            link.close()
            return
        self._state.connections.add(self)  # type: ignore[arg-type]  # it has what uvicorn calls: shutdown
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(link))
        self._task.add_done_callback(partial(self._end, link))

    def shutdown(self) -> None:
        """The server ends."""
        self.make_room()

    def make_room(self) -> None:
        """Close at once."""
        if self._task is not None:
            self._task.cancel()

    def _take_over(self) -> asyncio.Protocol:
        return _Front(self)

    def hand_over(self, transport: asyncio.Transport) -> None:
        """Let HTTP begin on a connection whose handshake is done."""
        self._forget()
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    async def _shake_hands(self, link: socket.socket) -> None:
        self._has_begun = True
        loop = asyncio.get_running_loop()
        is_done = loop.create_future()
        tls = tls_protocol_of(loop)(
            loop,
            self._take_over(),
            self._context,
            is_done,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: TlsReads(tls), link)
            try:
                await is_done
            except BaseException:
                transport.abort()
                raise
        except OSError:
            # No TLS, no certificate that we know, reset, or too late: the loop has closed it.
            pass
        finally:
            self._forget()

    def _end(self, link: socket.socket, task: "asyncio.Task[None]") -> None:
        self._forget()
        self._task = None
        if not self._has_begun:
            # Cancelled before its first turn: no transport owns the socket.
            link.close()
        if not task.cancelled():
            # Retrieved, so that asyncio writes no traceback of a peer's doing.
            task.exception()

    def _forget(self) -> None:
        self._budget.forget_handshake(self)
        self._state.connections.discard(self)


class _Front(asyncio.Protocol):
    """Is told by the loop that the handshake is done."""

    def __init__(self, handshake: TlsHandshake) -> None:
        self._handshake = handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is one
        self._handshake.hand_over(transport)
