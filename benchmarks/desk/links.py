# SPDX-License-Identifier: Apache-2.0
"""Kept connections that ask one thing at a time, as cheap as they can be in Python."""

import asyncio
from urllib.parse import urlsplit


class Link(asyncio.Protocol):
    """One connection to a server, with one request in flight at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, url: str) -> "Link":
        """Connect."""
        where = urlsplit(url)
        _, link = await asyncio.get_running_loop().create_connection(cls, where.hostname, where.port)
        return link

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; returns the status and the body."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionError("the server closed the connection before")
        self._received = b""
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Give the answer, once it is whole."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        _, found, rest = head.lower().partition(b"content-length: ")
        length = int(rest.partition(b"\r\n")[0]) if found else 0
        if len(body) >= length and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let who waits know."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError(f"the server closed the connection: {exc}"))


def authz(token: str, path: str) -> bytes:
    """The question of a proxy whether a GET with this token may pass."""
    return (
        f"GET /authz HTTP/1.1\r\nHost: gate\r\nX-Original-Method: GET\r\nX-Original-URI: {path}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()
