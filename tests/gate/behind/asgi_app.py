# SPDX-License-Identifier: Apache-2.0
"""A bare ASGI app for uvicorn: `echo` as it comes, `events` one at a time, `headers` as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
_next: asyncio.Event | None = None


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer by the last segment of the path."""
    global _next  # noqa: PLW0603 - one app a process
    if scope["type"] != "http":
        return
    _next = _next or asyncio.Event()
    name = scope["path"].rpartition("/")[2]
    kind = b"text/event-stream" if name == "events" else b"application/octet-stream"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if name == "echo":
        has_more = True
        while has_more:
            message = await receive()
            has_more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": True})
    elif name == "events":
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await _next.wait()
            _next.clear()
    elif name == "next":
        _next.set()
    else:
        found = [[key.decode(), value.decode("latin-1")] for key, value in scope["headers"]]
        await send({"type": "http.response.body", "body": json.dumps(found).encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})
