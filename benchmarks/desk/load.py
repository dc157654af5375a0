# SPDX-License-Identifier: Apache-2.0
"""Callers over keep-alive connections, as cheap as they can be: what is measured is the other side."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit


async def send(url: str, requests: Sequence[bytes], *, connections: int = 32, count: int) -> None:
    """Send `count` requests in turn, over so many connections at a time; each answer must be a 200."""
    where = urlsplit(url)
    left = iter(range(count))

    async def one() -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        for number in left:
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head + await reader.read(1000)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))


def post(path: str, body: bytes) -> bytes:
    """A POST of a form as bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: desk\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
