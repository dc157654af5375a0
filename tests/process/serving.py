# SPDX-License-Identifier: Apache-2.0
"""A bounded server on loopback in this process, and callers on bare sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from watchword.process.bounds import Bounds, Budget
from watchword.process.http_protocol import BoundedProtocol
from watchword.process.listening import listen_on, serving
from watchword.process.server import bounded_server

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 4 * 1024 * 1024


@dataclass
class App:
    """Answers by path, and keeps what it was asked.

    `wait` waits, `early` reads no body, `large` is large, and `endless` goes on as long as it is taken.
    """

    seen: list[tuple[str, bytes]] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        name = scope["path"].removeprefix("/")
        body = b""
        while name != "early":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.append((name, b"disconnect"))
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.seen.append((name, body))
        if name == "wait":
            await self.go_on.wait()
        if name == "endless":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not self.go_on.is_set():
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                await asyncio.sleep(0)
        content = b"x" * LARGE if name == "large" else name.encode()
        headers = [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@dataclass
class Running:
    """A server, its app, and the protocols of its connections."""

    app: App
    port: int
    budget: Budget
    protocols: list[BoundedProtocol]

    def connect(self) -> socket.socket:
        """A connection that blocks nothing."""
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.setblocking(False)
        return link

    async def open(self) -> socket.socket:
        """An established connection."""
        link = self.connect()
        await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", self.port))
        return link

    async def ask(self, data: bytes, link: socket.socket | None = None) -> bytes:
        """Send, and what came until the server closed."""
        loop = asyncio.get_running_loop()
        given = link
        link = link or await self.open()
        try:
            await loop.sock_sendall(link, data)
            return await read_all(link)
        finally:
            if given is None:
                link.close()


async def read_all(link: socket.socket) -> bytes:
    """What comes until the server closed; a reset is an end."""
    loop, found = asyncio.get_running_loop(), bytearray()
    try:
        async with asyncio.timeout(60):
            while data := await loop.sock_recv(link, 65536):
                found += data
    except ConnectionError:
        pass
    return bytes(found)


async def until(condition: Any, seconds: float = 20) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    bounds: Bounds, kind: type[BoundedProtocol] = BoundedProtocol, **settings: Any
) -> AsyncIterator[Running]:
    """Serve by a kind of protocol until the block ends."""
    app, protocols = App(), list[BoundedProtocol]()

    def make(*given: Any, **named: Any) -> BoundedProtocol:
        protocols.append(kind(*given, **named))
        return protocols[-1]

    server = bounded_server(app, bounds, protocol=make, grace_seconds=1, **settings)
    listener = listen_on("--listen", "127.0.0.1:0")
    async with serving(server, listener):
        yield Running(app, listener.getsockname()[1], server.budget, protocols)
        app.go_on.set()
