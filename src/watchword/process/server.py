# SPDX-License-Identifier: Apache-2.0
"""The one constructor of servers: every port of every process has the same protocol and says its bounds.

A bare uvicorn bounds neither a head nor what waits behind it: one connection takes all memory there is. So no
other module makes a `uvicorn.Config` or `uvicorn.Server` (tests/process/test_one_constructor.py).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from watchword.process.acceptor import Acceptor
from watchword.process.bounds import PATIENCE_SECONDS, PLAIN_PATIENCE_SECONDS, Bounds, Budget
from watchword.process.http_protocol import BoundedProtocol
from watchword.process.tls_handshake import TlsHandshake

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class SignalFreeServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: a process has one way to stop, whatever it serves.

    Attributes:
        budget: what its connections hold together.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        budget: Budget,
        context: ssl.SSLContext | None = None,
        *,
        accepts_in_turn: bool = False,
    ) -> None:
        """Serve within a budget; where it `accepts_in_turn`, and with TLS, only what there is room for."""
        super().__init__(config)
        self.budget, self._context = budget, context
        self._accepts_in_turn = accepts_in_turn or context is not None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        context = self._context
        if not self._accepts_in_turn or sockets is None:
            await super().startup(sockets)
            return
        protocol: Any = self.config.http_protocol_class
        make = partial(
            protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

        async def begin(link: socket.socket) -> None:
            if context is not None:
                TlsHandshake(make, context, self.budget, self.server_state).begin(link)
                # Where many wait, accepting them takes no turn of the loop: others have theirs.
                await asyncio.sleep(0)
                return
            try:
                await asyncio.get_running_loop().connect_accepted_socket(make, link)
            except OSError:
                # It is gone already.
                link.close()

        # They have what uvicorn calls: close, wait_closed.
        self.servers = [Acceptor(each, begin, self.budget) for each in sockets]  # type: ignore[misc]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def bounded_server(
    app: "ASGIApp",
    bounds: Bounds,
    *,
    protocol: Callable[..., BoundedProtocol] = BoundedProtocol,
    context: ssl.SSLContext | None = None,
    accepts_in_turn: bool = True,
    tunnel: Callable[..., Any] | None = None,
    keep_alive_seconds: int = 5,
    grace_seconds: float | None = None,
) -> SignalFreeServer:
    """A server with bounds, which logs nothing, says nothing of itself, and believes no proxy's headers.

    Args:
        app: the ASGI application.
        bounds: how much it holds, per message, per connection and for all connections.
        protocol: makes the protocol of a connection; it is given the server's `budget`.
        context: TLS, kept up to date elsewhere; None: there is none. uvicorn is not told of it: it would
            begin handshakes that no budget counts.
        accepts_in_turn: accept a connection without TLS when there is room for it: of all that are accepted
            in one turn, those that go first had no chance to be read. With TLS it is so at all times.
        tunnel: makes the protocol of a connection that becomes a WebSocket, which has to call the `on_end`
            that it is given when the connection is lost; None: none does.
        keep_alive_seconds: how long a connection may rest between two requests.
        grace_seconds: for what is in flight at the end; None: as long as it takes.
    """
    budget = Budget(bounds, patience_seconds=PLAIN_PATIENCE_SECONDS if context is None else PATIENCE_SECONDS)
    make: Any = partial(protocol, budget=budget)
    config = uvicorn.Config(
        app,
        http=make,
        ws="none" if tunnel is None else tunnel,  # type: ignore[arg-type]  # so is this
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # What a proxy says of the client's address decides nothing here.
        proxy_headers=False,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=grace_seconds,  # type: ignore[arg-type]  # a fraction of a second is fine
    )
    config.load()
    return SignalFreeServer(config, budget, context, accepts_in_turn=accepts_in_turn)
