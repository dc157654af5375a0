# SPDX-License-Identifier: Apache-2.0
"""Sockets to listen on and servers on them: addresses taken apart, trouble told by the flag that caused it.

uvicorn takes signals over unless it is told not to; a process that also holds a Lease or an audit log must
not end before those are done.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class CannotStart(Exception):
    """The process cannot start; the message says what is wrong and what would be right."""


class SignalFreeServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: a process has one way to stop, whatever it serves."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def quiet_server(
    app: "ASGIApp", *, context: ssl.SSLContext | None = None, **settings: Any
) -> SignalFreeServer:
    """A server that logs nothing, says nothing of itself, and takes nobody's word for who is calling.

    Args:
        app: the ASGI application.
        context: TLS that somebody else keeps up to date; None: what `settings` say.
        settings: further ones of `uvicorn.Config`.
    """
    config = uvicorn.Config(
        app,
        **{
            "ws": "none",
            "lifespan": "off",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            # What a proxy says of the client's address decides nothing here.
            "proxy_headers": False,
            **settings,
        },
    )
    config.load()
    if context is not None:
        config.ssl = context
    return SignalFreeServer(config)


@contextlib.asynccontextmanager
async def serving(server: SignalFreeServer, listener: socket.socket) -> AsyncIterator[None]:
    """Serve inside of the block; at its end stop accepting and finish what is in flight."""
    task = asyncio.create_task(server.serve(sockets=[listener]))
    # uvicorn has no event for it; the sockets listen already, so nobody waits for this.
    while not server.started and not task.done():  # noqa: ASYNC110 - the flag is all that uvicorn offers
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        server.should_exit = True
        await task


def listen_on(flag: str, address: str) -> socket.socket:
    """Listen on HOST:PORT.

    Raises:
        CannotStart: not an address, or not to be had; the message names `flag`.
    """
    try:
        host, port = parse_address(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except ValueError as error:
        raise CannotStart(f"{flag}: {error}") from None
    except OSError as error:
        remedy = "choose another port, or stop what uses this one"
        raise CannotStart(f"{flag}: cannot listen on {address}: {error.strerror}. Remedy: {remedy}") from None


def address_of(listener: socket.socket) -> str:
    """HOST:PORT that a socket really has, as one types it."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> tuple[str, int]:
    """Take HOST:PORT apart; an IPv6 host stands in brackets, an empty one is every interface.

    Raises:
        ValueError: not HOST:PORT; the message says what would be right.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(
            f"{text!r} is not HOST:PORT with a port from 0 to 65535; use for example 127.0.0.1:8443"
        )
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError(f"{text!r} has an IPv6 host without brackets; use for example [::1]:8443")
    return host, int(port)
