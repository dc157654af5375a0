# SPDX-License-Identifier: Apache-2.0
"""Short requests that are answered whole: an ASGI application without what ASGI costs, and one write.

It takes only what it can keep every promise for: a POST in HTTP/1.1 whose body has a length and is short, on
a connection that stays open. The application begins when the body is whole. Everything else goes to uvicorn's
request cycle, and gets the same answer.
"""

import re
from typing import Any, Final

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from watchword.process.http_protocol import TARGET, BoundedProtocol, expects_continue
from watchword.process.logs import LOGGER

MAX_WHOLE_BYTES: Final = 32 * 1024
_PLAIN_PATH: Final = re.compile(rb"/[A-Za-z0-9/._-]*")
_GONE: Final = {"type": "http.disconnect"}


class WholeProtocol(BoundedProtocol):
    """One connection of a server whose requests are mostly short forms."""

    # The headers that every answer has, as lines: they change with the date, once a second.
    _defaults: object = None
    _default_lines = b""

    def begin_exchange(self, method: str) -> bool:
        """Begin to read a request that is answered whole; False: it is of another kind."""
        parser = self.parser
        if method != "POST" or not 0 < parser.announced_bytes <= MAX_WHOLE_BYTES or not parser.keeps_alive:
            return False
        if parser.http_minor != 1 or not _PLAIN_PATH.fullmatch(self.url) or expects_continue(self.headers):
            return False
        self.cycle = WholeExchange(self)
        return True

    def _after_read(self) -> None:
        super()._after_read()
        # Most often the body came with its head, and needs no deadline.
        if not (self._is_whole or self._is_over or self._deadline is not None or self._is_idle()):
            self._set_deadline(self.bounds.body_seconds)

    def start(self, exchange: "WholeExchange") -> None:
        """Let the application answer a request that is whole."""
        task = self.loop.create_task(exchange.run(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def default_lines(self) -> bytes:
        """The lines of the headers that every answer has."""
        headers = self.server_state.default_headers
        if headers is not self._defaults:
            self._defaults = headers
            self._default_lines = b"".join(b"%b: %b\r\n" % each for each in headers)
        return self._default_lines

    def fail(self) -> None:
        """Answer a request whose application failed, and end the connection."""
        self.transport.write(self._refusal(500, "The server failed."))
        self.transport.close()


class WholeExchange:
    """One request from its head to its answer; an `Exchange`.

    Attributes:
        response_started: the answer was written.
        response_complete: the same: it is written in one go.
        keep_alive: another request may follow on the connection.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_is_gone",
        "_is_read",
        "_scope",
        "_start",
        "keep_alive",
        "response_complete",
        "response_started",
    )

    def __init__(self, connection: WholeProtocol) -> None:
        """Take the request whose head a connection has just read."""
        self._connection = connection
        self.response_started = self.response_complete = False
        self.keep_alive = True
        self._body, self._is_gone, self._is_read = b"", False, False
        self._start: Message = {}
        path = connection.url
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": connection.scheme,
            "path": path.decode("ascii"),
            "raw_path": path,
            "query_string": b"",
            "root_path": "",
            "headers": connection.headers,
            "client": connection.client,
            "server": connection.server,
            TARGET: path,
        }

    def held_bytes(self) -> int:
        """How many bytes of the body wait here."""
        return len(self._body)

    def take_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body = self._body + body if self._body else body

    def take_end(self) -> None:
        """Have the request answered: it is whole."""
        self._connection.start(self)

    def drop_caller(self) -> None:
        """Answer no more."""
        self._is_gone = True

    def slow_down(self) -> None:
        """Read no more before the answer: what one request holds is short."""
        self._connection.flow.pause_reading()

    def go_on(self) -> None:
        """Nothing: an answer is written in one go."""

    async def run(self, app: Any) -> None:
        """Let an application answer."""
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - told to the caller as what it is
            LOGGER.error("an answer failed", extra={"error_type": type(error).__name__})
        if not self.response_complete and not self._is_gone:
            self.response_started = self.response_complete = True
            self._connection.fail()

    async def _receive(self) -> Message:
        if self._is_read or self._is_gone:
            return _GONE
        self._is_read = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if self._is_gone:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message.get("more_body"):
            raise RuntimeError("an answer of several parts on the way of whole answers")
        connection = self._connection
        parts = [STATUS_LINE[self._start["status"]], connection.default_lines()]
        for name, value in self._start["headers"]:
            if b"\n" in value or b"\r" in value:
                raise RuntimeError("a header value with a line break")
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", message.get("body", b""))
        self.response_started = self.response_complete = True
        self._body = b""
        connection.transport.write(b"".join(parts))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()
