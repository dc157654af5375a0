# SPDX-License-Identifier: Apache-2.0
"""The gate's HTTP protocol: the bounded one, which opens WebSockets where requests are passed on to an app.

A decision by path must see what the caller wrote, so the request target goes on exactly as it was sent.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from watchword.gate.audit import Peer
from watchword.gate.first_bytes import FirstBytes, has_agreed_on_http2
from watchword.process.bounds import Bounds, Budget
from watchword.process.http_protocol import TARGET, BoundedProtocol

if TYPE_CHECKING:
    from watchword.gate.http2.connection import Service

BOUNDS: Final = Bounds()
# A gate with an app behind it is 10 MiB larger at rest, and has the same limit of memory.
PROXYING_BOUNDS: Final = replace(
    BOUNDS, message_bytes=math.inf, buffered_bytes=10 * 1024 * 1024, handshakes=64
)
MAX_HEADERS: Final = BOUNDS.headers
HEAD_SECONDS: Final = BOUNDS.head_seconds

# How an IPv6 socket names the IPv4 address of a peer (RFC 4291, section 2.5.5.2).
_MAPPED: Final = "::ffff:"
# Of a raw request target: whether the request is passed on to the app.
PassesOn = Callable[[bytes], bool]


def passes_nothing_on(target: bytes) -> bool:
    """False: a gate without an app behind it."""
    del target
    return False


class TargetProtocol(BoundedProtocol):
    """One connection to a gate's port."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: Any = None,
        *,
        budget: Budget | None = None,
        passes_on: PassesOn = passes_nothing_on,
    ) -> None:
        """Serve one connection; where `passes_on` says so, a WebSocket may be opened."""
        super().__init__(config, server_state, app_state, _loop, budget=budget)
        self._passes_on = passes_on

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Note the other end, by its IPv4 address where it has one."""
        super().connection_made(transport)
        self.client = plain_peer(self.client)
        if self._is_over:
            return
        if not self._is_tls:
            transport.set_protocol(FirstBytes(self, transport))
        elif has_agreed_on_http2(transport):
            self.speak_http2(b"")

    def speak_http2(self, data: bytes) -> None:
        """Hand the connection over to HTTP/2, with what came of it."""
        # Imported only here: most gates never carry what it takes.
        from watchword.gate.http2.connection import Http2Connection

        transport = self.transport
        self._is_over = True
        self._meet_deadline()
        self.parser.stop()
        self.budget.forget(self)
        self.connections.discard(self)
        connection = Http2Connection(self.http2_service(), self.client, self.server, self.scheme or "http")
        transport.set_protocol(connection)
        connection.connection_made(transport)
        # What came with the end of a handshake is given to the protocol that was there then.
        self.data_received = connection.data_received  # type: ignore[method-assign]
        self.parser.release()
        if data:
            connection.data_received(data)

    def http2_service(self) -> "Service":
        """What a connection takes from here when it speaks HTTP/2."""
        raise NotImplementedError

    def may_tunnel(self, target: bytes) -> bool:
        """Whether a request is for the app: what the gate answers by itself is never tunnelled."""
        return self._passes_on(target)


def plain_peer(peer: Peer | None) -> Peer | None:
    """The other end of a connection; an IPv4 address that came through an IPv6 socket as what it is."""
    if peer is None or not peer[0].startswith(_MAPPED):
        return peer
    return peer[0].removeprefix(_MAPPED), peer[1]


def raw_target(scope: Any) -> bytes:
    """The request target as sent; where another server runs the app, the best that ASGI has."""
    target = scope.get(TARGET)
    if isinstance(target, bytes):
        return target
    query: bytes = scope.get("query_string", b"")
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path + b"?" + query if query else path
