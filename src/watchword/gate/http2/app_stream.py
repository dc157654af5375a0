# SPDX-License-Identifier: Apache-2.0
"""A request of an HTTP/2 stream that the gate's own application answers: the usage read model, and 404."""

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from watchword.gate.http2.limits import HIGH_WATER
from watchword.gate.http2.request_fields import Http2Request
from watchword.gate.http2.stream import INTERNAL_ERROR, Http2Stream
from watchword.gate.responses import problem
from watchword.process.http_protocol import TARGET
from watchword.process.logs import LOGGER

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from watchword.gate.http2.connection import Http2Connection

# HTTP/2 has no such field; what it would say, GOAWAY says.
_OF_CONNECTION: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})


class AppStream(Http2Stream):
    """A request that an ASGI application answers."""

    def __init__(
        self, host: "Http2Connection", stream_id: int, request: Http2Request, *, is_whole: bool
    ) -> None:
        """Answer a request that came on a connection."""
        super().__init__(host, stream_id, request, is_whole=is_whole)
        self.asked = request
        self._body = bytearray()
        self._unacknowledged = 0
        self._has_news, self._has_room = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._awaits_continue = request.expects_continue and not is_whole

    def begin(self, app: "ASGIApp") -> "asyncio.Task[None]":
        """Have the application answer."""
        return asyncio.get_running_loop().create_task(self._run(app))

    def take_body(self, body: bytes, number: int) -> None:
        """Keep a part of the body for the application."""
        if self.is_over:
            super().take_body(body, number)
            return
        self._body += body
        self._unacknowledged += number
        self._has_news.set()

    def take_end(self) -> None:
        """Let the application know that this is all."""
        super().take_end()
        self._has_news.set()

    def drop_caller(self) -> None:
        """Let the application know that the caller is gone."""
        self._let_go()
        super().drop_caller()

    def break_off(self, code: int = INTERNAL_ERROR) -> None:
        """Let the caller see that there is no more of an answer that was begun."""
        self._let_go()
        super().break_off(code)

    def _end_of_answer(self) -> None:
        self._let_go()
        super()._end_of_answer()

    def _let_go(self) -> None:
        """Have the application wait for nothing, and let the caller send as much as was not read."""
        self._has_news.set()
        self._has_room.set()
        self._body.clear()
        number, self._unacknowledged = self._unacknowledged, 0
        self.host.acknowledge(self.stream_id, number)

    def on_sent(self, number: int) -> None:
        """Let the application write on."""
        del number
        if len(self._outlet.buffer) < HIGH_WATER:
            self._has_room.set()

    def held_bytes(self) -> int:
        """How many bytes wait here."""
        return super().held_bytes() + len(self._body)

    async def _run(self, app: "ASGIApp") -> None:
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - as uvicorn: the connection outlives a defect
            LOGGER.error("a request failed", extra={"error_type": type(error).__name__})
        if self.is_over or self.host.is_over:
            return
        if not self._is_head_sent:
            self.answer(problem(500, "The gate failed.", "This is a defect of the gate."))
        elif not self._outlet.is_ended:
            self.break_off(INTERNAL_ERROR)

    def _scope(self) -> dict[str, Any]:
        path, _, query = self.asked.target.partition(b"?")
        host = self.host
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "server": host.server,
            "client": host.peer,
            "scheme": host.scheme,
            "root_path": "",
            "headers": self.asked.headers,
            "state": {},
            "method": self.asked.method,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            TARGET: self.asked.target,
        }

    async def _receive(self) -> dict[str, Any]:
        if self._awaits_continue:
            self._awaits_continue = False
            self.say_continue()
        while not (self._body or self.is_whole or self.is_over):
            self._has_news.clear()
            await self._has_news.wait()
        if self.is_over:
            return {"type": "http.disconnect"}
        body = bytes(self._body)
        self._body.clear()
        number, self._unacknowledged = self._unacknowledged, 0
        self.host.acknowledge(self.stream_id, number)
        return {"type": "http.request", "body": body, "more_body": not self.is_whole}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if self.is_over or self.host.is_over:
            return
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", ()) if pair[0] not in _OF_CONNECTION]
            fields = [(b":status", b"%d" % message["status"]), *self.host.default_fields(), *kept]
            self._send_head(fields, is_end=False)
            return
        body = b"" if self.asked.method == "HEAD" else message.get("body", b"")
        if body:
            self._outlet.write(body)
        if not message.get("more_body", False):
            self._outlet.end()
        elif len(self._outlet.buffer) > HIGH_WATER:
            self._has_room.clear()
            await self._has_room.wait()
