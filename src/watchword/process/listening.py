# SPDX-License-Identifier: Apache-2.0
"""Sockets to listen on: addresses taken apart, trouble told by the flag that caused it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Final

from watchword.process.server import SignalFreeServer

_LOOPBACK: Final = "::1"


class CannotStartError(Exception):
    """The process cannot start; the message says what is wrong and what would be right."""


@contextlib.asynccontextmanager
async def serving(server: SignalFreeServer, *listeners: socket.socket) -> AsyncIterator[None]:
    """Serve inside of the block; at its end stop accepting and finish what is in flight."""
    task = asyncio.create_task(server.serve(sockets=list(listeners)))
    # uvicorn has no event for it; the sockets listen already, so no one waits for this.
    while not server.started and not task.done():  # noqa: ASYNC110 - the flag is all that uvicorn offers
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        server.should_exit = True
        await task


def listen_on_each(flag: str, addresses: Iterable[str]) -> list[socket.socket]:
    """Listen on each HOST:PORT, without `[::1]` where others are named too and the system has no IPv6.

    No one could reach that one there, and so a default names it for all systems.

    Raises:
        CannotStartError: as listen_on; what was opened by then is closed.
    """
    wanted = list(addresses)
    kept = [each for each in wanted if not each.startswith(f"[{_LOOPBACK}]:") or has_loopback_ipv6()]
    opened: list[socket.socket] = []
    try:
        for each in kept or wanted:
            opened.append(listen_on(flag, each))
    except CannotStartError:
        for listener in opened:
            listener.close()
        raise
    return opened


def has_loopback_ipv6() -> bool:
    """Whether the system has IPv6, and its loopback address."""
    try:
        with socket.create_server((_LOOPBACK, 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def listen_on(flag: str, address: str) -> socket.socket:
    """Listen on HOST:PORT; on `[::]:PORT` for IPv6 and IPv4, or for IPv4 where the system has nothing else.

    Raises:
        CannotStartError: not an address, or not to be had; the message names `flag`.
    """
    try:
        host, port = parse_address(address)
        # All addresses are those of both families, where the system has both.
        is_dual = host == "::" and socket.has_dualstack_ipv6()
        if host == "::" and not is_dual and not _has_ipv6():
            host = "0.0.0.0"  # noqa: S104 - as asked for: every address that there is
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=is_dual)
        # What is accepted has it too. asyncio asks for it only where a socket says its protocol, and these do
        # not: an answer in two writes would wait 40 ms for the other side's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except ValueError as error:
        raise CannotStartError(f"{flag}: {error}") from None
    except OSError as error:
        remedy = "choose another port, or stop what uses this one"
        raise CannotStartError(
            f"{flag}: cannot listen on {address}: {error.strerror}. Remedy: {remedy}"
        ) from None


def _has_ipv6() -> bool:
    """Whether the kernel has the family at all (`ipv6.disable=1` takes it away)."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


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
