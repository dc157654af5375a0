# SPDX-License-Identifier: Apache-2.0
"""A connection is free at its end, with and without TLS: not at a collection, nor after a farewell."""

from __future__ import annotations

import asyncio
import socket
import ssl
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.gate.certificates import certificate, write_pair
from tests.process.serving import GET, App, until
from watchword.process.bounds import CONNECTION_BYTES, Bounds, Budget
from watchword.process.http_protocol import BoundedProtocol
from watchword.process.listening import serving
from watchword.process.server import bounded_server

POST = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
# What is sent on a connection, and what comes back before it ends.
SAID: dict[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "one request": (GET % b"one", b"one"),
    "no request": (b"\n\n", b"Invalid HTTP request"),
    "half a head": (b"GET / HTTP/1.1\r\n", b""),
    "a request in flight": (GET % b"wait", b""),
    "a request in flight, with more behind it": (GET % b"wait" + GET % b"next" * 100, b""),
    "half a body": (POST % b"half" + b"a" * 50_000, b""),
    "half a body that was answered": (POST % b"early" + b"a" * 50_000, b"early"),
}


@dataclass
class Served:
    """A server as the gate's: on uvloop, and its loop shakes hands."""

    app: App
    port: int
    budget: Budget
    context: ssl.SSLContext | None
    protocols: list[weakref.ref[BoundedProtocol]] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)


def serve(
    folder: Path | None, work: Callable[[Served], Awaitable[None]], bounds: Bounds | None = None
) -> None:
    """Serve while work runs; with TLS where there is a folder for its certificate."""
    given, taken = None, None
    if folder is not None:
        given, taken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        given.load_cert_chain(*write_pair(folder, certificate("gate")))
        taken.check_hostname, taken.verify_mode = False, ssl.CERT_NONE

    async def whole() -> None:
        app, protocols = App(), list[weakref.ref[BoundedProtocol]]()

        def make(*positional: Any, **named: Any) -> BoundedProtocol:
            protocol = BoundedProtocol(*positional, **named)
            protocols.append(weakref.ref(protocol))
            return protocol

        server = bounded_server(
            app,
            bounds or Bounds(),
            protocol=make,
            context=given,
            keep_alive_seconds=60,
            grace_seconds=1,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        async with asyncio.timeout(60), serving(server, listener):
            await work(Served(app, listener.getsockname()[1], server.budget, taken, protocols))
            app.go_on.set()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", SAID)
def test_nothing_holds_a_connection_that_has_ended(tmp_path: Path, is_tls: bool, name: str) -> None:
    sent, answer = SAID[name]

    async def work(server: Served) -> None:
        reader, writer = await server.connect()
        writer.write(sent)
        if answer:
            await reader.readuntil(answer)
        elif b"wait" in sent:
            await until(lambda: server.app.seen)
        # With TLS, the caller is done with the handshake before the server is.
        await until(lambda: server.protocols)
        writer.transport.abort()
        # What the application still does with it is its own.
        server.app.go_on.set()
        assert server.protocols
        await until(lambda: all(each() is None for each in server.protocols))

    serve(tmp_path if is_tls else None, work)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n"], ids=["nothing", "half a head"])
def test_one_that_makes_room_waits_for_no_farewell(tmp_path: Path, sent: bytes) -> None:
    async def work(server: Served) -> None:
        assert server.context is not None
        # A caller that takes part in nothing after its handshake.
        with socket.create_connection(("127.0.0.1", server.port)) as link:
            link.setblocking(False)
            mute = _Mute(server.context, link)
            await mute.shake_hands()
            await mute.send(sent)
            await until(lambda: server.protocols)
            first = server.protocols[0]
            await until(lambda: len(server.budget) == 1 and _held(first) == len(sent))
            _, second = await server.connect()
            # At once, and not only for the budget: 30 seconds is what a farewell may take.
            await until(lambda: first() is None)
            second.close()

    serve(tmp_path, work, Bounds(connections=1))


def _held(reference: weakref.ref[BoundedProtocol]) -> int:
    protocol = reference()
    return -1 if protocol is None else len(protocol.parser.held)


class _Mute:
    """TLS without a loop that would answer for it."""

    def __init__(self, context: ssl.SSLContext, link: socket.socket) -> None:
        self._link, self._in, self._out = link, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="gate")

    async def shake_hands(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(self._link, self._out.read())
                self._in.write(await loop.sock_recv(self._link, 65536))
            else:
                await loop.sock_sendall(self._link, self._out.read())
                return

    async def send(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
            await asyncio.get_running_loop().sock_sendall(self._link, self._out.read())


def test_what_tls_holds_of_a_large_read_is_counted(tmp_path: Path) -> None:
    async def work(server: Served) -> None:
        reader, writer = await server.connect()
        writer.write(POST % b"one" + b"a" * 100_000)
        await reader.readuntil(b"one")
        [held] = [found.held_bytes() for each in server.protocols if (found := each()) is not None]
        assert held > 16 * 1024
        assert server.budget.held_bytes == CONNECTION_BYTES + held
        writer.close()

    serve(tmp_path, work)
